"""Writes what PyTorch makes of small decoders of every block type, tests/golden/block.bin.

Three layers of attention and an MLP with Pre-LN, Post-LN, DeepNorm and Sub-LN wiring, with LayerNorm
and with RMSNorm, from torch.nn modules in double precision. All have the same parameters, seeded
8-bit codes times a power of two, so that they are exact in every type. Beside each result stands how
far PyTorch's own float32 is from it. The wiring is that of the papers (Xiong et al. 2020, DeepNet
2022, Foundation Transformers 2022); that of Pre-LN and Post-LN is held here against PyTorch's
nn.TransformerEncoderLayer. README.md in this folder describes the format.

Requirements: pip install torch
Usage: python make_block.py [--check]
"""
import argparse
import os
import struct
import sys

import torch
from torch import nn

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "block.bin")

ROWS, LAYERS, HEADS, HEAD_DIM, HIDDEN = 5, 3, 3, 16, 70
WIDTH = HEADS * HEAD_DIM
EPS = 1e-5
KINDS = ["pre", "post", "deepnorm", "sub"]
NORMS = ["layer", "rms"]
ALPHA = (2 * LAYERS) ** 0.25  # DeepNet, table of a decoder alone: (2M)^(1/4)


def norm(kind, cols):
    return (nn.LayerNorm if kind == "layer" else nn.RMSNorm)(cols, eps=EPS)


class Attention(nn.Module):
    def __init__(self, norm_kind, with_inner_norm):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.inner = norm(norm_kind, WIDTH) if with_inner_norm else nn.Identity()

    def forward(self, x):
        q, k, v = (f(x).view(ROWS, HEADS, HEAD_DIM).transpose(0, 1) for f in (self.q, self.k, self.v))
        seen = torch.ones(ROWS, ROWS, dtype=torch.bool).tril()
        scores = (q @ k.transpose(1, 2) / HEAD_DIM**0.5).masked_fill(~seen, -torch.inf)
        mixed = (scores.softmax(-1) @ v).transpose(0, 1).reshape(ROWS, WIDTH)
        return self.out(self.inner(mixed))


class Mlp(nn.Module):
    def __init__(self, norm_kind, with_inner_norm):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.inner = norm(norm_kind, HIDDEN) if with_inner_norm else nn.Identity()

    def forward(self, x):
        return self.fc2(self.inner(nn.functional.gelu(self.fc1(x))))


class Decoder(nn.Module):
    def __init__(self, kind, norm_kind):
        super().__init__()
        self.kind = kind
        sublayers = [Attention, Mlp] * LAYERS
        self.sublayers = nn.ModuleList(f(norm_kind, kind == "sub") for f in sublayers)
        self.norms = nn.ModuleList(norm(norm_kind, WIDTH) for _ in sublayers)
        if kind in ("pre", "sub"):
            self.last = norm(norm_kind, WIDTH)

    def forward(self, x):
        for f, n in zip(self.sublayers, self.norms):
            if self.kind == "post":
                x = n(x + f(x))
            elif self.kind == "deepnorm":
                x = n(ALPHA * x + f(x))
            else:
                x = x + f(n(x))
        return self.last(x) if self.kind in ("pre", "sub") else x


class Codes:
    """Seeded codes of 8 bits, by the name that a parameter has in the largest of the decoders."""

    def __init__(self):
        generator = torch.Generator().manual_seed(8)
        self.entries = {}  # name: codes, shift
        self.add("x", (ROWS, WIDTH), 5, generator)
        for name, parameter in Decoder("sub", "layer").named_parameters():
            is_gain = parameter.dim() == 1 and name.endswith("weight")
            shift = 7 if parameter.dim() == 2 else 6
            self.add(name, tuple(parameter.shape), shift, generator, 64 if is_gain else 0)

    def add(self, name, shape, shift, generator, mean=0):
        codes = torch.randn(shape, generator=generator) * 24 + mean
        self.entries[name] = codes.round().clamp(-127, 127).to(torch.int8), shift

    def value(self, name):
        codes, shift = self.entries[name]
        return codes.double() / 2**shift


def filled(module, codes):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(codes.value(name))
    return module


def check_against_torch(codes):
    """Pre-LN and Post-LN once more, by nn.TransformerEncoderLayer with a causal mask."""
    mask = nn.Transformer.generate_square_subsequent_mask(ROWS, dtype=torch.double)
    for kind in ("pre", "post"):
        ours = filled(Decoder(kind, "layer").double(), codes)
        x = codes.value("x")
        for i in range(LAYERS):
            attention, mlp = ours.sublayers[2 * i], ours.sublayers[2 * i + 1]
            theirs = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.0, "gelu", EPS, True,
                                                kind == "pre", dtype=torch.double)
            inputs = (attention.q, attention.k, attention.v)
            theirs.self_attn.in_proj_weight.data = torch.cat([f.weight for f in inputs])
            theirs.self_attn.in_proj_bias.data = torch.cat([f.bias for f in inputs])
            theirs.self_attn.out_proj.load_state_dict(attention.out.state_dict())
            theirs.linear1.load_state_dict(mlp.fc1.state_dict())
            theirs.linear2.load_state_dict(mlp.fc2.state_dict())
            theirs.norm1.load_state_dict(ours.norms[2 * i].state_dict())
            theirs.norm2.load_state_dict(ours.norms[2 * i + 1].state_dict())
            x = theirs(x[None], src_mask=mask)[0]
        x = ours.last(x) if kind == "pre" else x
        error = (x - ours(codes.value("x"))).abs().max().item()
        print(f"{kind}: nn.TransformerEncoderLayer differs by {error:.1e}")
        assert error < 1e-13


def golden():
    codes = Codes()
    check_against_torch(codes)
    sizes = (1, ROWS, LAYERS, HEADS, HEAD_DIM, HIDDEN, len(codes.entries), len(KINDS), len(NORMS))
    data = struct.pack(f"<4s{len(sizes)}If", b"CLQB", *sizes, EPS)
    for name, (values, shift) in codes.entries.items():
        rows = len(values) if values.dim() == 2 else 1
        data += struct.pack("<32s3I", name.encode(), rows, values.shape[-1], shift)
        data += values.numpy().tobytes()
    for kind in KINDS:
        for norm_kind in NORMS:
            model = filled(Decoder(kind, norm_kind).double(), codes)
            x = codes.value("x")
            exact = model(x)
            error = (model.float()(x.float()).double() - exact).abs().max()
            error = (error / exact.square().mean().sqrt()).item()
            print(f"{kind} {norm_kind}: float32 is off by {error:.1e} of the root mean square")
            data += struct.pack("<d", error) + exact.detach().numpy().tobytes()
    return data


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true",
                        help="compare with the committed file instead of writing it")
    arguments = parser.parse_args()
    data = golden()
    print(f"{len(data)} bytes")
    if arguments.check:
        with open(GOLDEN, "rb") as file:
            committed = file.read()
        # Doubles may differ in their last places; how far float32 is off depends on the processor.
        tail = 8 * (1 + ROWS * WIDTH) * len(KINDS) * len(NORMS)
        both = bytearray(data[-tail:] + committed[-tail:])
        results = torch.frombuffer(both, dtype=torch.double).view(2, -1, 1 + ROWS * WIDTH)[..., 1:]
        same = (len(data) == len(committed) and data[:-tail] == committed[:-tail]
                and torch.allclose(*results, rtol=0, atol=1e-12))
        print("block.bin:", "agrees" if same else "DIFFERS")
        sys.exit(0 if same else 1)
    with open(GOLDEN, "wb") as file:
        file.write(data)


if __name__ == "__main__":
    main()
