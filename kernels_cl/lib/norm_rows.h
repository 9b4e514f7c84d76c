/* The form of LayerNorm and RMSNorm for CPUs: a work-item takes rows by float16,
 * twice over each: once for the statistics, once for the result. */
#ifndef CLQ_LIB_NORM_ROWS_H
#define CLQ_LIB_NORM_ROWS_H

#include "lib/fold.h"
#include "lib/norm_elements.h"
#include "lib/norm_stats.h"

#ifndef CLQ_ROWS_AT_ONCE /* the most that the host gives a work-item, and says */
#define CLQ_ROWS_AT_ONCE 1
#endif

enum { CLQ_PARTS = CLQ_CHUNK / CLQ_WIDTH };

#if CLQ_CENTERED

/* States that hold n values each, merged in pairs. */
typedef struct {
  float16 mean;
  float16 m2;
} clq_states;

CLQ_INLINE clq_states clq_merge_pairs(float n, float16 mean_a, float16 mean_b, float16 m2_a,
                                      float16 m2_b) {
  const float16 delta = mean_b - mean_a;
  clq_states s;
  s.mean = 0.5f * (mean_a + mean_b);
  s.m2 = fma(delta * delta, (float16)(0.5f * n), m2_a + m2_b);
  return s;
}

CLQ_INLINE clq_states clq_merge_neighbours(float n, clq_states a, clq_states b) {
  return clq_merge_pairs(n, CLQ_FIRSTS(a.mean, b.mean), CLQ_SECONDS(a.mean, b.mean),
                         CLQ_FIRSTS(a.m2, b.m2), CLQ_SECONDS(a.m2, b.m2));
}

/* Lane 4 k + j: quad k of vector j, of four. */
CLQ_INLINE clq_states clq_merge_quads(float n, const clq_states *s) {
  return clq_merge_neighbours(2.0f * n, clq_merge_neighbours(n, s[0], s[1]),
                              clq_merge_neighbours(n, s[2], s[3]));
}

/* All 128 lanes, which hold n values each. */
CLQ_INLINE clq_welford clq_merge_chunk(float n, const clq_states *s) {
  const clq_states a = clq_merge_quads(n, s);
  const clq_states b = clq_merge_quads(n, s + 4);
  const clq_states c = clq_merge_pairs(
      4.0f * n, CLQ_FIRST_QUADS(a.mean, b.mean), CLQ_SECOND_QUADS(a.mean, b.mean),
      CLQ_FIRST_QUADS(a.m2, b.m2), CLQ_SECOND_QUADS(a.m2, b.m2));
  const float8 mean_a = (float8)(c.mean.s0123, c.mean.s89ab);
  const float8 mean_b = (float8)(c.mean.s4567, c.mean.scdef);
  const float8 delta = mean_b - mean_a;
  const float8 both = (float8)(c.m2.s0123, c.m2.s89ab) + (float8)(c.m2.s4567, c.m2.scdef);
  return clq_welford8_fold(16.0f * n, 0.5f * (mean_a + mean_b),
                           fma(delta * delta, (float8)(0.5f * 8.0f * n), both));
}

CLQ_INLINE float clq_norm_pivot(const clq_norm_row *r) {
  float16 t[CLQ_PARTS];
#pragma unroll
  for (int j = 0; j < CLQ_PARTS; ++j) {
    t[j] = clq_norm_scaled(r, clq_norm_sum(r, CLQ_WIDTH * j, r->cols));
  }
  return clq_div(clq_fold_add128(t) + 0.0f, (float)min((long)CLQ_CHUNK, r->cols));
}

/* What is left behind the last whole chunk, from element i. */
static inline clq_welford clq_norm_rest(const clq_norm_row *r, float pivot, long i) {
  const float n = (float)(r->cols - i);
  float16 d[CLQ_PARTS];
#pragma unroll
  for (int j = 0; j < CLQ_PARTS; ++j) {
    const long at = i + CLQ_WIDTH * j;
    d[j] = clq_v_inside(clq_norm_first(r, at, r->cols) - pivot, at, r->cols);
  }
  const float mean = clq_div(clq_fold_add128(d) + 0.0f, n);
#pragma unroll
  for (int j = 0; j < CLQ_PARTS; ++j) {
    d[j] = clq_v_inside(d[j] - mean, i + CLQ_WIDTH * j, r->cols);
    d[j] *= d[j];
  }
  return clq_welford_of(n, mean, clq_fold_add128(d));
}

