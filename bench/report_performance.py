#!/usr/bin/env python3
"""Runs `clq bench` on a fixed list of shapes and writes the tables of docs/performance.md.

  bench/report_performance.py --clq build/release/clq

About three minutes on two cores. The machine must be idle: figures of a busy one are worthless.
What stands between the two markers of the page is replaced; the rest of it is written by hand.
With --llama FILE the table of bench/peers/llama_cpp.py (its --out FILE) goes in as well.
"""
import argparse
import json
import os
import sys
import time

from report_common import DOCS, Bench, figure, replace_part, row

PAGE = os.path.join(DOCS, "performance.md")
BEGIN = "<!-- what bench/report_performance.py writes: begin -->\n"
END = "<!-- end -->\n"

ROWS = "--rows 1,128,4096 --cols 4096"
MATRIX = "--m 1,8,64,512 --n 4096 --k 4096"
FEW = "--m 1 --n 4096 --k 4096 --cold"

# title, words of `clq bench`, keys that tell the rows apart, bandwidth limit, arithmetic limit
TABLES = [
    ("layernorm", f"layernorm {ROWS} --dtype f32,f16", "rows dtype", "copy", None),
    ("rmsnorm", f"rmsnorm {ROWS} --dtype f32,f16", "rows dtype", "copy", None),
    ("rmsnorm with a residual, int8 out", f"rmsnorm {ROWS} --dtype f32,f16 --residual --out q8,q8g32",
     "rows dtype out", "copy", None),
    ("quantize", f"quantize {ROWS} --out q8,q8g32", "rows out", "copy", None),
    ("dequantize", f"dequantize {ROWS} --acts q8", "rows acts", "copy", None),
    ("gemm, activations int8 per 32", f"gemm {MATRIX} --acts q8g32 --weights q4_0,q4_1,q8_0",
     "weights m", "read", "int8_ops_per_second"),
    ("gemm, activations int8 per token", f"gemm {MATRIX} --acts q8 --weights w4g32,w4g128,w4,w8",
     "weights m", "read", "int8_ops_per_second"),
    ("gemm, activations f32", f"gemm {MATRIX} --acts f32 --weights q4_1,f16",
     "weights m", "read", "fp32_flops_per_second"),
    ("gemm of floats beside CLBlast",
     "gemm --m 1,64,512 --n 4096 --k 4096 --acts f32 --weights f32 --peer clblast",
     "peer m", "read", "fp32_flops_per_second"),
    ("gemm of one row, weights from memory, int8 per 32",
     f"gemm {FEW} --acts q8g32 --weights q4_0,q4_1,q8_0", "weights", "read", "int8_ops_per_second"),
    ("gemm of one row, weights from memory, int8 per token",
     f"gemm {FEW} --acts q8 --weights w4g32,w4g128,w8", "weights", "read", "int8_ops_per_second"),
    ("rope, with append to an f16 cache", "rope --rows 1,32,512", "rows", "copy", None),
    ("attention, prefill", "attention --queries 512 --keys 512,2048 --kv f16,f32", "keys kv", "read",
     "fp32_flops_per_second"),
    ("attention, decode", "attention --queries 1 --keys 128,1024,4096 --kv f16,f32", "keys kv",
     "read", "fp32_flops_per_second"),
    ("softmax", f"softmax {ROWS}", "rows", "copy", None),
    ("softmax of int8 by a table, u8 out", f"softmax {ROWS} --dtype q8 --out u8", "rows", "copy",
     None),
    ("activate: SwiGLU", f"activate {ROWS} --gated --out f32,q8", "rows out", "copy", None),
    ("embedding", "embedding --rows 1,512 --cols 4096 --n 8192 --weights q8_0,q4_0", "rows weights",
     "copy", None),
    ("add", f"add {ROWS}", "rows", "copy", None),
    ("plan", "plan --nodes 100,1000,10000", "nodes", None, None),
]


