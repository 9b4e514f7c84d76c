#!/usr/bin/env python3
"""Runs `clq bench gemm` over rows, groups and formats and writes the figures of
docs/quantized-gemm.md with their plots.

  bench/report_gemm.py --clq build/release/clq

About six minutes on two cores. The machine must be idle: figures of a busy one are worthless.
Python's own library is all it needs.
"""
import argparse
import os
import sys
import time

from report_common import DOCS, Bench, figure, head, percent, plot, replace_part, row, save

BEGIN = "<!-- figures: begin -->\n"
END = "<!-- figures: end -->\n"

SHAPE = "--n 4096 --k 4096"
STREAM = (16384, 8192)  # N, K of weights beyond every cache: 50 MB and more
ROWS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
ROW_LINES = [("w4", "q8"), ("w4g128", "q8"), ("w4g32", "q8"), ("w8", "q8"), ("q4_0", "q8g32"),
             ("q4_k", "q8g32"), ("q6_k", "q8g32"), ("w4g32", "f32"), ("f32", "f32")]
GROUPS = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096]
GROUP_LINES = [("w4", "q8"), ("w8", "q8"), ("w4", "f32")]
FORMATS = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl",
           "mxfp4", "w2g32", "w3g32", "w4g32", "w8g32"]


def macs(record):
    return record["ops_per_second"] / 2e9


def rows(bench):
    """{(weights, acts): [GMAC/s at each number of rows]}"""
    words = ",".join(map(str, ROWS))
    return {(w, a): [macs(r) for r in
                     bench.run(f"gemm --m {words} {SHAPE} --weights {w} --acts {a}")]
            for w, a in ROW_LINES}


def groups(bench):
    """{(weights, acts, rows of x): [GMAC/s at each group]}"""
    lines = {}
    for w, a in GROUP_LINES:
        words = ",".join(f"{w}g{g}" for g in GROUPS)
        records = bench.run(f"gemm --m 1,512 {SHAPE} --weights {words} --acts {a}")
        for m in (1, 512):
            lines[w, a, m] = [macs(r) for r in records if r["m"] == m]
    return lines


def formats(bench):
    """Every format against Q4_0 in one run."""
    names = ",".join(FORMATS)
    n, k = STREAM
    stream = bench.run(f"gemm --m 1 --n {n} --k {k} --acts q8g32 --weights {names}")
    read = bench.contexts[-1]["read_bytes_per_second"]
    many = bench.run(f"gemm --m 512 {SHAPE} --acts q8g32 --weights {names}")
    text = head(["weights", "bits a weight", "one row, from memory: GB/s", "of the read loop",
                 "of Q4_0's GB/s", "512 rows: ms", "GMAC/s", "of the int8 peak", "of Q4_0's time"], 1)
    peak = bench.contexts[-1]["int8_ops_per_second"] / 2e9
    for one, lot in zip(stream, many):
        bits = 8 * (one["bytes"] - k * (1 + 4 / 32) - 4 * n) / (n * k)
        rate = one["bytes_per_second"]
        text += row([one["weights"], f"{bits:.3g}", figure(rate / 1e9), percent(rate / read),
                     percent(rate / stream[0]["bytes_per_second"]), figure(lot["real_time"] / 1e6),
                     figure(macs(lot)), percent(macs(lot) / peak),
                     percent(lot["real_time"] / many[0]["real_time"])])
    return text


def table(first, keys, lines):
    text = head([first, *(" ".join(map(str, line)) for line in lines)], 0)
    for i, key in enumerate(keys):
        text += row([key, *(figure(line[i]) for line in lines.values())])
    return text


def lines_of(keys, lines):
    return {" ".join(map(str, name)): list(zip(keys, line)) for name, line in lines.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clq", default="clq", help="the command to measure")
    parser.add_argument("--reps", type=int, default=7)
    parser.add_argument("--docs", default=DOCS, help="folder of the page and the plots")
    arguments = parser.parse_args()
    bench, parts = Bench(arguments.clq, arguments.reps), []
    for part in (rows, groups, formats):
        began = time.monotonic()
        parts.append(part(bench))
        print(f"{part.__name__}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    by_rows, by_group, by_format = parts
    peak = max(c["int8_ops_per_second"] for c in bench.contexts) / 2e9
    mark = (peak, f"int8 peak, {peak:.0f}")
    save(os.path.join(arguments.docs, "quantized-gemm_rows.svg"),
         plot("GMAC/s against the rows of x, N = K = 4096, weights in the cache", "rows of x (M)",
              lines_of(ROWS, by_rows), 50, mark))
    save(os.path.join(arguments.docs, "quantized-gemm_groups.svg"),
         plot("GMAC/s against the group of the weights, N = K = 4096, M = 1 and 512",
              "elements that share a scale", lines_of(GROUPS, by_group), 50, mark))
    text = (bench.about() + "\n### Rows\n\n![GMAC/s against the rows of x](quantized-gemm_rows.svg)\n\n"
            "`clq bench gemm --n 4096 --k 4096`, weights warm; GMAC/s, columns are weights and "
            "activations:\n\n" + table("M", ROWS, by_rows)
            + "\n### Groups\n\n![GMAC/s against the group](quantized-gemm_groups.svg)\n\n"
            "GMAC/s, columns are weights, activations and M:\n\n" + table("group", GROUPS, by_group)
            + "\n### Formats\n\nActivations int8 per 32. Bits are what the device holds, scales "
            f"counted. One row: N = {STREAM[0]}, K = {STREAM[1]}, weights beyond every cache, call "
            "after call; GB/s are all bytes over the wall's time, beside the read loop of the same "
            "run. 512 rows: N = K = 4096.\n\n" + by_format)
    replace_part(os.path.join(arguments.docs, "quantized-gemm.md"), BEGIN, END, text)


if __name__ == "__main__":
    main()
