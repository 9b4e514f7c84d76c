#include "runtime/probe_expect.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

enum { ITEMS = CLQI_PROBE_ITEMS, WORDS = CLQI_PROBE_WORDS };

static float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static uint32_t next(uint32_t r) { return r * 1664525U + 1013904223U; }

void clqi_probe_input(uint32_t in[CLQI_PROBE_WORDS]) {
  uint32_t r = 2463534242U;
  for (size_t i = 0; i < WORDS; ++i) {
    r = next(r);
    in[i] = r ^ (r >> 15);
  }
  /* The extreme codes of a dot product. */
  in[0] = 0x80808080U;
  in[64] = 0x80808080U;
  in[1] = 0xffffffffU;
  in[65] = 0x80808080U;
  in[512] = 0x7f7f7f7fU;
  in[513] = 0xffffffffU;
}

/* divide: 256 quotients and roots per word, mixed. */

static float operand(uint32_t r) {
  const uint32_t bits = r ^ (r >> 15);
  return float_of((bits & 0x007fffffU) | ((((bits >> 23) & 63U) + 96U) << 23));
}

static uint32_t divide(uint32_t r) {
  uint32_t mix = 0;
  for (size_t i = 0; i < 256; ++i) {
    r = next(r);
    const float a = operand(r);
    r = next(r);
    const float b = operand(r);
    mix = mix * 0x9e3779b1U + bits_of(a / b);
    mix = mix * 0x9e3779b1U + bits_of(sqrtf(a));
  }
  return mix;
}

static void expect_divide(const uint32_t *in, uint32_t *out) {
  for (size_t i = 0; i < 128; ++i) {
    out[i] = divide(in[i]);
  }
}

/* Sub-groups: exchange within a warp, reductions over the group. */

static void expect_warp(const uint32_t *in, uint32_t *out) {
  uint32_t sum = 0;
  uint32_t max = 0;
  float tree[ITEMS];
  for (size_t i = 0; i < ITEMS; ++i) {
    const uint32_t x = in[i] & 0xffffU;
    sum += x;
    max = x > max ? x : max;
    tree[i] = (float)x + 0.1F;
  }
  for (size_t n = ITEMS / 2; n > 0; n /= 2) {
    for (size_t i = 0; i < n; ++i) {
      tree[i] = tree[2 * i] + tree[2 * i + 1];
    }
  }
  for (uint32_t i = 0; i < ITEMS; ++i) {
    out[i] = i ^ 1U;
    out[64 + i] = i;
    out[128 + i] = 1;
    out[192 + i] = sum;
    out[256 + i] = max;
    out[320 + i] = bits_of(tree[0]);
    out[384 + i] = bits_of((float)max);
  }
}

/* Dot products, in arithmetic modulo 2^32. */

static uint32_t signed_byte(uint32_t word, int k) {
  const uint32_t byte = (word >> (8 * k)) & 255U;
  return (byte ^ 128U) - 128U;
}

static uint32_t dot_signed(uint32_t a, uint32_t b, uint32_t c) {
  for (int k = 0; k < 4; ++k) {
    c += signed_byte(a, k) * signed_byte(b, k);
  }
  return c;
}

static uint32_t dot_mixed(uint32_t a, uint32_t b, uint32_t c) {
  for (int k = 0; k < 4; ++k) {
    c += ((a >> (8 * k)) & 255U) * signed_byte(b, k);
  }
  return c;
}

static void expect_dot4(const uint32_t *in, uint32_t *out) {
  for (size_t i = 0; i < ITEMS; ++i) {
    out[512 + i] = dot_signed(in[i], in[64 + i], in[128 + i]);
    out[576 + i] = dot_mixed(in[i], in[64 + i], in[128 + i]);
  }
}

/* A warp's matrices lie in the fragments of lib/mma.h, fragment f of lane l at f + l. */
static uint32_t mma_a(const uint32_t *in, size_t row, size_t k) {
  return in[64 * (row / 8 + 2 * (k / 4)) + 4 * (row % 8) + k % 4];
}
static uint32_t mma_b(const uint32_t *in, size_t column, size_t k) {
  return in[256 + 64 * (k / 4) + 4 * column + k % 4];
}

static void expect_mma(const uint32_t *in, uint32_t *out) {
  for (size_t i = 0; i < ITEMS; ++i) {
    const uint32_t *warp = in + i / 32 * 32;
    for (size_t j = 0; j < 4; ++j) {
      const size_t row = i % 32 / 4 + 8 * (j / 2);
      const size_t column = 2 * (i % 4) + j % 2;
      uint32_t both_signed = in[384 + 64 * j + i];
      uint32_t mixed = both_signed;
      for (size_t k = 0; k < 8; ++k) {
        both_signed = dot_signed(mma_b(warp, column, k), mma_a(warp, row, k), both_signed);
        mixed = dot_mixed(mma_b(warp, column, k), mma_a(warp, row, k), mixed);
      }
      out[64 * j + i] = both_signed;
      out[256 + 64 * j + i] = mixed;
    }
  }
}

