"""export.py CHECKPOINT.pt ENCODER_DIR MODEL_DIR [--temperature T] [--mix FILE SHARE]

Writes f16 safetensors (encoder under `bert.`, heads by their own names), config.json and tokenizer.json, and puts the
weights' hash, and the temperature if given, into MODEL_DIR/model.json. With --mix the weights are SHARE times the
checkpoint plus 1 - SHARE times FILE, a model.safetensors that the checkpoint was trained on from: what training on a
narrower set takes away comes back (Wortsman et al. 2022).
"""
import argparse, hashlib, json, shutil
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("checkpoint")
p.add_argument("encoder", type=Path)
p.add_argument("model", type=Path)
p.add_argument("--temperature", type=float)
p.add_argument("--mix", nargs=2, metavar=("FILE", "SHARE"))
a = p.parse_args()
state = torch.load(a.checkpoint, weights_only=True)
names = {k: ("bert." + k[len("encoder."):] if k.startswith("encoder.") else k) for k in state}
weights = a.model / "model.safetensors"
tensors = {names[k]: v.float() for k, v in state.items()}
if a.mix:
    share, before = float(a.mix[1]), load_file(a.mix[0])
    tensors = {k: share * v + (1 - share) * before[k].float() for k, v in tensors.items()}
save_file({k: v.half().contiguous() for k, v in tensors.items()}, weights, metadata={"format": "pt"})
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
