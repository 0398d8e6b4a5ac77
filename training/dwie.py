"""dwie.py DWIE_FOLDER > gold.jsonl

Documents of DWIE (Zaporojets et al. 2021) as gold for `stancewire eval`, for its company detection only: companies are the
concepts of `type::company`; every stance is given as `silent` and says nothing. The annotations are GPL-3.0 and the texts
Deutsche Welle's: for measuring only, never for training. The texts are the tokens of the DocRED form, joined by blanks."""
import json, sys, tarfile
from pathlib import Path

folder = Path(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__)
concepts = {}
with tarfile.open(folder / "dwie_annos.tar.gz") as archive:
    for member in archive:
        if member.name.endswith(".json") and "DW_" in member.name:
            doc = json.load(archive.extractfile(member))
            concepts[str(doc["id"]).removeprefix("DW_")] = doc
for part in ("dev", "test"):
    for doc in json.loads((folder / f"{part}.docred.json").read_text()):
        anno = concepts[doc["title"].removeprefix("DW_")]
        company = {c["concept"] for c in anno["concepts"] if "type::company" in c["tags"]}
        names = {m["text"].lower(): m["concept"] for m in anno["mentions"] if m["concept"] in company}
        text, starts, ends = "", [], []
        for sentence in doc["sents"]:
            for word in sentence:
                text += " " if text and not text.endswith("\n") else ""
                starts.append(len(text))
                text += word
                ends.append(len(text))
            text += "\n"
        mentions, companies = [], {}
        for cluster in doc["vertexSet"]:
            keys = {names[m["name"].lower()] for m in cluster if m["name"].lower() in names}
            if not keys:
                continue
            key = f"c{min(keys)}"
            companies[key] = max((m["name"] for m in cluster), key=len)
            for m in cluster:
                a, b = starts[m["pos"][0]], ends[m["pos"][1] - 1]
                mentions.append(dict(start=a, end=b, surface=text[a:b], company=key, named=True, stance=None))
        record = dict(id=f"dwie-{doc['title']}", title="", date=None, market="", text=text, entities=[], mentions=mentions,
                      companies=[dict(key=k, name=n, stance="silent", disclosure="none", scope="none") for k, n in companies.items()])
        print(json.dumps(record, ensure_ascii=False))
