"""Reading and encoding: public NER sentences, and annotated documents (JSON Lines written by corpus/markup.py)."""
import csv, functools, glob, gzip, hashlib, io, json, re, zipfile
from bisect import bisect_left, bisect_right
from pathlib import Path
import torch
from lexicon import hiding

TYPES = ["COM", "ORG", "LOC", "PER"]
TAGS = ["O"] + [p + t for t in TYPES for p in ("B-", "I-")]  # 9 tags, BIO
TAG = {t: i for i, t in enumerate(TAGS)}
# Public sets only know ORG: "COM or ORG". Extended tags 9 and 10 allow either.
EXT = TAGS + ["B-ORG?", "I-ORG?"]
EXT_ID = {t: i for i, t in enumerate(EXT)}
ALLOWED = torch.full((len(EXT), len(TAGS)), float("-inf"))
for _t in TAGS:
    ALLOWED[EXT_ID[_t], TAG[_t]] = 0
for _p in "BI":
    for _k in ("COM", "ORG"):
        ALLOWED[EXT_ID[f"{_p}-ORG?"], TAG[f"{_p}-{_k}"]] = 0
SENTENCE_CLASSES = ["none", "halted", "suspended", "continuing", "no_comment"]
STANCES = ["silent", "halted", "suspended", "continuing"]
MAX_TOKENS = 256
CARRY_WINDOWS = 2


def case_class(word):
    """Token type of a word: 0 lower or other, 1 Capitalised, 2 ALL CAPS, 3 miXed."""
    if word.isupper() and len(word) > 1:
        return 2
    if word[:1].isupper():
        return 1
    return 3 if any(c.isupper() for c in word) else 0


# ---- public NER sets -------------------------------------------------------
def conll(path, rename, word=0, tag=-1, sep=None, skip=lambda line: False):
    out, ws, ts = [], [], []

    def flush():
        nonlocal ws, ts
        if ws:
            fixed, prev = [], None
            for t in ts:
                k = None if t == "O" else rename(t.split("-", 1)[1] if t[:2] in ("B-", "I-") else t)
                fixed.append("O" if k is None else ("I-" if k == prev and not t.startswith("B-") else "B-") + k)
                prev = k
            out.append((ws, fixed))
        ws, ts = [], []

    for line in open(path, encoding="utf8", errors="replace"):
        line = line.rstrip("\n")
        if not line.strip():
            flush()
        elif not skip(line):
            cols = line.split(sep) if sep else line.split()
            if len(cols) > 1:
                ws.append(cols[word])
                ts.append(cols[tag])
    flush()
    return out


@functools.cache
def gmb(path):
    """Sentences of the Groningen Meaning Bank as (words, tags); not to be changed, as all callers share them."""
    names = {"geo": "LOC", "org": "ORG?", "per": "PER"}
    z = zipfile.ZipFile(path)
    sents, ws, ts = [], [], []
    for row in csv.reader(io.TextIOWrapper(z.open(z.namelist()[0]), encoding="latin1")):
        if row[0].startswith("Sentence:") and ws:
            sents.append((ws, ts))
            ws, ts = [], []
        if row[1] == "Word":
            continue
        p, _, k = row[3].partition("-")
        ws.append(row[1])
        ts.append(f"{p}-{names[k]}" if k in names else "O")
    return sents + [(ws, ts)]


# What a reader says of a name in organisations.tsv -> tags. A name not in the list stays "either".
KINDS = {"C": "COM", "M": "ORG", "O": "ORG", "L": "LOC", "P": "?", "B": None}


@functools.cache
def organisations():
    """Kind of the names that public sets call organisations, read by somebody who knows them: company or not."""
    with open(Path(__file__).parent / "organisations.tsv", encoding="utf8") as f:
        return {name: KINDS[kind] for kind, name in (line.rstrip("\n").split("\t") for line in f)}


def spans(tags):
    """(start, end, kind) of the runs that BIO tags mark."""
    start = None
    for at, tag in enumerate([*tags, "O"]):
        if start is not None and tag != "I-" + kind:
            yield start, at, kind
            start = None
        if tag != "O" and start is None:
            start, kind = at, tag[2:]


def told_apart(sentence):
    """The sentence with companies, other organisations and what is none told apart among its `ORG?`. "?" is left out of the loss."""
    words, tags = sentence[0], list(sentence[1])
    for start, end, of in spans(sentence[1]):
        if of == "ORG?":
            kind = organisations().get(" ".join(words[start:end]), "ORG?")
            for k in range(start, end):
                tags[k] = "O" if kind is None else "?" if kind == "?" else f"{tags[k][:2]}{kind}"
    return words, tags


