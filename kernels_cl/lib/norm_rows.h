/* The form of LayerNorm and RMSNorm for CPUs: one work-item a row, twice over it
 * by float16: once for the statistics, once for the result. */
#ifndef CLQ_LIB_NORM_ROWS_H
#define CLQ_LIB_NORM_ROWS_H

#include "lib/norm.h"

enum { CLQ_PARTS = CLQ_CHUNK / CLQ_WIDTH };

#if CLQ_CENTERED

/* Neighbouring lanes of two vectors merged into one; each lane holds n values. */
static inline void clq_merge_lanes(float n, const float16 *mean, const float16 *m2,
                                   float16 *merged_mean, float16 *merged_m2) {
  const float16 a = (float16)(mean[0].even, mean[1].even);
  const float16 b = (float16)(mean[0].odd, mean[1].odd);
  const float16 both = (float16)(m2[0].even + m2[0].odd, m2[1].even + m2[1].odd);
  const float16 delta = b - a;
  *merged_mean = 0.5f * (a + b);
  *merged_m2 = fma(delta * delta, (float16)(0.5f * n), both);
}

/* All 128 lanes, which hold n values each. */
static inline clq_welford clq_merge_chunk(float n, const float16 *mean, const float16 *m2) {
  float16 mean4[4], m4[4], mean2[2], m22[2];
  clq_welford16 w;
  for (int j = 0; j < 4; ++j) {
    clq_merge_lanes(n, mean + 2 * j, m2 + 2 * j, &mean4[j], &m4[j]);
  }
  for (int j = 0; j < 2; ++j) {
    clq_merge_lanes(2.0f * n, mean4 + 2 * j, m4 + 2 * j, &mean2[j], &m22[j]);
  }
  clq_merge_lanes(4.0f * n, mean2, m22, &w.mean, &w.m2);
  w.n = 8.0f * n;
  return clq_welford16_fold(w);
}

static inline float clq_norm_pivot(const clq_norm_row *r) {
  float16 t[CLQ_PARTS];
  for (int j = 0; j < CLQ_PARTS; ++j) {
    t[j] = clq_norm_scaled(r, clq_norm_sum(r, CLQ_WIDTH * j));
  }
  return clq_div(clq_fold_add128(t) + 0.0f, (float)min((long)CLQ_CHUNK, r->cols));
}

/* What is left behind the last whole chunk, from element i. */
static inline clq_welford clq_norm_rest(const clq_norm_row *r, float pivot, long i) {
  const float n = (float)(r->cols - i);
  float16 d[CLQ_PARTS];
  for (int j = 0; j < CLQ_PARTS; ++j) {
    const int16 inside = clq_mask16(i + CLQ_WIDTH * j, r->cols);
    d[j] = clq_norm_first(r, i + CLQ_WIDTH * j) - pivot;
    d[j] = as_float16(as_int16(d[j]) & inside);
  }
  const float mean = clq_div(clq_fold_add128(d) + 0.0f, n);
  for (int j = 0; j < CLQ_PARTS; ++j) {
    const int16 inside = clq_mask16(i + CLQ_WIDTH * j, r->cols);
    d[j] = as_float16(as_int16(d[j] - mean) & inside);
    d[j] *= d[j];
  }
  return clq_welford_of(n, mean, clq_fold_add128(d));
}

static inline clq_norm_stats clq_norm_row_stats(const clq_norm_row *r, float eps) {
  const float pivot = clq_norm_pivot(r);
  const long whole = r->cols & -(long)CLQ_CHUNK;
  clq_norm_total total = clq_norm_nothing();
  for (long b = 0; b < whole; b += CLQ_BLOCK) {
    const int steps = (int)min((long)CLQ_STEPS, (whole - b) / CLQ_CHUNK);
    float16 mean[CLQ_PARTS], m2[CLQ_PARTS];
    for (int j = 0; j < CLQ_PARTS; ++j) {
      mean[j] = m2[j] = (float16)0.0f;
    }
    for (int k = 0; k < steps; ++k) {
      const float16 reciprocal = (float16)clq_norm_reciprocal[k];
#pragma unroll
      for (int j = 0; j < CLQ_PARTS; ++j) {
        const float16 d = clq_norm_first(r, b + CLQ_CHUNK * k + CLQ_WIDTH * j) - pivot;
        const float16 delta = d - mean[j];
        mean[j] = fma(delta, reciprocal, mean[j]);
        m2[j] = fma(delta, d - mean[j], m2[j]);
      }
    }
    total = clq_norm_join(total, clq_merge_chunk((float)steps, mean, m2));
  }
  if (whole < r->cols) {
    total = clq_norm_join(total, clq_norm_rest(r, pivot, whole));
  }
  return clq_norm_finish(total, pivot, r->cols, eps);
}

#else

static inline clq_norm_stats clq_norm_row_stats(const clq_norm_row *r, float eps) {
  clq_norm_total total = clq_norm_nothing();
  for (long b = 0; b < r->cols; b += CLQ_BLOCK) {
    const long end = min(b + CLQ_BLOCK, r->cols);
    float16 squares[CLQ_PARTS];
    for (int j = 0; j < CLQ_PARTS; ++j) {
      squares[j] = (float16)0.0f;
    }
    for (long i = b; i < end; i += CLQ_CHUNK) {
#pragma unroll
      for (int j = 0; j < CLQ_PARTS; ++j) {
        const float16 t = clq_norm_first(r, i + CLQ_WIDTH * j);
        squares[j] = fma(t, t, squares[j]);
      }
    }
    clq_norm_add_m2(&total, clq_fold_add128(squares));
  }
  return clq_norm_finish(total, 0.0f, r->cols, eps);
}

#endif

__kernel void CLQ_NORM_KERNEL(rows)(CLQ_NORM_ARGS) {
  const long row = get_global_id(0);
  CLQ_NORM_ROW(r, row, cols);
  const clq_norm_stats n = clq_norm_row_stats(&r, eps);
  CLQ_NORM_PUBLISH(row, n)
  CLQ_OUT_ROW(o, row, 0L, cols);
#define VALUE(i, end) clq_norm_y_inside(&r, n, clq_norm_again(&r, (i)), (i), (end))
  CLQ_EMIT_ROW(VALUE, cols, o)
}

#endif
