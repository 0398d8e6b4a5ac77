"""Trains the weights that ship: a teacher learns from the documents, labels them in many variants and other texts besides,
and the student, which is what ships, learns from both (Hinton et al. 2015).

  train.py tune --docs DOCS... --out tune.jsonl
  train.py joint --encoder MPNET --tokenizer MINILM --data DIR --docs DOCS... --out teacher.pt
  train.py label --encoder MPNET --tokenizer MINILM --data DIR --docs DOCS... --init teacher.pt --out labels.pt
  train.py entities --encoder MINILM --data DIR --out stage1.pt
  train.py distil --encoder MINILM --data DIR --docs DOCS... --init stage1.pt --labels labels.pt --out student.pt
  train.py score --encoder MINILM --init student.pt --docs DOCS...
  train.py calibrate --docs tune.jsonl --records records.jsonl

`--encoder` is a folder with BERT or MPNet weights in the usual Hugging Face layout, `--tokenizer` one with BERT's
tokenizer; `--init` a checkpoint, or a `model.safetensors` of an earlier release. `--data` is the folder of public data
sets. `tune` writes the documents held out of training; records of them, made by `stancewire extract`, calibrate the
confidence.
"""
import argparse, collections, functools, json, math, os, random, time
from pathlib import Path
import data as D
import plain
import pool
from lexicon import NAMES, Lexicon, hiding


def collate(items, pad):
    import torch
    n = max(len(i[0]) for i in items)
    fill = lambda k, v: torch.tensor([i[k] + [v] * (n - len(i[k])) for i in items])
    return fill(0, pad), torch.tensor([[1] * len(i[0]) + [0] * (n - len(i[0])) for i in items]), fill(1, 0), fill(2, -100)


def budget_batches(items, budget, rng):
    """Batches of similar lengths that hold at most `budget` tokens, padding counted; random order."""
    order = list(range(len(items)))
    rng.shuffle(order)
    out = []
    for c in range(0, len(order), 2000):
        cur = []
        for i in sorted(order[c:c + 2000], key=lambda i: len(items[i][0])):
            if cur and (len(cur) + 1) * len(items[i][0]) > budget:
                out.append(cur)
                cur = []
            cur.append(i)
        out.append(cur)
    rng.shuffle(out)
    return out


def optimizer(model, steps, lr, head_lr, warmup=0.08):
    import torch
    head = lambda n: not n.startswith("encoder") or "token_type" in n
    opt = torch.optim.AdamW([{"params": [p for n, p in model.named_parameters() if not head(n)], "lr": lr},
                             {"params": [p for n, p in model.named_parameters() if head(n)], "lr": head_lr}], weight_decay=0.01, fused=True)
    return opt, torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1, s / (warmup * steps)) * max(0.02, (steps - s) / steps))


@functools.cache
def fast_bf16():
    """True where the CPU multiplies faster in bf16: in tiles (AMX) or on AMD. Intel's AVX-512 alone is slower in it than in f32."""
    cpu = Path("/proc/cpuinfo").read_text()
    return "amx_bf16" in cpu or "avx512_bf16" in cpu and "AuthenticAMD" in cpu


def bf16():
    import torch
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast_bf16())


def keep(model, path):
    """Writes a checkpoint, from which `--init` goes on; an interruption leaves the one before whole."""
    import torch
    torch.save(model.state_dict(), f"{path}.part")
    os.replace(f"{path}.part", path)


def entity_step(model, tok, items):
    import torch
    from model import entity_loss
    ids, mask, types, tags = collate(items, tok.pad_token_id)
    with bf16():
        logits = model.entity(model.dropout(model(ids, mask, types)))
    return entity_loss(logits, tags)


