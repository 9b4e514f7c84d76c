/* Causal attention over a KV cache, keys in chunks of CLQ_CHUNK.
 *
 * A line is one query row of one head. Line by line and chunk by chunk:
 *     s[key] = sum over d, ascending, of fma(q[d] * scale, k[key][d], s)
 *     m = max s;  p = exp(s - m);  l = sum p, in 16 lanes that fold neighbours first
 *     o[d] = sum over keys, ascending, of fma(p, v, o)
 * and chunks merge in ascending order (merge_factors). None of this depends on which lines are
 * computed together or by which form, so a row's bits do not either; and a split over keys at
 * the borders of chunks can merge the same way.
 *
 * Only keys that the line may see are ever multiplied into its result: what stands in the cache
 * behind them (another row's NaN, uninitialized memory) does not matter.
 *
 * k_cache: [kv_heads, capacity / 16, head_dim, 16], so that 16 scores are one vector;
 * v_cache: [kv_heads, capacity, head_dim]. */
#include "lib/device_error.h"
#include "lib/emit.h"
#include "lib/half.h"
#include "lib/math.h"
#include "lib/quantize.h"
#include "lib/rows.h"
#include "lib/tensor.h"
#include "lib/traits.h"
#include "lib/types.h"

#pragma OPENCL FP_CONTRACT OFF

#ifndef CLQ_HEAD_DIM
#define CLQ_HEAD_DIM 64 /* a multiple of 16 */
#endif
#ifndef CLQ_CACHE
#define CLQ_CACHE CLQ_F32 /* of the caches: CLQ_F32, CLQ_F16 */
#endif

#define CLQ_CHUNK 256 /* keys; changing it changes results */
#define CLQ_DIM_VECTORS (CLQ_HEAD_DIM / 16)
#define CLQ_UNROLL(n) __attribute__((opencl_unroll_hint(n)))

#if CLQ_CACHE == CLQ_F16
typedef half cache_t;
static inline float load_cache(const __global cache_t *p) { return clq_load_half(0, p); }
static inline float16 load_cache16(const __global cache_t *p) { return clq_load_half16(0, p); }
#else
typedef float cache_t;
static inline float load_cache(const __global cache_t *p) { return *p; }
static inline float16 load_cache16(const __global cache_t *p) { return vload16(0, p); }
#endif

/* What the kernels of this file take. Strides are in elements; scale and sum planes of `out` are
 * there with CLQ_I8 only, sums even then only if wanted. */
#define ATTENTION_ARGS                                                                         \
  CLQ_TENSOR(const float, q), CLQ_TENSOR(const cache_t, k_cache),                              \
      CLQ_TENSOR(const cache_t, v_cache), CLQ_TENSOR(const int, position),                     \
      CLQ_TENSOR(clq_out, out), CLQ_TENSOR(float, out_scale), CLQ_TENSOR(int, out_sum),      \
      __global int *error_word, const long rows, const int heads, const int kv_heads,          \
      const long capacity, const long q_row, const long q_head, const long k_head,             \
      const long v_head, const long out_row, const float scale

#define ATTENTION_AT            \
  CLQ_AT(const float, q);       \
  CLQ_AT(const cache_t, k_cache); \
  CLQ_AT(const cache_t, v_cache); \
  CLQ_AT(const int, position);  \
  CLQ_AT(clq_out, out);       \
  CLQ_AT(float, out_scale);     \
  CLQ_AT(int, out_sum);

/* The number that a chunk's exponentials count from. A chunk whose scores are all -inf counts
 * from 0, so that they are 0 and not NaN. */
static inline float origin_of(float m) { return m == -CLQ_INF ? 0.0f : m; }

/* Puts two parts of a line with statistics (m0, l0, o0) and (m1, l1, o1) on one scale:
 *     l = fma(l0, a, l1 * b),  o = fma(o0, a, o1 * b);  returns the largest score of both. */
