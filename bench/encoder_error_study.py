"""What each quantized part costs an encoder: error, speed and bytes, for docs/encoders.md.

All-MiniLM-L6-v2 through `clq embed`, in one form after the other, on the 200 texts of
tests/golden/encoder_texts.py, against PyTorch's vectors in tests/golden/encoder.bin. Times are the least of
the rounds, in which all forms take turns.

Requirements: pip install numpy
Usage: python encoder_error_study.py --clq build/release/clq --encoder FOLDER [--rounds 3]
"""
import argparse
import json
import os
import struct
import subprocess
import sys

import numpy as np

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden", "encoder.bin")

CALIBRATION = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "architecture.md")
CALIBRATE = ["--calibrate", CALIBRATION]
INT8 = ["--weights", "w8", "--acts", "q8g32"]

FORMS = [
    ("float", []),
    ("weights f16", ["--weights", "f16"]),
    ("weights bf16", ["--weights", "bf16"]),
    ("tables of words and positions int8", ["--embeddings", "w8"]),
    ("weights int8, a scale a row", ["--weights", "w8"]),
    ("weights int8, a scale per 32", ["--weights", "w8g32"]),
    ("activations int8 per 32", ["--acts", "q8g32"]),
    ("activations int8 per token", ["--acts", "q8"]),
    ("residual int8 per 32 (with such activations)", ["--acts", "q8g32", "--int8", "residual"]),
    ("GELU by table", ["--int8", "activation", *CALIBRATE]),
    ("norm inputs int8 per channel", ["--int8", "norm", *CALIBRATE]),
    ("matrices int8: weights a row, activations per 32", INT8),
    ("matrices int8: weights a row, activations per token", ["--weights", "w8", "--acts", "q8"]),
    ("matrices, GELU, norm inputs and residual int8",
     [*INT8, "--int8", "activation,norm,residual", *CALIBRATE]),
]
# Where attention of codes is offered.
ATTENTION = [
    ("attention int8, softmax float", ["--int8", "attention"]),
    ("attention int8, softmax by table", ["--int8", "softmax"]),
    ("all of it int8", [*INT8, "--int8", "softmax,activation,norm,residual", *CALIBRATE]),
]


def read_golden():
    with open(GOLDEN, "rb") as file:
        data = file.read()
    magic, _, count, width = struct.unpack_from("<4s3I", data)
    assert magic == b"CLQE"
    at, texts, vectors = 16, [], []
    for _ in range(count):
        (length,) = struct.unpack_from("<I", data, at)
        texts.append(data[at + 4 : at + 4 + length].decode())
        at += 4 + length
        (ids,) = struct.unpack_from("<I", data, at)
        at += 4 + 2 * ids + 4
        vectors.append(np.frombuffer(data, "<i2", width, at).astype(np.float64))
        at += 2 * width
    return texts, np.array(vectors)


def run(clq, folder, options, texts):
    command = [clq, "embed", "-m", folder, "-o", "json", *options, "--", *texts]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def distances(result, exact):
    vectors = np.array(result["embeddings"])
    dots = (vectors * exact).sum(1)
    return 1 - dots / np.linalg.norm(vectors, axis=1) / np.linalg.norm(exact, axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clq", required=True)
    parser.add_argument("--encoder", required=True, help="the folder of all-MiniLM-L6-v2")
    parser.add_argument("--attention", action="store_true", help="forms with attention of codes too")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    texts, exact = read_golden()
    forms = FORMS + (ATTENTION if args.attention else [])
    best = {}
    for _ in range(args.rounds + 1):  # the first one compiles
        for name, options in forms:
            result = run(args.clq, args.encoder, options, texts)
            if name not in best or result["embed_s"] < best[name]["embed_s"]:
                best[name] = result
    print("| form | 1 - cosine, median | worst | texts/s | weights, MB | activations, MB |")
    print("|---|---|---|---|---|---|")
    for name, _ in forms:
        r = best[name]
        d = distances(r, exact)
        print(f"| {name} | {np.median(d):.1e} | {d.max():.1e} | {len(texts) / r['embed_s']:.0f} "
              f"| {r['weight_bytes'] / 1e6:.1f} | {(r['arena_bytes'] + r['kv_bytes']) / 1e6:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
