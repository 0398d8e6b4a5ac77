"""Trains the weights that ship.

  train.py entities --encoder DIR --data DIR --out stage1.pt
  train.py joint --encoder DIR --data DIR --init stage1.pt --docs corpus/train.jsonl corpus/train-wire.jsonl --out joint.pt
  train.py calibrate --docs tune.jsonl --records records.jsonl

`--encoder` is a folder with BERT weights and tokenizer in the usual Hugging Face layout; `--init` a checkpoint, or a
`model.safetensors` of an earlier release. `--data` is the folder of public data sets. `tune` writes the documents held
out of training; records of them, made by `stancewire extract`, calibrate the confidence.
"""
import argparse, collections, json, math, random, time
import data as D


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
                             {"params": [p for n, p in model.named_parameters() if head(n)], "lr": head_lr}], weight_decay=0.01)
    return opt, torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1, s / (warmup * steps)) * max(0.02, (steps - s) / steps))


def bf16():
    """Automatic bf16 where the CPU multiplies in it; elsewhere it would be emulated, slower than f32."""
    import torch
    native = any("avx512_bf16" in line or "amx_bf16" in line for line in open("/proc/cpuinfo"))
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=native)


def entity_step(model, tok, items):
    import torch
    from model import entity_loss
    ids, mask, case, tags = collate(items, tok.pad_token_id)
    with bf16():
        logits = model.entity(model.dropout(model(ids, mask, case)))
    return entity_loss(logits, tags)


def train_entities(a, tok, model, rng):
    import torch
    items = [D.encode_words(tok, s) for v in D.public_sentences(a.data).values() for s in v if len(s[0]) > 2]
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


def joint_loss(model, tok, docs):
    import torch
    from torch.nn.functional import cross_entropy
    from model import document_logits, entity_loss
    windows = [w for d in docs for w in d["windows"]]
    ids, mask, case, tags = collate([(w["ids"], w["case"], w["tags"]) for w in windows], tok.pad_token_id)
    with bf16():
        h = model(ids, mask, case)
    h = model.dropout(h.float())
    ner = entity_loss(model.entity(h), tags)
    sent, doc, k = [], [], 0
    for d in docs:
        per, carried = {}, {}
        for number, w in enumerate(d["windows"]):
            here = present_companies(w, h[k], carried, number)
            if here:
                p = model.pairs(h[k], w["sents"], list(here.values()))
                y = torch.tensor([[w["labels"].get((c, i), 0) for i in range(len(w["sents"]))] for c in here])
                sent.append(cross_entropy(p.reshape(-1, 4), y.reshape(-1), weight=torch.tensor([0.6, 1.0, 1.0, 1.0])))
                for c, x in zip(here, p):
                    per.setdefault(c, []).append(x)
            k += 1
        for c, x in per.items():
            doc.append(cross_entropy(document_logits(torch.cat(x))[None], torch.tensor([d["gold"][c]]), label_smoothing=0.05))
    z = torch.zeros(())
    return ner, torch.stack(sent).mean() if sent else z, torch.stack(doc).mean() if doc else z


def varied(doc, names, rng, swap):
    """The document as one epoch sees it: companies renamed, headline recased."""
    if rng.random() < swap:
        doc = D.swap_names(doc, names, rng)
    return D.recase_title(doc, rng) if rng.random() < 0.3 else doc


def train_joint(a, tok, model, rng):
    import torch
    files = [D.read_documents(f) for f in a.docs]
    tune = [D.encode_document(tok, d) for f in files for d in f if D.is_tune(d)]
    files = [[d for d in f if not D.is_tune(d)] for f in files]
    per_epoch = sum(min(len(f), a.sample) for f in files)
    names = D.gazetteer(a.data)
    aux = [D.encode_words(tok, s) for s in rng.sample(D.gmb(f"{a.data}/ner/gmb/ner_dataset.csv.zip"), 6000) if len(s[0]) > 3]
    aux_batches, used = budget_batches(aux, 1024, rng), 0
    size, steps = 6, a.epochs * (per_epoch // 6 + 1)
    opt, sched = optimizer(model, steps, a.lr, 3 * a.lr)
    print(f"{per_epoch} documents an epoch, {len(tune)} held out, {len(names)} names for swapping", flush=True)
    for epoch in range(a.epochs):
        t0, tot = time.time(), collections.Counter()
        drawn = [d for f in files for d in rng.sample(f, min(len(f), a.sample))]
        docs = [D.encode_document(tok, varied(d, names, rng, a.swap), rng.choice((96, 160, 256, 256))) for d in drawn]
        rng.shuffle(docs)
        for b in range(0, len(docs), size):
            model.train()
            ner, sent, doc = joint_loss(model, tok, docs[b:b + size])
            opt.zero_grad()
            (ner + sent + 0.7 * doc).backward()
            if (b // size) % 3 == 0:
                batch = [aux[i] for i in aux_batches[used % len(aux_batches)]]
                used += 1
                (0.3 * entity_step(model, tok, batch)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            tot.update(ner=ner.item(), sent=sent.item(), doc=doc.item(), n=1)
        torch.save(model.state_dict(), a.out)
        model.eval()
        with torch.inference_mode():
            held = [[x.item() for x in joint_loss(model, tok, tune[b:b + size])] for b in range(0, len(tune), size)]
        held = [sum(c) / len(c) for c in zip(*held)]
        print(f"epoch {epoch}: entities {tot['ner'] / tot['n']:.3f} sentences {tot['sent'] / tot['n']:.3f} documents {tot['doc'] / tot['n']:.3f}; "
              f"held out {held[0]:.3f} {held[1]:.3f} {held[2]:.3f}; {time.time() - t0:.0f} s", flush=True)


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


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["entities", "joint", "tune", "calibrate"])
    p.add_argument("--encoder")
    p.add_argument("--data")
    p.add_argument("--init")
    p.add_argument("--docs", nargs="+", default=[])
    p.add_argument("--records")
    p.add_argument("--out")
    p.add_argument("--epochs", type=int, default=2)
    p.add_argument("--lr", type=float, default=2e-4)
    p.add_argument("--swap", type=float, default=0.5, help="share of documents whose companies are renamed in an epoch")
    p.add_argument("--sample", type=int, default=10**9, help="most documents that an epoch draws from each file")
    a = p.parse_args()
    if a.what == "calibrate":
        return calibrate(a)
    if a.what == "tune":
        with open(a.out, "w", encoding="utf8") as f:
            f.writelines(json.dumps(d, ensure_ascii=False) + "\n" for x in a.docs for d in D.read_documents(x) if D.is_tune(d))
        return
    import torch
    from transformers import AutoTokenizer
    from model import Stancewire
    torch.manual_seed(0)
    rng = random.Random(0)
    tok = AutoTokenizer.from_pretrained(a.encoder)
    model = Stancewire(a.encoder)
    if a.init and a.init.endswith(".safetensors"):
        from safetensors.torch import load_file
        state = {("encoder." + k[5:] if k.startswith("bert.") else k): v.float() for k, v in load_file(a.init).items()}
        model.load_state_dict(state)
    elif a.init:
        print(model.load_state_dict(torch.load(a.init, weights_only=True), strict=False))
    (train_entities if a.what == "entities" else train_joint)(a, tok, model, rng)
    torch.save(model.state_dict(), a.out)


if __name__ == "__main__":
    main()