static inline float merge_factors(float m0, float m1, float *a, float *b) {
  const float m = m1 > m0 ? m1 : m0;
  const float origin = origin_of(m);
  *a = clq_exp_down(m0 - origin);
  *b = clq_exp_down(m1 - origin);
  return m;
}

/* 1 / l, and 0 for a line that saw no score above -inf. */
static inline float line_inverse(float l) { return l == 0.0f ? 0.0f : clq_div(1.0f, l); }

/* Keys that a row sees; 0, reported, where its position is not in the cache. */
static inline long visible_keys(long past, long row, long capacity, __global int *error_word) {
  const long keys = past + row + 1;
  if (past < 0 || keys > capacity) {
    clq_device_error(error_word, CLQ_ERROR_POSITION, (int)(keys - 1));
    return 0;
  }
  return keys;
}

#if CLQ_OUT == CLQ_I8
/* Group g of a head from its values before they are divided by the line's sum. */
static inline void store_group(float16 x0, float16 x1, float inverse, int g,
                               __global char *out, __global float *scale, __global int *sum) {
  char16 q0, q1;
  float s;
  const int total = clq_quant_group32(x0 * inverse, x1 * inverse, &q0, &q1, &s);
  clq_store_i8(q0, out + 32 * g);
  clq_store_i8(q1, out + 32 * g + 16);
  scale[g] = s;
  if (sum != 0) {
    sum[g] = total;
  }
}
#endif

#if !CLQ_ON_CPU

#ifndef CLQ_WORK_ITEMS
#define CLQ_WORK_ITEMS 64 /* work-items of a group, at least 16 */
#endif

/* The portable form: one work-group a line; scores are computed key by work-item, values
 * dimension by work-item, sums in the lanes of a tile's vectors. */
