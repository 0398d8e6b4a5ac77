#!/usr/bin/env python3
"""Checks that every span of every record is the text it quotes.

usage: check-spans.py RECORDS.jsonl FOLDER     records of the text files in FOLDER, as `stancewire extract FOLDER` writes them
"""
import json, sys
from pathlib import Path

records, folder = sys.argv[1:3]
spans = 0
for line in open(records, encoding="utf-8"):
    record = json.loads(line)
    text = open(Path(folder, record["source"]), encoding="utf-8-sig", newline="").read()
    assert record["chars"] == len(text), record["source"]
    for company in record["companies"]:
        for span in company["mentions"] + company["evidence"]:
            assert text[span["start"]:span["end"]] == span["text"], (record["source"], span)
            spans += 1
assert spans, "no span at all"
print(f"{spans} spans checked")
