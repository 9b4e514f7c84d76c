#!/usr/bin/env python3
"""What the same bits everywhere cost the norms on a CPU: `clq bench` with the kernels as they are and
with a copy of them in which sums are folded as is shortest for this machine and division, root and
reciprocal root are the device's own; in turns. A run's least turn counts, and of the runs the median:
what is compared is work, whatever else the machine does only adds to it, and processes differ by where
they are placed.

  bench/order_cost.py --clq build/release/clq --kernels kernels_cl

The copy differs in what FREE replaces, nothing else; its answers may differ by a unit of the codes. Two
minutes on two cores, which must be idle. Python's own library is all it needs.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile

SHAPES = "--rows 64,4096 --cols 768,4096 --dtype f32"
OPERATORS = {"layernorm": "layernorm", "rmsnorm": "rmsnorm",
             "rmsnorm fused": "rmsnorm --residual --out q8"}

# file: (head of a function, its body in any order)
FREE = {
    "lib/fold.h": [
        ("CLQ_INLINE float clq_fold_add128(const float16 *v)",
         """
  const float16 s = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
  const float8 a = s.lo + s.hi;
  const float4 b = a.lo + a.hi;
  const float2 c = b.lo + b.hi;
  return c.x + c.y;
"""),
    ],
    "lib/norm_rows.h": [
        ("CLQ_INLINE clq_welford clq_merge_chunk(float n, const clq_states *s)",
         """
#define MERGE(m, a, b) clq_merge_pairs(m, (a).mean, (b).mean, (a).m2, (b).m2)
  const clq_states a = MERGE(n, s[0], s[1]), b = MERGE(n, s[2], s[3]);
  const clq_states c = MERGE(n, s[4], s[5]), d = MERGE(n, s[6], s[7]);
  const clq_states e = MERGE(2.0f * n, a, b), f = MERGE(2.0f * n, c, d);
  const clq_states g = MERGE(4.0f * n, e, f);
  const float8 delta = g.mean.hi - g.mean.lo;
  return clq_welford8_fold(16.0f * n, 0.5f * (g.mean.lo + g.mean.hi),
                           fma(delta * delta, (float8)(4.0f * n), g.m2.lo + g.m2.hi));
"""),
    ],
    "lib/math.h": [],
}
# What the kernels call from here on is the device's own.
FREE_MATH = """
#define clq_div(a, b) ((a) / (b))
#define clq_sqrt(x) sqrt(x)
#define clq_rsqrt(x) rsqrt(x)

#endif
"""


def free_copy(kernels, folder):
    shutil.copytree(kernels, folder)
    for name, functions in FREE.items():
        path = os.path.join(folder, name)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for head, body in functions:
            pattern = re.escape(head) + r" \{\n.*?\n\}\n"
            if len(re.findall(pattern, text, re.DOTALL)) != 1:
                raise SystemExit(f"{name}: '{head}' is not there once: mend FREE")
            text = re.sub(pattern, lambda _: f"{head} {{{body}}}\n", text, flags=re.DOTALL)
        if name == "lib/math.h":
            text = text[:text.rindex("#endif")] + FREE_MATH.lstrip("\n")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def measure(clq, kernels, words, reps):
    line = [*clq.split(), "bench", *words.split(), "--reps", str(reps), "--max-error", "1",
            "-o", "json"]
    result = subprocess.run(line, capture_output=True, text=True,
                            env=dict(os.environ, CLQ_KERNEL_DIR=kernels))
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(line)}: {result.stderr.strip()}")
    return {(r["rows"], r["cols"]): r["min_time"] / 1e3
            for r in json.loads(result.stdout)["benchmarks"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clq", required=True, help="the command to run")
    parser.add_argument("--kernels", required=True, help="the folder kernels_cl")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each case and order")
    parser.add_argument("--reps", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        free = os.path.join(scratch, "kernels_cl")
        free_copy(arguments.kernels, free)
        print("| case | fixed order, us | any order, us | cost |\n|---|--:|--:|--:|")
        for name, words in OPERATORS.items():
            runs = {arguments.kernels: [], free: []}
            for _ in range(arguments.rounds):
                for kernels, taken in runs.items():
                    taken.append(measure(arguments.clq, kernels, f"{words} {SHAPES}",
                                         arguments.reps))
            for shape in runs[free][0]:
                fixed, other = (statistics.median(run[shape] for run in taken)
                                for taken in runs.values())
                print(f"| {name} {shape[0]} × {shape[1]} | {fixed:.4g} | {other:.4g} | "
                      f"{fixed / other - 1:+.1%} |", flush=True)


if __name__ == "__main__":
    main()