__kernel __attribute__((reqd_work_group_size(CLQ_WORK_ITEMS, 1, 1))) void attention_group(
    ATTENTION_ARGS) {
  ATTENTION_AT
  const int lid = (int)get_local_id(0);
  const int head = (int)get_group_id(0);
  const long row = (long)(get_num_groups(1) - 1 - get_group_id(1)); /* most keys first */
  const int kv = head / (heads / kv_heads);
  const long visible = visible_keys(position[0], row, capacity, error_word);

  __local float query[CLQ_HEAD_DIM];
  __local float weights[CLQ_CHUNK];
  __local float lanes[16];
  __local float sums[CLQ_HEAD_DIM];
  for (int d = lid; d < CLQ_HEAD_DIM; d += CLQ_WORK_ITEMS) {
    query[d] = q[row * q_row + head * q_head + d] * scale;
    sums[d] = 0.0f;
  }

  float m = -CLQ_INF;
  float l = 0.0f;
  for (long start = 0; start < visible; start += CLQ_CHUNK) {
    const int keys = (int)min(visible - start, (long)CLQ_CHUNK);
    const __global cache_t *k = k_cache + kv * k_head + start * CLQ_HEAD_DIM;
    const __global cache_t *v = v_cache + kv * v_head + start * CLQ_HEAD_DIM;
    barrier(CLK_LOCAL_MEM_FENCE); /* query is there; weights and lanes are free */
    for (int j = lid; j < CLQ_CHUNK; j += CLQ_WORK_ITEMS) {
      const __global cache_t *key = k + (j >> 4) * (CLQ_HEAD_DIM * 16) + (j & 15);
      float s = 0.0f;
      for (int d = 0; j < keys && d < CLQ_HEAD_DIM; d++) {
        s = fma(query[d], load_cache(key + d * 16), s);
      }
      weights[j] = j < keys ? s : -CLQ_INF;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid < 16) {
      float top = -CLQ_INF;
      for (int j = 0; j < CLQ_CHUNK; j += 16) {
        top = weights[j + lid] > top ? weights[j + lid] : top;
      }
      lanes[lid] = top;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const float chunk_m = clq_fold_max16(vload16(0, lanes));
    const float origin = origin_of(chunk_m);
    for (int j = lid; j < CLQ_CHUNK; j += CLQ_WORK_ITEMS) {
      weights[j] = clq_exp_down(weights[j] - origin);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid < 16) {
      float sum = 0.0f;
      for (int j = 0; j < CLQ_CHUNK; j += 16) {
        sum += weights[j + lid];
      }
      lanes[lid] = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const float chunk_l = clq_fold_add16(vload16(0, lanes));
    float a = 0.0f;
    float b = 1.0f;
    m = start > 0 ? merge_factors(m, chunk_m, &a, &b) : chunk_m;
    l = fma(l, a, chunk_l * b);
    for (int d = lid; d < CLQ_HEAD_DIM; d += CLQ_WORK_ITEMS) {
      float o = 0.0f;
      for (int j = 0; j < keys; j++) {
        o = fma(weights[j], load_cache(v + (long)j * CLQ_HEAD_DIM + d), o);
      }
      sums[d] = fma(sums[d], a, o * b);
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);

  const float inverse = line_inverse(l);
  out += row * out_row + head * CLQ_HEAD_DIM;
#if CLQ_OUT == CLQ_I8
  const long groups = (row * heads + head) * (CLQ_HEAD_DIM / 32);
  for (int g = lid; g < CLQ_HEAD_DIM / 32; g += CLQ_WORK_ITEMS) {
    store_group(vload16(2 * g, sums), vload16(2 * g + 1, sums), inverse, g, out,
                out_scale + groups, out_sum_base == 0 ? 0 : out_sum + groups);
  }
#else
  for (int d = lid; d < CLQ_HEAD_DIM; d += CLQ_WORK_ITEMS) {
    out[d] = sums[d] * inverse;
  }
#endif
}

#else /* CLQ_ON_CPU */

#ifndef CLQ_LINES
#define CLQ_LINES 12 /* lines of a tile */
#endif
#ifndef CLQ_VECTORS
#define CLQ_VECTORS 2 /* accumulators of 16 floats per line: 1, 2, 4 or 8 */
#endif

#define SCORE_STRIDE (CLQ_CHUNK + 16) /* between lines, so that they fall into different sets */

/* As clq_store_f32, into private memory. */
static inline void store_private(float16 x, float *p) { ((clq_packed_f32 *)p)->v = x; }

/* DEFINE_TILE(N): the two loops that do the work, on CLQ_LINES x N accumulators.
 *
 * scoresN: N blocks of 16 keys from `k` against all queries [lines, head_dim].
 * valuesN: N vectors of the weighted sum of the values of `keys` keys from `v`. */
#define DEFINE_TILE(N)                                                                          \
  static inline void scores##N(const __global cache_t *k, const float *queries, float *scores) { \
    float16 acc[CLQ_LINES][N];                                                                  \
    CLQ_UNROLL(CLQ_LINES) for (int t = 0; t < CLQ_LINES; t++) {                                 \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) { acc[t][n] = (float16)0.0f; }                  \
    }                                                                                           \
    for (int d = 0; d < CLQ_HEAD_DIM; d++) {                                                    \
      float16 key[N];                                                                           \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) {                                               \
        key[n] = load_cache16(k + (n * CLQ_HEAD_DIM + d) * 16);                                 \
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
  static inline void values##N(const __global cache_t *v, const float *weights, int keys,       \
                               float16 *sums) {                                                 \
    float16 acc[CLQ_LINES][N];                                                                  \
    CLQ_UNROLL(CLQ_LINES) for (int t = 0; t < CLQ_LINES; t++) {                                 \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) { acc[t][n] = (float16)0.0f; }                  \
    }                                                                                           \
    for (int j = 0; j < keys; j++) {                                                            \
      float16 value[N];                                                                         \
      CLQ_UNROLL(N) for (int n = 0; n < N; n++) {                                               \
        value[n] = load_cache16(v + (long)j * CLQ_HEAD_DIM + 16 * n);                           \
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

static inline void chunk_scores(const __global cache_t *k, const float *queries, int blocks,
                                float *scores) {
  int b = 0;
#if CLQ_VECTORS >= 8
  for (; b + 8 <= blocks; b += 8) {
    scores8(k + b * CLQ_HEAD_DIM * 16, queries, scores + b * 16);
  }
#endif
#if CLQ_VECTORS >= 4
  for (; b + 4 <= blocks; b += 4) {
    scores4(k + b * CLQ_HEAD_DIM * 16, queries, scores + b * 16);
  }
#endif
#if CLQ_VECTORS >= 2
  for (; b + 2 <= blocks; b += 2) {
    scores2(k + b * CLQ_HEAD_DIM * 16, queries, scores + b * 16);
  }
#endif
  for (; b < blocks; b++) {
    scores1(k + b * CLQ_HEAD_DIM * 16, queries, scores + b * 16);
  }
}

/* The weighted sums of a chunk: keys [0, all), which every line sees, then the few up to
 * counts[line] that only some lines see. */
static inline void chunk_values(const __global cache_t *v, const float *weights, int all,
                                const int *counts, float16 *sums) {
  int n = 0;
#if CLQ_VECTORS >= 4
  for (; n + 4 <= CLQ_DIM_VECTORS; n += 4) {
    values4(v + 16 * n, weights, all, sums + n);
  }
#endif
#if CLQ_VECTORS >= 2
  for (; n + 2 <= CLQ_DIM_VECTORS; n += 2) {
    values2(v + 16 * n, weights, all, sums + n);
  }
#endif
  for (; n < CLQ_DIM_VECTORS; n++) {
    values1(v + 16 * n, weights, all, sums + n);
  }
  CLQ_UNROLL(1) for (int t = 0; t < CLQ_LINES; t++) {
    for (int j = all; j < counts[t]; j++) {
      const float16 weight = (float16)weights[t * SCORE_STRIDE + j];
      float16 *sum = sums + t * CLQ_DIM_VECTORS;
      for (n = 0; n < CLQ_DIM_VECTORS; n++) {
        sum[n] = fma(weight, load_cache16(v + (long)j * CLQ_HEAD_DIM + 16 * n), sum[n]);
      }
    }
  }
}

/* Turns `count` scores of a line, at least one, into weights exp(s - m); returns their sum. */
static inline float line_weights(float *scores, int count, float *m) {
  const int16 lanes = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const int last = (count - 1) >> 4;
  const float16 raw = vload16(last, scores);
  const float16 tail = lanes < (int16)(count - 16 * last) ? raw : (float16)(-CLQ_INF);
  store_private(tail, scores + 16 * last);
  float16 top = tail;
  for (int i = 0; i < last; i++) {
    const float16 s = vload16(i, scores);
    top = s > top ? s : top;
  }
  *m = clq_fold_max16(top);
  const float origin = origin_of(*m);
  float16 sum = (float16)0.0f;
  for (int i = 0; i <= last; i++) {
    const float16 p = clq_exp_down16(vload16(i, scores) - origin);
    store_private(p, scores + 16 * i);
    sum += p;
  }
  return clq_fold_add16(sum);
}

/* A line's statistics over the chunks so far, and the keys that it may see. */
typedef struct line {
  long visible;
  float m;
  float l;
} line;

/* Adds a chunk's part of a line to what the earlier chunks, if any, gave. */
static inline void add_part(line *it, bool first, float chunk_m, float chunk_l,
                            const float16 *part, float16 *sums) {
  float a = 0.0f;
  float b = 1.0f;
  it->m = first ? chunk_m : merge_factors(it->m, chunk_m, &a, &b);
  it->l = fma(it->l, a, chunk_l * b);
  for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
    sums[n] = fma(sums[n], (float16)a, part[n] * b);
  }
}

static inline void store_line(const float16 *sums, float inverse, __global clq_out *out,
                              __global float *out_scale, __global int *out_sum) {
#if CLQ_OUT == CLQ_I8
  for (int g = 0; g < CLQ_HEAD_DIM / 32; g++) {
    store_group(sums[2 * g], sums[2 * g + 1], inverse, g, out, out_scale, out_sum);
  }
#else
  for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
    clq_store_f32(sums[n] * inverse, out + 16 * n);
  }
#endif
}

/* The form for CPUs: one work-item for a tile of CLQ_LINES lines of one KV head. Lines of a KV
 * head are numbered row by row, its query heads within; the last tiles, which see most keys, come
 * first. A short last tile repeats its last line. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void attention_tile(ATTENTION_ARGS) {
  ATTENTION_AT
  const int group = heads / kv_heads;
  const int kv = (int)get_global_id(0);
  const long lines = rows * group;
  const long first = (long)(get_global_size(1) - 1 - get_global_id(1)) * CLQ_LINES;

  float queries[CLQ_LINES * CLQ_HEAD_DIM];
  float scores[CLQ_LINES * SCORE_STRIDE];
  float16 part[CLQ_LINES * CLQ_DIM_VECTORS];
  float16 sums[CLQ_LINES * CLQ_DIM_VECTORS];
  line tile[CLQ_LINES];
  long least = capacity;
  long most = 0;
  for (int t = 0; t < CLQ_LINES; t++) {
    const long at = min(first + t, lines - 1);
    const __global float *from = q + at / group * q_row + (kv * group + at % group) * q_head;
    tile[t] = (line){visible_keys(position[0], at / group, capacity, error_word), -CLQ_INF, 0.0f};
    least = min(least, tile[t].visible);
    most = max(most, tile[t].visible);
    for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
      store_private(vload16(n, from) * scale, queries + t * CLQ_HEAD_DIM + 16 * n);
      sums[t * CLQ_DIM_VECTORS + n] = (float16)0.0f;
    }
  }

  for (long start = 0; start < most; start += CLQ_CHUNK) {
    const int keys = (int)min(most - start, (long)CLQ_CHUNK);
    const int all = (int)clamp(least - start, 0L, (long)CLQ_CHUNK);
    const long at = start * CLQ_HEAD_DIM;
    int counts[CLQ_LINES];
    float chunk_m[CLQ_LINES];
    float chunk_l[CLQ_LINES];
    chunk_scores(k_cache + kv * k_head + at, queries, (keys + 15) >> 4, scores);
    for (int t = 0; t < CLQ_LINES; t++) {
      counts[t] = (int)clamp(tile[t].visible - start, 0L, (long)CLQ_CHUNK);
      if (counts[t] > 0) {
        chunk_l[t] = line_weights(scores + t * SCORE_STRIDE, counts[t], &chunk_m[t]);
      }
    }
    chunk_values(v_cache + kv * v_head + at, scores, all, counts, part);
    for (int t = 0; t < CLQ_LINES; t++) {
      if (counts[t] > 0) {
        add_part(&tile[t], start == 0, chunk_m[t], chunk_l[t], part + t * CLQ_DIM_VECTORS,
                 sums + t * CLQ_DIM_VECTORS);
      }
    }
  }

  for (int t = 0; t < CLQ_LINES && first + t < lines; t++) {
    const long row = (first + t) / group;
    const int head = kv * group + (int)((first + t) % group);
    const long groups = (row * heads + head) * (CLQ_HEAD_DIM / 32);
    store_line(sums + t * CLQ_DIM_VECTORS, line_inverse(tile[t].l),
               out + row * out_row + head * CLQ_HEAD_DIM, out_scale + groups,
               out_sum_base == 0 ? 0 : out_sum + groups);
  }
}

#endif
