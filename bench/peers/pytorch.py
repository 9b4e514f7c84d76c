"""PyTorch eager on the CPU as a peer of the norms and of softmax.

  python pytorch.py --clq build/release/clq [--rows 4096] [--cols 768,1024,4096,8192] [-o json]

Rounds take turns: a block of PyTorch's calls, then a `clq bench` process on the same shape and the
same data; the medians over the rounds count. In f32 and f16:
  layernorm, rmsnorm   with gamma (and beta)
  chain                x + r, written back; rms_norm; int8 codes and a scale for each row:
                       `clq bench rmsnorm --residual --out q8`
  softmax              of rows, when --cases asks for it

PyTorch runs at its best in eager mode: results go into tensors that are already there wherever the
operator takes out=; of rms_norm and of the largest magnitude there are several ways to write them, and
the fastest here is taken. Freed memory stays in the process (mallopt, before torch is loaded): with
glibc's defaults every fresh tensor of this size costs page faults, which make it 3 to 8 times slower.
That says nothing of PyTorch's kernels and is no figure to quote. Its tensors lie in huge pages
(THP_MEM_ALLOC_ENABLE), as the buffers of `clq bench` do.

That both do the same work is checked twice: `clq bench` compares its answer with the C reference, and
PyTorch's of a small case, and its first rows of every case, must be those of the definition in f64, the
codes equal in 99.9 % (f16: 95 %, because y is rounded between its operators) and never apart by more
than 1.

Requirements: pip install torch==2.9.0 numpy (a CPU build does); Linux with glibc.
"""
import argparse
import ctypes
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
EPS = 1e-5
SEED = {"x": 1, "gamma": 2, "residual": 3, "beta": 4}  # as bench/norm.c has them
SMALL = (64, 770)  # the case that is checked before anything is measured


def keep_memory():
    """No allocation is a mapping of its own, nothing goes back to the system; huge pages."""
    libc = ctypes.CDLL(None)
    if not (libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, -1)):
        raise SystemExit("pytorch.py: mallopt refuses: not glibc?")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


keep_memory()
import numpy as np  # noqa: E402
import torch  # noqa: E402


def random_floats(count, seed):
    """bench_random_floats of bench/case.c: a linear congruence mod 2^64, all steps at once."""
    powers = np.empty(count + 1, np.uint64)
    powers[0], powers[1:] = 1, 6364136223846793005
    np.cumprod(powers, out=powers)
    state = powers[1:] * np.uint64(seed)
    np.cumsum(powers[:-1], out=powers[:-1])
    state += powers[:-1] * np.uint64(1442695040888963407)
    return ((state >> np.uint64(48)).astype(np.int32) - 32768).astype(np.float32) / 32768


def tensor(name, shape, dtype):
    values = random_floats(int(np.prod(shape)), SEED[name]).reshape(shape)
    return torch.from_numpy(values).to(dtype)


