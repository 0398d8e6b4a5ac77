"""meantime.py MEANTIME_FOLDER ENCODER WEIGHTS...

Organisations by name in the Wikinews articles about stock markets of MEANTIME (Minard et al. 2016, CC BY 4.0), which no training reads:
F1 of spans that the entity head calls a company or another organisation. The set marks noun phrases as well ("the bank", "which"); gold is
what is left of its ORG without determiners: runs of capitalised words. ENCODER is a folder as for train.py, WEIGHTS are files of
weights (model.safetensors, or checkpoints of train.py), scored one after another. Only the first sentences of an article are annotated:
what is found behind the last annotated one counts for nothing, nor what overlaps a FIN (an index, an exchange)."""
import glob, re, sys
import xml.etree.ElementTree as xml
import data as D

SMALL = {"of", "and", "&", "for", "'s"}


def articles(folder):
    """Text as words joined by blanks, up to the last annotated sentence; gold spans in it; spans to leave out."""
    for path in sorted(glob.glob(f"{folder}/GOLD/Stock_Market/*.naf")):
        root = xml.parse(path).getroot()
        words = {w.get("id"): (n, w.text) for n, w in enumerate(root.iter("wf"))}
        of_term = {t.get("id"): [x.get("id") for x in t.iter("target")] for t in root.iter("term")}
        starts, text, sentence = [], "", None
        for w in root.iter("wf"):
            text += "" if not text else " " if w.get("sent") == sentence else "\n"
            sentence = w.get("sent")
            starts.append(len(text))
            text += w.text
        gold, other, last = set(), set(), 0
        for entity in root.iter("entity"):
            for span in entity.iter("span"):
                run = [words[i] for t in span.iter("target") for i in of_term.get(t.get("id"), [t.get("id")])]
                last = max(last, starts[run[-1][0]] + len(run[-1][1])) if run else last
                if entity.get("type") == "FIN" and run:
                    other.add((starts[run[0][0]], starts[run[-1][0]] + len(run[-1][1])))
                if entity.get("type") != "ORG":
                    continue
                if run and run[0][1].lower() == "the":
                    run = run[1:]
                if run and all(w[:1].isupper() or w in SMALL for _, w in run) and run[0][1].lower() not in ("they", "it", "its", "our", "we", "their"):
                    gold.add((starts[run[0][0]], starts[run[-1][0]] + len(run[-1][1])))
        end = text.find("\n", last)
        text = text[:end] if end >= 0 else text
        yield text, {g for g in gold if not any(o != g and o[0] <= g[0] and g[1] <= o[1] for o in gold)}, other


def named(model, tok, lexicon, text):
    """Spans that the entity head calls a company or another organisation, without a determiner before them."""
    import torch
    from train import hidden_states
    windows = D.encode_document(tok, lexicon, dict(text=text, id=""))["windows"]
    found = set()
    with torch.inference_mode():
        for w, h in zip(windows, hidden_states(model, tok, windows)):
            tags, start, end = model.entity(h).argmax(-1).tolist(), None, None
            for tag, offs in [*zip(tags, w["offs"]), (0, None)]:
                name = D.TAGS[tag] if offs else "O"
                inside = name[2:] in ("COM", "ORG") or start is not None and offs and text[offs[0] - 1:offs[0]].isalnum()
                if start is not None and (not inside or name[:2] == "B-"):
                    found.add((start + len(re.match(r"(?:[Tt]he )?", text[start:end]).group()), end))
                    start = None
                if inside:
                    start, end = (offs[0] if start is None else start), offs[1]
    return found


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    from transformers import AutoTokenizer
    from model import Stancewire
    from lexicon import Lexicon
    from train import load
    tok, model = AutoTokenizer.from_pretrained(sys.argv[2]), Stancewire(sys.argv[2])
    lexicon, docs = Lexicon(), list(articles(sys.argv[1]))
    for weights in sys.argv[3:]:
        load(model, weights)
        model.eval()
        gold = found = right = 0
        for text, spans, other in docs:
            guess = {(a, b) for a, b in named(model, tok, lexicon, text) if not any(a < y and x < b for x, y in other)}
            gold, found, right = gold + len(spans), found + len(guess), right + len(spans & guess)
        print(f"{weights}: {len(docs)} articles, {gold} names: P {right / found:.3f} R {right / gold:.3f} F1 {2 * right / (gold + found):.3f}")


if __name__ == "__main__":
    main()
