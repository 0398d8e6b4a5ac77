"""Real texts of openly licensed sets with our labels. The annotation file holds ids, offsets and labels, never text;
the texts are rebuilt from the sets' own files.

usage: real.py sheet DATA ID...                        the texts with their sentences numbered, for an annotator
       real.py pack DATA NOTES.txt... > real.jsonl     an annotator's notes -> ids, offsets, labels
       real.py build DATA real.jsonl > documents.jsonl ids, offsets, labels -> annotated documents, as corpus/*.jsonl
       real.py reread GOLD.jsonl                       annotated documents -> their texts, for a second annotator
       real.py agree GOLD.jsonl NOTES.txt > records    that annotator's notes -> records, to be scored by `stancewire eval GOLD.jsonl`

An id is gmb-N (sentence N of the Groningen Meaning Bank), gmb-N+K (K sentences from N on), sentfin-N, finentity-N, newsmtsc-N
the file name of an article of MEANTIME, or wire-ID (an article of the business wire of 2013: for measuring only). Notes are blocks like this one (corpus/ANNOTATION.md says what the labels mean):

=== gmb-15366+7
market: Israel
c1 | Bank Hapoalim | silent | none | none
name c1 | Hapoalim               further names of c1; the first is in its line
ORG | Israeli police | Knesset   organisations that are no companies; LOC, PER alike
ev c1 | 3 | the bank             words of sentence 3 that report the stance of c1

Each name marks every occurrence of it in the text as whole words, the longer name first. "at N" before a name restricts it to sentence N.
"""
import csv, glob, gzip, hashlib, json, re, sys
import xml.etree.ElementTree as xml
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "corpus"))
import data as D
import markup
import pool

OPENING = re.compile(r"([(\[$]) ")
CLOSING = re.compile(r" ([.,;:?!%)\]]|'s\b|n't\b|')")
QUOTED = re.compile(r' ?"([^"]*?)" ?')


def text_of(words):
    """The words of a sentence as a newspaper would print them."""
    quoted = QUOTED.sub(lambda m: f' "{m.group(1).strip()}" ', " ".join(words))
    return CLOSING.sub(r"\1", OPENING.sub(r"\1", quoted)).replace("  ", " ").strip()


class Texts:
    """The texts of the sets under a folder, by id."""

    def __init__(self, root):
        self.sentences = [text_of(words) for words, _ in D.gmb(f"{root}/ner/gmb/ner_dataset.csv.zip")]
        self.texts = {key: text.strip() for key, text in pool.unlabelled(root, every=1)}
        for row in csv.DictReader(open(f"{root}/sentiment/sentfin/SEntFiN.csv", encoding="utf8")):
            self.texts[f"sentfin-{row['S No.']}"] = row["Title"].strip()
        self.wire = f"{root}/news/reuters_2013.jsonl.gz"

    def read_wire(self):
        for line in gzip.open(self.wire, "rt", encoding="utf8"):
            article = json.loads(line)
            text, title = article["text"].strip(), (article.get("title") or "").strip()
            self.texts[f"wire-{article['id']}"] = text if not title or text.startswith(title) else f"{title}\n\n{text}"

    def __getitem__(self, key):
        block = re.fullmatch(r"gmb-(\d+)(?:\+(\d+))?", key)
        if block:
            first, count = int(block.group(1)), int(block.group(2) or 1)
            return " ".join(self.sentences[first:first + count])
        if key.startswith("wire-") and key not in self.texts:
            self.read_wire()
        return self.texts[key]


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def sheet(texts, keys):
    for key in keys:
        print("===", key)
        for number, (a, b) in enumerate(D.sentences(texts[key]), 1):
            print(f"{number}: {texts[key][a:b]}")
        print()


class Bad(ValueError):
    pass


def whole_words(text, surface, within):
    a, b = within
    pattern = rf"(?<!\w){re.escape(surface)}(?!\w)"
    return [m.span() for m in re.compile(pattern).finditer(text, a, b)]