CLQ_INLINE clq_norm_total clq_norm_row_total(const clq_norm_row *r, float pivot) {
  const long whole = r->cols & -(long)CLQ_CHUNK;
  clq_norm_total total = clq_norm_nothing();
  for (long b = 0; b < whole; b += CLQ_BLOCK) {
    const int steps = (int)min((long)CLQ_STEPS, (whole - b) / CLQ_CHUNK);
    clq_states s[CLQ_PARTS];
#pragma unroll
    for (int j = 0; j < CLQ_PARTS; ++j) {
      s[j].mean = s[j].m2 = (float16)0.0f;
    }
    for (int k = 0; k < steps; ++k) {
      const float16 reciprocal = (float16)clq_norm_reciprocal[k];
#pragma unroll
      for (int j = 0; j < CLQ_PARTS; ++j) {
        const long i = b + CLQ_CHUNK * k + CLQ_WIDTH * j;
        const float16 d = clq_norm_first(r, i, i + CLQ_WIDTH) - pivot;
        const float16 delta = d - s[j].mean;
        s[j].mean = fma(delta, reciprocal, s[j].mean);
        s[j].m2 = fma(delta, d - s[j].mean, s[j].m2);
      }
    }
    total = clq_norm_join(total, clq_merge_chunk((float)steps, s));
  }
  if (whole < r->cols) {
    total = clq_norm_join(total, clq_norm_rest(r, pivot, whole));
  }
  return total;
}

#else

CLQ_INLINE float clq_norm_pivot(const clq_norm_row *r) { return 0.0f; }

CLQ_INLINE clq_norm_total clq_norm_row_total(const clq_norm_row *r, float pivot) {
  clq_norm_total total = clq_norm_nothing();
  const long whole = r->cols & -(long)CLQ_CHUNK;
  for (long b = 0; b < r->cols; b += CLQ_BLOCK) {
    float16 squares[CLQ_PARTS];
#pragma unroll
    for (int j = 0; j < CLQ_PARTS; ++j) {
      squares[j] = (float16)0.0f;
    }
    const long end = min(b + CLQ_BLOCK, whole);
    for (long chunk = b; chunk < end; chunk += CLQ_CHUNK) {
#pragma unroll
      for (int j = 0; j < CLQ_PARTS; ++j) {
        const long i = chunk + CLQ_WIDTH * j;
        const float16 t = clq_norm_first(r, i, i + CLQ_WIDTH);
        squares[j] = fma(t, t, squares[j]);
      }
    }
    if (whole < r->cols && whole < b + CLQ_BLOCK) {
#pragma unroll
      for (int j = 0; j < CLQ_PARTS; ++j) {
        const float16 t = clq_norm_first(r, whole + CLQ_WIDTH * j, r->cols);
        squares[j] = fma(t, t, squares[j]);
      }
    }
    clq_norm_keep_all(&total.w.m2, &total.low, clq_fold_add128(squares));
  }
  return total;
}

#endif

/* A work-item takes ceil(rows / work-items) rows that follow each other, at most CLQ_ROWS_AT_ONCE,
 * all of them through each stage in turn: so the chains of pivots and of the ends of statistics,
 * folds, divisions and a root, run side by side. */
__kernel void CLQ_NORM_KERNEL(rows)(CLQ_NORM_ARGS) {
  const long each = (rows + (long)get_global_size(0) - 1) / (long)get_global_size(0);
  const long first = each * (long)get_global_id(0);
  const long behind = min(first + each, rows);
  float pivot[CLQ_ROWS_AT_ONCE];
  clq_norm_total total[CLQ_ROWS_AT_ONCE];
  clq_norm_stats stats[CLQ_ROWS_AT_ONCE];
  for (long row = first; row < behind; ++row) {
    CLQ_NORM_ROW(r, row, cols);
    pivot[row - first] = clq_norm_pivot(&r);
  }
  for (long row = first; row < behind; ++row) {
    CLQ_NORM_ROW(r, row, cols);
    total[row - first] = clq_norm_row_total(&r, pivot[row - first]);
  }
  for (long row = first; row < behind; ++row) {
    const clq_norm_stats n = clq_norm_finish(total[row - first], pivot[row - first], cols, eps);
    CLQ_NORM_PUBLISH(row, n)
    stats[row - first] = n;
  }
  for (long row = first; row < behind; ++row) {
    CLQ_NORM_ROW(r, row, cols);
    CLQ_OUT_ROW(o, row, 0L, cols);
    const clq_norm_stats n = stats[row - first];
#define VALUE(i, end) clq_norm_y_inside(&r, n, clq_norm_again(&r, i, end), i, end)
    CLQ_EMIT_ROW(VALUE, cols, o)
  }
}

#endif