def public_sentences(root):
    return {name: [told_apart(s) for s in sentences] for name, sentences in raw_sentences(root).items()}


def raw_sentences(root):
    plain = {"ORG": "ORG?", "PER": "PER", "LOC": "LOC"}.get
    s = {"gmb": gmb(f"{root}/ner/gmb/ner_dataset.csv.zip")}
    s["wnut17"] = conll(f"{root}/ner/wnut17/wnut17train.conll", {"corporation": "COM", "group": "ORG?", "person": "PER", "location": "LOC"}.get)
    s["btc"] = sum((conll(f, plain) for f in sorted(glob.glob(f"{root}/ner/btc/*.conll"))), [])
    s["wikigold"] = conll(f"{root}/ner/wikigold/wikigold.conll.txt", plain)
    s["sec"] = conll(f"{root}/ner/sec-filings/FIN5.txt", plain, skip=lambda l: l.startswith("-DOC"))
    s["re3d"] = conll(f"{root}/ner/re3d/re3d-train.conll", {"Organisation": "ORG?", "Person": "PER", "Location": "LOC"}.get)
    for f in sorted(glob.glob(f"{root}/ner/uner-ewt/*.iob2")):
        s[f] = conll(f, plain, word=1, tag=2, sep="\t", skip=lambda l: l.startswith("#"))
    return s


def encode_sentences(tok, lexicon, sentences, rng, limit=192):
    """Each (words, tags) as (ids, types, tags) of word pieces, at most `limit` with those of the frame; the first piece of a word has its tag."""
    encoded = tok([words for words, _ in sentences], is_split_into_words=True, add_special_tokens=False, verbose=False)
    out = []
    for number, (words, tags) in enumerate(sentences):
        ids, at = encoded[number].ids[:limit - 2], encoded[number].word_ids[:limit - 2]
        first = [k == 0 or at[k - 1] != w for k, w in enumerate(at)]
        cases = [case_class(words[w]) for w in at]
        kinds = lexicon.lookup(ids, cases, at, hiding(rng))
        out.append(([tok.cls_token_id, *ids, tok.sep_token_id], [0, *(c + 4 * k for c, k in zip(cases, kinds)), 0],
                    [-100, *(EXT_ID.get(tags[w], -100) if f else -100 for w, f in zip(at, first)), -100]))
    return out


# ---- annotated documents ---------------------------------------------------
SPLIT = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"\u201d')]))\s+(?=[\"\u201c'(]*[A-Z0-9\u00c0-\u00dd])|\n+")
ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Inc|Co|Corp|Ltd|St|Jr|Sr|vs|No|U\.S|U\.K|Gen|Sen|Gov|Prof|e\.g|i\.e|[A-Z])\.$")


def sentences(text):
    out, a = [], 0
    for m in SPLIT.finditer(text):
        if "\n" not in m.group() and ABBREVIATION.search(text[a:m.start()].rstrip()):
            continue
        if text[a:m.start()].strip():
            out.append((a, m.start()))
        a = m.end()
    return out + ([(a, len(text))] if text[a:].strip() else [])


GENERIC = set("american first general national united international global bank banco western southern northern eastern royal china japan".split())
SUFFIXES = (" Inc", " Inc.", " Corp", " Corp.", " Ltd", " plc", " PLC", " AG", " SA", " Group", " Holdings", " Co.", " LLC", " NV")


def swap_names(doc, names, rng):
    """A copy of the document with some companies, persons and other organisations renamed throughout (`names`: a list for each of
    "COM", "PER", "ORG"), so that names cannot be learned as stances, and an unknown name is not taken for a company."""
    new = {c["key"]: rng.choice(names["COM"]) for c in doc["companies"] if rng.random() < 0.6}
    others = renamed(doc["entities"], names, rng)
    spans = sorted(doc["mentions"] + doc["entities"], key=lambda s: s["start"])
    text, last, mentions, entities, seen = [], 0, [], [], set()
    n = 0

    def push(piece):
        nonlocal n
        text.append(piece)
        n += len(piece)

    for s in spans:
        if s["start"] < last:
            return doc
        push(doc["text"][last:s["start"]])
        surface = s["surface"]
        if s.get("named") and s["company"] in new:
            full = new[s["company"]]
            words = full.split()
            short = words[0] if len(words[0]) > 3 and words[0].lower() not in GENERIC else full
            first = full + rng.choice(SUFFIXES) if rng.random() < 0.25 else full
            surface = first if s["company"] not in seen else full if rng.random() < 0.5 else short
            seen.add(s["company"])
        elif "label" in s:
            surface = others.get((s["label"], surface), surface)
        t = dict(s, start=n, surface=surface)
        push(surface)
        t["end"] = n
        (mentions if "company" in s else entities).append(t)
        last = s["end"]
    push(doc["text"][last:])
    return dict(doc, text="".join(text), mentions=mentions, entities=entities)


