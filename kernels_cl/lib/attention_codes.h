/* The parts of attention over caches of codes, in floats: what scores keys and what sums values, with
 * codes turned into floats as they are read. Layouts: clq_kv_cache.
 *     s[key] = sum over d, ascending, of fma(q[d] * scale, k[key][d] - zero[key], s), times the key's
 *              scale; with scales by channel of fma((q[d] * scale) * k_scale[d], k[key][d], s)
 *     o[d]   = sum over keys, ascending, of fma(p[key] * v_scale[key], v[key][d] - zero[key], o) */
#ifndef CLQ_LIB_ATTENTION_CODES_H
#define CLQ_LIB_ATTENTION_CODES_H

#include "lib/attention.h"

#pragma OPENCL FP_CONTRACT OFF

#define K_PER_WORD (CLQ_K == CLQ_U8 ? 8 : 4) /* dimensions of a key in a word */
#define K_WORDS (CLQ_HEAD_DIM / K_PER_WORD)
#define V_WORDS (CLQ_V == CLQ_U8 ? CLQ_HEAD_DIM / 2 : CLQ_HEAD_DIM) /* of four keys */

/* Dimension i of those in a word, for I ints of U words. */
#if CLQ_K == CLQ_U8
#define K_CODE(I, w, i) as_##I((w) >> ((i) < 4 ? 8 * (i) : 8 * (i) - 28) & 15u)
#else
#define K_CODE(I, w, i) (as_##I((w) << (24 - 8 * (i))) >> 24)
#endif
/* Key j of the four in a word. */
#if CLQ_V == CLQ_U8
#define V_CODE(I, w, j) as_##I((w) >> 8 * (j) & 15u)
#else
#define V_CODE(I, w, j) (as_##I((w) << (24 - 8 * (j))) >> 24)
#endif

#if !CLQ_ON_CPU

/* The score of a key with a query that is scaled. */
CLQ_INLINE float key_score(const head_cache *c, long key, const __local float *query) {
  const __global uint *k =
      (const __global uint *)c->k + (key >> 4) * (K_WORDS * 16) + (key & 15);
#if CLQ_K == CLQ_U8
  const int zero = c->k_zero[key];
#else
  const int zero = 0;
#endif
  float s = 0.0f;
  for (int g = 0; g < K_WORDS; g++) {
    const uint w = k[g * 16];
    for (int i = 0; i < K_PER_WORD; i++) {
      const int d = g * K_PER_WORD + i;
      const float code = (float)(K_CODE(int, w, i) - zero);
#if CLQ_K_GIVEN
      s = fma(query[d] * c->k_scale[d], code, s);
#else
      s = fma(query[d], code, s);
#endif
    }
  }
  return CLQ_K_GIVEN ? s : s * c->k_scale[key];
}