def train_entities(a, tok, model, rng):
    import torch
    items = D.encode_sentences(tok, a.lexicon, [s for v in D.public_sentences(a.data).values() for s in v if len(s[0]) > 2], rng)
    steps = a.epochs * len(budget_batches(items, 2048, rng))
    opt, sched = optimizer(model, steps, a.lr, 1e-3)
    for epoch in range(a.epochs):
        t0 = time.time()
        for b in budget_batches(items, 2048, rng):
            model.train()
            loss = entity_step(model, tok, [items[i] for i in b])
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
        keep(model, a.out)
        print(f"epoch {epoch}: loss {loss.item():.3f}, {time.time() - t0:.0f} s", flush=True)


def present_companies(window, hidden, carried, number):
    """Companies of a window: mention ranges where it names them, else the vector carried from at most CARRY windows before."""
    here = dict(window["mentions"])
    for c, (at, vector) in carried.items():
        if c not in here and number - at <= D.CARRY_WINDOWS:
            here[c] = vector
    for c, spans in window["mentions"].items():
        carried[c] = (number, sum(hidden[a:b].mean(0) for a, b in spans) / len(spans))
    return here


def hidden_states(model, tok, windows):
    """One [T, H] for each window; windows of like length run together, so that little padding is computed."""
    order = sorted(range(len(windows)), key=lambda k: len(windows[k]["ids"]))
    batches, out = [[]], [None] * len(windows)
    for k in order:
        n = len(windows[k]["ids"])
        if batches[-1] and n > 1.2 * len(windows[batches[-1][0]]["ids"]) + 16:
            batches.append([])
        batches[-1].append(k)
    with bf16():  # once around all batches: it keeps the weights that it has converted
        for batch in batches:
            ids, mask, types, _ = collate([(windows[k]["ids"], windows[k]["types"], windows[k]["tags"]) for k in batch], tok.pad_token_id)
            for k, x in zip(batch, model(ids, mask, types).float()):
                out[k] = x[:len(windows[k]["ids"])]
    return out


def pair_logits(model, states, docs):
    """For each document, for each window that has a company: (window number, companies, logits [C, S, 5])."""
    states = iter(states)
    for d in docs:
        carried, rows = {}, []
        for number, w in enumerate(d["windows"]):
            h = next(states)
            here = present_companies(w, h, carried, number)
            if here:
                rows.append((number, list(here), model.pairs(h, w["sents"], list(here.values()))))
        yield rows


def joint_loss(model, tok, docs, states=None):
    """Losses of entities, sentences and documents, and the difference from the teacher where there are its labels."""
    import torch
    from torch.nn.functional import cross_entropy
    from model import document_logits, entity_loss
    windows = [w for d in docs for w in d["windows"]]
    h = [model.dropout(x) for x in states or hidden_states(model, tok, windows)]
    entities = model.entity(torch.cat(h))
    tags = torch.tensor([t for w in windows for t in w["tags"]])
    ner = entity_loss(entities, tags) if (tags != -100).any() else entities.sum() * 0
    sent, doc, taught = [], [], []
    for d, rows in zip(docs, pair_logits(model, h, docs)):
        per, teachers = {}, {}
        for at, (number, names, p) in enumerate(rows):
            w = d["windows"][number]
            if d["gold"]:
                y = torch.tensor([[w["labels"].get((c, i), 0) for i in range(len(w["sents"]))] for c in names])
                sent.append(cross_entropy(p.reshape(-1, 5), y.reshape(-1), weight=torch.tensor([0.6, 1.0, 1.0, 1.0, 1.0])))
            if "pairs" in d:
                taught.append(divergence(p.reshape(-1, 5), d["pairs"][at].float().reshape(-1, 5)))
            for c, x in zip(names, p):
                per.setdefault(c, []).append(x)
            for c, x in zip(names, d["pairs"][at].float() if "pairs" in d else ()):
                teachers.setdefault(c, []).append(x)
        for c, x in per.items():
            logits = document_logits(torch.cat(x))[None]
            if c in d["gold"]:
                doc.append(cross_entropy(logits, torch.tensor([d["gold"][c]]), label_smoothing=0.05))
            if c in teachers:
                taught.append(0.7 * divergence(logits, document_logits(torch.cat(teachers[c]))[None]))
    teachers = [x for d in docs if "pairs" in d for x in d["entity_logits"]]
    if teachers:
        inside = torch.cat([torch.full((len(w["ids"]),), "pairs" in d) for d in docs for w in d["windows"]])
        ner = 0.5 * ner + divergence(entities[inside], torch.cat(teachers).float())
    mean = lambda terms: torch.stack(terms).mean() if terms else entities.sum() * 0
    return ner, mean(sent), mean(doc), mean(taught)


