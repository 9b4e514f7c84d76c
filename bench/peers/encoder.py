"""ONNX Runtime and PyTorch as peers of `clq embed`: sentences a second of all-MiniLM-L6-v2.

  python encoder.py --clq build/release/clq --encoder FOLDER [--rounds 7] [--threads 2]

Rounds take turns: each engine computes the vectors of the 200 texts of tests/golden/encoder_texts.py
once; medians over the rounds count. Ours are the seconds that `clq embed` says, from texts to vectors,
so tokenization is in them; peers get token ids. Peers take texts sorted by length in batches of 32,
padded to the longest, as sentence-transformers does.

  onnxruntime         the model as its own transformer optimizer fuses it (Attention, SkipLayerNormalization,
                      BiasGelu), float32
  onnxruntime int8    the same through its dynamic quantization: weights int8 a column, activations u8 a tensor
  torch               float32, scaled_dot_product_attention

Every engine's vectors are checked against tests/golden/encoder.bin: 1 - cosine, median and worst.

Requirements: pip install numpy torch==2.9.0 onnx onnxruntime==1.31.* sympy (CPU builds do)
"""
import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BATCH = 32
OURS = [("float", [], "float"), ("weights f16", ["--weights", "f16"], "float"),
        ("int8: weights a row, activations per 32", ["--weights", "w8", "--acts", "q8g32"], "int8"),
        ("int8: weights a row, activations per token", ["--weights", "w8", "--acts", "q8"], "int8")]


def read_golden():
    """Texts, their ids, their vectors."""
    with open(os.path.join(ROOT, "tests", "golden", "encoder.bin"), "rb") as file:
        data = file.read()
    _, _, count, width = struct.unpack_from("<4s3I", data)
    at, texts, ids, vectors = 16, [], [], []
    for _ in range(count):
        (length,) = struct.unpack_from("<I", data, at)
        texts.append(data[at + 4:at + 4 + length].decode())
        at += 4 + length
        (n,) = struct.unpack_from("<I", data, at)
        ids.append(np.frombuffer(data, "<u2", n, at + 4).astype(np.int64))
        at += 4 + 2 * n + 4
        vectors.append(np.frombuffer(data, "<i2", width, at).astype(np.float64))
        at += 2 * width
    return texts, ids, np.array(vectors)


