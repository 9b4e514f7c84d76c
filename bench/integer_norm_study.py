#!/usr/bin/env python3
"""Why LayerNorm resists int8, measured: which part of a norm suffers when its input is int8.

Rows of 768 channels whose ranges differ by 2^0 .. 2^5, as FQ-ViT (arXiv 2111.13824) found them in
vision transformers. The input is quantized in several ways and normalized; the table gives the
signal to quantization noise ratio of the result against the norm of the unquantized rows: over all
channels, and over those of the smallest and of the largest ranges. Two rows of the table take the
norm apart: the statistics of the codes with exact values, and exact statistics with the codes'
values. Integer rows are the arithmetic of clq_integer_norm, 64-bit integers in numpy.

    python3 bench/integer_norm_study.py [--rows N] [--seed N]
"""

import argparse

import numpy as np

COLS = 768
OCTAVES = 6
EPS = 1e-5


def rows_of_uneven_channels(rows, rng):
    """[rows, COLS] and each channel's octave, 0 .. 5."""
    octave = rng.permutation(np.arange(COLS) % OCTAVES)
    spread = 2.0**octave
    centre = rng.normal(size=COLS) * 0.3
    return (rng.normal(size=(rows, COLS)) + centre) * spread, octave


def norm(x, statistics_of=None, eps=EPS):
    s = x if statistics_of is None else statistics_of
    mean = s.mean(axis=1, keepdims=True)
    return (x - mean) / np.sqrt(s.var(axis=1, keepdims=True) + eps)


def sqnr(exact, got, axis=None):
    return 10.0 * np.log10(np.sum(exact**2, axis) / np.sum((exact - got) ** 2, axis))


def quantize(x, scale, bits=8):
    most = 2 ** (bits - 1) - 1
    return np.clip(np.rint(x / scale), -most, most).astype(np.int64)


def absmax_scale(x, bits=8, axis=None):
    return np.max(np.abs(x), axis=axis) / (2 ** (bits - 1) - 1)


def power_of_two_factors(x):
    """FQ-ViT: scale / 8 * 2^alpha, alpha 0 .. 3 of each channel by least squares; and 0 .. 5."""
    results = {}
    for most in (3, 5):
        fine = absmax_scale(x) / 2**most
        steps = [fine * 2**a for a in range(most + 1)]
        errors = [np.sum((quantize(x, step) * step - x) ** 2, axis=0) for step in steps]
        alpha = np.argmin(errors, axis=0)
        results[most] = (fine, alpha, quantize(x, fine * 2.0**alpha))
    return results


def divide_round(a, b):
    return (2 * a + b) // (2 * b)


def integer_norm(q, fine, gamma, out_scale):
    """clq_integer_norm of q' = q [rows, COLS], int64: codes before saturation, as its contract has
    them; beta 0. Python's integers where a row has one number."""
    n = q.shape[1]
    eps = int(np.rint(EPS / fine**2 * 2.0**31))
    multiplier, shift = np.floor(gamma * np.sqrt(n) / out_scale * 2**16 + 0.5).astype(np.int64), 46
    codes = np.empty_like(q)
    for row, v in enumerate(q):
        total = int(v.sum())
        k = divide_round(total, n)
        r = total - k * n
        p = int(((v - k) ** 2).sum())
        up = (59 - max((p + (n * eps >> 31)).bit_length() - 1, 0)) // 2
        t = (p << 2 * up) - (r * r << 2 * up) // n + (n * eps << 2 * up >> 31)
        root = int(np.floor(np.sqrt(float(t))))
        while root * root > t:
            root -= 1
        while (root + 1) ** 2 <= t:
            root += 1
        factor = divide_round(1 << 59, root) if p else 0
        c = (v << up) - ((k << up) + divide_round(r << up, n))
        u = (c * factor + (1 << 28)) >> 29
        codes[row] = (u * multiplier + (1 << (shift - 1))) >> shift
    return codes


