"""Rivals in Python for compare.py, and the export of our weights to ONNX for those that read it.

usage: rivals.py export MODEL_DIR OUT_DIR      f32.onnx, fused.onnx, int8.onnx (plain graph), fused-int8.onnx
       rivals.py rival NAME WINDOWS.json ONNX_DIR MODEL_DIR BATCH PART PARTS

A rival prints how many tokens it holds and how many it computes, then, for every line on standard input, the seconds of
one run over all its windows.
"""
import json
import os
import sys
import time
from pathlib import Path

import numpy as np


def bert(model_dir, attention="sdpa"):
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    config = BertConfig.from_json_file(Path(model_dir) / "config.json")
    model = BertModel._from_config(config, add_pooling_layer=False, attn_implementation=attention)
    weights = load_file(Path(model_dir) / "model.safetensors")
    state = {k.removeprefix("bert."): v.float() for k, v in weights.items() if k.startswith("bert.")}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all("position_ids" in k for k in missing), (missing, unexpected)
    torch.set_num_threads(1)
    return model.eval()


def export(model_dir, out):
    import onnx
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from onnxruntime.transformers import optimizer

    model_dir, out = Path(model_dir).resolve(), Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    # The quantizer leaves files where it runs.
    os.chdir(out)
    # The plain form of attention is the one that the fusions below recognise.
    model = bert(model_dir, attention="eager")
    config = model.config
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = tuple(torch.ones(2, 9, dtype=torch.int64) for _ in names)
    axes = {name: {0: "batch", 1: "tokens"} for name in names + ["last_hidden_state"]}
    torch.onnx.export(model, example, str(out / "f32.onnx"), input_names=names, output_names=["last_hidden_state"],
                      dynamic_axes=axes, opset_version=17)
    fused = optimizer.optimize_model(str(out / "f32.onnx"), model_type="bert", num_heads=config.num_attention_heads,
                                     hidden_size=config.hidden_size, opt_level=1)
    print("fused:", fused.get_fused_operator_statistics(), file=sys.stderr)
    fused.save_model_to_file(str(out / "fused.onnx"))
    quant_pre_process(str(out / "f32.onnx"), str(out / "prepared.onnx"), skip_symbolic_shape=True)
    # Per channel, signed weights: the fastest form that ONNX Runtime and rten have on x86-64.
    for source, target in [("prepared", "int8"), ("fused", "fused-int8")]:
        quantize_dynamic(str(out / f"{source}.onnx"), str(out / f"{target}.onnx"), per_channel=True, weight_type=QuantType.QInt8,
                         extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    onnx.checker.check_model(str(out / "f32.onnx"))


def read_windows(path, part, parts):
    windows = json.loads(Path(path).read_text())
    windows.sort(key=lambda w: -len(w["ids"]))
    return windows[part::parts]


def padded(batch):
    longest = len(batch[0]["ids"])
    ids, mask, types = (np.zeros((len(batch), longest), np.int64) for _ in range(3))
    for row, window in enumerate(batch):
        n = len(window["ids"])
        ids[row, :n], mask[row, :n], types[row, :n] = window["ids"], 1, window["types"]
    return ids, mask, types


def torch_rival(model_dir, dtype):
    import torch

    model = bert(model_dir).to(getattr(torch, dtype))

    def run(ids, mask, types):
        with torch.inference_mode():
            return model(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(types)).last_hidden_state

    return run


def onnx_rival(path):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda ids, mask, types: session.run(
        ["last_hidden_state"], {"input_ids": ids, "attention_mask": mask, "token_type_ids": types})


def serve(name, windows, onnx_dir, model_dir, batch, part, parts):
    windows = read_windows(windows, int(part), int(parts))
    batches = [padded(windows[at:at + int(batch)]) for at in range(0, len(windows), int(batch))]
    run = {"pytorch-f32": lambda: torch_rival(model_dir, "float32"),
           "pytorch-bf16": lambda: torch_rival(model_dir, "bfloat16"),
           "onnxruntime-f32": lambda: onnx_rival(Path(onnx_dir) / "fused.onnx"),
           "onnxruntime-int8": lambda: onnx_rival(Path(onnx_dir) / "fused-int8.onnx")}[name]()
    print(sum(len(w["ids"]) for w in windows), sum(ids.size for ids, _, _ in batches), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for arrays in batches:
            run(*arrays)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "export":
        export(*sys.argv[2:])
    else:
        serve(*sys.argv[2:])
