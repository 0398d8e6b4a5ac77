"""Real sentences of an openly licensed set with our labels. The annotation file holds ids, offsets and labels, never text;
the sentences are rebuilt from the set's own file.

usage: real.py texts GMB.zip                                one sentence a line: id, tab, text
       real.py pack GMB.zip MARKUP.txt... > real.jsonl      annotated markup (corpus/ANNOTATION.md) -> ids, offsets, labels
       real.py build GMB.zip real.jsonl > documents.jsonl   ids, offsets, labels -> annotated documents, as corpus/*.jsonl
"""
import hashlib, json, re, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "corpus"))
import data as D
import markup

OPENING = re.compile(r"([(\[$]) ")
CLOSING = re.compile(r" ([.,;:?!%)\]]|'s\b|n't\b|')")
QUOTED = re.compile(r' ?"([^"]*?)" ?')


def text_of(words):
    """The words of a sentence as a newspaper would print them."""
    quoted = QUOTED.sub(lambda m: f' "{m.group(1).strip()}" ', " ".join(words))
    return CLOSING.sub(r"\1", OPENING.sub(r"\1", quoted)).replace("  ", " ").strip()


def gmb_texts(path):
    return {f"gmb-{i}": text_of(words) for i, (words, _) in enumerate(D.gmb(path))}


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def pack(texts, paths):
    for path in paths:
        for block in re.split(r"(?m)^=== (?=id:)", Path(path).read_text(encoding="utf8")):
            if not block.strip():
                continue
            doc = markup.parse(block)
            text = texts[doc["id"]]
            if doc["text"] != text:
                sys.exit(f"{path}: {doc['id']} is not the set's sentence")
            without = lambda spans: [{k: v for k, v in s.items() if k != "surface"} for s in spans]
            # A company's name is where it stands in the text.
            companies = [{k: v for k, v in c.items() if k != "name"} for c in doc["companies"]]
            record = dict(id=doc["id"], sha256=digest(text), market=doc["market"] or None, companies=companies,
                          mentions=without(doc["mentions"]), entities=without(doc["entities"]))
            print(json.dumps(record))


def build(texts, path):
    for line in open(path, encoding="utf8"):
        doc = json.loads(line)
        text = texts.get(doc["id"], "")
        if digest(text) != doc.pop("sha256"):
            sys.exit(f"{doc['id']}: another version of the set; its sentence is not the annotated one")
        for span in doc["mentions"] + doc["entities"]:
            span["surface"] = text[span["start"]:span["end"]]
        for company in doc["companies"]:
            names = [m["surface"] for m in doc["mentions"] if m["company"] == company["key"] and m["named"]]
            company["name"] = max(names, key=len)
        print(json.dumps(dict(doc, title="", date=None, text=text), ensure_ascii=False))


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("texts", "pack", "build"):
        sys.exit(__doc__)
    texts = gmb_texts(sys.argv[2])
    if sys.argv[1] == "texts":
        for key, text in texts.items():
            print(key, text, sep="\t")
    elif sys.argv[1] == "pack":
        pack(texts, sys.argv[3:])
    else:
        build(texts, sys.argv[3])


if __name__ == "__main__":
    main()
