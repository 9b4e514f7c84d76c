"""Writes the golden file of embedding rows, tests/golden/rows.bin.

Bytes come from PyTorch's torch.ops.quantized.embedding_bag_{byte,4bit,2bit}_prepack, which are FBGEMM's
fused rowwise formats. README.md in this folder describes the format.

Requirements: pip install numpy torch
Usage: python make_rows.py [--check]
"""
import argparse
import os
import struct
import sys

import numpy as np
import torch

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rows.bin")
OPERATORS = {4: "byte", 5: "4bit", 6: "2bit"}


def rows(cols):
    """Rows of several kinds: normal, with a long tail, of one sign, far from zero, constant, zeros, tiny, and
    values between which codes are ties."""
    random = np.random.default_rng(cols)
    normal = random.standard_normal((4, cols))
    kinds = [
        normal[0], 0.02 * normal[1], np.abs(normal[2]) + 0.5, 1000.0 + normal[3],
        normal[0] ** 3, -np.exp(normal[1]), np.full(cols, 0.1), np.full(cols, -1.0003), np.zeros(cols),
        1e-6 * normal[2], 1e-9 * normal[3], 1e-30 * normal[0], np.arange(cols) % 511 / 2.0, np.arange(cols) % 31 / 2.0,
        np.where(np.arange(cols) == 1, 60000.0, normal[1]),
    ]
    return np.array(kinds, np.float32)


def pack():
    widths = (4, 8, 64, 132)
    out = [b"CLQR", struct.pack("<II", 1, len(widths))]
    for cols in widths:
        x = rows(cols)
        out.append(struct.pack("<II", *x.shape))
        out.append(x.astype("<f4").tobytes())
        for name in OPERATORS.values():
            packed = getattr(torch.ops.quantized, f"embedding_bag_{name}_prepack")(torch.from_numpy(x))
            out.append(packed.numpy().tobytes())
    return b"".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    args = parser.parse_args()
    data = pack()
    if args.check:
        with open(GOLDEN, "rb") as file:
            same = file.read() == data
        print("the same" if same else "it differs")
        sys.exit(0 if same else 1)
    with open(GOLDEN, "wb") as file:
        file.write(data)


if __name__ == "__main__":
    main()