class Case:
    """One shape: its tensors, and one function that makes a call."""

    def __init__(self, kind, rows, cols, dtype):
        self.kind, self.rows, self.cols, self.dtype = kind, rows, cols, dtype
        form = {"f32": torch.float32, "f16": torch.float16}[dtype]
        self.x = tensor("x", (rows, cols), form)
        self.gamma = tensor("gamma", (cols,), form)
        self.beta = tensor("beta", (cols,), form)
        self.y = torch.empty_like(self.x)
        if kind == "chain":
            self.residual = tensor("residual", (rows, cols), form)
            self.codes = torch.empty((rows, cols), dtype=torch.int8)
        self.size = self.x.element_size()

    def bytes(self):
        """That must move, as `clq bench` counts them for floats and codes; without its sums."""
        each = 3 * self.size + 1 if self.kind == "chain" else 2 * self.size
        return self.rows * self.cols * each

    def forms(self):
        """The ways to write it, by name."""
        if self.kind == "softmax":
            return {"softmax out=": lambda: torch.softmax(self.x, -1, out=self.y),
                    "softmax": lambda: torch.nn.functional.softmax(self.x, -1)}
        if self.kind == "layernorm":
            return {"layer_norm": self.layer_norm, "native_layer_norm out=": self.layer_norm_out}
        norms = {"rms_norm": self.rms_norm, "vector_norm": self.vector_norm,
                 "square mean": self.square_mean}
        if self.kind == "rmsnorm":
            return norms
        magnitudes = {"aminmax": aminmax, "abs amax": abs_amax, "vector_norm inf": norm_inf}
        return {f"{a} + {b}": (lambda norm=norm, largest=largest: self.chain(norm, largest))
                for a, norm in norms.items() for b, largest in magnitudes.items()}

    def layer_norm(self):
        self.y = torch.nn.functional.layer_norm(self.x, (self.cols,), self.gamma, self.beta, EPS)
        return self.y

    def layer_norm_out(self):
        if not hasattr(self, "statistics"):
            form = torch.native_layer_norm(self.x, (self.cols,), self.gamma, self.beta, EPS)
            self.statistics = form[1:]
        torch.ops.aten.native_layer_norm.out(self.x, (self.cols,), self.gamma, self.beta, EPS,
                                             out0=self.y, out1=self.statistics[0],
                                             out2=self.statistics[1])
        return self.y

    def source(self):
        return self.residual if self.kind == "chain" else self.x

    def rms_norm(self):
        self.y = torch.nn.functional.rms_norm(self.source(), (self.cols,), self.gamma, EPS)
        return self.y

    def scaled(self, rstd):
        torch.mul(self.source(), rstd.to(self.x.dtype), out=self.y)
        return self.y.mul_(self.gamma)

    def vector_norm(self):
        length = torch.linalg.vector_norm(self.source(), dim=-1, keepdim=True, dtype=torch.float32)
        return self.scaled((length * length / self.cols).add_(EPS).rsqrt_())

    def square_mean(self):
        s = self.source()
        torch.mul(s, s, out=self.y)
        mean = self.y.mean(dim=-1, keepdim=True, dtype=torch.float32)
        return self.scaled(mean.add_(EPS).rsqrt_())

    def chain(self, norm, largest):
        self.residual.add_(self.x)
        y = norm()
        self.scale = largest(y).float() / 127
        inverse = (1 / self.scale).to(y.dtype)
        y.mul_(inverse).round_().clamp_(-127, 127)
        return self.codes.copy_(y)

    def restore(self):
        if self.kind == "chain":
            self.residual.copy_(tensor("residual", (self.rows, self.cols), self.x.dtype))


def aminmax(y):
    low, high = torch.aminmax(y, dim=-1, keepdim=True)
    return torch.maximum(low.neg_(), high)


def abs_amax(y):
    return y.abs().amax(dim=-1, keepdim=True)


def norm_inf(y):
    return torch.linalg.vector_norm(y, ord=float("inf"), dim=-1, keepdim=True)


# --- checks ---

def expected(case, rows):
    """The definition in f64, of the first rows: y, and the codes of y."""
    t = case.x[:rows].double()
    if case.kind == "softmax":
        return torch.softmax(t, -1), None
    if case.kind == "chain":
        t = (case.x[:rows] + tensor("residual", (rows, case.cols), case.x.dtype)).double()
    if case.kind == "layernorm":
        t = t - t.mean(dim=-1, keepdim=True)
    y = t / torch.sqrt((t * t).mean(dim=-1, keepdim=True) + EPS) * case.gamma.double()
    y = y + case.beta.double() if case.kind == "layernorm" else y
    scale = y.abs().amax(dim=-1, keepdim=True) / 127
    return y, torch.round(y / scale)


def check(case, name, call):
    """The answer's largest error (of codes: the share that is equal), or an end with a sentence."""
    case.restore()
    answer = call()
    rows = min(case.rows, 64)
    y, codes = expected(case, rows)
    what = f"pytorch.py: {case.kind} {case.rows} x {case.cols} {case.dtype}, {name}"
    if case.kind != "chain":
        error = float((answer[:rows].double() - y).abs().max())
        if not error <= (2e-5 if case.dtype == "f32" else 2e-2):
            raise SystemExit(f"{what}: off by {error:g}")
        return error
    apart = (answer[:rows].double() - codes).abs()
    equal = float((apart == 0).double().mean())
    if not (float(apart.max()) <= 1 and equal >= (0.999 if case.dtype == "f32" else 0.95)):
        raise SystemExit(f"{what}: {100 * equal:.3f} % of the codes are right, the worst is off by "
                         f"{float(apart.max()):g}")
    return equal


# --- measuring ---

