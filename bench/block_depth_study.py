#!/usr/bin/env python3
"""What the four block types are for, measured: 100 thin layers at initialization and in training.

A decoder of attention and MLP, width 32, with the wirings of block.h and LayerNorm, is to name the
token that came three places earlier. All types have the same seeds, data, learning rate and Adam
without warm-up; weights are Xavier's with gain 1, but for DeepNorm and Sub-LN those of fc1, fc2,
value and output projection, whose gain is the library's (clq_deepnorm, clq_sub_ln). Prints a table
of losses and gradients, and with --figures writes docs/block_gradients.svg (the gradient's norm by
layer, at initialization and after the first steps) and docs/block_training.svg (losses by step).

    python3 bench/block_depth_study.py --library build/release/libclquant.so --figures

Three minutes on one core. Requirements: pip install torch==2.9.0 (a CPU build does).
"""

import argparse
import ctypes
import math
import os

import torch
from torch import nn
from torch.nn import functional

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs")
WIDTH, HEADS, HIDDEN = 32, 2, 64
TOKENS, BATCH, VOCABULARY, BACK = 16, 16, 16, 3
GUESS = math.log(VOCABULARY)  # the loss of a guess
EARLY = 20  # steps before the second look at gradients
SHOWN = 10  # steps whose mean loss is shown
NAMES = {"pre": "Pre-LN", "post": "Post-LN", "deepnorm": "DeepNorm", "sub": "Sub-LN"}
COLORS = {"pre": "#1f5fa8", "post": "#c62828", "deepnorm": "#2e7d32", "sub": "#b3541e"}
DECODER_ONLY = 2  # CLQ_STACK_DECODER_ONLY


def constants(library, kind, layers):
    """alpha, and the gain of fc1, fc2, value and output projection."""
    first, second = ctypes.c_float(1.0), ctypes.c_float(1.0)
    stack = ctypes.c_int64(0), ctypes.c_int64(layers), ctypes.c_int(DECODER_ONLY)
    status = 0
    if kind == "deepnorm":
        status = library.clq_deepnorm(*stack, ctypes.byref(first), ctypes.byref(second))
    elif kind == "sub":
        status = library.clq_sub_ln(*stack, ctypes.byref(second))
    if status != 0:
        raise SystemExit(f"the library has no constants for {kind}: status {status}")
    return first.value, second.value


def linear(inputs, outputs, gain=1.0):
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_normal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def inner_norm(kind, cols):
    return nn.LayerNorm(cols) if kind == "sub" else nn.Identity()


class Attention(nn.Module):
    def __init__(self, kind, gain):
        super().__init__()
        self.q, self.k = linear(WIDTH, WIDTH), linear(WIDTH, WIDTH)
        self.v, self.out = linear(WIDTH, WIDTH, gain), linear(WIDTH, WIDTH, gain)
        self.inner = inner_norm(kind, WIDTH)

    def forward(self, x):
        by_head = [f(x).view(BATCH, TOKENS, HEADS, -1).transpose(1, 2)
                   for f in (self.q, self.k, self.v)]
        mixed = functional.scaled_dot_product_attention(*by_head, is_causal=True)
        return self.out(self.inner(mixed.transpose(1, 2).reshape(BATCH, TOKENS, WIDTH)))


class Mlp(nn.Module):
    def __init__(self, kind, gain):
        super().__init__()
        self.fc1, self.fc2 = linear(WIDTH, HIDDEN, gain), linear(HIDDEN, WIDTH, gain)
        self.inner = inner_norm(kind, HIDDEN)

    def forward(self, x):
        return self.fc2(self.inner(functional.relu(self.fc1(x))))


class Layer(nn.Module):
    def __init__(self, kind, alpha, gain):
        super().__init__()
        self.has_norm_in_front, self.alpha = kind in ("pre", "sub"), alpha
        self.sublayers = nn.ModuleList([Attention(kind, gain), Mlp(kind, gain)])
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in self.sublayers)

    def forward(self, h):
        for sublayer, norm in zip(self.sublayers, self.norms):
            if self.has_norm_in_front:
                h = h + sublayer(norm(h))
            else:
                h = norm(self.alpha * h + sublayer(h))
        return h


class Decoder(nn.Module):
    def __init__(self, kind, layers, alpha, gain):
        super().__init__()
        self.token, self.place = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(TOKENS, WIDTH)
        self.layers = nn.Sequential(*(Layer(kind, alpha, gain) for _ in range(layers)))
        self.last = nn.LayerNorm(WIDTH) if kind in ("pre", "sub") else nn.Identity()
        self.head = linear(WIDTH, VOCABULARY)

    def forward(self, ids):
        return self.head(self.last(self.layers(self.token(ids) + self.place.weight)))


def loss_of_batch(model, generator):
    ids = torch.randint(VOCABULARY, (BATCH, TOKENS), generator=generator)
    logits = model(ids)[:, BACK:]
    return functional.cross_entropy(logits.flatten(0, 1), ids[:, :-BACK].flatten())


def gradients(model, seed):
    """By layer, of the mean loss of four batches that training does not see."""
    generator = torch.Generator().manual_seed(seed + 1000)
    model.zero_grad()
    for _ in range(4):
        (loss_of_batch(model, generator) / 4).backward()
    return [math.sqrt(sum(p.grad.square().sum().item() for p in layer.parameters()))
            for layer in model.layers]


