/* Mean and variance of a row in one pass: Welford's update and Chan's merge,
 * both relative to a pivot.
 *
 * Every value enters as d = x - pivot, with one pivot for the whole row, which
 * the caller chooses (lib/norm.h: the mean of the first 128 elements; the first
 * alone is a worse one where it is an outlier); mean' below is the mean of d.
 * That one subtraction keeps the variance's relative error in the 1e-7s up to
 * mean/std = 1e7, where the plain form has lost every digit. Outputs are
 * (d - mean') * rstd.
 *   Welford 1962; Chan, Golub, LeVeque 1983. */
#ifndef CLQ_LIB_WELFORD_H
#define CLQ_LIB_WELFORD_H

#include "lib/math.h"
#include "lib/warp.h"

#pragma OPENCL FP_CONTRACT OFF

/* Of n values: their mean and the sum of squared distances from it. n is exact
 * up to 2^24. */
typedef struct {
  float n;
  float mean;
  float m2;
} clq_welford;

static inline clq_welford clq_welford_of(float n, float mean, float m2) {
  clq_welford w;
  w.n = n;
  w.mean = mean;
  w.m2 = m2;
  return w;
}

static inline clq_welford clq_welford_empty(void) { return clq_welford_of(0.0f, 0.0f, 0.0f); }

/* w with d added; reciprocal is 1 / (w.n + 1), which lanes of equal count share. */
static inline clq_welford clq_welford_add_with(clq_welford w, float d, float reciprocal) {
  const float delta = d - w.mean;
  const float mean = fma(delta, reciprocal, w.mean);
  return clq_welford_of(w.n + 1.0f, mean, fma(delta, d - mean, w.m2));
}

/* w with d added. */
static inline clq_welford clq_welford_add(clq_welford w, float d) {
  return clq_welford_add_with(w, d, clq_div(1.0f, w.n + 1.0f));
}

/* Both sets of values together; either may be empty. */
static inline clq_welford clq_welford_merge(clq_welford a, clq_welford b) {
  const float n = a.n + b.n;
  const float share = n > 0.0f ? clq_div(b.n, n) : 0.0f;
  const float delta = b.mean - a.mean;
  const float mean = fma(delta, share, a.mean);
  return clq_welford_of(n, mean, fma(delta * delta, a.n * share, a.m2 + b.m2));
}

/* The same where a.n == b.n: no division. */
static inline clq_welford clq_welford_merge_equal(clq_welford a, clq_welford b) {
  const float delta = b.mean - a.mean;
  const float mean = 0.5f * (a.mean + b.mean);
  return clq_welford_of(a.n + b.n, mean, fma(delta * delta, 0.5f * a.n, a.m2 + b.m2));
}

/* Biased variance, m2 / n; 0 of no values. */
static inline float clq_welford_variance(clq_welford w) {
  return w.n > 0.0f ? clq_div(w.m2, w.n) : 0.0f;
}

#if !CLQ_WARP_LOCAL
static inline clq_welford clq_welford_xor(clq_welford w, uint mask) {
  return clq_welford_of(clq_warp_xor(w.n, mask), clq_warp_xor(w.mean, mask),
                        clq_warp_xor(w.m2, mask));
}

static inline clq_welford clq_welford_from(clq_welford w, uint lane) {
  return clq_welford_of(clq_warp_from(w.n, lane), clq_warp_from(w.mean, lane),
                        clq_warp_from(w.m2, lane));
}
#endif

/* clq_warp_reduce_welford, clq_group_reduce_welford: any counts.
 * …_welford_equal: all work-items hold the same count, and their number (for
 * the warp form: the warp's size) is a power of two. */
CLQ_DEFINE_REDUCE(clq_welford, welford, clq_welford_merge, clq_welford_xor, clq_welford_from)
CLQ_DEFINE_REDUCE(clq_welford, welford_equal, clq_welford_merge_equal, clq_welford_xor,
                  clq_welford_from)

/* The count of a neighbour is one's own. */
#define CLQ_WELFORD_XOR_EQUAL(w, mask) \
  clq_welford_of((w).n, clq_warp_xor((w).mean, mask), clq_warp_xor((w).m2, mask))
CLQ_DEFINE_SEGMENT(clq_welford, welford_equal, clq_welford_merge_equal, CLQ_WELFORD_XOR_EQUAL)
CLQ_DEFINE_LANES(clq_welford, welford_equal, clq_welford_merge_equal, CLQ_WELFORD_XOR_EQUAL)

/* Sixteen states of one count, for a work-item that walks a row by float16. */
typedef struct {
  float n;
  float16 mean;
  float16 m2;
} clq_welford16;

static inline clq_welford16 clq_welford16_empty(void) {
  clq_welford16 w;
  w.n = 0.0f;
  w.mean = (float16)0.0f;
  w.m2 = (float16)0.0f;
  return w;
}

/* w with one value more in every lane. */
static inline clq_welford16 clq_welford16_add(clq_welford16 w, float16 d) {
  w.n += 1.0f;
  const float16 reciprocal = (float16)clq_div(1.0f, w.n);
  const float16 delta = d - w.mean;
  w.mean = fma(delta, reciprocal, w.mean);
  w.m2 = fma(delta, d - w.mean, w.m2);
  return w;
}

/* Eight states of n values merged, neighbours first, by the equal-count form. */
CLQ_INLINE clq_welford clq_welford8_fold(float n, float8 mean8, float8 m8) {
  const float4 d4 = mean8.odd - mean8.even;
  const float4 mean4 = 0.5f * (mean8.even + mean8.odd);
  const float4 m4 = fma(d4 * d4, (float4)(0.5f * n), m8.even + m8.odd);
  n += n;
  const float2 d2 = mean4.odd - mean4.even;
  const float2 mean2 = 0.5f * (mean4.even + mean4.odd);
  const float2 m2 = fma(d2 * d2, (float2)(0.5f * n), m4.even + m4.odd);
  n += n;
  return clq_welford_merge_equal(clq_welford_of(n, mean2.x, m2.x),
                                 clq_welford_of(n, mean2.y, m2.y));
}

/* The sixteen lanes merged, in the same way. */
static inline clq_welford clq_welford16_fold(clq_welford16 w) {
  const float8 d8 = w.mean.odd - w.mean.even;
  const float8 mean8 = 0.5f * (w.mean.even + w.mean.odd);
  const float8 m8 = fma(d8 * d8, (float8)(0.5f * w.n), w.m2.even + w.m2.odd);
  return clq_welford8_fold(w.n + w.n, mean8, m8);
}

#endif
