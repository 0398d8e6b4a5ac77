"""Real text beside the annotated documents: headlines with known companies, newswire to put around a document, and
texts without labels for the teacher to label. Nothing of it is annotated by our guide; what is unknown is left out of the loss."""
import collections, csv, glob, json, re
import xml.etree.ElementTree as xml
import data as D

# Words that may report a stance: a headline with one of them says nothing certain about "silent".
ACTION = re.compile(
    r"\b(?:halt|stop|suspend|paus|exit|quit|withdr|pull|shut|clos|ceas|end|drop|scrap|cancel|sell|sale|sold|divest|resum|restart|reopen|continu|keep|"
    r"stay|remain|expan|open|launch|enter|invest|build|plan|set|start|begin|cut|curb|reduc|freez|delay|defer|shelv|hold|leav|abandon|wind|mothball|"
    r"acquir|buy|merg|stake|deny|denies|refus|unveil|introduc|roll|commission|produc|output|supply|supplies|ship|export|import|block|ban|strike|lockout)\w*", re.I)
COMPANY = re.compile(r"\b(?:Ltd|Limited|Corp|Corporation|Inc|Co|Bank|Industries|Company)\b\.?")
NAMED = re.compile(r"""['"]([^:{}]+?)['"]: *['"](?:neutral|positive|negative)""")
INDICES = {"sensex", "nifty", "bse", "nse"}
WORD = re.compile(r"[^\W\d_][\w&.'\u2019-]*")


def headlines(root):
    """SEntFiN (Sinha et al. 2022): financial headlines with their entities. Companies are marked; capitalised words that
    nothing is known of have the label None; a company is `silent` where no word could report a stance."""
    aliases = set()
    for row in csv.DictReader(open(f"{root}/sentiment/sentfin/entity_list_comprehensive.csv", encoding="utf8")):
        names = [n.strip() for n in row["Entity"].split(",")]
        if COMPANY.search(names[0]):
            aliases.update(n.lower() for n in names if len(n) > 2 and n.lower() not in INDICES)
    rows = list(csv.DictReader(open(f"{root}/sentiment/sentfin/SEntFiN.csv", encoding="utf8")))
    counts = collections.Counter(n for r in rows for n in NAMED.findall(r["Decisions"]))
    for r in rows:
        text, names = r["Title"], NAMED.findall(r["Decisions"])
        spans = []
        for name in sorted(names, key=len, reverse=True):
            label = "COM" if name.lower() in aliases else "" if counts[name] >= 15 else None
            for m in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text):
                if not any(m.start() < b and m.end() > a for a, b, *_ in spans):
                    spans.append((m.start(), m.end(), name, label))
        known = list(spans)
        spans += [(m.start(), m.end(), m.group(), None) for m in WORD.finditer(text)
                  if any(c.isupper() for c in m.group()) and not any(m.start() < b and m.end() > a for a, b, *_ in known)]
        doc = dict(id=f"sentfin-{r['S No.']}", text=text, title="", companies=[], mentions=[], entities=[])
        certain = not ACTION.search(text)
        for a, b, name, label in sorted(spans):
            if label == "COM" and certain:
                doc["mentions"].append(dict(start=a, end=b, surface=name, company=name, named=True, stance=None))
                if all(c["key"] != name for c in doc["companies"]):
                    doc["companies"].append(dict(key=name, name=name, stance="silent"))
            elif label != "":
                doc["entities"].append(dict(start=a, end=b, surface=name, label=label))
        yield doc


def newswire(root):
    """GMB: runs of 3 to 8 sentences with their silver labels; an organisation may be a company or another one."""
    sentences, at, size = D.gmb(f"{root}/ner/gmb/ner_dataset.csv.zip"), 0, 3
    while at < len(sentences):
        text, entities = "", []
        for words, tags in map(D.told_apart, sentences[at:at + size]):
            text += "\n" if text else ""
            open_span = None
            for w, t in zip(words, tags):
                start = len(text) + (1 if text and not text.endswith("\n") else 0)
                text += (" " if start > len(text) else "") + w
                if t.startswith("I-") and open_span and open_span["label"] == t[2:]:
                    open_span["end"] = len(text)
                else:
                    open_span = None if t == "O" else dict(start=start, end=len(text), label=t[2:] or None)
                    entities += [open_span] if open_span else []
        for e in entities:
            e["surface"] = text[e["start"]:e["end"]]
        yield dict(id=f"gmb-run-{at}", text=text, title="", companies=[], mentions=[], entities=entities)
        at, size = at + size, 3 + (at * 7 + size) % 6


def unlabelled(root, every=3):
    """Texts for the teacher: financial paragraphs (FinEntity, ODC-BY), one in `every` of the news sentences (NewsMTSC, MIT),
    Wikinews (MEANTIME, CC BY)."""
    for n, p in enumerate(json.load(open(f"{root}/sentiment/finentity/FinEntity.json", encoding="utf8"))):
        yield f"finentity-{n}", p["content"]
    for n, line in enumerate(open(f"{root}/sentiment/newsmtsc/train.jsonl", encoding="utf8")):
        if n % every == 0:
            yield f"newsmtsc-{n}", json.loads(line)["sentence_normalized"]
    for path in sorted(glob.glob(f"{root}/ner/meantime/GOLD/*/*.naf")):
        if "Stock_Market" not in path:
            yield path.rsplit("/", 1)[1], xml.parse(path).getroot().find("raw").text


def feed(lines, rng):
    """One to five headlines as the lines of a feed."""
    return D.joined([lines[k] for k in rng.sample(range(len(lines)), rng.randint(1, 5))], rng)