def renamed(entities, names, rng):
    """(label, surface) -> another name, for about half of the persons, surnames alone in step with full names, and a fifth of the organisations."""
    new, surnames = {}, {}
    for surface in dict.fromkeys(e["surface"] for e in entities if e["label"] == "PER" and " " in e["surface"]):
        other = rng.choice(names["PER"])
        if rng.random() < 0.5 and surface.split()[-1] not in surnames:
            new["PER", surface] = other
            surnames[surface.split()[-1]] = other.split()[-1]
    for surface in dict.fromkeys(e["surface"] for e in entities if e["label"] == "PER" and " " not in e["surface"]):
        new["PER", surface] = surnames.get(surface, surface)
    for surface in dict.fromkeys(e["surface"] for e in entities if e["label"] == "ORG"):
        if rng.random() < 0.2:
            new["ORG", surface] = rng.choice(names["ORG"])
    return new


SMALL = set("a an and as at but by for from in of off on or over per the to up via vs with".split())


def recase_title(doc, rng):
    """A copy with the headline In Title Case or IN CAPITALS, as many papers print it; offsets stay."""
    end = doc["text"].find("\n")
    end = end if end > 0 else len(doc["text"])
    title = doc["text"][:end] if end < 150 else ""
    if rng.random() < 0.2:
        new = title.upper()
    else:
        word = lambda m: m.group() if m.group() in SMALL and m.start() else m.group()[0].upper() + m.group()[1:]
        new = re.sub(r"[^\W\d_][\w'\u2019]*", word, title)
    if not title or len(new) != len(title):
        return doc
    return dict(doc, text=new + doc["text"][end:])


def joined(parts, rng):
    """Documents one after another as one text, as in a round-up or a feed: what is said far away must not colour a company."""
    text, mentions, entities, companies = "", [], [], []
    for number, part in enumerate(parts):
        text += ("\n\n" if rng.random() < 0.5 else "\n") if text else ""
        shift, key = len(text), lambda k: f"{number}.{k}"
        text += part["text"]
        mentions += [dict(m, start=m["start"] + shift, end=m["end"] + shift, company=key(m["company"])) for m in part["mentions"]]
        entities += [dict(e, start=e["start"] + shift, end=e["end"] + shift) for e in part["entities"]]
        companies += [dict(c, key=key(c["key"])) for c in part["companies"]]
    # A company that two parts name is one company; parts that disagree about it are left apart.
    if len({c["name"].lower() for c in companies}) < len(companies):
        return parts[0]
    return dict(parts[0], text=text, mentions=mentions, entities=entities, companies=companies)


def is_tune(doc):
    """True for the share of documents held out of training, for calibration. A contrast group stays whole."""
    group = re.sub(r"[a-d]$", "", doc["id"])
    return int(hashlib.sha256(group.encode()).hexdigest(), 16) % 16 == 0


