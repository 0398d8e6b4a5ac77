#!/usr/bin/env python3
"""Renders a model's card from its `model.json`, which holds every figure with the command that repeats it.

  card.py render MODEL_DIR > MODEL_DIR/README.md
  card.py measure MODEL_DIR PROGRAM NAME=GOLD.jsonl...     scores the sets once and puts the figures into model.json

PROGRAM is a release build of `stancewire`. A set's name that `model.json` does not know yet is added without a description.
"""
import argparse, datetime, json, platform, subprocess, sys, tempfile
from pathlib import Path

# Rows of the table: label, path of the figure in `eval --json`, name of its interval.
ROWS = [
    ("companies found, F1", "company_detection/f1", "company_f1"),
    ("… precision", "company_detection/p", "company_precision"),
    ("… recall", "company_detection/r", "company_recall"),
    ("exact mentions, F1", "mention_exact/f1", "mention_f1"),
    ("stance of a found company, mean F1", "stance_given_match_macro_f1", "stance_given_match_macro_f1"),
    ("company and stance, mean F1", "end_to_end_macro_f1", "end_to_end_macro_f1"),
    ("… without `silent`", "end_to_end_active_f1", "end_to_end_active_f1"),
    ("evidence sentences, F1", "evidence/f1", "evidence_f1"),
    ("calibration error", "ece", "ece"),
    ("… spurious companies counted", "ece_all", None),
    ("documents wholly right", "documents_fully_right", "documents_fully_right"),
]
SLICES = ["words < 400", "words >= 400", "seen companies", "unseen companies"]


def at(figures, path):
    for key in path.split("/"):
        figures = figures[key]
    return figures


def cpu():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((l.split(":")[1].strip() for l in lines if l.startswith("model name")), platform.processor())


def scored(program, gold, train):
    figures = json.loads(subprocess.run([program, "eval", gold, "--json", "--train", train], check=True, capture_output=True, text=True).stdout)
    row = lambda path, interval: [at(figures, path)] + ([figures["intervals"][interval][k] for k in ("low", "high")] if interval in figures["intervals"] else [])
    slices = {s["name"]: dict(companies=s["companies"], end_to_end_macro_f1=s["figures"]["end_to_end_macro_f1"]) for s in figures["slices"] if s["name"] in SLICES}
    return dict(documents=figures["documents"], figures={path: row(path, interval) for _, path, interval in ROWS}, slices=slices)


def measure(folder, program, sets):
    path = folder / "model.json"
    card = json.loads(path.read_text())
    evaluation = card["evaluation"]
    learned = evaluation["train"]  # documents of ours that the release learned from: a company that none of them names is unseen
    evaluation.update(machine=cpu(), date=datetime.date.today().isoformat(),
                      command=f"cat {' '.join(learned)} > TRAIN; stancewire eval FILE --json --train TRAIN")
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as train:
        train.writelines(Path(file).read_bytes() for file in learned)
        train.flush()
        for entry in sets:
            name, _, gold = entry.partition("=")
            known = next((s for s in evaluation["sets"] if s["name"] == name), None)
            if known is None:
                known = dict(name=name, description="")
                evaluation["sets"].append(known)
            known.update(scored(program, gold, train.name))
            path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def table(header, rows):
    line = lambda cells: "| " + " | ".join(cells) + " |"
    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def figure(values):
    return f"{values[0]:.3f}" + (f" ({values[1]:.3f}–{values[2]:.3f})" if len(values) > 1 else "")


def render(card):
    text, evaluation = card["card"], card["evaluation"]
    sets = evaluation["sets"]
    parts = [f"# {card['name']}, version {card['version']}", *text["summary"], "## How it was made", *text["made"]]
    parts += ["| data | licence | used as |\n|---|---|---|\n" + "\n".join(f"| {d['name']} | {d['licence']} | {d['use']} |" for d in text["data"])]
    parts += ["## How right it is",
              f"`{evaluation['command']}` on {evaluation['machine']}, {evaluation['date']}; 95 % intervals by bootstrap over documents.",
              table(["", *(f"{s['name']}, {s['documents']}" for s in sets)],
                    [[label, *(figure(s["figures"][path]) for s in sets)] for label, path, _ in ROWS])]
    parts += ["\n".join(f"- **{s['name']}**: {s['description']}" for s in sets)]
    slices = [n for n in SLICES if any(n in s["slices"] for s in sets)]
    cell = lambda s, n: f"{s['slices'][n]['end_to_end_macro_f1']:.3f} ({s['slices'][n]['companies']})" if n in s["slices"] else "–"
    parts += ["Company and stance, mean F1, by length of the document and by whether a training document of `corpus/` names the company (number of companies in brackets):",
              table(["", *(s["name"] for s in sets)], [[n, *(cell(s, n) for s in sets)] for n in slices])]
    parts += [*text["beside"], "## Where it fails", "\n".join(f"- {f}" for f in text["failures"])]
    parts += ["## For what, and what not", *text["use"]]
    return "\n\n".join(parts) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["render", "measure"])
    p.add_argument("model", type=Path)
    p.add_argument("program", nargs="?")
    p.add_argument("sets", nargs="*", metavar="NAME=GOLD.jsonl")
    a = p.parse_args()
    if a.what == "render":
        sys.stdout.write(render(json.loads((a.model / "model.json").read_text())))
    elif a.program and a.sets:
        measure(a.model, a.program, a.sets)
    else:
        p.error("measure needs a program and sets")


if __name__ == "__main__":
    main()