static void expect_dot4x16(const uint32_t *in, uint32_t *out) {
  for (size_t i = 0; i < ITEMS; ++i) {
    for (size_t lane = 0; lane < 16; ++lane) {
      const uint32_t w = in[16 * (32 + i % 32) + lane];
      uint32_t acc = in[16 * (i % 32) + lane];
      acc = dot_mixed(w, in[i], acc);
      acc = dot_signed(w, in[64 + i], acc);
      acc = dot_mixed(w & 0x7f7f7f7fU, in[128 + i], acc);
      out[16 * i + lane] = acc;
    }
  }
}

/* f16 to f32 of a number that is neither Inf nor NaN. */
static float half_value(uint32_t h) {
  const uint32_t exponent = (h >> 10) & 31U;
  const uint32_t fraction = h & 1023U;
  const float magnitude = exponent == 0 ? (float)fraction * 0x1p-24F
                                        : float_of((exponent + 112U) << 23 | fraction << 13);
  return float_of(bits_of(magnitude) | (h & 0x8000U) << 16);
}

static void expect_half(const uint32_t *in, uint32_t *out) {
  for (size_t i = 0; i < 256; ++i) {
    const uint32_t word = in[i] & 0xbfffbfffU;
    out[512 + i] = word;
    out[2 * i] = bits_of(half_value(word & 0xffffU));
    out[2 * i + 1] = bits_of(half_value(word >> 16));
  }
}

static uint64_t pair(const uint32_t *words) { return words[0] | (uint64_t)words[1] << 32; }

static void expect_avx512(const uint32_t *in, uint32_t *out) {
  expect_half(in, out);
  for (size_t i = 0; i < 128; ++i) {
    out[768 + i] = (in[i] & 0x7f7f7f7fU) << 1;
  }
  for (size_t i = 0; i < 8; ++i) {
    for (size_t k = 0; k < 8; k += 2) {
      const uint64_t low = pair(in + 16 * i + k);
      const uint64_t high = pair(in + 16 * i + 8 + k);
      const uint64_t least = low < high ? low : high;
      out[896 + 8 * i + k] = (uint32_t)least;
      out[896 + 8 * i + k + 1] = (uint32_t)(least >> 32);
    }
  }
}

/* in[0 .. 63] is a table of 256 bytes. */
static void expect_permute(const uint32_t *in, uint32_t *out) {
  for (size_t i = 0; i < WORDS; ++i) {
    for (size_t byte = 0; byte < 4; ++byte) {
      const uint32_t code = in[i] >> (8 * byte) & 255U;
      out[i] |= (in[code / 4] >> (8 * (code % 4)) & 255U) << (8 * byte);
    }
  }
}

void clqi_probe_expected(clqi_trait trait, const uint32_t in[CLQI_PROBE_WORDS],
                         uint32_t out[CLQI_PROBE_WORDS]) {
  memset(out, 0, WORDS * sizeof out[0]);
  switch (trait) {
    case CLQI_TRAIT_EXACT_DIVIDE: expect_divide(in, out); return;
    case CLQI_TRAIT_KHR_SUBGROUPS:
    case CLQI_TRAIT_INTEL_SUBGROUPS:
    case CLQI_TRAIT_QCOM_SUBGROUPS: expect_warp(in, out); return;
    case CLQI_TRAIT_NVIDIA_PTX:
      expect_warp(in, out);
      expect_dot4(in, out);
      return;
    case CLQI_TRAIT_NVIDIA_MMA: expect_mma(in, out); return;
    case CLQI_TRAIT_KHR_INT_DOT:
    case CLQI_TRAIT_AMD_DOT: expect_dot4(in, out); return;
    case CLQI_TRAIT_X86_AVX2:
    case CLQI_TRAIT_X86_VNNI: expect_dot4x16(in, out); return;
    case CLQI_TRAIT_X86_F16C: expect_half(in, out); return;
    case CLQI_TRAIT_X86_AVX512: expect_avx512(in, out); return;
    case CLQI_TRAIT_X86_VBMI: expect_permute(in, out); return;
    case CLQI_TRAIT_CPU:
    case CLQI_TRAIT_COUNT: break;
  }
  memcpy(out, in, ITEMS * sizeof out[0]);
}