def train(kind, options, library):
    alpha, gain = constants(library, kind, options.layers)
    torch.manual_seed(options.seed)
    model = Decoder(kind, options.layers, alpha, gain)
    optimizer = torch.optim.Adam(model.parameters(), options.lr, betas=(0.9, 0.98), foreach=True)
    generator = torch.Generator().manual_seed(options.seed)
    run = {"kind": kind, "alpha": alpha, "gain": gain, "losses": [],
           "at first": gradients(model, options.seed)}
    for step in range(options.steps):
        if step == EARLY:
            run["early"] = gradients(model, options.seed)
        for group in optimizer.param_groups:
            group["lr"] = options.lr * min(1.0, (step + 1) / max(options.warmup, 1))
        optimizer.zero_grad()
        loss = loss_of_batch(model, generator)
        loss.backward()
        optimizer.step()
        run["losses"].append(loss.item())
    return run


def smooth(losses):
    """(step, mean of the SHOWN steps up to it)."""
    return [(i, sum(losses[i - SHOWN:i]) / SHOWN) for i in range(SHOWN, len(losses) + 1)]


def marks(options):
    return [options.steps * quarter // 4 for quarter in range(1, 5)]


def print_head(options):
    print(f"{options.layers} layers, learning rate {options.lr:g}, warm-up {options.warmup}, seed "
          f"{options.seed}; a guess has the loss {GUESS:.2f}\n")
    print("| | alpha | gain | first gradient, layer 1 | last layer "
          f"| after {EARLY} steps, layer 1 | last layer "
          + "".join(f"| loss at {mark} " for mark in marks(options)) + "|")
    print("| :-- |" + " --: |" * (6 + len(marks(options))), flush=True)


def print_row(run, options):
    means = dict(smooth(run["losses"]))
    ends = [run[when][layer] for when in ("at first", "early") for layer in (0, -1)]
    cells = [f"{run['alpha']:.2f}", f"{run['gain']:.2f}", *(f"{g:.1e}" for g in ends),
             *(f"{means[mark]:.2f}" for mark in marks(options))]
    print(f"| {NAMES[run['kind']]} | " + " | ".join(cells) + " |", flush=True)


def plot(title, x_label, x_most, y_ticks, y_of, lines):
    """y_ticks: (value, label); y_of: value to a number that is drawn linearly; lines: (name, color,
    dashes, points)."""
    left, top, width, height = 64, 40, 560, 300
    low, high = y_of(y_ticks[0][0]), y_of(y_ticks[-1][0])

    def x(value):
        return left + width * value / x_most

    def y(value):
        return top + height * (1 - (y_of(value) - low) / (high - low))

    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 190} '
           f'{top + height + 56}" font-family="sans-serif" font-size="12" fill="#333">',
           '<rect width="100%" height="100%" fill="#fff"/>',
           f'<text x="{left}" y="22" font-size="14">{title}</text>']
    for value, label in y_ticks:
        svg += [f'<path d="M{left} {y(value):.1f}h{width}" stroke="#ddd"/>',
                f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{label}</text>']
    for tick in range(0, x_most + 1, x_most // 5):
        svg += [f'<path d="M{x(tick):.1f} {top + height}v5" stroke="#333"/>',
                f'<text x="{x(tick):.1f}" y="{top + height + 20}" text-anchor="middle">{tick}'
                '</text>']
    svg.append(f'<text x="{left + width / 2}" y="{top + height + 42}" text-anchor="middle">'
               f'{x_label}</text>')
    for number, (name, color, dashes, points) in enumerate(lines):
        style = f'stroke="{color}" stroke-width="2" stroke-dasharray="{dashes}"'
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
        label = top + 14 + 22 * number
        svg += [f'<polyline points="{points}" fill="none" {style}/>',
                f'<path d="M{left + width + 12} {label - 4}h28" {style}/>',
                f'<text x="{left + width + 46}" y="{label}">{name}</text>']
    return "\n".join([*svg, "</svg>"]) + "\n"


def figures(runs, options):
    norms = [g for run in runs for when in ("at first", "early") for g in run[when]]
    low, high = math.floor(math.log10(min(norms))), math.ceil(math.log10(max(norms)))
    powers = range(low - (high - low) % 2, high + 1, 2)
    by_layer = [(NAMES[run["kind"]] + after, COLORS[run["kind"]], dashes,
                 list(enumerate(run[when], 1)))
                for run in runs
                for when, after, dashes in (("at first", "", "none"),
                                            ("early", f", {EARLY} steps later", "5 4"))]
    by_step = [(NAMES[run["kind"]], COLORS[run["kind"]], "none", smooth(run["losses"]))
               for run in runs]
    by_step.append(("a guess", "#888", "5 4", [(0, GUESS), (options.steps, GUESS)]))
    about = f"{options.layers} layers of width {WIDTH}"
    drawn = {
        "block_gradients.svg": plot(f"Norm of the gradient by layer, {about}", "layer",
                                    options.layers, [(10.0**p, f"1e{p}") for p in powers],
                                    math.log10, by_layer),
        "block_training.svg": plot(f"Loss by step, {about}, learning rate {options.lr:g}",
                                   f"step (means of {SHOWN})", options.steps,
                                   [(v / 2, f"{v / 2:g}") for v in range(8)], float, by_step)}
    for name, svg in drawn.items():
        with open(os.path.join(DOCS, name), "w", encoding="utf-8") as file:
            file.write(svg)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", required=True, help="libclquant.so")
    parser.add_argument("--kinds", default=",".join(NAMES))
    parser.add_argument("--layers", type=int, default=100)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=0, help="steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--figures", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    library = ctypes.CDLL(options.library)
    runs = []
    print_head(options)
    for kind in options.kinds.split(","):
        runs.append(train(kind, options, library))
        print_row(runs[-1], options)
    if options.figures:
        figures(runs, options)


if __name__ == "__main__":
    main()