def divergence(logits, teacher):
    """Mean Kullback–Leibler divergence of rows of logits from the teacher's (Hinton et al. 2015, temperature 1)."""
    import torch
    from torch.nn.functional import kl_div
    return kl_div(torch.log_softmax(logits, -1), torch.log_softmax(teacher, -1), reduction="batchmean", log_target=True)


def varied(doc, variety, rng):
    """The document as one epoch sees it: companies renamed, headline recased, other text around it."""
    if rng.random() < variety["swap"]:
        doc = D.swap_names(doc, variety["names"], rng)
    if rng.random() < variety["recase"]:
        doc = D.recase_title(doc, rng)
    if rng.random() < variety["around"]:
        other = rng.choice(variety["wire"]) if rng.random() < 0.7 else rng.choice(variety["docs"])
        doc = D.joined([doc, other] if rng.random() < 0.6 else [other, doc], rng)
    return doc


def variety_of(a, docs):
    lines = list(pool.headlines(a.data))
    return dict(swap=a.swap, recase=a.recase, around=a.around, names=D.replacements(a.data, docs), wire=list(pool.newswire(a.data)), lines=lines, docs=docs)


def drawn(a, files, variety, rng):
    """The documents of one epoch, each varied, feeds of headlines, and plain reports."""
    docs = [varied(d, variety, rng) for f, most in zip(files, a.sample) for d in rng.sample(f, min(len(f), most))]
    docs += [plain.report(variety["names"], rng, number) for number in range(a.plain)]
    return docs + [pool.feed(variety["lines"], rng) for _ in range(a.feeds)]


