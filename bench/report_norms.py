#!/usr/bin/env python3
"""Runs `clq bench` on the norms and writes the figures of docs/normalization.md: shares of the copy
limit, fused against unfused, and a sweep of widths with its plot, docs/normalization_widths.svg.

  bench/report_norms.py --clq build/release/clq [--pytorch FILE]

About eight minutes on two cores, most of them for the sweep. The machine must be idle: figures of a
busy one are worthless. With --pytorch the table of bench/peers/pytorch.py (its --out FILE) goes in as
well. Python's own library is all it needs.
"""
import argparse
import json
import math
import os
import sys
import time

from report_common import DOCS, Bench, figure, head, percent, plot, replace_part, row, save

BEGIN = "<!-- speed figures: begin -->\n"
END = "<!-- end -->\n"
PLOT = "normalization_widths.svg"

COLS = "768,1024,4096,8192"
WIDTHS = [32, 33, 64, 128, 256, 512, 768, 769, 1024, 1025, 2048, 4096, 5137, 8192, 16384, 32768,
          65536, 65537]
BYTES_IN = 64 << 20  # of x at every width
SERIES = [("layernorm", "f32"), ("layernorm", "f16"), ("rmsnorm", "f32"), ("rmsnorm", "f16"),
          ("fused", "f32"), ("fused", "f16")]
RATIO_OF_BYTES = {"f32": 25 / 13, "f16": 13 / 7}


def copy_share(record, context=None):
    """Of the faster copy at this footprint and cache state, or else of that of large arrays."""
    limit = record["limit_copy_bytes_per_second"] or (context or {}).get("copy_bytes_per_second")
    return record["bytes_per_second"] / limit if limit else math.nan


# --- 4096 rows ---

def alone(bench):
    """Every kernel by itself."""
    cols = COLS.split(",")
    text = head(["kernel", "dtype", *(f"{c} columns" for c in cols)], 2)
    for name, out in [("layernorm", "same"), ("rmsnorm", "same"), ("add", None),
                      ("quantize", "q8")]:
        for dtype in ("f32", "f16"):
            words = f"{name} --rows 4096 --cols {COLS} --dtype {dtype}"
            words += f" --out {dtype if out == 'same' else out}" if out else ""
            records = bench.run(words)
            text += row([name, dtype, *(
                f"{percent(copy_share(r, bench.contexts[-1]))} ({r['real_time'] / 1e6:.3g} ms)"
                for r in records)])
    return text


def fused(bench):
    text = head(["dtype", "columns", "fused, ms", "of the copy limit", "unfused, ms", "times faster",
                 "bytes", "of the ratio of bytes"], 1)
    for dtype, ratio in RATIO_OF_BYTES.items():
        records = bench.run(f"rmsnorm --rows 4096 --cols {COLS} --dtype {dtype} --residual --out q8 "
                            "--peer unfused")
        for ours, theirs in zip(records[::2], records[1::2]):
            text += row([dtype, ours["cols"], figure(ours["real_time"] / 1e6),
                         percent(copy_share(ours, bench.contexts[-1])),
                         figure(theirs["real_time"] / 1e6), f"{ours['ratio']:.2f}", f"{ratio:.2f}",
                         percent(ours["ratio"] / ratio)])
    return text


# --- the sweep ---

def sweep(bench, widths):
    """{series: [share at each width]}"""
    shares = {series: [] for series in SERIES}
    for cols in widths:
        began = time.monotonic()
        for name, dtype in SERIES:
            rows = max(1, BYTES_IN // (cols * (4 if dtype == "f32" else 2)))
            words = "rmsnorm --residual --out q8" if name == "fused" else f"{name} --out {dtype}"
            record = bench.run(f"{words} --dtype {dtype} --rows {rows} --cols {cols}")[0]
            shares[name, dtype].append(copy_share(record, bench.contexts[-1]))
        print(f"{cols} columns: {time.monotonic() - began:.1f} s", file=sys.stderr)
    return shares


def sweep_table(shares, widths):
    text = head(["columns", *(f"{name} {dtype}" for name, dtype in SERIES)], 0)
    for i, cols in enumerate(widths):
        text += row([cols, *(percent(shares[series][i]) for series in SERIES)])
    return text


def sweep_plot(shares, widths):
    return plot("Share of the faster copy loop, same run and footprint, against the width of a row",
                f"columns, {BYTES_IN >> 20} MiB of x at every width",
                {" ".join(series): [(cols, 100 * share) for cols, share in zip(widths, line)]
                 for series, line in shares.items()}, 20, (85, "85 %"), " %")


# --- PyTorch ---

def pytorch(path):
    with open(path, encoding="utf-8") as file:
        result = json.load(file)
    context = result["context"]
    text = (f"\n### PyTorch eager\n\n`bench/peers/pytorch.py`, {context['date'][:10]}, revision "
            f"{context['clq']['git_revision']}, PyTorch {context['torch_version']}, "
            f"{context['threads']} threads each, its allocator kept warm. `chain`: x + r, RMSNorm, int8 "
            "for each row.\n\n")
    text += head(["case", "dtype", "columns", "PyTorch, ms", "CLQuant, ms", "times faster"], 2)
    for r in result["benchmarks"]:
        text += row([r["case"], r["dtype"], r["cols"], figure(r["pytorch_ms"]),
                     figure(r["clquant_ms"]), f"{r['ratio']:.2f}"])
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clq", default="clq", help="the command to measure")
    parser.add_argument("--reps", type=int, default=9)
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)))
    parser.add_argument("--pytorch", metavar="FILE", help="JSON of bench/peers/pytorch.py")
    parser.add_argument("--docs", default=DOCS, help="folder of the page and the plot")
    arguments = parser.parse_args()
    widths = [int(cols) for cols in arguments.widths.split(",")]
    bench = Bench(arguments.clq, arguments.reps)
    kernels, chains, shares = alone(bench), fused(bench), sweep(bench, widths)
    text = (bench.about() + "\n### 4096 rows\n\nShare of the faster copy loop, plain or "
            "non-temporal, at the same footprint in the same run, on bytes that must move:\n\n" + kernels
            + "\nResidual, RMSNorm and int8 codes in one kernel against `add`, `rmsnorm` and `quantize` "
            "in turns with it (`clq bench rmsnorm --residual --out q8 --peer unfused`):\n\n" + chains
            + (pytorch(arguments.pytorch) if arguments.pytorch else "")
            + f"\n### Widths\n\n![share of the copy limit against the width]({PLOT})\n\n"
            "`fused` is residual, RMSNorm and int8 codes. The same shares:\n\n"
            + sweep_table(shares, widths))
    save(os.path.join(arguments.docs, PLOT), sweep_plot(shares, widths))
    replace_part(os.path.join(arguments.docs, "normalization.md"), BEGIN, END, text)


if __name__ == "__main__":
    main()
