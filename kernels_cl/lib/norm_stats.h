/* A norm's statistics: blocks merged one after the other, and what elements are normalized with.
 * LayerNorm's blocks are of t - pivot, RMSNorm's m2 is a sum of squares. */
#ifndef CLQ_LIB_NORM_STATS_H
#define CLQ_LIB_NORM_STATS_H

#include "lib/norm_elements.h"
#include "lib/welford.h"

enum { CLQ_CHUNK = 128, CLQ_STEPS = 8, CLQ_BLOCK = CLQ_CHUNK * CLQ_STEPS };

/* A step of Welford's method needs 1 / n. */
__constant float clq_norm_reciprocal[CLQ_STEPS] = {1.0f,        1.0f / 2.0f, 1.0f / 3.0f, 1.0f / 4.0f,
                                           1.0f / 5.0f, 1.0f / 6.0f, 1.0f / 7.0f, 1.0f / 8.0f};

/* The blocks so far. LayerNorm: of t - pivot; RMSNorm: m2 is the sum of squares. */
typedef struct {
  clq_welford w;
  float low;      /* what w.m2 lost to rounding */
  float mean_low; /* and w.mean */
} clq_norm_total;

CLQ_INLINE clq_norm_total clq_norm_nothing(void) {
  clq_norm_total total;
  total.w = clq_welford_empty();
  total.low = 0.0f;
  total.mean_low = 0.0f;
  return total;
}

/* a with x added: what is made of many blocks keeps what each addition rounds off (Knuth's
 * two-sum). */
CLQ_INLINE void clq_norm_keep_all(float *a, float *low, float x) {
  const float s = *a + x;
  const float b = s - *a;
  *low += (*a - (s - b)) + (x - b);
  *a = s;
}

/* A block after those before it, LayerNorm's by Chan's formula; one of nothing changes nothing. */
CLQ_INLINE clq_norm_total clq_norm_join(clq_norm_total total, clq_welford block) {
#if CLQ_CENTERED
  if (!(total.w.n > 0.0f)) {
    total.w = block;
  } else if (block.n > 0.0f) {
    const float n = total.w.n + block.n;
    const float share = clq_div(block.n, n);
    const float delta = (block.mean - total.w.mean) - total.mean_low;
    clq_norm_keep_all(&total.w.m2, &total.low, block.m2);
    clq_norm_keep_all(&total.w.m2, &total.low, (delta * delta) * (total.w.n * share));
    clq_norm_keep_all(&total.w.mean, &total.mean_low, delta * share);
    total.w.n = n;
  }
#else
  clq_norm_keep_all(&total.w.m2, &total.low, block.m2);
#endif
  return total;
}

/* Of a row of n elements. eps is that of t: the caller's times factor^2. */
CLQ_INLINE clq_norm_stats clq_norm_finish(clq_norm_total total, float pivot, long n, float eps) {
  clq_norm_stats s;
  s.pivot = pivot;
  const float m2 = total.w.m2 + (total.low == total.low ? total.low : 0.0f); /* NaN: of an Inf */
  s.mean = total.w.mean + total.mean_low;
  s.rstd = clq_rsqrt(clq_div(m2, (float)n) + eps);
  return s;
}

/* The statistics of s, for whoever wants them. */
#define CLQ_NORM_PUBLISH(row, n)                                                           \
  if (mean_base != 0) {                                                                    \
    mean_base[mean_start + (row)] = clq_div(n.pivot + n.mean, factor);                     \
  }                                                                                        \
  if (rstd_base != 0) {                                                                    \
    rstd_base[rstd_start + (row)] = n.rstd * factor;                                       \
  }

#endif