def encode_document(tok, lexicon, doc, max_tokens=MAX_TOKENS, hide=lambda name: False):
    """Windows of whole sentences: ids, token types, tags, sentence token ranges, mention token ranges, (company, sentence) labels."""
    text = doc["text"]
    enc = tok(text, return_offsets_mapping=True, add_special_tokens=False, truncation=False, verbose=False)
    ids, offs, words = enc["input_ids"], enc["offset_mapping"], enc.word_ids()
    word_span = {}
    for (a, b), w in zip(offs, words):
        word_span[w] = (word_span[w][0] if w in word_span else a, b)
    types = [case_class(text[slice(*word_span[w])]) for w in words]
    starts, ends = [x for x, _ in offs], [y for _, y in offs]
    tokens_of = lambda a, b: range(bisect_right(ends, a), bisect_left(starts, b))
    tags = [TAG["O"]] * len(ids)
    spans = [(m["start"], m["end"], "COM") for m in doc.get("mentions", []) if m["named"]]
    spans += [(e["start"], e["end"], e["label"]) for e in doc.get("entities", [])]
    for a, b, k in spans:
        for n, j in enumerate(tokens_of(a, b)):
            tags[j] = EXT_ID[("I-" if n else "B-") + k] if k else -100
    groups, group, size = [], [], 0
    for s in sentences(text):
        inside = [j for j in tokens_of(*s) if ends[j] > starts[j]]
        known = lexicon.lookup([ids[j] for j in inside], [types[j] for j in inside], [words[j] for j in inside], hide)
        for j, kind in zip(inside, known):
            types[j] += 4 * kind
        for k in range(0, len(inside), max_tokens - 2):
            part = inside[k:k + max_tokens - 2]
            if group and size + len(part) > max_tokens - 2:
                groups.append(group)
                group, size = [], 0
            group.append((s, part[0], part[-1] + 1))
            size += len(part)
    if group:
        groups.append(group)
    windows = []
    for g in groups:
        w = dict(ids=[tok.cls_token_id], types=[0], tags=[-100], offs=[None], sents=[], spans=[])
        place = {}
        for s, a, b in g:
            start = len(w["ids"])
            place.update((j, start + j - a) for j in range(a, b))
            w["ids"] += ids[a:b]
            w["types"] += types[a:b]
            w["tags"] += tags[a:b]
            w["offs"] += offs[a:b]
            w["sents"].append((start, len(w["ids"])))
            w["spans"].append(s)
        w["ids"].append(tok.sep_token_id)
        w["types"].append(0)
        w["tags"].append(-100)
        w["offs"].append(None)
        w["mentions"] = {}
        for m in doc.get("mentions", []):
            if m["named"]:
                r = [place[j] for j in tokens_of(m["start"], m["end"]) if j in place]
                if r:
                    w["mentions"].setdefault(m["company"], []).append((r[0], r[-1] + 1))
        w["labels"] = {(m["company"], i): SENTENCE_CLASSES.index({"silent": "no_comment"}.get(m["stance"], m["stance"]))
                       for m in doc.get("mentions", []) if m["stance"]
                       for i, (a, b) in enumerate(w["spans"]) if a <= m["start"] < b}
        windows.append(w)
    gold = {c["key"]: STANCES.index(c["stance"]) for c in doc.get("companies", [])}
    return dict(doc=doc, windows=windows, gold=gold)


def read_documents(path):
    return [json.loads(line) for line in open(path, encoding="utf8")]


LEGAL = re.compile(r"\s*\(.*?\)|,? (?:Inc\.?|plc|PLC|AG|SE|Co\.|Corp\.?|N\.V\.|S\.A\.|Limited|LLC|Ltd\.?)$")


def gazetteer(root):
    """Common names of listed companies, and as many registered names of smaller ones, to rename companies with."""
    names = [r["Security"] for r in csv.DictReader(open(f"{root}/gazetteers/sp500_constituents.csv", encoding="utf8"))]
    names += re.findall(r"^  - name: '?(.+?)'?$", open(f"{root}/gazetteers/pytickersymbols_stocks.yaml", encoding="utf8").read(), re.M)
    names = sorted(n for n in {LEGAL.sub("", n).strip() for n in names} if 2 < len(n) < 30)
    registered = set()
    for number, row in enumerate(csv.DictReader(gzip.open(f"{root}/gazetteers/gleif_names_all.csv.gz", "rt", encoding="utf8"))):
        name = row["Entity.LegalName"]
        if number % 97 == 0 and row["Entity.LegalAddress.Country"] in ("US", "GB", "DE", "NL", "SE", "IN", "CH", "JP", "IT") and name.isascii():
            name = LEGAL.sub("", name.title() if name.isupper() else name).strip()
            if 4 < len(name) < 26 and len(name.split()) <= 3 and not re.search(r"\d|Fund|Trust|Pension|Foundation|Capital|Partners|,", name):
                registered.add(name)
    return names + sorted(registered)[:len(names)]


TITLES = set("President Mr. Mrs. Ms. Dr. Prime Minister Secretary General King Prince Queen Pope Senator Sen. Chancellor Foreign Former Gen. Col. Justice Judge Sheikh Ayatollah".split())


def replacements(root, docs):
    """Names to rename with, by label: companies of the gazetteers and the documents, persons of the newswire, organisations of the documents."""
    persons = set()
    for words, tags in gmb(f"{root}/ner/gmb/ner_dataset.csv.zip"):
        for start, end, kind in spans(tags):
            name = [w for w in words[start:end] if w not in TITLES]
            if kind == "PER" and 2 <= len(name) <= 3 and all(w[:1].isupper() and w.isalpha() for w in name):
                persons.add(" ".join(name))
    others = {e["surface"] for d in docs for e in d["entities"] if e["label"] == "ORG"}
    companies = {c["name"] for d in docs for c in d["companies"] if len(c["name"]) < 32}
    return dict(COM=sorted(companies | set(gazetteer(root))), PER=sorted(persons), ORG=sorted(others))