def report(name, exact, got, octave, sigma_error):
    small, large = octave == 0, octave == OCTAVES - 1
    sigma = "" if sigma_error is None else f"{sigma_error:.1e}"
    print(
        f"| {name} | {sigma} | {sqnr(exact, got):.1f} | {sqnr(exact[:, small], got[:, small]):.1f} "
        f"| {sqnr(exact[:, large], got[:, large]):.1f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    x, octave = rows_of_uneven_channels(options.rows, np.random.default_rng(options.seed))
    exact = norm(x)
    sigma = x.std(axis=1)

    def sigma_error(dequantized):
        return np.sqrt(np.mean((dequantized.std(axis=1) / sigma - 1.0) ** 2))

    tensor_scale = absmax_scale(x)
    tensor = quantize(x, tensor_scale) * tensor_scale
    channel_scale = absmax_scale(x, axis=0)
    channel = quantize(x, channel_scale) * channel_scale
    wide_scale = absmax_scale(x, bits=16)
    wide = quantize(x, wide_scale, bits=16) * wide_scale
    factors = power_of_two_factors(x)

    print(f"{options.rows} rows of {COLS} channels, ranges 2^0 .. 2^{OCTAVES - 1}, LayerNorm\n")
    print("| input, arithmetic | rms error of sigma | SQNR, dB | narrowest channels | widest |")
    print("| :-- | --: | --: | --: | --: |")
    narrow = sigma_error(tensor)
    report("(a) int8 per tensor, float norm", exact, norm(tensor), octave, narrow)
    report("(a1) statistics of (a), values exact", exact, norm(x, tensor), octave, narrow)
    report("(a2) statistics exact, values of (a)", exact, norm(tensor, x), octave, 0.0)
    report("(b) int8 per channel, float norm", exact, norm(channel), octave, sigma_error(channel))
    for most, (fine, alpha, codes) in factors.items():
        ptf = codes * fine * 2.0**alpha
        name = f"(c) int8, factors 2^0 .. 2^{most}, float norm"
        report(name, exact, norm(ptf), octave, sigma_error(ptf))
    # The statistics of integers alone: those of the per-tensor codes, the values per channel.
    name = "(d) integer statistics of (a), values of (b)"
    report(name, exact, norm(channel, tensor), octave, narrow)
    report("(e) int16 per tensor, float norm", exact, norm(wide), octave, sigma_error(wide))

    # The operator: output steps so fine that their rounding is not seen, then int8 with one scale,
    # once as it is and once with a gamma that evens the channels out.
    fine, alpha, codes = factors[5]
    shifted = codes << alpha
    error = sigma_error(shifted * fine)
    got = integer_norm(shifted, fine, np.ones(COLS), 2.0**-10) * 2.0**-10
    report("(f) (c) with 2^5, integer norm, output in steps of 2^-10", exact, got, octave, error)
    alike = []
    evening = 2.0 ** (OCTAVES - 1.0 - octave)
    for gamma, name in ((np.ones(COLS), "gamma 1"), (evening, "gamma evens out")):
        wanted = exact * gamma
        out_scale = absmax_scale(wanted)
        in_float = quantize(norm(shifted * fine) * gamma, out_scale) * out_scale
        in_integers = np.clip(integer_norm(shifted, fine, gamma, out_scale), -127, 127) * out_scale
        report(f"(g) (f) in floats, then int8; {name}", wanted, in_float, octave, error)
        report(f"(h) (f) with int8 output; {name}", wanted, in_integers, octave, error)
        same = np.mean(in_float == in_integers)
        most = np.max(np.abs(in_float - in_integers)) / out_scale
        alike.append(f"{name}: {100 * same:.4f} % of the codes of (g) and (h) alike, "
                     f"none apart by more than {most:.0f}")
    zeros = np.mean(quantize(x, tensor_scale)[:, octave == 0] == 0)
    print()
    for line in alike:
        print(line)
    print(f"Per tensor, {100 * zeros:.0f} % of the codes of the narrowest channels are 0.")


if __name__ == "__main__":
    main()
