"""A model folder of any BERT size with random weights, to measure speed with: it finds no companies.

usage: random_model.py LAYERS HIDDEN HEADS SOURCE_MODEL OUT       (needs torch and safetensors)
"""
import hashlib
import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

layers, hidden, heads = map(int, sys.argv[1:4])
source, out = Path(sys.argv[4]), Path(sys.argv[5])
out.mkdir(parents=True, exist_ok=True)
config = json.loads((source / "config.json").read_text())
old = config["hidden_size"], config["intermediate_size"]
new = hidden, 4 * hidden
config.update(num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads, intermediate_size=4 * hidden)
sizes = {old[0]: new[0], old[1]: new[1], 4 * old[0] + 5: 4 * new[0] + 5}
torch.manual_seed(0)
tensors = {}
for name, tensor in load_file(source / "model.safetensors").items():
    parts = name.split(".")
    if parts[1] == "encoder" and parts[3] != "0":
        continue
    for layer in range(layers) if parts[1] == "encoder" else [None]:
        key = name if layer is None else ".".join(parts[:3] + [str(layer)] + parts[4:])
        shape = [sizes.get(n, n) for n in tensor.shape]
        value = torch.ones(shape) if "LayerNorm.weight" in name else torch.randn(shape) * 0.02
        tensors[key] = value.half()
# All tokens outside of names.
tensors["entity.weight"] = torch.zeros_like(tensors["entity.weight"])
tensors["entity.bias"] = torch.tensor([9.0] + [0.0] * 8).half()
save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
card = json.loads((source / "model.json").read_text())
card.update(name=f"random-{layers}x{hidden}", weights_sha256=hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest())
(out / "model.json").write_text(json.dumps(card))
(out / "config.json").write_text(json.dumps(config))
for name in ("tokenizer.json", "names.tsv"):
    shutil.copyfile(source / name, out / name)
