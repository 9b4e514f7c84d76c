#!/usr/bin/env python3
"""Writes host/io/bert_unicode.inc: what BERT's tokenizers know of Unicode.

The rules are those of the `tokenizers` package, whose parts bring tables of several ages of
Unicode (the categories are older than the decompositions, and those older than the letters'
cases). So nothing here is taken from one version of Unicode: every code point is given to the
package and the answer recorded. The combining classes alone are guessed by unicodedata and
checked by what the package does to pairs.

Requirements: pip install tokenizers==0.23.3
Usage: scripts/make_bert_unicode.py [--check]
"""
import argparse
import os
import sys
import unicodedata

import tokenizers
from tokenizers.normalizers import NFD, BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

TARGET = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../host/io/bert_unicode.inc")
HANGUL = range(0xAC00, 0xD7A4)
POINTS = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
WIDTH = 100
GAP = 6  # unchanged characters that a span of changed ones may hold


def normalizer(**rule):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return BertNormalizer(**{**off, **rule})


def ranges(points):
    found = []
    for point in points:
        if found and found[-1][1] == point - 1:
            found[-1][1] = point
        else:
            found.append([point, point])
    return found


def combining_classes():
    """{point: class} of the package's decompositions, for points that do not decompose."""
    nfd = NFD().normalize_str
    example = {}
    for point in POINTS:
        if unicodedata.ucd_3_2_0.combining(chr(point)) and nfd(chr(point)) == chr(point):
            example.setdefault(unicodedata.ucd_3_2_0.combining(chr(point)), chr(point))

    def agrees(character, number):
        for other, mark in example.items():
            swaps = number != 0 and other < number
            if (nfd("a" + character + mark) == "a" + mark + character) != swaps and mark != character:
                return False
            swaps = number != 0 and number < other
            if (nfd("a" + mark + character) == "a" + character + mark) != swaps and mark != character:
                return False
        return True

    classes = {}
    for point in POINTS:
        character = chr(point)
        guess = unicodedata.combining(character)
        marked = unicodedata.category(character)[0] == "M"
        if not (guess or marked) or nfd(character) != character:
            continue
        number = guess if agrees(character, guess) else 0
        assert agrees(character, number), hex(point)
        classes[point] = number
    return classes


def probe():
    clean = normalizer(clean_text=True).normalize_str
    chinese = normalizer(handle_chinese_chars=True).normalize_str
    strip = normalizer(strip_accents=True).normalize_str
    lower = normalizer(lowercase=True).normalize_str
    split = BertPreTokenizer().pre_tokenize_str
    sets = {name: [] for name in ("dropped", "blank", "space", "chinese", "punctuation")}
    stripped, lowered = {}, {}
    for point in POINTS:
        character = chr(point)
        cleaned = clean(character)
        assert cleaned in ("", " ", character)
        if cleaned == "":
            sets["dropped"].append(point)
        elif cleaned == " ":
            sets["blank"].append(point)
        spaced = chinese(character)
        assert spaced in (character, " " + character + " ")
        if spaced != character:
            sets["chinese"].append(point)
        words = [word for word, _ in split("a" + character + "b")]
        assert words in (["a", "b"], ["a", character, "b"], ["a" + character + "b"])
        if words == ["a", "b"]:
            sets["space"].append(point)
        elif len(words) == 3:
            sets["punctuation"].append(point)
        if strip(character) != character:
            stripped[point] = strip(character)
        if lower(character) != character:
            lowered[point] = lower(character)
    return sets, stripped, lowered