/* Dimension d of the weighted sum of keys begin .. end - 1 of the chunk at `start`. */
CLQ_INLINE float value_sum(const head_cache *c, long start, const __local float *weights,
                           int begin, int end, int d) {
  const bool high = CLQ_V == CLQ_U8 && d >= CLQ_HEAD_DIM / 2;
  const __global uchar *v = (const __global uchar *)c->v + 4 * (high ? d - CLQ_HEAD_DIM / 2 : d);
  float o = 0.0f;
  for (int j = begin; j < end; j++) {
    const long key = start + j;
    const uint byte = v[(key >> 2) * (4 * V_WORDS) + (key & 3)];
#if CLQ_V == CLQ_U8
    const int code = V_CODE(int, high ? byte >> 4 : byte, 0) - c->v_zero[key];
#else
    const int code = V_CODE(int, byte, 0);
#endif
    o = fma(weights[j] * c->v_scale[key], (float)code, o);
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

/* Words of four keys for 16 dimensions from 16 n on, the codes of key j in bits 8 j and up. */
static inline uint16 v_words(const __global uint *quad, int n) {
#if CLQ_V == CLQ_U8
  const int half_dim = CLQ_HEAD_DIM / 2;
  const int a = 16 * n;
  const int b = 16 * n + 8; /* halves of 8 are of one half of the head, whatever its size */
  const uint8 low = vload8(0, quad + (a < half_dim ? a : a - half_dim)) >> (a < half_dim ? 0 : 4);
  const uint8 high = vload8(0, quad + (b < half_dim ? b : b - half_dim)) >> (b < half_dim ? 0 : 4);
  return (uint16)(low, high);
#else
  return vload16(n, quad);
#endif
}

/* The 16 values of a key from dimension 16 n on, less the zero point. */
static inline float16 v_values(const head_cache *c, long key, int n) {
  const __global uint *quad = (const __global uint *)c->v + (key >> 2) * V_WORDS;
  const float16 codes = convert_float16(V_CODE(int16, v_words(quad, n), (int)(key & 3)));
#if CLQ_V == CLQ_U8
  return codes - (float)c->v_zero[key];
#else
  return codes;
#endif
}

/* DEFINE_TILE(N): the two loops that do the work, on CLQ_LINES x N accumulators.
 *
 * scoresN: N blocks of 16 keys from `key` on against all queries [lines, head_dim].
 * valuesN: N vectors, from the first-th on, of the weighted sum of the values of `keys` keys from
 * `key` on, added to `sums`. */
#define DEFINE_TILE(N)                                                                          \
  static inline void scores##N(const head_cache *c, long key, const float *queries,             \
                               float *scores) {                                                 \
    const __global uint *k = (const __global uint *)c->k + key * K_WORDS;                       \
    float16 acc[CLQ_LINES][N];                                                                  \
    CLQ_UNROLL(CLQ_LINES) for (int t = 0; t < CLQ_LINES; t++) {                                 \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) { acc[t][n] = (float16)0.0f; }                  \
    }                                                                                           \
    float16 zero[N];                                                                            \
    CLQ_UNROLL(N) for (int n = 0; n < N; n++) { zero[n] = K_ZEROS(c, key + 16 * n); }           \
    for (int g = 0; g < K_WORDS; g++) {                                                         \
      uint16 w[N];                                                                              \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) { w[n] = vload16(n * K_WORDS + g, k); }         \
      CLQ_UNROLL(1) for (int i = 0; i < K_PER_WORD; i++) {                                      \
        float16 code[N];                                                                        \
        CLQ_UNROLL(N) for (int n = 0; n < N; n++) {                                             \
          code[n] = K_LESS_ZERO(convert_float16(K_CODE(int16, w[n], i)), zero[n]);              \
        }                                                                                       \
        CLQ_UNROLL(CLQ_LINES) for (int t = 0; t < CLQ_LINES; t++) {                             \
          const float16 query = (float16)queries[t * CLQ_HEAD_DIM + g * K_PER_WORD + i];        \
          CLQ_UNROLL(N) for (int n = 0; n < N; n++) {                                           \
            acc[t][n] = fma(query, code[n], acc[t][n]);                                         \
          }                                                                                     \
        }                                                                                       \
      }                                                                                         \
    }                                                                                           \
    CLQ_UNROLL(CLQ_LINES) for (int t = 0; t < CLQ_LINES; t++) {                                 \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) {                                               \
        store_private(K_SCALED(acc[t][n], c, key + 16 * n), scores + t * SCORE_STRIDE + 16 * n); \
      }                                                                                         \
    }                                                                                           \
  }                                                                                             \
                                                                                                \
  static inline void values##N(const head_cache *c, long key, int first, const float *weights,  \
                               int keys, float16 *sums) {                                       \
    float16 acc[CLQ_LINES][N];                                                                  \
    CLQ_UNROLL(CLQ_LINES) for (int t = 0; t < CLQ_LINES; t++) {                                 \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) { acc[t][n] = sums[t * CLQ_DIM_VECTORS + n]; }  \
    }                                                                                           \
    for (int j = 0; j < keys; j++) {                                                            \
      float16 value[N];                                                                         \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) { value[n] = v_values(c, key + j, first + n); } \
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
#if CLQ_K == CLQ_U8
#define K_ZEROS(c, key) convert_float16(vload16(0, (c)->k_zero + (key)))
#define K_LESS_ZERO(x, zero) ((x) - (zero))
#else
#define K_ZEROS(c, key) ((float16)0.0f)
#define K_LESS_ZERO(x, zero) (x)
#endif
#if CLQ_K_GIVEN
#define K_SCALED(x, c, key) (x)
#else
#define K_SCALED(x, c, key) ((x)*vload16(0, (c)->k_scale + (key)))
#endif

