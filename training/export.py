"""export.py CHECKPOINT.pt ENCODER_DIR MODEL_DIR [--temperature T]

Writes f16 safetensors (encoder under `bert.`, heads by their own names), config.json and tokenizer.json, and puts the
weights' hash, and the temperature if given, into MODEL_DIR/model.json.
"""
import argparse, hashlib, json, shutil
from pathlib import Path
import torch
from safetensors.torch import save_file

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("checkpoint")
p.add_argument("encoder", type=Path)
p.add_argument("model", type=Path)
p.add_argument("--temperature", type=float)
a = p.parse_args()
state = torch.load(a.checkpoint, weights_only=True)
names = {k: ("bert." + k[len("encoder."):] if k.startswith("encoder.") else k) for k in state}
weights = a.model / "model.safetensors"
save_file({names[k]: v.half().contiguous() for k, v in state.items()}, weights, metadata={"format": "pt"})
weights.chmod(0o644)
config = json.loads((a.encoder / "config.json").read_text())
config.pop("_name_or_path", None)
config.update(architectures=["Stancewire"], type_vocab_size=4, torch_dtype="float16")
(a.model / "config.json").write_text(json.dumps(config, indent=1) + "\n")
shutil.copyfile(a.encoder / "tokenizer.json", a.model / "tokenizer.json")
card = json.loads((a.model / "model.json").read_text())
card["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
if a.temperature:
    card["calibration"]["temperature"] = a.temperature
(a.model / "model.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
print(card["weights_sha256"])
