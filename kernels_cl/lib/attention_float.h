/* The parts of attention over caches of floats: what scores keys and what sums values.
 *
 * k: [capacity / 16, head_dim, 16] of a head, so that 16 scores are one vector; v: [capacity,
 * head_dim].
 *     s[key] = sum over d, ascending, of fma(q[d] * scale, k[key][d], s)
 *     o[d]   = sum over keys, ascending, of fma(p[key], v[key][d], o) */
#ifndef CLQ_LIB_ATTENTION_FLOAT_H
#define CLQ_LIB_ATTENTION_FLOAT_H

#include "lib/attention.h"

#pragma OPENCL FP_CONTRACT OFF

#if CLQ_K == CLQ_F16
static inline float load_k(const __global k_t *p) { return clq_load_half(0, p); }
static inline float16 load_k16(const __global k_t *p) { return clq_load_half16(0, p); }
#else
static inline float load_k(const __global k_t *p) { return *p; }
static inline float16 load_k16(const __global k_t *p) { return vload16(0, p); }
#endif
#if CLQ_V == CLQ_F16
static inline float load_v(const __global v_t *p) { return clq_load_half(0, p); }
static inline float16 load_v16(const __global v_t *p) { return clq_load_half16(0, p); }
#else
static inline float load_v(const __global v_t *p) { return *p; }
static inline float16 load_v16(const __global v_t *p) { return vload16(0, p); }
#endif

#if !CLQ_ON_CPU

/* The score of a key with a query that is scaled. */
static inline float key_score(const head_cache *c, long key, const __local float *query) {
  const __global k_t *k = c->k + (key >> 4) * (CLQ_HEAD_DIM * 16) + (key & 15);
  float s = 0.0f;
  for (int d = 0; d < CLQ_HEAD_DIM; d++) {
    s = fma(query[d], load_k(k + d * 16), s);
  }
  return s;
}

/* Dimension d of the weighted sum of keys begin .. end - 1 of the chunk at `start`. */
static inline float value_sum(const head_cache *c, long start, const __local float *weights,
                              int begin, int end, int d) {
  const __global v_t *v = c->v + start * CLQ_HEAD_DIM + d;
  float o = 0.0f;
  for (int j = begin; j < end; j++) {
    o = fma(weights[j], load_v(v + (long)j * CLQ_HEAD_DIM), o);
  }
  return o;
}

#else

typedef struct tile_queries {
  float x[CLQ_LINES * CLQ_HEAD_DIM];
} tile_queries;

static inline void take_query(tile_queries *to, int t, const __global float *q, float scale) {
  for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
    store_private(vload16(n, q) * scale, to->x + t * CLQ_HEAD_DIM + 16 * n);
  }
}

/* DEFINE_TILE(N): the two loops that do the work, on CLQ_LINES x N accumulators.
 *
 * scoresN: N blocks of 16 keys from `k` against all queries [lines, head_dim].
 * valuesN: N vectors of the weighted sum of the values of `keys` keys from `v`, added to `sums`. */
#define DEFINE_TILE(N)                                                                          \
  static inline void scores##N(const __global k_t *k, const float *queries, float *scores) {    \
    float16 acc[CLQ_LINES][N];                                                                  \
    CLQ_UNROLL(CLQ_LINES) for (int t = 0; t < CLQ_LINES; t++) {                                 \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) { acc[t][n] = (float16)0.0f; }                  \
    }                                                                                           \
    for (int d = 0; d < CLQ_HEAD_DIM; d++) {                                                    \
      float16 key[N];                                                                           \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) {                                               \
        key[n] = load_k16(k + (n * CLQ_HEAD_DIM + d) * 16);                                     \
      }                                                                                         \
      CLQ_UNROLL(CLQ_LINES) for (int t = 0; t < CLQ_LINES; t++) {                               \
        const float16 query = (float16)queries[t * CLQ_HEAD_DIM + d];                           \
        CLQ_UNROLL(N) for (int n = 0; n < N; n++) { acc[t][n] = fma(query, key[n], acc[t][n]); } \
      }                                                                                         \
    }                                                                                           \
    CLQ_UNROLL(CLQ_LINES) for (int t = 0; t < CLQ_LINES; t++) {                                 \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) {                                               \
        store_private(acc[t][n], scores + t * SCORE_STRIDE + 16 * n);                           \
      }                                                                                         \
    }                                                                                           \
  }                                                                                             \
                                                                                                \
  static inline void values##N(const __global v_t *v, const float *weights, int keys,           \
                               float16 *sums) {                                                 \
    float16 acc[CLQ_LINES][N];                                                                  \
    CLQ_UNROLL(CLQ_LINES) for (int t = 0; t < CLQ_LINES; t++) {                                 \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) { acc[t][n] = sums[t * CLQ_DIM_VECTORS + n]; }  \
    }                                                                                           \
    for (int j = 0; j < keys; j++) {                                                            \
      float16 value[N];                                                                         \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) {                                               \
        value[n] = load_v16(v + (long)j * CLQ_HEAD_DIM + 16 * n);                               \
      }                                                                                         \
      CLQ_UNROLL(CLQ_LINES) for (int t = 0; t < CLQ_LINES; t++) {                               \
        const float16 weight = (float16)weights[t * SCORE_STRIDE + j];                          \
        CLQ_UNROLL(N) for (int n = 0; n < N; n++) {                                             \
          acc[t][n] = fma(weight, value[n], acc[t][n]);                                         \
        }                                                                                       \
      }                                                                                         \
    }                                                                                           \
    CLQ_UNROLL(CLQ_LINES) for (int t = 0; t < CLQ_LINES; t++) {                                 \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) { sums[t * CLQ_DIM_VECTORS + n] = acc[t][n]; }  \
    }                                                                                           \
  }

