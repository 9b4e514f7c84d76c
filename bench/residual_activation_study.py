#!/usr/bin/env python3
"""What each way of adding a residual in 8 bits, and each way of GELU on 8 bits, costs.

Signal over quantization noise (SQNR) against exact arithmetic on the values before they were
quantized, measured on the device; bytes an element; processor time an element of all threads together,
which other work on the machine disturbs less than the clock.

    python3 bench/residual_activation_study.py --library build/release/libclquant.so

A minute. Python's own library is all it needs.
"""

import argparse
import array
import ctypes
import math
import random
import time

from softmax_error_study import F16, F32, I8, PER_TENSOR, PER_TOKEN, Device, Tensor

I32 = 6
SATURATE, GEMMLOWP, SINGLE = 1, 2, 3
GELU, RATIOS, SIGMAS = 2, (0.1, 0.3, 1.0), (0.5, 1.0, 3.0)
ROWS, COLS = 64, 2048
COUNT = ROWS * COLS
FAST_ROWS, FAST_COLS = 1024, 4096  # of timings


class AddArgs(ctypes.Structure):
    _fields_ = [(n, Tensor) for n in ("a", "b", "out")]


class IntegerAddArgs(ctypes.Structure):
    _fields_ = [(n, Tensor) for n in ("a", "b", "out")] + [("mode", ctypes.c_int)] + [
        (n, ctypes.c_int32) for n in ("a_zero", "a_multiplier", "a_shift", "b_zero", "b_multiplier",
                                      "b_shift", "out_multiplier", "out_shift")] + [
        ("out_scale", ctypes.c_float), ("out_zero", ctypes.c_int32)]


class IntegerAddDesc(ctypes.Structure):
    _fields_ = [("mode", ctypes.c_int), ("a_scale", ctypes.c_float), ("a_zero", ctypes.c_int32),
                ("b_scale", ctypes.c_float), ("b_zero", ctypes.c_int32),
                ("out_scale", ctypes.c_float), ("out_zero", ctypes.c_int32)]


class LookupArgs(ctypes.Structure):
    _fields_ = [(n, Tensor) for n in ("x", "table", "out")] + [("out_scale", ctypes.c_float),
                                                               ("out_zero", ctypes.c_int32)]


class LookupDesc(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("x_scale", ctypes.c_float), ("x_zero", ctypes.c_int32),
                ("out", ctypes.c_int), ("out_scale", ctypes.c_float), ("out_zero", ctypes.c_int32),
                ("function", ctypes.c_void_p), ("user", ctypes.c_void_p)]


class GeluArgs(ctypes.Structure):
    _fields_ = [("x", Tensor), ("out", Tensor)] + [
        (n, ctypes.c_int32) for n in ("x_zero", "x_multiplier", "x_shift", "value_multiplier",
                                      "value_shift")] + [("out_scale", ctypes.c_float),
                                                         ("out_zero", ctypes.c_int32)]


class ActivateArgs(ctypes.Structure):
    _fields_ = [("x", Tensor), ("activation", ctypes.c_int), ("up", Tensor), ("out", Tensor)]


TYPES = {F32: "f", I8: "b", I32: "i"}


def single(x):
    return ctypes.c_float(x).value


def scale_of(values):
    return single(max(map(abs, values)) / 127)


def codes_of(values, scale, least=-127, most=127):
    return [max(least, min(most, round(x / scale))) for x in values]


def sqnr(got, exact):
    noise = math.fsum((g - e) ** 2 for g, e in zip(got, exact))
    return 10 * math.log10(math.fsum(e * e for e in exact) / noise) if noise else math.inf


def tensor(device, dtype, data=None, scale=None, rows=ROWS, cols=COLS):
    """Of data, or to be written; per tensor with a scale that is given."""
    t = Tensor(dtype=dtype)
    size = {F32: 4, F16: 2, I8: 1, I32: 4}[dtype]
    if data is None:
        t.mem = device.buffer(rows * cols * size)
    else:
        t.mem = device.write(array.array(TYPES[dtype], data).tobytes())
    t.shape[0], t.shape[1] = rows, cols
    if scale is not None:
        t.quant.per, t.quant.scale = PER_TENSOR, device.write(array.array("f", [scale]).tobytes())
    return t