DEFINE_TILE(1)
#if CLQ_VECTORS >= 2
DEFINE_TILE(2)
#endif
#if CLQ_VECTORS >= 4
DEFINE_TILE(4)
#endif

/* Scores of blocks begin .. end - 1 of 16 keys each, counted in the chunk at `start`. */
APART void chunk_scores(const head_cache *c, long start, const tile_queries *queries,
                                int begin, int end, float *scores) {
#if CLQ_K_GIVEN
  float x[CLQ_LINES * CLQ_HEAD_DIM];
  for (int i = 0; i < CLQ_LINES * CLQ_DIM_VECTORS; i++) {
    store_private(vload16(i, queries->x) * vload16(i % CLQ_DIM_VECTORS, c->k_scale), x + 16 * i);
  }
#else
  const float *x = queries->x;
#endif
  int b = begin;
#if CLQ_VECTORS >= 4
  for (; b + 4 <= end; b += 4) {
    scores4(c, start + 16 * b, x, scores + b * 16);
  }
#endif
#if CLQ_VECTORS >= 2
  for (; b + 2 <= end; b += 2) {
    scores2(c, start + 16 * b, x, scores + b * 16);
  }
#endif
  for (; b < end; b++) {
    scores1(c, start + 16 * b, x, scores + b * 16);
  }
}

/* Adds the values of keys begin .. end - 1 of a chunk to the sums of one line. */
APART void line_values(const head_cache *c, long start, const float *weights, int begin,
                               int end, float16 *sums) {
  for (int j = begin; j < end; j++) {
    const float16 weight = (float16)weights[j];
    for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
      sums[n] = fma(weight, v_values(c, start + j, n), sums[n]);
    }
  }
}

/* The weighted sums of the chunk at `start`, which replace `sums`: keys `all`, which every line
 * with keys here sees, and before and behind them the few that only some lines see. The weights are
 * multiplied with the values' scales. */
static inline void chunk_values(const head_cache *c, long start, float *weights,
                                const key_range *seen, key_range all, float16 *sums) {
  CLQ_UNROLL(1) for (int t = 0; t < CLQ_LINES; t++) {
    float *line = weights + t * SCORE_STRIDE;
    for (int i = seen[t].begin & -16; i < seen[t].end; i += 16) {
      store_private(vload16(0, line + i) * vload16(0, c->v_scale + start + i), line + i);
    }
    for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
      sums[t * CLQ_DIM_VECTORS + n] = (float16)0.0f;
    }
    line_values(c, start, line, seen[t].begin, min(all.begin, seen[t].end),
                sums + t * CLQ_DIM_VECTORS);
  }
  const long key = start + all.begin;
  const int keys = all.end - all.begin;
  int n = 0;
#if CLQ_VECTORS >= 4
  for (; n + 4 <= CLQ_DIM_VECTORS; n += 4) {
    values4(c, key, n, weights + all.begin, keys, sums + n);
  }
#endif
#if CLQ_VECTORS >= 2
  for (; n + 2 <= CLQ_DIM_VECTORS; n += 2) {
    values2(c, key, n, weights + all.begin, keys, sums + n);
  }
#endif
  for (; n < CLQ_DIM_VECTORS; n++) {
    values1(c, key, n, weights + all.begin, keys, sums + n);
  }
  CLQ_UNROLL(1) for (int t = 0; t < CLQ_LINES; t++) {
    line_values(c, start, weights + t * SCORE_STRIDE, max(all.end, seen[t].begin), seen[t].end,
                sums + t * CLQ_DIM_VECTORS);
  }
}

#endif

#endif
