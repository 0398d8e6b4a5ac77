#!/usr/bin/env python3
"""How much of the main text of pages is found, on the article extraction benchmark of scrapinghub.

usage: page-f1.py BENCHMARK [PROGRAM]

BENCHMARK is a copy of the benchmark, with html/ and ground-truth.json; PROGRAM is `stancewire` (target/release/stancewire). As the
benchmark's own script does: a text is its words (\\w+), runs of four of them are counted, precision and recall of a page compare
those counts, means over pages are reported, F1 is that of the two means. Pages whose text is not English or beyond limits count too.
"""
import collections, json, re, subprocess, sys, tempfile, time
from pathlib import Path

if len(sys.argv) not in (2, 3):
    sys.exit(__doc__)
benchmark, program = Path(sys.argv[1]), (sys.argv[2:] or ["target/release/stancewire"])[0]
truth = json.loads((benchmark / "ground-truth.json").read_text(encoding="utf-8"))

def words(text):
    return re.findall(r"\w+", text)

def runs(text, length=4):
    found = words(text)
    return collections.Counter(tuple(found[at:at + length]) for at in range(max(1, len(found) - length + 1)))

start = time.time()
output = subprocess.run([program, "extract", str(benchmark / "html"), "--with-text", "--any-language", "--duplicates", "ignore",
                         "--quiet", "--to", "jsonl"], stdout=subprocess.PIPE, check=False).stdout
seconds = time.time() - start
found = {}
for record in map(json.loads, output.decode().splitlines()):
    # The title that the page names was put before its text.
    head = f"{record['title']}\n\n" if record["title"] else ""
    found[record["source"].split(".")[0]] = record["text"].removeprefix(head)
precisions, recalls, exact = [], [], 0
for page, body in truth.items():
    wanted, ours = runs(body["articleBody"]), runs(found[page])
    shared = (wanted & ours).total()
    precisions.append(shared / ours.total())
    recalls.append(shared / wanted.total())
    exact += words(body["articleBody"]) == words(found[page])
precision, recall = (sum(values) / len(values) for values in (precisions, recalls))
print(f"{len(truth)} pages: F1 {2 * precision * recall / (precision + recall):.3f}, precision {precision:.3f}, recall {recall:.3f}, "
      f"exactly right {exact / len(truth):.3f}; {seconds:.1f} s with the analysis")