def annotated(key, lines, text):
    sentences = D.sentences(text)
    companies, names, evidence, market = {}, [], [], None

    def place(number):
        if not number.isdigit() or not 1 <= int(number) <= len(sentences):
            raise Bad(f"there is no sentence {number!r}")
        return sentences[int(number) - 1]

    def add(surfaces, owner):
        for surface in surfaces:
            at = re.match(r"at (\d+) (.+)", surface)
            surface, within = (at.group(2), place(at.group(1))) if at else (surface, (0, len(text)))
            spans = whole_words(text, surface, within)
            if not spans:
                raise Bad(f"the text has no {surface!r}")
            names.extend((*span, owner, bool(at)) for span in spans)

    for line in lines:
        kind, *rest = [part.strip() for part in line.split("|")]
        if line.startswith("market:"):
            market = line[7:].strip() or None
        elif re.fullmatch(r"c\d+", kind) and len(rest) == 4:
            name, stance, disclosure, scope = rest
            if stance not in markup.STANCES or disclosure not in markup.DISCLOSURES or scope not in markup.SCOPES or kind in companies:
                raise Bad(f"bad values in {line!r}")
            if (stance == "silent") != (scope == "none"):
                raise Bad(f"scope none goes with silent only: {line!r}")
            companies[kind] = dict(key=kind, stance=stance, disclosure=disclosure, scope=scope)
            add([name], kind)
        elif re.fullmatch(r"name c\d+", kind) and kind[5:] in companies:
            add(rest, kind[5:])
        elif kind in ("ORG", "LOC", "PER"):
            add(rest, kind)
        elif re.fullmatch(r"ev c\d+", kind) and kind[3:] in companies and len(rest) == 2:
            evidence.append((kind[3:], *rest))
        else:
            raise Bad(f"cannot read {line!r}")
    # The longer name wins, then one that is restricted to a sentence.
    mentions, entities, taken = [], [], []
    for a, b, owner, _ in sorted(set(names), key=lambda n: (n[0] - n[1], not n[3])):
        if any(a < y and b > x for x, y in taken):
            continue
        taken.append((a, b))
        if owner in companies:
            mentions.append(dict(start=a, end=b, company=owner, named=True, stance=None))
        else:
            entities.append(dict(start=a, end=b, label=owner))
    for owner, number, words in evidence:
        spans = whole_words(text, words, place(number))
        if not spans:
            raise Bad(f"sentence {number} has no {words!r}")
        a, b = spans[0]
        stance = companies[owner]["stance"]
        named = [m for m in mentions if m["start"] == a and m["end"] == b and m["company"] == owner]
        if named:
            named[0]["stance"] = stance
        else:
            mentions.append(dict(start=a, end=b, company=owner, named=False, stance=stance))
    for c in companies.values():
        own = [m for m in mentions if m["company"] == c["key"]]
        if not any(m["named"] for m in own):
            raise Bad(f"{c['key']} is named nowhere")
        if c["stance"] != "silent" and all(m["stance"] is None for m in own):
            raise Bad(f"{c['key']} is {c['stance']} without a sentence that says so (ev {c['key']} | N | words)")
    order = lambda span: (span["start"], span["end"])
    return dict(id=key, sha256=digest(text), market=market, companies=list(companies.values()),
                mentions=sorted(mentions, key=order), entities=sorted(entities, key=order))


def record(doc, text):
    """What an annotator says of a text, as `stancewire` would have said it; every stance with the same confidence."""
    sentences, companies = D.sentences(text), []
    quote = lambda a, b: dict(start=a, end=b, text=text[a:b])
    for c in doc["companies"]:
        own, stance = [m for m in doc["mentions"] if m["company"] == c["key"]], c["stance"]
        mentions = [quote(m["start"], m["end"]) for m in own if m["named"]]
        said = sorted({s for m in own if m["stance"] == stance for s in sentences if s[0] <= m["start"] < s[1]})
        probabilities = {s: 0.97 if s == stance else 0.01 for s in markup.STANCES}
        companies.append(dict(key=c["key"], name=mentions[0]["text"], aliases=[], stance=stance, confidence=0.97, probabilities=probabilities,
                              markets=[], mentions=mentions, evidence=[dict(quote(*s), stance=stance, confidence=0.97) for s in said]))
    return dict(schema=1, id=doc["id"], status="ok", companies=companies)


def pack(texts, paths, form=lambda doc, text: doc):
    failed = 0
    for path in paths:
        for block in re.split(r"(?m)^=== ", Path(path).read_text(encoding="utf8"))[1:]:
            key, *lines = [line.strip() for line in block.strip().splitlines() if line.strip()]
            try:
                print(json.dumps(form(annotated(key, lines, texts[key]), texts[key])))
            except (Bad, KeyError) as e:
                print(f"{path}: {key}: {e}", file=sys.stderr)
                failed += 1
    if failed:
        sys.exit(f"{failed} blocks to mend")


def build(texts, path):
    for line in open(path, encoding="utf8"):
        doc = json.loads(line)
        text = texts[doc["id"]]
        if digest(text) != doc.pop("sha256"):
            sys.exit(f"{doc['id']}: another version of the set; its text is not the annotated one")
        for span in doc["mentions"] + doc["entities"]:
            span["surface"] = text[span["start"]:span["end"]]
        for company in doc["companies"]:
            names = [m["surface"] for m in doc["mentions"] if m["company"] == company["key"] and m["named"]]
            company["name"] = max(names, key=len)
        print(json.dumps(dict(doc, title="", date=None, text=text), ensure_ascii=False))


def main():
    least = dict(sheet=4, pack=4, build=4, reread=3, agree=4)
    if len(sys.argv) < 2 or len(sys.argv) < least.get(sys.argv[1], 99):
        sys.exit(__doc__)
    if sys.argv[1] in ("reread", "agree"):
        texts = {doc["id"]: doc["text"] for doc in D.read_documents(sys.argv[2])}
        return sheet(texts, texts) if sys.argv[1] == "reread" else pack(texts, sys.argv[3:], record)
    texts = Texts(sys.argv[2])
    if sys.argv[1] == "sheet":
        sheet(texts, sys.argv[3:])
    elif sys.argv[1] == "pack":
        pack(texts, sys.argv[3:])
    else:
        build(texts, sys.argv[3])


if __name__ == "__main__":
    main()
