#!/usr/bin/env python3
"""What each way of making softmax's exponentials costs in accuracy, measured on the device.

Rows of 512 normal logits with deviations 1, 3 and 8, quantized to int8 with one scale a row. The
table has the sum over a row of |p - exact|, meaned over the rows, where `exact` is the softmax in
double of the dequantized logits, and once of the logits before they were quantized.

    python3 bench/softmax_error_study.py --library build/release/libclquant.so

Seconds. Python's own library is all it needs.
"""

import argparse
import ctypes
import math
import random
import struct

COLS, ROWS = 512, 64
SIGMAS = (1.0, 3.0, 8.0)
F32, F16, I8, U8 = 1, 2, 4, 5
PER_TENSOR, PER_TOKEN = 1, 3
# Rows of the table: clq_exp, the output's type, whether exponentials are divided afterwards.
FORMS = [("two tables of 16, f32 (default)", 0, F32, False), ("f32[256]", 1, F32, False),
         ("Q0.30[256]", 2, F32, False), ("two tables of 16, Q0.16", 4, F32, False),
         ("Q0.16[256]", 3, F32, False), ("I-BERT's i-exp", 5, F32, False),
         ("I-ViT's shift-exp", 6, F32, False),
         ("two tables, f16 exponentials, divided by their sum", 0, F16, True),
         ("two tables, f16 probabilities", 0, F16, False),
         ("two tables, u8 probabilities", 0, U8, False)]


class Quant(ctypes.Structure):
    _fields_ = [("per", ctypes.c_int), ("group", ctypes.c_int32),
                *((n, ctypes.c_void_p) for n in ("scale", "zero", "sum")),
                *((n, ctypes.c_uint64) for n in ("scale_offset", "zero_offset", "sum_offset"))]


class Tensor(ctypes.Structure):
    _fields_ = [("mem", ctypes.c_void_p), ("dtype", ctypes.c_int), ("shape", ctypes.c_int64 * 4),
                ("stride", ctypes.c_int64 * 4), ("offset", ctypes.c_uint64), ("quant", Quant),
                ("value", ctypes.c_int32)]


class SoftmaxArgs(ctypes.Structure):
    _fields_ = [("x", Tensor), ("out", Tensor), ("scale", ctypes.c_float), ("mask", Tensor),
                ("lengths", Tensor), ("queries", ctypes.c_int64), ("log", ctypes.c_bool),
                ("sum", Tensor), ("exp", ctypes.c_int)]


class Device:
    """A stream of the library, and the few calls that this needs."""

    def __init__(self, library):
        self.lib = ctypes.CDLL(library)
        self.cl = ctypes.CDLL("libOpenCL.so.1")
        self.lib.clq_last_error.restype = ctypes.c_char_p
        self.lib.clq_stream_queue.restype = ctypes.c_void_p
        self.lib.clq_stream_queue.argtypes = [ctypes.c_void_p]
        self.context, self.stream = ctypes.c_void_p(), ctypes.c_void_p()
        self.ok(self.lib.clq_context_create(None, ctypes.byref(self.context)))
        self.ok(self.lib.clq_stream_create(self.context, None, ctypes.byref(self.stream)))
        self.queue = ctypes.c_void_p(self.lib.clq_stream_queue(self.stream))

    def ok(self, status):
        if status != 0:
            raise SystemExit(self.lib.clq_last_error().decode())

    def buffer(self, count):
        mem = ctypes.c_void_p()
        self.ok(self.lib.clq_buffer_create(self.context, ctypes.c_size_t(count), ctypes.byref(mem)))
        return mem

    def move(self, call, mem, data, count):
        code = call(self.queue, mem, ctypes.c_uint32(1), ctypes.c_size_t(0), ctypes.c_size_t(count),
                    data, ctypes.c_uint32(0), None, None)
        if code != 0:
            raise SystemExit(f"OpenCL error {code}")

    def write(self, data):
        mem = self.buffer(len(data))
        self.move(self.cl.clEnqueueWriteBuffer, mem, data, len(data))
        return mem

    def read(self, mem, count):
        data = ctypes.create_string_buffer(count)
        self.move(self.cl.clEnqueueReadBuffer, mem, data, count)
        return data.raw


def exact_softmax(row):
    most = max(row)
    e = [math.exp(x - most) for x in row]
    total = math.fsum(e)
    return [x / total for x in e]


def softmax(device, codes, scales, exp, dtype, divide):
    """Rows of probabilities as the device computes them."""
    count = ROWS * COLS
    size = {F32: 4, F16: 2, U8: 1}[dtype]
    args = SoftmaxArgs(exp=exp)
    args.x.mem, args.x.dtype = device.write(struct.pack(f"{count}b", *codes)), I8
    args.x.quant.per = PER_TOKEN
    args.x.quant.scale = device.write(struct.pack(f"{ROWS}f", *scales))
    args.out.mem, args.out.dtype = device.buffer(count * size), dtype
    for tensor in (args.x, args.out):
        tensor.shape[0], tensor.shape[1] = ROWS, COLS
    if divide:
        args.sum.mem, args.sum.dtype, args.sum.shape[0] = device.buffer(ROWS * 4), F32, ROWS
    device.ok(device.lib.clq_softmax(device.stream, ctypes.byref(args)))
    device.ok(device.lib.clq_stream_finish(device.stream))
    raw = device.read(ctypes.c_void_p(args.out.mem), count * size)
    values = struct.unpack(f"{count}{ {F32: 'f', F16: 'e', U8: 'B'}[dtype]}", raw)
    by = [1.0] * ROWS
    if divide:
        by = struct.unpack(f"{ROWS}f", device.read(ctypes.c_void_p(args.sum.mem), ROWS * 4))
    unit = 256.0 if dtype == U8 else 1.0
    return [[v / unit / by[r] for v in values[r * COLS:(r + 1) * COLS]] for r in range(ROWS)]


def mean_error(rows, exact):
    return sum(math.fsum(abs(a - b) for a, b in zip(r, e)) for r, e in zip(rows, exact)) / len(rows)


def quantized(rows):
    """Codes, scales rounded to f32, and what they stand for."""
    codes, scales, values = [], [], []
    for row in rows:
        scale = struct.unpack("f", struct.pack("f", max(map(abs, row)) / 127))[0]
        own = [max(-127, min(127, round(x / scale))) for x in row]
        codes += own
        scales.append(scale)
        values.append([scale * q for q in own])
    return codes, scales, values


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--library", required=True, help="libclquant.so")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    device = Device(options.library)
    generator = random.Random(options.seed)
    table = {name: [] for name, *_ in FORMS}
    table["(int8 of the logits itself)"] = []
    steps = []
    for sigma in SIGMAS:
        rows = [[generator.gauss(0.0, sigma) for _ in range(COLS)] for _ in range(ROWS)]
        codes, scales, values = quantized(rows)
        steps.append(sum(scales) / ROWS)
        exact = [exact_softmax(v) for v in values]
        for name, exp, dtype, divide in FORMS:
            got = softmax(device, codes, scales, exp, dtype, divide)
            table[name].append(mean_error(got, exact))
        table["(int8 of the logits itself)"].append(
            mean_error(exact, [exact_softmax(r) for r in rows]))
    heads = [f"sigma {s:g} (step {step:.2g})" for s, step in zip(SIGMAS, steps)]
    print("| exponentials, output | " + " | ".join(heads) + " |")
    print("|:--|" + "--:|" * len(SIGMAS))
    for name, errors in table.items():
        print(f"| {name} | " + " | ".join(f"{e:.1e}" for e in errors) + " |")


if __name__ == "__main__":
    main()