def train_joint(a, tok, model, rng):
    import torch
    files = [D.read_documents(f) for f in a.docs]
    tune = [D.encode_document(tok, a.lexicon, d) for f in files for d in f if D.is_tune(d)]
    files = [[d for d in f if not D.is_tune(d)] for f in files]
    variety = variety_of(a, [d for f in files for d in f])
    per_epoch = sum(min(len(f), most) for f, most in zip(files, a.sample)) + a.feeds + a.plain
    aux = D.encode_sentences(tok, a.lexicon, [s for v in D.public_sentences(a.data).values() for s in v if len(s[0]) > 3], rng)
    aux_batches, used = budget_batches(aux, 512, rng), 0
    size = a.batch
    steps = a.epochs * (per_epoch // size + 1)
    opt, sched = optimizer(model, steps, a.lr, a.head_lr or 3 * a.lr)
    print(f"{per_epoch} documents an epoch, {len(tune)} held out, {sum(map(len, variety['names'].values()))} names for swapping", flush=True)
    for epoch in range(a.epochs):
        t0, tot = time.time(), collections.Counter()
        docs = [D.encode_document(tok, a.lexicon, d, rng.choice((96, 160, 256, 256)), hiding(rng)) for d in drawn(a, files, variety, rng)]
        rng.shuffle(docs)
        for b in range(0, len(docs), size):
            model.train()
            ner, sent, doc, _ = joint_loss(model, tok, docs[b:b + size])
            opt.zero_grad()
            (ner + sent + 0.7 * doc).backward()
            if (b // size) % 2 == 0:
                batch = [aux[i] for i in aux_batches[used % len(aux_batches)]]
                used += 1
                (0.3 * entity_step(model, tok, batch)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            tot.update(ner=ner.item(), sent=sent.item(), doc=doc.item(), n=1)
            if tot["n"] % 50 == 0:
                print(f"  step {tot['n']}: {tot['ner'] / tot['n']:.3f} {tot['sent'] / tot['n']:.3f} {tot['doc'] / tot['n']:.3f}, {time.time() - t0:.0f} s", flush=True)
            if tot["n"] % 200 == 0:
                keep(model, a.out)
        keep(model, a.out)
        print(f"epoch {epoch}: entities {tot['ner'] / tot['n']:.3f} sentences {tot['sent'] / tot['n']:.3f} documents {tot['doc'] / tot['n']:.3f}; "
              f"held out {held_out(model, tok, tune)}; {time.time() - t0:.0f} s", flush=True)


def company_spans(tags):
    """(start, end) of the runs of word pieces that have a company's tag, given as numbers."""
    names = [D.EXT[t] if t >= 0 else "O" for t in tags]
    return {(start, end) for start, end, kind in D.spans(names) if kind == "COM"}


def held_out(model, tok, tune):
    """Losses on documents, F1 of companies' mentions with both ends right, macro-F1 of stances where the mentions are given."""
    import torch
    from model import document_logits
    model.eval()
    losses, found, right, gold, table = [], 0, 0, 0, torch.zeros(4, 4)
    with torch.inference_mode():
        for b in range(0, len(tune), 6):
            docs = tune[b:b + 6]
            states = hidden_states(model, tok, [w for d in docs for w in d["windows"]])
            losses.append([x.item() for x in joint_loss(model, tok, docs, states)[:3]])
            for w, h in zip((w for d in docs for w in d["windows"]), states):
                guess, true = company_spans(model.entity(h).argmax(-1).tolist()[:-1]), company_spans(w["tags"])
                found, gold, right = found + len(guess), gold + len(true), right + len(guess & true)
            for d, rows in zip(docs, pair_logits(model, states, docs)):
                per = {}
                for _, names, p in rows:
                    for c, x in zip(names, p):
                        per.setdefault(c, []).append(x)
                for c, x in per.items():
                    table[d["gold"][c], document_logits(torch.cat(x)).argmax()] += 1
    f1 = 2 * table.diag() / (table.sum(0) + table.sum(1)).clamp(min=1)
    mean = " ".join(f"{sum(c) / len(c):.3f}" for c in zip(*losses))
    return (f"{mean}; mentions P {right / max(found, 1):.3f} R {right / gold:.3f} F1 {2 * right / (found + gold):.3f}; "
            f"stances {f1.mean():.3f} ({' '.join(f'{x:.3f}' for x in f1)})")


def found_companies(tok, window, tags):
    """Mention ranges by lower-cased name, where the first pieces of words have a company's tag."""
    pieces, mentions, start = tok.convert_ids_to_tokens(window["ids"]), {}, None
    company = [t in (D.TAG["B-COM"], D.TAG["I-COM"]) for t in tags]
    ends = {b for _, b in window["sents"]}
    for at in range(1, len(pieces)):
        if pieces[at].startswith("##") and at not in ends:
            continue
        if start and (not company[at] or at in ends or tags[at] == D.TAG["B-COM"]):
            mentions.setdefault(" ".join(pieces[start:at]), []).append((start, at))
            start = None
        if company[at] and at < len(pieces) - 1 and not start:
            start = at
    return mentions


def label(a, tok, model, rng):
    """Writes documents with the teacher's logits: our own in variants, and texts that nobody has annotated."""
    import torch
    files = [[d for d in D.read_documents(f) if not D.is_tune(d)] for f in a.docs]
    variety = variety_of(a, [d for f in files for d in f])
    docs = [d for _ in range(a.epochs) for d in drawn(a, files, variety, rng)]
    unannotated = lambda key, text: dict(id=key, text=text, title="", companies=[], mentions=[], entities=[])
    bare = [unannotated(*x) for x in pool.unlabelled(a.data, a.every)] + rng.sample(variety["wire"], a.texts)
    bare += [dict(pool.feed(variety["lines"], rng), companies=[], mentions=[], entities=[]) for _ in range(a.texts)]
    for d in bare:
        d["bare"] = True
    docs = [(d, rng.choice((96, 160, 256, 256))) for d in docs + bare]
    docs.sort(key=lambda d: len(d[0]["text"]))
    model.eval()
    out, t0 = [], time.time()
    for b in range(0, len(docs), 32):
        batch = [D.encode_document(tok, a.lexicon, d, most, hiding(rng)) for d, most in docs[b:b + 32]]
        with torch.inference_mode():
            states = hidden_states(model, tok, [w for d in batch for w in d["windows"]])
            at = 0
            for d in batch:
                own = states[at:at + len(d["windows"])]
                at += len(own)
                d["entity_logits"] = [model.entity(h).half().clone() for h in own]
                if d["doc"].get("bare"):
                    for w, logits in zip(d["windows"], d["entity_logits"]):
                        w["mentions"] = found_companies(tok, w, logits.argmax(-1).tolist())
                        w["tags"] = [-100] * len(w["tags"])
                d["pairs"] = [p.half().clone() for _, _, p in next(pair_logits(model, own, [d]))]
                del d["doc"]
        out += batch
        if b % 640 == 0:
            print(f"{b} of {len(docs)} documents, {time.time() - t0:.0f} s", flush=True)
    torch.save(out, a.out)


def train_distil(a, tok, model, rng):
    import torch
    files = [D.read_documents(f) for f in a.docs]
    tune = [D.encode_document(tok, a.lexicon, d) for f in files for d in f if D.is_tune(d)]
    docs, size = torch.load(a.labels, weights_only=False), a.batch
    opt, sched = optimizer(model, a.epochs * (len(docs) // size + 1), a.lr, a.head_lr or 3 * a.lr)
    print(f"{len(docs)} documents, {len(tune)} held out: {held_out(model, tok, tune)}", flush=True)
    for epoch in range(a.epochs):
        t0, tot = time.time(), collections.Counter()
        rng.shuffle(docs)
        for b in range(0, len(docs), size):
            model.train()
            ner, sent, doc, taught = joint_loss(model, tok, docs[b:b + size])
            opt.zero_grad()
            (ner + 0.5 * sent + 0.35 * doc + taught).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            tot.update(ner=ner.item(), sent=sent.item(), doc=doc.item(), taught=taught.item(), n=1)
            if tot["n"] % 100 == 0:
                print("  step", tot["n"], *(f"{k} {tot[k] / tot['n']:.3f}" for k in ("ner", "sent", "doc", "taught")), f"{time.time() - t0:.0f} s", flush=True)
        keep(model, a.out)
        print(f"epoch {epoch}: held out {held_out(model, tok, tune)}; {time.time() - t0:.0f} s", flush=True)


def score(a, tok, model, rng):
    """Prints what `held_out` measures on each of the files."""
    for f in a.docs:
        docs = [D.encode_document(tok, a.lexicon, d) for d in D.read_documents(f)]
        print(f"{f}: {len(docs)} documents: {held_out(model, tok, docs)}", flush=True)


def calibrate(a):
    """Prints the temperature with the least negative log-likelihood, over companies that gold and records share by name."""
    gold = {d["id"]: d for f in a.docs for d in D.read_documents(f)}
    pairs = []
    for record in D.read_documents(a.records):
        doc = gold[record["id"]]
        stance = {c["key"]: c["stance"] for c in doc["companies"]}
        at = {(m["start"], m["end"]): stance[m["company"]] for m in doc["mentions"] if m["named"]}
        for company in record["companies"]:
            found = [at[m["start"], m["end"]] for m in company["mentions"] if (m["start"], m["end"]) in at]
            if found:
                pairs.append((company["probabilities"], found[0]))

    def loss(t):
        total = 0.0
        for p, y in pairs:
            logits = {k: math.log(max(v, 1e-5)) / t for k, v in p.items()}
            total += math.log(sum(math.exp(v) for v in logits.values())) - logits[y]
        return total / len(pairs)

    best = min((round(0.5 + 0.05 * k, 2) for k in range(71)), key=loss)
    print(f"{len(pairs)} companies: temperature {best} times the records' own, negative log-likelihood {loss(1.0):.4f} -> {loss(best):.4f}")


def load(model, path):
    """Reads a checkpoint, or the `model.safetensors` of a release."""
    import torch
    from model import brought_up
    if str(path).endswith(".safetensors"):
        from safetensors.torch import load_file
        state = {("encoder." + k[5:] if k.startswith("bert.") else k): v.float() for k, v in load_file(path).items()}
    else:
        state = torch.load(path, weights_only=True)
    model.load_state_dict(brought_up(state, model.state_dict()))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["entities", "joint", "label", "distil", "score", "tune", "calibrate"])
    p.add_argument("--encoder")
    p.add_argument("--tokenizer", help="folder of the tokenizer, if not the encoder's")
    p.add_argument("--names", default=NAMES, help="list of known names, as `lexicon.py` writes it")
    p.add_argument("--data")
    p.add_argument("--init")
    p.add_argument("--docs", nargs="+", default=[])
    p.add_argument("--records")
    p.add_argument("--out")
    p.add_argument("--epochs", type=int, default=2, help="for `label`: variants of each document")
    p.add_argument("--lr", type=float, default=2e-4)
    p.add_argument("--labels", help="what `label` wrote")
    p.add_argument("--texts", type=int, default=800, help="runs of newswire, and feeds of headlines, for the teacher to label")
    p.add_argument("--every", type=int, default=3, help="one in so many sentences of NewsMTSC is labelled")
    p.add_argument("--seed", type=int, default=0, help="of the order of documents, their variation and dropout")
    p.add_argument("--batch", type=int, default=6, help="documents in a step")
    p.add_argument("--head-lr", type=float, help="learning rate of the heads; three times the encoder's if not given")
    p.add_argument("--around", type=float, default=0.25, help="share of documents that get other text before or after them")
    p.add_argument("--feeds", type=int, default=300, help="feeds of headlines in an epoch")
    p.add_argument("--plain", type=int, default=0, help="reports by `plain.py`'s grammar in an epoch")
    p.add_argument("--recase", type=float, default=0.3, help="share of documents whose headline is printed In Title Case or IN CAPITALS")
    p.add_argument("--swap", type=float, default=0.5, help="share of documents whose companies are renamed in an epoch")
    p.add_argument("--sample", type=int, nargs="+", default=[10**9], help="most documents that an epoch draws from each file: one number, or one a file")
    a = p.parse_args()
    a.sample = a.sample * len(a.docs) if len(a.sample) == 1 else a.sample
    if a.docs and len(a.sample) != len(a.docs):
        p.error("--sample takes one number, or one for each file of --docs")
    if a.what == "calibrate":
        return calibrate(a)
    if a.what == "tune":
        with open(a.out, "w", encoding="utf8") as f:
            f.writelines(json.dumps(d, ensure_ascii=False) + "\n" for x in a.docs for d in D.read_documents(x) if D.is_tune(d))
        return
    import torch
    from transformers import AutoTokenizer
    from model import Stancewire
    torch.manual_seed(a.seed)
    rng = random.Random(a.seed)
    tok = AutoTokenizer.from_pretrained(a.tokenizer or a.encoder)
    a.lexicon = Lexicon(a.names)
    model = Stancewire(a.encoder)
    if a.init:
        load(model, a.init)
    tasks = dict(entities=train_entities, joint=train_joint, label=label, distil=train_distil, score=score)
    tasks[a.what](a, tok, model, rng)


if __name__ == "__main__":
    main()
