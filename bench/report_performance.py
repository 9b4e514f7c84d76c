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
import subprocess
import sys
import time

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "performance.md")
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
    ("silu_mul", f"silu_mul {ROWS} --out f32,q8", "rows out", "copy", None),
    ("embedding", "embedding --rows 1,512 --cols 4096 --n 8192 --weights q8_0,q4_0", "rows weights",
     "copy", None),
    ("add", f"add {ROWS}", "rows", "copy", None),
    ("plan", "plan --nodes 100,1000,10000", "nodes", None, None),
]


def run(clq, words, reps):
    """The JSON of one `clq bench`, or the sentence that it failed with."""
    line = [clq, "bench", *words.split(), "--reps", str(reps), "-o", "json"]
    result = subprocess.run(line, capture_output=True, text=True)
    return json.loads(result.stdout) if result.returncode == 0 else result.stderr.strip()


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


def figure(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def row(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def table(result, keys, bandwidth, peak):
    keys = keys.split()
    records, context = result["benchmarks"], result["context"]
    peers = any(record.get("peer") for record in records)
    heads = (keys + ["variant", "µs", "GB/s"] + ["GOP/s"] * bool(peak) + ["of the limit"]
             + ["ratio"] * peers)
    text = row(heads) + "|---" * len(heads) + "|\n"
    for r in records:
        if not r["checked"]:
            raise SystemExit(f"{r['name']} was not checked")
        cells = ["CLQuant" if key == "peer" and r[key] is None else r[key] for key in keys]
        cells += [f"`{r['variant']}`", figure(r["real_time"] / 1e3),
                  figure(r["bytes_per_second"] / 1e9)]
        cells += [figure(r["ops_per_second"] / 1e9)] if peak else []
        cells += ["" if r.get("peer") else share(r, context, bandwidth, peak)]
        cells += [figure(r["ratio"]) if r["ratio"] else ""] if peers else []
        text += row(cells)
    return text


def plan_table(result):
    text = row(["nodes", "record, ms", "plan, ms", "run, µs a node", "of that ours",
                "arena / lower bound"]) + "|---" * 6 + "|\n"
    for r in result["benchmarks"]:
        text += row([r["nodes"], f"{r['graph_time'] / 1e6:.3g}", f"{r['plan_time'] / 1e6:.3g}",
                     f"{r['real_time'] / 1e3 / r['nodes']:.3g}",
                     "within noise" if r["overhead_per_node"] is None
                     else f"{r['overhead_per_node'] / 1e3:.3g}",
                     f"{r['arena_bytes'] / r['lower_bound_bytes']:.3g}"])
    return text


def about(contexts, load, reps):
    """The machine, and between which values its limits were in the runs."""
    first = contexts[0]

    def limits(key):
        values = [context[key] / 1e9 for context in contexts if context[key]]
        return f"{min(values):.0f}–{max(values):.0f}" if values else "unknown"

    return (f"{first['date'][:10]}, revision {first['git_revision']} of clq {first['clq_version']}, "
            f"{first['device']} through {first['platform']} {first['driver']}, "
            f"{first['threads']} threads, {' '.join(first['cpu_features'])}; medians of {reps}; "
            f"load average before the run {load:.1f}.\n\n"
            f"Limits over all runs below: read {limits('read_bytes_per_second')} GB/s, copy "
            f"{limits('copy_bytes_per_second')} GB/s, fp32 {limits('fp32_flops_per_second')} "
            f"GFLOP/s, int8 {limits('int8_ops_per_second')} GOP/s.\n")


def operators(arguments):
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"report_performance.py: the load average is {load:.1f}: these figures are worthless",
              file=sys.stderr)
    text, contexts = "", []
    for title, words, keys, bandwidth, peak in TABLES:
        began = time.monotonic()
        result = run(arguments.clq, words, arguments.reps)
        text += f"\n### {title}\n\n`clq bench {words}`\n\n"
        if isinstance(result, str):
            if "--peer" not in words:
                raise SystemExit(f"{words}: {result}")
            text += f"Not measured: {result}\n"
        else:
            contexts.append(result["context"])
            text += (plan_table(result) if title == "plan"
                     else table(result, keys, bandwidth, peak))
        print(f"{title}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    return about(contexts, load, arguments.reps) + text


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
    with open(arguments.page, encoding="utf-8") as file:
        before, rest = file.read().split(BEGIN)
    after = rest.split(END)[1]
    text = operators(arguments) + (llama(arguments.llama) if arguments.llama else "")
    with open(arguments.page, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + "\n" + text + "\n" + END + after)


if __name__ == "__main__":
    main()