def share(record, context, bandwidth, peak):
    """How much of what the machine can do: of its bytes or its operations a second, whichever takes
    longer. Bandwidth is that of the same run at the same footprint where it was measured."""
    limit = record[f"limit_{bandwidth}_bytes_per_second"]
    if not limit and record["bytes"] >= 65536:
        limit = context[f"{bandwidth}_bytes_per_second"]
    if not limit:
        return "–"
    bounds = [(record["bytes"] / limit, bandwidth)]
    if peak and context[peak]:
        bounds.append((record["ops"] / context[peak], peak.split("_")[0]))
    seconds, what = max(bounds)
    return f"{1e11 * seconds / record['real_time']:.0f} % of {what}"


def table(records, context, keys, bandwidth, peak):
    keys = keys.split()
    peers = any(record.get("peer") for record in records)
    heads = (keys + ["variant", "µs", "GB/s"] + ["GOP/s"] * bool(peak) + ["of the limit"]
             + ["ratio"] * peers)
    text = row(heads) + "|---" * len(heads) + "|\n"
    for r in records:
        cells = ["CLQuant" if key == "peer" and r[key] is None else r[key] for key in keys]
        cells += [f"`{r['variant']}`", figure(r["real_time"] / 1e3),
                  figure(r["bytes_per_second"] / 1e9)]
        cells += [figure(r["ops_per_second"] / 1e9)] if peak else []
        cells += ["" if r.get("peer") else share(r, context, bandwidth, peak)]
        cells += [figure(r["ratio"]) if r["ratio"] else ""] if peers else []
        text += row(cells)
    return text


def plan_table(records):
    text = row(["nodes", "record, ms", "plan, ms", "run, µs a node", "of that ours",
                "arena / lower bound"]) + "|---" * 6 + "|\n"
    for r in records:
        text += row([r["nodes"], f"{r['graph_time'] / 1e6:.3g}", f"{r['plan_time'] / 1e6:.3g}",
                     f"{r['real_time'] / 1e3 / r['nodes']:.3g}",
                     "within noise" if r["overhead_per_node"] is None
                     else f"{r['overhead_per_node'] / 1e3:.3g}",
                     f"{r['arena_bytes'] / r['lower_bound_bytes']:.3g}"])
    return text


def operators(arguments):
    bench, text = Bench(arguments.clq, arguments.reps), ""
    for title, words, keys, bandwidth, peak in TABLES:
        began = time.monotonic()
        text += f"\n### {title}\n\n`clq bench {words}`\n\n"
        try:
            records = bench.run(words)
            text += (plan_table(records) if title == "plan"
                     else table(records, bench.contexts[-1], keys, bandwidth, peak))
        except RuntimeError as why:
            if "--peer" not in words:
                raise SystemExit(why) from None
            text += f"Not measured: {why}\n"
        print(f"{title}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    return bench.about() + text


def llama(path):
    with open(path, encoding="utf-8") as file:
        result = json.load(file)
    rows = result["benchmarks"]
    peer = next(r["peer"] for r in rows if r["peer"])
    text = ("\n### SmolLM2-135M-Instruct, tokens/s\n\n`bench/peers/llama_cpp.py`, "
            f"{result['context']['date'][:10]}, revision {result['context']['git_revision']}, "
            f"{peer}, {result['context']['threads']} threads; ratio: ours over theirs.\n\n")
    text += row(["task", "engine", "weights", "tokens/s", "ratio"]) + "|---" * 5 + "|\n"
    for r in rows:
        ratio = ", ".join(f"{name} {value:.2f}" for name, value in r.get("ratio", {}).items())
        text += row([r["run_name"].split("/")[0], "llama.cpp" if r["peer"] else "CLQuant",
                     r["weights"], f"{r['tokens_per_s']:.0f}", ratio])
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clq", default="clq", help="the command to measure")
    parser.add_argument("--reps", type=int, default=7)
    parser.add_argument("--llama", metavar="FILE", help="JSON of bench/peers/llama_cpp.py")
    parser.add_argument("--page", default=PAGE, help="the page to rewrite (docs/performance.md)")
    arguments = parser.parse_args()
    text = operators(arguments) + (llama(arguments.llama) if arguments.llama else "")
    replace_part(arguments.page, BEGIN, END, text)


if __name__ == "__main__":
    main()