def read(device, t, count=COUNT):
    size = array.array(TYPES[t.dtype]).itemsize
    values = array.array(TYPES[t.dtype])
    device.ok(device.lib.clq_stream_finish(device.stream))
    values.frombytes(device.read(ctypes.c_void_p(t.mem), count * size))
    return values


def run(device, name, args):
    device.ok(getattr(device.lib, name)(device.stream, ctypes.byref(args)))


def timed(device, name, args):
    """Nanoseconds of processor time an element of FAST_ROWS x FAST_COLS, the least of five."""
    best = math.inf
    for repetition in range(6):
        begin, calls = time.process_time(), 0
        while time.process_time() - begin < 0.15:
            for _ in range(4):
                run(device, name, args)
            device.ok(device.lib.clq_stream_finish(device.stream))
            calls += 4
        spent = (time.process_time() - begin) / calls
        best = min(best, spent) if repetition else best
    return best * 1e9 / (FAST_ROWS * FAST_COLS)


# --- residual ---


def add_floats(device, a, b, sa, sb, so):
    args = AddArgs(tensor(device, I8, a, sa), tensor(device, I8, b, sb), tensor(device, I8, None, so))
    run(device, "clq_add", args)
    return [so * q for q in read(device, args.out)]


def add_per_token(device, a, b, sa, sb):
    out = tensor(device, I8)
    scales = device.buffer(4 * ROWS)
    out.quant.per, out.quant.scale = PER_TOKEN, scales
    args = AddArgs(tensor(device, I8, a, sa), tensor(device, I8, b, sb), out)
    run(device, "clq_add", args)
    codes = read(device, out)
    of_row = array.array("f")
    of_row.frombytes(device.read(scales, 4 * ROWS))
    return [of_row[i // COLS] * q for i, q in enumerate(codes)]


def integer_add_args(device, a, b, mode, sa, sb, so, out):
    args = IntegerAddArgs(a, b, out)
    desc = IntegerAddDesc(mode, sa, 0, sb, 0, so, 0)
    device.ok(device.lib.clq_integer_add_prepare(ctypes.byref(desc), ctypes.byref(args)))
    return args


def add_integers(device, mode, a, b, sa, sb, so):
    args = integer_add_args(device, tensor(device, I8, a), tensor(device, I8, b), mode, sa, sb, so,
                            tensor(device, I8))
    run(device, "clq_integer_add", args)
    return [so * q for q in read(device, args.out)]


def wrapped(q):
    return (q + 128) % 256 - 128


def residual_column(device, generator, ratio):
    x = [generator.gauss(0.0, 1.0) for _ in range(COUNT)]
    f = [generator.gauss(0.0, ratio) for _ in range(COUNT)]
    y = [p + q for p, q in zip(x, f)]
    sx, sf, sy = scale_of(x), scale_of(f), scale_of(y)
    qx, qf = codes_of(x, sx), codes_of(f, sf)
    shared = codes_of(x, sy), codes_of(f, sy)
    larger = max(sx, sf)
    plain = [p + q for p, q in zip(codes_of(x, larger), codes_of(f, larger))]
    return {
        "separate scales, `add` to a given scale": sqnr(add_floats(device, qx, qf, sx, sf, sy), y),
        "separate scales, `add` to a scale a token": sqnr(add_per_token(device, qx, qf, sx, sf), y),
        "separate scales, `GEMMLOWP`":
            sqnr(add_integers(device, GEMMLOWP, qx, qf, sx, sf, sy), y),
        "separate scales, `SINGLE_ROUNDING`":
            sqnr(add_integers(device, SINGLE, qx, qf, sx, sf, sy), y),
        "the sum's scale for all, `SATURATE`":
            sqnr(add_integers(device, SATURATE, *shared, sy, sy, sy), y),
        "(the larger input's scale, saturated)":
            sqnr(add_integers(device, SATURATE, codes_of(x, larger), codes_of(f, larger), larger,
                              larger, larger), y),
        "(the larger input's scale, int8 that wraps)":
            sqnr([larger * wrapped(q) for q in plain], y),
    }


def fast_tensor(device, generator, dtype, scale=None):
    count = FAST_ROWS * FAST_COLS
    t = tensor(device, dtype, None, scale, FAST_ROWS, FAST_COLS)
    if dtype == I8:
        t.mem = device.write(generator.randbytes(count))
    else:  # numbers from 1 to 4, exact bits do not matter
        t.mem = device.write(array.array("f", [1.0 + (i & 255) / 100 for i in range(count)]).tobytes())
    return t


def residual_speeds(device, generator):
    a, b, out = (fast_tensor(device, generator, I8, 0.01) for _ in range(3))
    token = fast_tensor(device, generator, I8)
    token.quant.per, token.quant.scale = PER_TOKEN, device.buffer(4 * FAST_ROWS)
    floats = [fast_tensor(device, generator, F32) for _ in range(3)]
    plain = fast_tensor(device, generator, I8)

    def integers(mode, so):
        return timed(device, "clq_integer_add",
                     integer_add_args(device, a, b, mode, 0.01, 0.01, so, plain))

    return {
        "f32 `add`, nothing quantized": (12, timed(device, "clq_add", AddArgs(*floats))),
        "separate scales, `add` to a given scale": (3, timed(device, "clq_add", AddArgs(a, b, out))),
        "separate scales, `add` to a scale a token":
            (3, timed(device, "clq_add", AddArgs(a, b, token))),
        "separate scales, `GEMMLOWP`": (3, integers(GEMMLOWP, 0.015)),
        "separate scales, `SINGLE_ROUNDING`": (3, integers(SINGLE, 0.015)),
        "the sum's scale for all, `SATURATE`": (3, integers(SATURATE, 0.01)),
    }


def print_residual(device, generator):
    columns = [residual_column(device, generator, ratio) for ratio in RATIOS]
    speeds = residual_speeds(device, generator)
    heads = [f"std(F) / std(x) {r:g}" for r in RATIOS]
    print("| x + F | " + " | ".join(heads) + " | bytes | ns |")
    print("|:--|" + "--:|" * (len(RATIOS) + 2))
    for name in [*speeds, *(n for n in columns[0] if n not in speeds)]:
        size, spent = speeds.get(name, ("", None))
        cells = [f"{c[name]:.2f}" if name in c else "" for c in columns]
        print(f"| {name} | " + " | ".join(cells) + f" | {size} | "
              + ("" if spent is None else f"{spent:.2f}") + " |")


def print_roundings(device, generator, triples=16):
    """How often gemmlowp's form gives another code than a single rounding, over all pairs."""
    codes = range(-128, 128)
    rows = [p for p in codes for _ in codes], [q for _ in codes for q in codes]
    a, b = (tensor(device, I8, data, None, 256, 256) for data in rows)
    differ = most = 0
    for _ in range(triples):
        sa, sb = (single(math.exp(generator.uniform(-2, 2))) for _ in range(2))
        so = single((sa + sb) * generator.uniform(0.5, 1.2))
        results = []
        for mode in (GEMMLOWP, SINGLE):
            args = integer_add_args(device, a, b, mode, sa, sb, so,
                                    tensor(device, I8, None, None, 256, 256))
            run(device, "clq_integer_add", args)
            results.append(read(device, args.out, 65536))
        steps = [abs(p - q) for p, q in zip(*results)]
        differ += sum(s > 0 for s in steps)
        most = max(most, *steps)
    print(f"\n`GEMMLOWP` and `SINGLE_ROUNDING` differ in {differ} of {65536 * triples} pairs, by at most "
          f"{most}.")


def stream_of(device, first, branches, dtype):
    """The sum of all, in a residual stream of this type; int8: with a scale a token."""
    out = tensor(device, F32, first)
    for codes, scale in branches:
        stream, out = out, tensor(device, dtype)
        if dtype == I8:
            out.quant.per, out.quant.scale = PER_TOKEN, device.buffer(4 * ROWS)
        run(device, "clq_add", AddArgs(stream, tensor(device, I8, codes, scale), out))
    last = tensor(device, F32)
    run(device, "clq_add", AddArgs(out, tensor(device, F32, [0.0] * COUNT), last))
    return read(device, last)


def print_streams(device, generator):
    depths = (1, 6, 24)
    first = array.array("f", [generator.gauss(0.0, 1.0) for _ in range(COUNT)])
    branches, total, rows = [], list(first), {"f32": [], "f16": [], "int8, a scale a token": []}
    for depth in range(1, max(depths) + 1):
        f = [generator.gauss(0.0, 0.3) for _ in range(COUNT)]
        total = [t + v for t, v in zip(total, f)]
        scale = scale_of(f)
        branches.append((codes_of(f, scale), scale))
        if depth in depths:
            for name, dtype in zip(rows, (F32, F16, I8)):
                rows[name].append(sqnr(stream_of(device, first, branches, dtype), total))
    print("\n| residual stream | " + " | ".join(f"after {d}" for d in depths) + " |")
    print("|:--|" + "--:|" * len(depths))
    for name, values in rows.items():
        print(f"| {name} | " + " | ".join(f"{v:.2f}" for v in values) + " |")


# --- GELU ---


def gelu(x):
    return 0.5 * x * math.erfc(-x * math.sqrt(0.5))


def published_igelu(q, s):
    """I-BERT's quant_modules.py: floors of constants in steps of x and of their squares."""
    k, a, b, c, n = 1.4142, -0.2888, -1.769, 1 / -0.2888, 14
    step = s / k
    qb, qc = math.floor(b / step), math.floor(c / step ** 2)
    sign = (q > 0) - (q < 0)
    erf = math.floor(sign * ((min(abs(q), -qb) + qb) ** 2 + qc) / 2 ** n)
    unit = step ** 2 * a * 2 ** n
    return q * (erf + math.floor(1 / unit)) * s * unit / 2


def function_address(device, name):
    return ctypes.cast(getattr(device.lib, name), ctypes.c_void_p).value


def lookup_args(device, x, name, sx, sy, out):
    table = ctypes.create_string_buffer(256)
    desc = LookupDesc(I8, sx, 0, I8, sy, 0, function_address(device, name), None)
    device.ok(device.lib.clq_lookup_fill(ctypes.byref(desc), table))
    args = LookupArgs(x=x, out=out)
    args.table.mem, args.table.dtype, args.table.shape[0] = device.write(table.raw), I8, 256
    return args


def gelu_args(device, x, sx, sy, out):
    args = GeluArgs(x=x, out=out)
    device.ok(device.lib.clq_integer_gelu_prepare(ctypes.c_float(sx), 0, ctypes.c_float(sy), 0,
                                                  ctypes.byref(args)))
    return args


def gelu_of(device, name, args, sy):
    run(device, name, args)
    return [sy * q for q in read(device, args.out)]


def gelu_column(device, generator, sigma):
    x = [generator.gauss(0.0, sigma) for _ in range(COUNT)]
    y = [gelu(v) for v in x]
    sx, sy, fine = scale_of(x), scale_of(y), single(2.0 ** -20)
    q = codes_of(x, sx)
    floats = tensor(device, F32, [sx * v for v in q])
    wide = tensor(device, I32, [round(v / fine) for v in x])
    published = [published_igelu(v, sx) for v in range(-128, 128)]
    return {
        "table of GELU": gelu_of(device, "clq_lookup", lookup_args(
            device, tensor(device, I8, q), "clq_scalar_gelu", sx, sy, tensor(device, I8)), sy),
        "table of GELU by tanh": gelu_of(device, "clq_lookup", lookup_args(
            device, tensor(device, I8, q), "clq_scalar_gelu_tanh", sx, sy, tensor(device, I8)), sy),
        "dequantized, `activate`, quantized": gelu_of(device, "clq_activate", ActivateArgs(
            x=floats, activation=GELU, out=tensor(device, I8, None, sy)), sy),
        "`integer_gelu` of int8": gelu_of(device, "clq_integer_gelu", gelu_args(
            device, tensor(device, I8, q), sx, sy, tensor(device, I8)), sy),
        "`integer_gelu` of int32 accumulators": gelu_of(device, "clq_integer_gelu", gelu_args(
            device, wide, fine, sy, tensor(device, I8)), sy),
        "(I-BERT's code as published, of int8)":
            [sy * max(-128, min(127, round(published[v + 128] / sy))) for v in q],
    }, y


def gelu_speeds(device, generator):
    x = fast_tensor(device, generator, I8)
    floats, out = (fast_tensor(device, generator, F32) for _ in range(2))
    codes, given = fast_tensor(device, generator, I8), fast_tensor(device, generator, I8, 0.03)
    wide = Tensor.from_buffer_copy(floats)
    wide.dtype = I32
    table = lookup_args(device, x, "clq_scalar_gelu", 0.03, 0.03, codes)
    return {
        "f32 `activate`, nothing quantized":
            (8, timed(device, "clq_activate", ActivateArgs(x=floats, activation=GELU, out=out))),
        "table of GELU": (2, timed(device, "clq_lookup", table)),
        "dequantized, `activate`, quantized":
            (5, timed(device, "clq_activate", ActivateArgs(x=floats, activation=GELU, out=given))),
        "`integer_gelu` of int8":
            (2, timed(device, "clq_integer_gelu", gelu_args(device, x, 0.03, 0.03, codes))),
        "`integer_gelu` of int32 accumulators":
            (5, timed(device, "clq_integer_gelu", gelu_args(device, wide, 3e-9, 0.03, codes))),
    }


def print_gelu(device, generator):
    columns = [gelu_column(device, generator, sigma) for sigma in SIGMAS]
    speeds = gelu_speeds(device, generator)
    print("\n| GELU | " + " | ".join(f"sigma {s:g}" for s in SIGMAS) + " | bytes | ns |")
    print("|:--|" + "--:|" * (len(SIGMAS) + 2))
    for name in [*(n for n in speeds if n not in columns[0][0]), *columns[0][0]]:
        size, spent = speeds.get(name, ("", None))
        cells = [f"{sqnr(got[name], y):.2f}" if name in got else "" for got, y in columns]
        print(f"| {name} | " + " | ".join(cells) + f" | {size} | "
              + ("" if spent is None else f"{spent:.2f}") + " |")


def print_igelu_steps(device):
    """The largest error by the step of x, for x from -6 to 0: at -x it is the same."""
    steps = [single(s) for s in (1e-4, 0.01, 0.03, 0.077, 0.2)]
    fine, zero = single(0.0007), 127  # codes of GELU from -0.1785 to 0
    print("\n| largest error, by the step of x | " + " | ".join(f"{s:g}" for s in steps) + " |")
    print("|:--|" + "--:|" * len(steps))
    ours, theirs = [], []
    for step in steps:
        codes = list(range(-int(6 / step), 1))
        exact = [gelu(step * q) for q in codes]
        args = gelu_args(device, tensor(device, I32, codes, None, 1, len(codes)), step, fine,
                         tensor(device, I8, None, None, 1, len(codes)))
        args.out_zero = zero
        run(device, "clq_integer_gelu", args)
        got = read(device, args.out, len(codes))
        ours.append(max(abs((c - zero) * fine - e) for c, e in zip(got, exact)))
        theirs.append(max(abs(published_igelu(q, step) - e) for q, e in zip(codes, exact)))
    print("| `integer_gelu` | " + " | ".join(f"{e:.1e}" for e in ours) + " |")
    print("| I-BERT's code as published | " + " | ".join(f"{e:.1e}" for e in theirs) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--library", required=True, help="libclquant.so")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    device = Device(options.library)
    generator = random.Random(options.seed)
    print_residual(device, generator)
    print_roundings(device, generator)
    print_streams(device, generator)
    print_gelu(device, generator)
    print_igelu_steps(device)


if __name__ == "__main__":
    main()
