"""What rows of 8, 4 and 2 bits lose of an embedding table, alone and mixed by frequency.

Tables: the word embeddings of an encoder (safetensors), those of a GGUF model, and a synthetic one. The
formats are those of clq_rows_quantize in numpy (tests hold that to PyTorch's bytes); `mixed` is
clq_mixed_tables with thresholds. Ids are counted in one half of tests/golden/perplexity.txt and asked for
as the other half does.

Requirements: pip install numpy gguf tokenizers
    python3 bench/embedding_study.py --encoder FOLDER --model FILE.gguf
"""
import argparse
import json
import os
import sys

import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "tests", "golden"))


def row_bytes(bits, cols):
    """Of a row with its scale and bias; 32 and 16: floats."""
    return bits // 8 * cols if bits >= 16 else -(-cols * bits // 8) + (8 if bits == 8 else 4)


def requantized(x, bits):
    """Rows as they come back."""
    if bits == 16:
        return x.astype(np.float16).astype(np.float32)
    least = x.min(1, keepdims=True)
    if bits == 8:
        width = x.max(1, keepdims=True) - least
        codes = np.rint((x - least) * (np.float32(255) / (width + np.float32(1e-8))))
        return codes * (width / np.float32(255)) + least
    most = np.float32(2**bits - 1)
    least = least.astype(np.float16).astype(np.float32)
    scale = ((x.max(1, keepdims=True) - least) / most).astype(np.float16).astype(np.float32)
    scale[scale == 0] = 1
    codes = np.clip(np.rint((x - least) * (np.float32(1) / scale)), 0, most)
    return codes * scale + least


class Table:
    """Rows, how often ids were seen, and the ids that are asked for."""

    def __init__(self, name, x, seen, asked):
        self.name, self.x = name, np.asarray(x, np.float32)
        self.counts = np.bincount(seen, minlength=len(self.x))
        self.asked = asked
        self.back = {bits: requantized(self.x, bits) for bits in (16, 8, 4, 2)}

    def report(self, name, bits, extra=0):
        """bits: of each row."""
        cols = self.x.shape[1]
        size = sum(int((bits == b).sum()) * row_bytes(b, cols) for b in (16, 8, 4, 2)) + extra
        back = np.empty_like(self.x)
        for b in (16, 8, 4, 2):
            back[bits == b] = self.back[b][bits == b]
        error = ((back - self.x) ** 2).sum(1, dtype=np.float64)
        norm = (self.x**2).sum(1, dtype=np.float64)
        cosine = (back * self.x.astype(np.float64)).sum(1) / np.sqrt((back**2).sum(1, dtype=np.float64) * norm + 1e-300)
        print(f"| {self.name} | {name} | {size / 1e6:.2f} | {100 * size / (4 * self.x.size):.2f} % | "
              f"{np.sqrt(error.sum() / norm.sum()):.2e} | "
              f"{np.sqrt(error[self.asked].sum() / norm[self.asked].sum()):.2e} | "
              f"{1 - cosine[self.asked].mean():.2e} |")

    def study(self):
        rows = len(self.x)
        for name, b in (("f16", 16), ("8bit", 8), ("4bit", 4), ("2bit", 2)):
            self.report(name, np.full(rows, b))
        rank = np.empty(rows, np.int64)
        rank[np.argsort(-self.counts, kind="stable")] = np.arange(rows)

        def cut(by, fine, middle):
            return np.where(by < fine, 16, np.where(by < middle, 8, 4))

        few, some = rows // 20, rows // 4
        self.report("5 % f16, 20 % 8bit, 75 % 4bit, by count", cut(rank, few, some), 4 * rows)
        self.report("the same by `id < threshold`", cut(np.arange(rows), few, some))
        self.report("5 % 8bit, 95 % 4bit, by count", np.where(rank < few, 8, 4), 4 * rows)


def halves(ids):
    ids = np.asarray(ids)
    blocks = np.arange(len(ids)) // 256 % 2
    return ids[blocks == 0], ids[blocks == 1]


def word_embeddings(path):
    """The one tensor of that name in a safetensors file, of f32."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        base = file.tell()
        tensor = next(header[n] for n in header if n.endswith("word_embeddings.weight"))
        begin, end = tensor["data_offsets"]
        file.seek(base + begin)
        return np.frombuffer(file.read(end - begin), "<f4").reshape(tensor["shape"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--model", required=True)
    args = parser.parse_args()
    import byte_bpe
    import gguf
    from tokenizers import Tokenizer

    with open(os.path.join(ROOT, "tests", "golden", "perplexity.txt"), encoding="utf-8") as file:
        text = file.read()
    print("| table | format | MB | of f32 | relative error | as asked for | 1 - cosine |\n|---|---|---|---|---|---|---|")
    tokenizer = Tokenizer.from_file(os.path.join(args.encoder, "tokenizer.json"))
    tokenizer.no_truncation()
    Table("MiniLM", word_embeddings(os.path.join(args.encoder, "model.safetensors")), *halves(tokenizer.encode(text, add_special_tokens=False).ids)).study()
    reader = gguf.GGUFReader(args.model)
    tensor = next(t for t in reader.tensors if t.name == "token_embd.weight")
    x = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    ids = byte_bpe.encode(byte_bpe.load(args.model), text)
    Table(f"SmolLM2 ({tensor.tensor_type.name})", x, *halves(ids)).study()
    random = np.random.default_rng(1)
    x = random.standard_normal((20000, 64)) * np.exp(random.standard_normal((20000, 1)))
    ids = random.permutation(20000)[np.exp(random.random(100000) * np.log(20000)).astype(int)]
    Table("synthetic, 20,000 x 64", x, *halves(ids)).study()


if __name__ == "__main__":
    main()