def check_hangul(stripped):
    for point in HANGUL:
        index = point - 0xAC00
        jamo = [0x1100 + index // 588, 0x1161 + index % 588 // 28, 0x11A7 + index % 28]
        assert stripped[point] == "".join(map(chr, jamo[:3 if index % 28 else 2])), hex(point)


def array(kind, name, items):
    lines, line = [f"static const {kind} {name}[] = {{"], "   "
    for item in items:
        if len(line) + len(item) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join(lines + [line, "};"]) + "\n"


def range_array(name, points):
    return array("point_range", name, (f"{{{a:#x}, {b:#x}}}" for a, b in ranges(points)))


def stripped_arrays(stripped):
    """Spans of characters with what becomes of each: 0 itself, or LONG and where in `longer` it is."""
    longer, places, spans, values = [], {}, [], []
    changed = sorted(point for point, text in stripped.items() if text and point not in HANGUL)
    for point in changed:
        text = stripped[point]
        value = f"{ord(text[0]):#x}"
        if len(text) > 1:
            assert len(text) <= 3
            if text not in places:
                places[text] = len(places)
                longer.append("{" + ", ".join(f"{ord(c):#x}" for c in text) + "}")
            value = f"LONG | {places[text]}"
        if spans and point - spans[-1][1] <= GAP:
            values += ["0"] * (point - spans[-1][1] - 1)
            spans[-1][1] = point
        else:
            spans.append([point, point, len(values)])
        values.append(value)
    return (array("uint32_t", "stripped_longer[][3]", longer).replace("[][3][]", "[][3]") +
            array("point_span", "stripped_spans", (f"{{{a:#x}, {b:#x}, {at}}}" for a, b, at in spans)) +
            array("uint32_t", "stripped_values", values))


def lowered_array(lowered):
    """Runs of letters, every one or every second of which moves by the same distance."""
    runs = []
    for point in sorted(lowered):
        if len(lowered[point]) != 1:
            assert point == 0x130 and lowered[point] == "i\u0307"
            continue
        delta = ord(lowered[point]) - point
        for step in (1, 2):
            if runs and runs[-1][3] == delta and point - runs[-1][1] == step and runs[-1][2] in (0, step):
                runs[-1][1:3] = [point, step]
                break
        else:
            runs.append([point, point, 0, delta])
    return array("lower_run", "lowered", (f"{{{a:#x}, {b:#x}, {step or 1}, {delta}}}" for a, b, step, delta in runs))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed file instead of writing it")
    arguments = parser.parse_args()
    sets, stripped, lowered = probe()
    check_hangul(stripped)
    classes = combining_classes()
    removed = [point for point in sorted(stripped) if stripped[point] == ""]
    kept = {point: number for point, number in classes.items() if number and point not in set(removed)}
    assert not any(point in lowered for point in kept)  # the order may be mended after lowering
    for text in stripped.values():
        assert all(kept.get(ord(c), 0) == 0 for c in text[:1]) or text in map(chr, kept), text
    groups = []
    for point in sorted(kept):
        if groups and groups[-1][1] == point - 1 and groups[-1][2] == kept[point]:
            groups[-1][1] = point
        else:
            groups.append([point, point, kept[point]])
    numbers = sorted(set(kept.values()))
    nfd = NFD().normalize_str
    starters = [point for point in removed if any(classes.get(ord(c), 0) == 0 for c in nfd(chr(point)))]
    text = f"""/* What BERT's tokenizers know of Unicode: written by scripts/make_bert_unicode.py, which asked the
 * `tokenizers` package {tokenizers.__version__} about every code point. */

/* Control, format and private characters that cleaning drops. */
{range_array("dropped", sets["dropped"])}
/* What cleaning makes a blank of. */
{range_array("blank", sets["blank"])}
/* What ends a word and vanishes. */
{range_array("space", sets["space"])}
/* What cleaning sets blanks around. */
{range_array("chinese", sets["chinese"])}
/* What is a word of its own. */
{range_array("punctuation", sets["punctuation"])}
/* Nonspacing marks, which stripping removes ... */
{range_array("marks", removed)}
/* ... and those of them with combining class 0, which others do not move across. */
{range_array("starter_marks", starters)}
/* Marks that stay and have a combining class, and the classes that there are. */
{array("marked_range", "classes", (f"{{{{{a:#x}, {b:#x}}}, {numbers.index(n)}}}" for a, b, n in groups))}
enum {{ CLASS_COUNT = {len(numbers)} }}; /* {", ".join(map(str, numbers))} */

/* What stripping makes of letters: canonical decompositions without nonspacing marks. */
{stripped_arrays(stripped)}
/* Small letters of capitals. U+0130, which becomes two characters, is not among them. */
{lowered_array(lowered)}"""
    print(f"{len(text)} bytes")
    if arguments.check:
        with open(TARGET) as file:
            same = file.read() == text
        print("bert_unicode.inc:", "agrees" if same else "DIFFERS")
        sys.exit(0 if same else 1)
    with open(TARGET, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
