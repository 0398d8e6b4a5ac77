#!/usr/bin/env python3
"""Compares two files of records of the same documents, matched by id.

usage: compare-records.py A.jsonl B.jsonl

Prints how many records are equal but for `source` and `model`, how many companies (by the place of their first mention) both
find, how many of those have the same stance, and how many only one finds.
"""
import json, sys

def read(path):
    records = {}
    for line in open(path, encoding="utf-8"):
        record = json.loads(line)
        if record["id"] in records:
            sys.exit(f"{path}: two records have the id {record['id']!r}")
        records[record["id"]] = record
    return records

def stances(record):
    return {company["mentions"][0]["start"]: company["stance"] for company in record["companies"]}

if len(sys.argv) != 3:
    sys.exit(__doc__)
a, b = map(read, sys.argv[1:])
if a.keys() != b.keys():
    sys.exit(f"{len(a.keys() ^ b.keys())} documents are in one file only")
bare = lambda record: {key: value for key, value in record.items() if key not in ("source", "model")}
equal = sum(bare(a[key]) == bare(b[key]) for key in a)
shared = same = alone = 0
for key in a:
    ours, theirs = stances(a[key]), stances(b[key])
    both = ours.keys() & theirs.keys()
    shared += len(both)
    same += sum(ours[at] == theirs[at] for at in both)
    alone += len(ours.keys() ^ theirs.keys())
print(f"{equal} of {len(a)} records equal; {same} of {shared} shared companies have the same stance "
      f"({100 * same / max(shared, 1):.2f} %); {alone} companies are found by one only")