DEFINE_TILE(1)
#if CLQ_VECTORS >= 2
DEFINE_TILE(2)
#endif
#if CLQ_VECTORS >= 4
DEFINE_TILE(4)
#endif
#if CLQ_VECTORS >= 8
DEFINE_TILE(8)
#endif

/* Scores of blocks begin .. end - 1 of 16 keys each, counted in the chunk at `start`. */
APART void chunk_scores(const head_cache *c, long start, const tile_queries *queries, int begin,
                        int end, float *scores) {
  const __global k_t *k = c->k + (start + 16 * begin) * CLQ_HEAD_DIM;
  const int blocks = end - begin;
  scores += 16 * begin;
  int b = 0;
#if CLQ_VECTORS >= 8
  for (; b + 8 <= blocks; b += 8) {
    scores8(k + b * CLQ_HEAD_DIM * 16, queries->x, scores + b * 16);
  }
#endif
#if CLQ_VECTORS >= 4
  for (; b + 4 <= blocks; b += 4) {
    scores4(k + b * CLQ_HEAD_DIM * 16, queries->x, scores + b * 16);
  }
#endif
#if CLQ_VECTORS >= 2
  for (; b + 2 <= blocks; b += 2) {
    scores2(k + b * CLQ_HEAD_DIM * 16, queries->x, scores + b * 16);
  }
#endif
  for (; b < blocks; b++) {
    scores1(k + b * CLQ_HEAD_DIM * 16, queries->x, scores + b * 16);
  }
}

/* Adds the values of keys begin .. end - 1 of a chunk to the sums of one line. */
APART void line_values(const __global v_t *v, const float *weights, int begin, int end,
                       float16 *sums) {
  for (int j = begin; j < end; j++) {
    const float16 weight = (float16)weights[j];
    for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
      sums[n] = fma(weight, load_v16(v + (long)j * CLQ_HEAD_DIM + 16 * n), sums[n]);
    }
  }
}

/* The weighted sums of the chunk at `start`, which replace `sums`: keys `all`, which every line
 * with keys here sees, and before and behind them the few that only some lines see. */
static inline void chunk_values(const head_cache *c, long start, const float *weights,
                                const key_range *seen, key_range all, float16 *sums) {
  const __global v_t *v = c->v + start * CLQ_HEAD_DIM;
  CLQ_UNROLL(1) for (int t = 0; t < CLQ_LINES; t++) {
    for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
      sums[t * CLQ_DIM_VECTORS + n] = (float16)0.0f;
    }
#if CLQ_LINES > 1 /* else all lines see what one does */
    line_values(v, weights + t * SCORE_STRIDE, seen[t].begin, min(all.begin, seen[t].end),
                sums + t * CLQ_DIM_VECTORS);
#endif
  }
  const __global v_t *common = v + all.begin * CLQ_HEAD_DIM;
  const int keys = all.end - all.begin;
  weights += all.begin;
  int n = 0;
#if CLQ_VECTORS >= 4
  for (; n + 4 <= CLQ_DIM_VECTORS; n += 4) {
    values4(common + 16 * n, weights, keys, sums + n);
  }
#endif
#if CLQ_VECTORS >= 2
  for (; n + 2 <= CLQ_DIM_VECTORS; n += 2) {
    values2(common + 16 * n, weights, keys, sums + n);
  }
#endif
  for (; n < CLQ_DIM_VECTORS; n++) {
    values1(common + 16 * n, weights, keys, sums + n);
  }
#if CLQ_LINES > 1
  weights -= all.begin;
  CLQ_UNROLL(1) for (int t = 0; t < CLQ_LINES; t++) {
    line_values(v, weights + t * SCORE_STRIDE, max(all.end, seen[t].begin), seen[t].end,
                sums + t * CLQ_DIM_VECTORS);
  }
#endif
}

#endif

#endif
