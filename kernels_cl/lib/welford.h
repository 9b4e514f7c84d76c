/* Means and variances of parts of a row, merged by Chan's formula; the parts come
 * from Welford's updates, which lib/norm_rows.h and norm_quads.h make by vectors.
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

/* Both sets of values together, where a.n == b.n: no division. */
static inline clq_welford clq_welford_merge_equal(clq_welford a, clq_welford b) {
  const float delta = b.mean - a.mean;
  const float mean = 0.5f * (a.mean + b.mean);
  return clq_welford_of(a.n + b.n, mean, fma(delta * delta, 0.5f * a.n, a.m2 + b.m2));
}

/* The count of a neighbour is one's own. */
#define CLQ_WELFORD_XOR_EQUAL(w, mask) \
  clq_welford_of((w).n, clq_warp_xor((w).mean, mask), clq_warp_xor((w).m2, mask))
CLQ_DEFINE_SEGMENT(clq_welford, welford_equal, clq_welford_merge_equal, CLQ_WELFORD_XOR_EQUAL)
CLQ_DEFINE_LANES(clq_welford, welford_equal, clq_welford_merge_equal, CLQ_WELFORD_XOR_EQUAL)

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

#endif
