"""Writes what the gguf package makes of blocks of every format, tests/golden/weights.bin.

Blocks are random bytes. In the first ones the 16-bit floats of the block (scale and minimum) are
extreme: zeros, subnormals, the largest, infinities, NaN; in those of MXFP4, the exponent. In half of
the others they lie in a range that files use, in the rest they are random like all else. README.md in
this folder describes the format.

Requirements: pip install numpy gguf
Usage: python make_weights.py [--check]
"""
import argparse
import os
import struct
import sys

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "weights.bin")

# Where the 16-bit floats of a block begin.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "MXFP4": []}
EXTREME = [0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x7c00, 0xfc00,
           0x7e01]
EXPONENTS = [0, 1, 2, 3, 64, 127, 128, 200, 252, 253, 254, 255]


def set_half(blocks, row, offset, bits):
    blocks[row, offset:offset + 2] = np.frombuffer(struct.pack("<H", bits), dtype=np.uint8)


def blocks_of(name, random):
    elements, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    count = 48 if elements == 32 else 24
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for row in range(count):
        bits = [EXTREME[row % len(EXTREME)], EXTREME[(5 * row + 3) % len(EXTREME)]]
        if row >= len(EXTREME):
            usual = (random.standard_normal(2) * 0.01).astype(np.float16)
            bits = usual.view(np.uint16).tolist()
        if row < len(EXTREME) or row % 2 == 0:
            for offset, value in zip(HALVES[name], bits):
                set_half(blocks, row, offset, value)
            if name == "MXFP4":
                blocks[row, 0] = EXPONENTS[row % len(EXPONENTS)]
    return blocks


def record(name, blocks):
    qtype = GGMLQuantizationType[name]
    elements, size = GGML_QUANT_SIZES[qtype]
    with np.errstate(all="ignore"):
        values = dequantize(blocks, qtype).astype(np.float32)
    assert values.size == len(blocks) * elements
    return (struct.pack("<8sIII", name.lower().encode(), len(blocks), elements, size)
            + blocks.tobytes() + values.tobytes())


def golden():
    random = np.random.Generator(np.random.PCG64(5))
    names = list(HALVES)
    records = [record(name, blocks_of(name, random)) for name in names]
    halves = random.integers(0, 1 << 16, 512, dtype=np.uint16)
    halves[:len(EXTREME)] = EXTREME
    for name in ("BF16", "F16"):
        records.append(record(name, halves.view(np.uint8).reshape(-1, 2)))
    return struct.pack("<4sII", b"CLQW", 1, len(records)) + b"".join(records)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true",
                        help="compare with the committed file instead of writing it")
    arguments = parser.parse_args()
    data = golden()
    print(f"{len(data)} bytes")
    if arguments.check:
        with open(GOLDEN, "rb") as file:
            same = file.read() == data
        print("weights.bin:", "agrees" if same else "DIFFERS")
        sys.exit(0 if same else 1)
    with open(GOLDEN, "wb") as file:
        file.write(data)


if __name__ == "__main__":
    main()
