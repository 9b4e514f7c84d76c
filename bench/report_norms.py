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
import subprocess
import sys
import time

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs")
BEGIN = "<!-- speed figures: begin -->\n"
END = "<!-- end -->\n"
PLOT = "normalization_widths.svg"

COLS = "768,1024,4096,8192"
WIDTHS = [32, 33, 64, 128, 256, 512, 768, 769, 1024, 1025, 2048, 4096, 5137, 8192, 16384, 32768,
          65536, 65537]
BYTES_IN = 64 << 20  # of x at every width
SERIES = [("layernorm", "f32"), ("layernorm", "f16"), ("rmsnorm", "f32"), ("rmsnorm", "f16"),
          ("fused", "f32"), ("fused", "f16")]
COLORS = ["#1f5fa8", "#7fb2e5", "#b3541e", "#eda35f", "#2e7d32", "#8ccf7e"]
RATIO_OF_BYTES = {"f32": 25 / 13, "f16": 13 / 7}


class Bench:
    """`clq bench`, and what its runs said of the machine."""

    def __init__(self, clq, reps):
        self.clq, self.reps, self.contexts = clq.split(), str(reps), []

    def run(self, words):
        line = [*self.clq, "bench", *words.split(), "--reps", self.reps, "-o", "json"]
        result = subprocess.run(line, capture_output=True, text=True)
        if result.returncode != 0:
            raise SystemExit(f"{' '.join(line)}: {result.stderr.strip()}")
        answer = json.loads(result.stdout)
        self.contexts.append(answer["context"])
        for record in answer["benchmarks"]:
            if not record["checked"]:
                raise SystemExit(f"{record['name']} was not checked")
        return answer["benchmarks"]

    def about(self, load):
        first = self.contexts[0]
        copies = [c["copy_bytes_per_second"] / 1e9 for c in self.contexts]
        return (f"{first['date'][:10]}, revision {first['git_revision']}, {first['device']} through "
                f"{first['platform']} {first['driver']}, {first['threads']} threads, "
                f"{' '.join(first['cpu_features'])}; medians of {self.reps}; load average before the "
                f"run {load:.1f}. Copy limit of large arrays over all runs: {min(copies):.0f}–"
                f"{max(copies):.0f} GB/s.\n")


def copy_share(record, context=None):
    """Of the faster copy at this footprint and cache state, or else of that of large arrays."""
    limit = record["limit_copy_bytes_per_second"] or (context or {}).get("copy_bytes_per_second")
    return record["bytes_per_second"] / limit if limit else math.nan


def row(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def head(cells, texts):
    return row(cells) + "|---" * texts + "|--:" * (len(cells) - texts) + "|\n"


def percent(share):
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"


def figure(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


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


def plot(shares, widths):
    """The share against the width, which goes up by powers of two."""
    left, top, width, height = 56, 40, 620, 320
    low, high = math.log2(min(widths)), math.log2(max(widths))
    most = max(1.2, max((s for line in shares.values() for s in line if not math.isnan(s)),
                        default=0))
    most = math.ceil(5 * most) / 5

    def x(cols):
        return left + width * (math.log2(cols) - low) / max(high - low, 1)

    def y(share):
        return top + height * (1 - share / most)

    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 150} '
           f'{top + height + 56}" font-family="sans-serif" font-size="12" fill="#333">',
           '<rect width="100%" height="100%" fill="#fff"/>',
           f'<text x="{left}" y="22" font-size="14">Share of the faster copy loop, same run and '
           'footprint, against the width of a row</text>']
    for tick in range(0, round(5 * most) + 1):
        at = y(tick / 5)
        svg += [f'<path d="M{left} {at:.1f}h{width}" stroke="#ddd"/>',
                f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{20 * tick} %</text>']
    svg += [f'<path d="M{left} {y(0.85):.1f}h{width}" stroke="#888" stroke-dasharray="5 4"/>',
            f'<text x="{left + 4}" y="{y(0.85) - 4:.1f}" fill="#666" font-size="10">85 %</text>']
    for power in range(math.ceil(low), math.floor(high) + 1):
        at = x(2 ** power)
        svg += [f'<path d="M{at:.1f} {top + height}v5" stroke="#333"/>',
                f'<text x="{at:.1f}" y="{top + height + 20}" text-anchor="middle">{2 ** power}</text>']
    svg.append(f'<text x="{left + width / 2}" y="{top + height + 42}" text-anchor="middle">columns, '
               f'{BYTES_IN >> 20} MiB of x at every width</text>')
    for number, (series, color) in enumerate(zip(SERIES, COLORS)):
        points = [(x(c), y(s)) for c, s in zip(widths, shares[series]) if not math.isnan(s)]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        label = top + 14 + 22 * number
        svg.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        svg += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{color}"/>' for a, b in points]
        svg += [f'<path d="M{left + width + 12} {label - 4}h18" stroke="{color}" stroke-width="3"/>',
                f'<text x="{left + width + 36}" y="{label}">{" ".join(series)}</text>']
    return "\n".join([*svg, "</svg>"]) + "\n"


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
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"report_norms.py: the load average is {load:.1f}: these figures are worthless",
              file=sys.stderr)
    bench = Bench(arguments.clq, arguments.reps)
    kernels, chains, shares = alone(bench), fused(bench), sweep(bench, widths)
    text = (bench.about(load) + "\n### 4096 rows\n\nShare of the faster copy loop, plain or "
            "non-temporal, at the same footprint in the same run, on bytes that must move:\n\n" + kernels
            + "\nResidual, RMSNorm and int8 codes in one kernel against `add`, `rmsnorm` and `quantize` "
            "in turns with it (`clq bench rmsnorm --residual --out q8 --peer unfused`):\n\n" + chains
            + (pytorch(arguments.pytorch) if arguments.pytorch else "")
            + f"\n### Widths\n\n![share of the copy limit against the width]({PLOT})\n\n"
            "`fused` is residual, RMSNorm and int8 codes. The same shares:\n\n"
            + sweep_table(shares, widths))
    with open(os.path.join(arguments.docs, PLOT), "w", encoding="utf-8") as file:
        file.write(plot(shares, widths))
    page = os.path.join(arguments.docs, "normalization.md")
    with open(page, encoding="utf-8") as file:
        before, rest = file.read().split(BEGIN)
    after = rest.split(END, 1)[1]
    with open(page, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + "\n" + text + "\n" + END + after)


if __name__ == "__main__":
    main()