def seconds(call, calls):
    """Median of `calls` calls."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def calls_of_a_block(call):
    """As many as take a twentieth of a second, at least 5; also warms up."""
    once = min(seconds(call, 1) for _ in range(3))
    return max(5, min(200, int(0.05 / once)))


def fastest(case):
    """Name and function of the fastest way to write it, by the best of 5 calls; all are checked."""
    best = None
    for name, call in case.forms().items():
        check(case, name, call)
        took = min(seconds(call, 1) for _ in range(5))
        if best is None or took < best[0]:
            best = (took, name, call)
    return best[1:]


def ours(arguments, case):
    """The record and context of one `clq bench`."""
    words = ["rmsnorm" if case.kind == "chain" else case.kind, "--dtype", case.dtype]
    words += ["--residual", "--out", "q8"] if case.kind == "chain" else ["--out", case.dtype]
    line = arguments.clq.split() + ["bench", *words, "--rows", str(case.rows), "--cols",
                                    str(case.cols), "--reps", "3", "-o", "json"]
    environment = dict(os.environ, POCL_MAX_PTHREAD_COUNT=str(arguments.threads))
    result = subprocess.run(line, capture_output=True, text=True, env=environment)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(line)}: exit {result.returncode}: {result.stderr.strip()}")
    answer = json.loads(result.stdout)
    record, context = answer["benchmarks"][0], answer["context"]
    if not record["checked"] or context["threads"] != arguments.threads:
        raise SystemExit(f"{' '.join(line)}: not checked, or {context['threads']} threads")
    return record, context


def measure(arguments, case):
    name, call = fastest(case)
    calls = calls_of_a_block(call)
    theirs, records = [], []
    for _ in range(arguments.rounds):
        case.restore()  # sums of f16 must not grow without end
        call()
        theirs.append(seconds(call, calls))
        record, context = ours(arguments, case)
        records.append(record)
    checked = check(case, name, call)
    our_ms = statistics.median(r["real_time"] for r in records) / 1e6
    their_ms = statistics.median(theirs) * 1e3
    return {"case": case.kind, "rows": case.rows, "cols": case.cols, "dtype": case.dtype,
            "rounds": arguments.rounds, "bytes": case.bytes(), "clquant_ms": our_ms,
            "pytorch_ms": their_ms, "ratio": their_ms / our_ms,
            "clquant_bytes_per_second": case.bytes() / our_ms * 1e3,
            "pytorch_bytes_per_second": case.bytes() / their_ms * 1e3,
            "limit_copy_bytes_per_second": statistics.median(
                r["limit_copy_bytes_per_second"] or 0 for r in records) or None,
            "clquant_min_max_ms": [f(r["real_time"] for r in records) / 1e6 for f in (min, max)],
            "pytorch_min_max_ms": [f(theirs) * 1e3 for f in (min, max)],
            "pytorch_form": name, "calls": calls,
            "pytorch_codes_equal" if case.kind == "chain" else "pytorch_error": checked,
            "variant": records[0]["variant"]}, context


def print_head():
    print("| case | rows | cols | dtype | PyTorch, ms | CLQuant, ms | ratio | GB/s | copy GB/s "
          "| PyTorch's form |\n|---|--:|--:|---|--:|--:|--:|--:|--:|---|")


def print_row(r):
    limit = r["limit_copy_bytes_per_second"]
    print(f"| {r['case']} | {r['rows']} | {r['cols']} | {r['dtype']} | {r['pytorch_ms']:.3g} | "
          f"{r['clquant_ms']:.3g} | {r['ratio']:.2f} | "
          f"{r['clquant_bytes_per_second'] / 1e9:.3g} | "
          f"{f'{limit / 1e9:.3g}' if limit else ''} | {r['pytorch_form']} |", flush=True)


def bench(arguments):
    rows, context = [], None
    for kind in arguments.cases.split(","):
        for dtype in arguments.dtypes.split(","):
            small = Case(kind, *SMALL, dtype)
            for name, call in small.forms().items():
                check(small, name, call)
            for cols in arguments.cols.split(","):
                row, context = measure(arguments, Case(kind, arguments.rows, int(cols), dtype))
                rows.append(row)
                if arguments.output == "table":
                    print_row(row)
    return rows, context


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clq", default="clq", help="the command to measure")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--cols", default="768,1024,4096,8192")
    parser.add_argument("--dtypes", default="f32,f16")
    parser.add_argument("--cases", default="layernorm,rmsnorm,chain")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", default=None, help="also write the JSON to this file")
    parser.add_argument("-o", dest="output", choices=["table", "json"], default="table")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"pytorch.py: the load average is {load:.1f}: these figures are worthless",
              file=sys.stderr)
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    if arguments.output == "table":
        print_head()
    rows, context = bench(arguments)
    result = {"context": {"date": datetime.datetime.now().astimezone().isoformat("T", "seconds"),
                          "host": platform.node(), "machine": platform.machine(),
                          "torch_version": torch.__version__, "threads": arguments.threads,
                          "load_average": load, "clq": context},
              "benchmarks": rows}
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
    if arguments.output == "json":
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
