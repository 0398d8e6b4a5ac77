"""verbs.py DOCS.jsonl...

How far common verbs mean what they say: of the sentences that name or mean a company and have the verb, the share that reports a stance.
Files that fall far below real news teach that the plain word is a trap; `plain.py` is against that. Slices of a file (the letters
before the number of an id) are told apart."""
import collections, re, sys
import data as D

VERBS = {"halt": r"halt(?:ed|s|ing)?", "stop": r"stop(?:ped|s|ping)?", "suspend": r"suspend(?:ed|s|ing)?", "pause": r"paus(?:e|ed|es|ing)",
         "exit, quit": r"exit(?:ed|s|ing)?|quit(?:s|ting)?", "withdraw, pull out": r"withdr(?:ew|aw|aws|awn|awing)|pull(?:ed|s|ing)? out",
         "close, shut": r"clos(?:ed|es|ing)|shut(?:s|ting)?", "resume, reopen, restart": r"(?:resum|reopen|restart)\w*", "continue": r"continu\w+",
         "remain, stay": r"(?:remain|stay)\w*"}
VERBS = {name: re.compile(rf"\b(?:{pattern})\b", re.I) for name, pattern in VERBS.items()}


def main(paths):
    counts = collections.defaultdict(collections.Counter)
    for path in paths:
        for doc in D.read_documents(path):
            part = f"{path.rsplit('/', 1)[-1]} {re.match('[a-z]*', doc['id']).group()}"
            for a, b in D.sentences(doc["text"]):
                said = [m["stance"] for m in doc["mentions"] if a <= m["start"] < b]
                for name, verb in VERBS.items() if said else ():
                    if verb.search(doc["text"][a:b]):
                        counts[name][part, "all"] += 1
                        counts[name][part, "stance"] += any(s not in (None, "silent") for s in said)
    for name, count in counts.items():
        parts = dict.fromkeys(part for part, _ in count)
        print(f"{name}:", *(f"{p} {count[p, 'stance']}/{count[p, 'all']} = {count[p, 'stance'] / count[p, 'all']:.2f}" for p in parts), sep="\n  ")


if __name__ == "__main__":
    main(sys.argv[1:]) if len(sys.argv) > 1 else sys.exit(__doc__)