class Bert(nn.Module):
    """The model with ids and a mask to its last rows."""

    def __init__(self, folder, fused_attention):
        super().__init__()
        sys.path.insert(0, os.path.join(ROOT, "tests", "golden"))
        from make_encoder import load_tensors
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            self.config = json.load(file)
        self.fused_attention = fused_attention
        self.heads = self.config["num_attention_heads"]
        tensors = load_tensors(os.path.join(folder, "model.safetensors"))
        self.names = {}
        for name, tensor in tensors.items():
            self.names[name] = name.replace(".", "_")
            if tensor.is_floating_point():
                self.register_parameter(self.names[name], nn.Parameter(tensor.float(), requires_grad=False))

    def tensor(self, name):
        return getattr(self, self.names[name])

    def linear(self, x, name):
        return F.linear(x, self.tensor(name + ".weight"), self.tensor(name + ".bias"))

    def norm(self, x, name):
        return F.layer_norm(x, (self.config["hidden_size"],), self.tensor(name + ".weight"), self.tensor(name + ".bias"),
                            self.config["layer_norm_eps"])

    def attention(self, x, layer, bias):
        batch, rows, width = x.shape[0], x.shape[1], self.config["hidden_size"]
        split = (batch, rows, self.heads, width // self.heads)
        q, k, v = (self.linear(x, f"{layer}.attention.self.{part}").view(split).transpose(1, 2)
                   for part in ("query", "key", "value"))
        if self.fused_attention:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            scores = torch.matmul(q, k.transpose(-1, -2)) / (width // self.heads) ** 0.5
            mixed = torch.matmul(F.softmax(scores + bias, dim=-1), v)
        mixed = mixed.transpose(1, 2).contiguous().view(batch, rows, width)
        return self.linear(mixed, f"{layer}.attention.output.dense")

    def forward(self, ids, mask):
        positions = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0).expand_as(ids)
        x = (F.embedding(ids, self.tensor("embeddings.word_embeddings.weight"))
             + F.embedding(positions, self.tensor("embeddings.position_embeddings.weight"))
             + F.embedding(torch.zeros_like(ids), self.tensor("embeddings.token_type_embeddings.weight")))
        x = self.norm(x, "embeddings.LayerNorm")
        bias = (1.0 - mask[:, None, None, :].to(torch.float32)) * -10000.0
        for i in range(self.config["num_hidden_layers"]):
            layer = f"encoder.layer.{i}"
            x = self.norm(self.attention(x, layer, bias) + x, f"{layer}.attention.output.LayerNorm")
            hidden = F.gelu(self.linear(x, f"{layer}.intermediate.dense"))
            x = self.norm(self.linear(hidden, f"{layer}.output.dense") + x, f"{layer}.output.LayerNorm")
        return x


def batches_of(ids):
    """Sorted by length: which texts, their padded ids, the mask."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    result = []
    for first in range(0, len(order), BATCH):
        part = order[first:first + BATCH]
        longest = max(len(ids[i]) for i in part)
        padded = np.zeros((len(part), longest), np.int64)
        mask = np.zeros((len(part), longest), np.int64)
        for row, i in enumerate(part):
            padded[row, :len(ids[i])] = ids[i]
            mask[row, :len(ids[i])] = 1
        result.append((part, padded, mask))
    return result


def pool(rows, mask):
    """The mean of the rows that count, to length 1."""
    m = mask[..., None].astype(np.float32)
    mean = (rows * m).sum(1) / m.sum(1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def export(model, path):
    sample = torch.ones((2, 8), dtype=torch.int64)
    axes = {"ids": {0: "batch", 1: "rows"}, "mask": {0: "batch", 1: "rows"},
            "last": {0: "batch", 1: "rows"}}
    torch.onnx.export(model, (sample, sample), path, input_names=["ids", "mask"], output_names=["last"],
                      dynamic_axes=axes, opset_version=17, dynamo=False)


class OnnxRuntime:
    def __init__(self, path, threads):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def rows(self, ids, mask):
        return self.session.run(["last"], {"ids": ids, "mask": mask})[0]


class Torch:
    def __init__(self, model):
        self.model = model

    def rows(self, ids, mask):
        with torch.inference_mode():
            return self.model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()


def onnx_models(folder, scratch, threads):
    """Float and int8, and which operators the optimizer made."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer
    plain, fused, codes = (os.path.join(scratch, name) for name in ("plain.onnx", "fused.onnx", "int8.onnx"))
    model = Bert(folder, False).eval()
    export(model, plain)
    result = optimizer.optimize_model(plain, model_type="bert", num_heads=model.heads,
                                      hidden_size=model.config["hidden_size"])
    result.save_model_to_file(fused)
    print("onnxruntime's optimizer made", result.get_fused_operator_statistics(), file=sys.stderr)
    quantize_dynamic(fused, codes, per_channel=True, weight_type=QuantType.QInt8,
                     extra_options={"DefaultTensorType": TensorProto.FLOAT})
    return OnnxRuntime(fused, threads), OnnxRuntime(codes, threads)


def embed(engine, batches, count, width):
    vectors = np.zeros((count, width))
    began = time.perf_counter()
    for part, ids, mask in batches:
        vectors[part] = pool(engine.rows(ids, mask), mask)
    return vectors, time.perf_counter() - began


def run_ours(clq, folder, options, texts):
    command = [clq, "embed", "-m", folder, "-o", "json", *options, "--", *texts]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return np.array(result["embeddings"]), result["embed_s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clq", required=True)
    parser.add_argument("--encoder", required=True, help="the folder of all-MiniLM-L6-v2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    texts, ids, exact = read_golden()
    batches = batches_of(ids)
    peers = {}
    with tempfile.TemporaryDirectory() as scratch:
        peers["onnxruntime float"], peers["onnxruntime int8"] = onnx_models(args.encoder, scratch, args.threads)
    peers["torch float"] = Torch(Bert(args.encoder, True).eval())
    calls = {name: lambda e=engine: embed(e, batches, len(texts), exact.shape[1])
             for name, engine in peers.items()}
    for name, options, _ in OURS:
        calls["clq " + name] = lambda o=options: run_ours(args.clq, args.encoder, o, texts)
    seconds, vectors = {name: [] for name in calls}, {}
    for round_ in range(args.rounds + 1):  # the first one compiles and warms up
        for name, call in calls.items():
            vectors[name], took = call()
            if round_ > 0:
                seconds[name].append(took)
    rate = {name: len(texts) / statistics.median(s) for name, s in seconds.items()}
    kind_of = {"clq " + name: kind for name, _, kind in OURS}
    print("| engine | texts/s | of onnxruntime's, float with float, int8 with int8 | 1 - cosine, median | worst |")
    print("|---|--:|--:|--:|--:|")
    for name in calls:
        v = vectors[name]
        d = 1 - (v * exact).sum(1) / np.linalg.norm(v, axis=1) / np.linalg.norm(exact, axis=1)
        kind = kind_of.get(name, name.split()[1])
        print(f"| {name} | {rate[name]:.0f} | {rate[name] / rate['onnxruntime ' + kind]:.2f} "
              f"| {np.median(d):.1e} | {d.max():.1e} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
