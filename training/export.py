"""export.py CHECKPOINT.pt ENCODER_DIR MODEL_DIR [--tokenizer DIR] [--names FILE] [--temperature T] [--evidence P] [--company B] [--mix FILE SHARE]

Writes f16 safetensors (encoder under `bert.`, heads by their own names), config.json, tokenizer.json and names.tsv, and puts
their hashes, the number of weights, and the calibration if given, into MODEL_DIR/model.json. --company B is added to the logits of the company
tags: below 0 names are taken for companies less readily, which trades recall for precision. With --mix the weights are SHARE times the
checkpoint plus 1 - SHARE times FILE, a model.safetensors that the checkpoint was trained on from: what training on a
narrower set takes away comes back (Wortsman et al. 2022).
"""
import argparse, hashlib, json, shutil
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from data import TAG
from lexicon import NAMES
from model import TOKEN_TYPES, brought_up

MPNET = [("attention.attn.q", "attention.self.query"), ("attention.attn.k", "attention.self.key"), ("attention.attn.v", "attention.self.value"),
         ("attention.attn.o", "attention.output.dense"), ("attention.LayerNorm", "attention.output.LayerNorm")]


def as_bert(state, config):
    """An MPNet encoder under BERT's names: words in the order of BERT's vocabulary, positions from 0 on."""
    out = {k: v for k, v in state.items() if not k.startswith("encoder.")}
    out["encoder.embeddings.token_type_embeddings.weight"] = state["encoder.token_type.weight"]
    for k, v in state.items():
        if not k.startswith("encoder.mpnet."):
            continue
        for theirs, ours in MPNET:
            k = k.replace(theirs, ours)
        if k.endswith("word_embeddings.weight"):
            v = v[state["encoder.number"]]
        elif k.endswith("position_embeddings.weight"):
            v = v[2:]
        if "position_ids" not in k:
            out["encoder." + k[len("encoder.mpnet."):]] = v
    layers = len({k.split(".")[3] for k in out if k.startswith("encoder.encoder.layer.")})
    return out, dict(config, model_type="bert", vocab_size=len(state["encoder.number"]), max_position_embeddings=config["max_position_embeddings"] - 2,
                     num_hidden_layers=layers, pad_token_id=0, relative_attention_num_buckets=config["relative_attention_num_buckets"])


p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("checkpoint")
p.add_argument("encoder", type=Path)
p.add_argument("model", type=Path)
p.add_argument("--tokenizer", type=Path, help="folder of tokenizer.json, if not the encoder's")
p.add_argument("--names", type=Path, default=NAMES, help="list of known names that the checkpoint was trained with")
p.add_argument("--temperature", type=float)
p.add_argument("--evidence", type=float, help="least probability of a sentence that is evidence")
p.add_argument("--company", type=float, default=0.0, help="added to the logits of the company tags")
p.add_argument("--mix", nargs=2, metavar=("FILE", "SHARE"))
a = p.parse_args()
state = torch.load(a.checkpoint, weights_only=True)
weights = a.model / "model.safetensors"
config = json.loads((a.encoder / "config.json").read_text())
if "encoder.number" in state:
    state, config = as_bert(state, config)
renamed = {k: ("bert." + k[len("encoder."):] if k.startswith("encoder.") else k) for k in state}
tensors = {renamed[k]: v.float() for k, v in state.items()}
if a.mix:
    share, before = float(a.mix[1]), brought_up(load_file(a.mix[0]), tensors)
    tensors = {k: share * v + (1 - share) * before[k].float() for k, v in tensors.items()}
tensors["entity.bias"][[TAG["B-COM"], TAG["I-COM"]]] += a.company
save_file({k: v.half().contiguous() for k, v in tensors.items()}, weights, metadata={"format": "pt"})
weights.chmod(0o644)
config.pop("_name_or_path", None)
config.update(architectures=["Stancewire"], type_vocab_size=TOKEN_TYPES, torch_dtype="float16")
(a.model / "config.json").write_text(json.dumps(config, indent=1) + "\n")
shutil.copyfile((a.tokenizer or a.encoder) / "tokenizer.json", a.model / "tokenizer.json")
names = a.names.read_bytes()
(a.model / "names.tsv").write_bytes(names)
card = json.loads((a.model / "model.json").read_text())
card["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
card["names_sha256"] = hashlib.sha256(names).hexdigest()
card["parameters"] = sum(v.numel() for v in tensors.values())
for name in ("temperature", "evidence"):
    if getattr(a, name) is not None:
        card["calibration"][name] = getattr(a, name)
(a.model / "model.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
print(card["weights_sha256"])
