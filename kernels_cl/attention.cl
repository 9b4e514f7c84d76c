/* Causal attention over a KV cache, keys in chunks of CLQ_CHUNK.
 *
 * A line is one query row of one head. Line by line and chunk by chunk:
 *     s[key] = sum over d, ascending, of fma(q[d] * scale, k[key][d], s)
 *     m = max s;  p = exp(s - m);  l = sum p;  o[d] = sum over keys, ascending, of fma(p, v, o)
 * and chunks merge in ascending order (clq_merge). None of this depends on
 * which lines are computed together, so a row's bits do not either; and a
 * split over keys at chunk borders can merge the same way.
 *
 * Only keys that the line may see are ever multiplied into its result: what
 * stands in the cache behind them (another row's NaN, uninitialized memory) does
 * not matter.
 *
 * k_cache: [kv_heads, capacity / 16, head_dim, 16], so that 16 scores are one
 * vector; v_cache: [kv_heads, capacity, head_dim]. */
#include "lib/device_error.h"
#include "lib/emit.h"
#include "lib/half.h"
#include "lib/math.h"
#include "lib/quantize.h"
#include "lib/tensor.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

#ifndef CLQ_HEAD_DIM
#define CLQ_HEAD_DIM 64 // a multiple of 16
#endif
#ifndef CLQ_CACHE
#define CLQ_CACHE 1 // clq_dtype of the caches: 1 f32, 2 f16
#endif
#ifndef CLQ_LINES
#define CLQ_LINES 12 // lines of a tile
#endif
#ifndef CLQ_VECTORS
#define CLQ_VECTORS 2 // float16 accumulators per line; LINES * VECTORS must fit the registers
#endif

#define CLQ_CHUNK 256 // keys; the host's references use the same number

#if CLQ_CACHE == 2
typedef half cache_t;
#define CLQ_LOAD16(p) clq_load_half16(0, (p))
#define CLQ_LOAD(p) clq_load_half(0, (p))
#else
typedef float cache_t;
#define CLQ_LOAD16(p) vload16(0, (p))
#define CLQ_LOAD(p) (*(p))
#endif

#define CLQ_DIM_VECTORS (CLQ_HEAD_DIM / 16)
#define CLQ_LANES ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))

// What all kernels of this file take. Strides are in elements.
#define CLQ_ATTENTION_ARGS                                                     \
  CLQ_TENSOR(const float, q), CLQ_TENSOR(const cache_t, k_cache),            \
      CLQ_TENSOR(const cache_t, v_cache), CLQ_TENSOR(const int, position),   \
      CLQ_TENSOR(CLQ_OUT_T, out), CLQ_TENSOR(float, out_scale),                  \
      CLQ_TENSOR(int, out_sum), __global int *error_word, const long rows,     \
      const int heads, const int kv_heads, const long capacity,                \
      const long q_row, const long q_head, const long k_head,                  \
      const long v_head, const long out_row, const float scale

// Statistics of a chunk, or of all chunks so far: the largest score, the sum of
// exp(score - m). A chunk whose scores are all -inf counts from 0, so that its
// exponentials are 0 and not NaN.
static inline float clq_score_origin(float m) { return m == -CLQ_INF ? 0.0f : m; }

// The factors that put (m0, l0, o0) and (m1, l1, o1) on a common scale:
//     l = fma(l0, a, l1 * b),  o = fma(o0, a, o1 * b)
static inline float clq_merge(float m0, float m1, float *a, float *b) {
  float m = m1 > m0 ? m1 : m0;
  float origin = clq_score_origin(m);
  *a = clq_exp_down(m0 - origin);
  *b = clq_exp_down(m1 - origin);
  return m;
}

// 1 / l, and 0 for a line that saw no score above -inf.
static inline float clq_line_inverse(float l) { return l == 0.0f ? 0.0f : clq_div(1.0f, l); }

#if !CLQ_ON_CPU

#ifndef CLQ_GROUP
#define CLQ_GROUP 64 // work-items of a group, at least 16
#endif

// The portable form: one work-group a line; scores key by work-item, values
// dimension by work-item. The same operations in the same order as a tile.
__kernel __attribute__((reqd_work_group_size(CLQ_GROUP, 1, 1)))
void attention_rows(CLQ_ATTENTION_ARGS) {
  CLQ_AT(const float, q);
  CLQ_AT(const cache_t, k_cache);
  CLQ_AT(const cache_t, v_cache);
  CLQ_AT(const int, position);
  CLQ_AT(CLQ_OUT_T, out);
  const int lid = (int)get_local_id(0);
  const int head = (int)get_group_id(0);
  const long row = (long)(get_num_groups(1) - 1 - get_group_id(1)); // most keys first
  const int kv = head / (heads / kv_heads);
  const long past = position[0];
  const long seen = past + row + 1;
  const bool valid = past >= 0 && seen <= capacity;
  const long visible = valid ? seen : 0;

  __local float query[CLQ_HEAD_DIM];
  __local float weights[CLQ_CHUNK];
  __local float lanes[16];
  __local float sums[CLQ_HEAD_DIM];
  if (!valid && lid == 0) clq_device_error(error_word, CLQ_ERROR_POSITION, (int)(past + row));
  for (int d = lid; d < CLQ_HEAD_DIM; d += CLQ_GROUP) {
    query[d] = q[row * q_row + head * q_head + d] * scale;
    sums[d] = 0.0f;
  }

  float m = -CLQ_INF, l = 0.0f;
  for (long start = 0; start < visible; start += CLQ_CHUNK) {
    const int keys = (int)min(visible - start, (long)CLQ_CHUNK);
    const __global cache_t *k = k_cache + kv * k_head + start * CLQ_HEAD_DIM;
    const __global cache_t *v = v_cache + kv * v_head + start * CLQ_HEAD_DIM;
    barrier(CLK_LOCAL_MEM_FENCE); // query is there; weights and lanes are free
    for (int j = lid; j < CLQ_CHUNK; j += CLQ_GROUP) {
      const __global cache_t *key = k + (long)(j >> 4) * CLQ_HEAD_DIM * 16 + (j & 15);
      float s = 0.0f;
      if (j < keys)
        for (int d = 0; d < CLQ_HEAD_DIM; d++) s = fma(query[d], CLQ_LOAD(key + d * 16), s);
      weights[j] = j < keys ? s : -CLQ_INF;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid < 16) {
      float top = -CLQ_INF;
      for (int j = 0; j < CLQ_CHUNK; j += 16) top = weights[j + lid] > top ? weights[j + lid] : top;
      lanes[lid] = top;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const float chunk_m = clq_fold_max16(vload16(0, lanes));
    const float origin = clq_score_origin(chunk_m);
    for (int j = lid; j < CLQ_CHUNK; j += CLQ_GROUP) weights[j] = clq_exp_down(weights[j] - origin);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid < 16) {
      float sum = 0.0f;
      for (int j = 0; j < CLQ_CHUNK; j += 16) sum += weights[j + lid];
      lanes[lid] = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const float chunk_l = clq_fold_add16(vload16(0, lanes));
    float a = 0.0f, b = 1.0f;
    if (start > 0) m = clq_merge(m, chunk_m, &a, &b);
    else m = chunk_m;
    l = fma(l, a, chunk_l * b);
    for (int d = lid; d < CLQ_HEAD_DIM; d += CLQ_GROUP) {
      float o = 0.0f;
      for (int j = 0; j < keys; j++) o = fma(weights[j], CLQ_LOAD(v + (long)j * CLQ_HEAD_DIM + d), o);
      sums[d] = fma(sums[d], a, o * b);
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);

  const float inverse = clq_line_inverse(l);
  __global CLQ_OUT_T *to = out + row * out_row + head * CLQ_HEAD_DIM;
#if CLQ_OUT == CLQ_OUT_Q8
  CLQ_AT(float, out_scale);
  CLQ_AT(int, out_sum);
  const long groups = (row * heads + head) * (CLQ_HEAD_DIM / 32);
  for (int g = lid; g < CLQ_HEAD_DIM / 32; g += CLQ_GROUP) {
    char16 q0, q1;
    float s;
    int total = clq_quant_group32(vload16(2 * g, sums) * inverse, vload16(2 * g + 1, sums) * inverse,
                                  &q0, &q1, &s);
    clq_store_i8(q0, to + 32 * g);
    clq_store_i8(q1, to + 32 * g + 16);
    out_scale[groups + g] = s;
    if (out_sum_base) out_sum[groups + g] = total;
  }
#else
  for (int d = lid; d < CLQ_HEAD_DIM; d += CLQ_GROUP) to[d] = sums[d] * inverse;
#endif
}

#else

#define CLQ_SCORE_STRIDE (CLQ_CHUNK + 16) // apart in L1's sets

// As clq_store_f32, into private memory.
static inline void clq_store_private(float16 x, float *p) { ((clq_packed_f32 *)p)->v = x; }

// Scores of N blocks of 16 keys from `k`, for all lines of the tile.
#define CLQ_DEFINE_SCORES(N)                                                   \
  static inline void clq_scores##N(const __global cache_t *k,                \
                                   const float *query, float *scores) {        \
    float16 acc[CLQ_LINES][N];                                                 \
    __attribute__((opencl_unroll_hint(CLQ_LINES)))                             \
    for (int t = 0; t < CLQ_LINES; t++)                                        \
      __attribute__((opencl_unroll_hint(N)))                                   \
      for (int n = 0; n < N; n++) acc[t][n] = (float16)0.0f;                   \
    for (int d = 0; d < CLQ_HEAD_DIM; d++) {                                   \
      float16 key[N];                                                          \
      __attribute__((opencl_unroll_hint(N)))                                   \
      for (int n = 0; n < N; n++)                                              \
        key[n] = CLQ_LOAD16(k + (n * CLQ_HEAD_DIM + d) * 16);                  \
      __attribute__((opencl_unroll_hint(CLQ_LINES)))                           \
      for (int t = 0; t < CLQ_LINES; t++)                                      \
        __attribute__((opencl_unroll_hint(N)))                                 \
        for (int n = 0; n < N; n++)                                            \
          acc[t][n] = fma((float16)query[t * CLQ_HEAD_DIM + d], key[n],        \
                          acc[t][n]);                                          \
    }                                                                          \
    __attribute__((opencl_unroll_hint(CLQ_LINES)))                             \
    for (int t = 0; t < CLQ_LINES; t++)                                        \
      __attribute__((opencl_unroll_hint(N)))                                   \
      for (int n = 0; n < N; n++)                                              \
        clq_store_private(acc[t][n], scores + t * CLQ_SCORE_STRIDE + 16 * n);  \
  }

// N vectors of the weighted sum of values, keys [0, all) for every line.
#define CLQ_DEFINE_VALUES(N)                                                   \
  static inline void clq_values##N(const __global cache_t *v,                \
                                   const float *weights, int all,              \
                                   float16 *sums) {                            \
    float16 acc[CLQ_LINES][N];                                                 \
    __attribute__((opencl_unroll_hint(CLQ_LINES)))                             \
    for (int t = 0; t < CLQ_LINES; t++)                                        \
      __attribute__((opencl_unroll_hint(N)))                                   \
      for (int n = 0; n < N; n++) acc[t][n] = (float16)0.0f;                   \
    for (int j = 0; j < all; j++) {                                            \
      float16 value[N];                                                        \
      __attribute__((opencl_unroll_hint(N)))                                   \
      for (int n = 0; n < N; n++)                                              \
        value[n] = CLQ_LOAD16(v + (long)j * CLQ_HEAD_DIM + 16 * n);            \
      __attribute__((opencl_unroll_hint(CLQ_LINES)))                           \
      for (int t = 0; t < CLQ_LINES; t++)                                      \
        __attribute__((opencl_unroll_hint(N)))                                 \
        for (int n = 0; n < N; n++)                                            \
          acc[t][n] = fma((float16)weights[t * CLQ_SCORE_STRIDE + j],          \
                          value[n], acc[t][n]);                                \
    }                                                                          \
    __attribute__((opencl_unroll_hint(CLQ_LINES)))                             \
    for (int t = 0; t < CLQ_LINES; t++)                                        \
      __attribute__((opencl_unroll_hint(N)))                                   \
      for (int n = 0; n < N; n++) sums[t * CLQ_DIM_VECTORS + n] = acc[t][n];   \
  }

CLQ_DEFINE_SCORES(1)
CLQ_DEFINE_VALUES(1)
#if CLQ_VECTORS >= 2
CLQ_DEFINE_SCORES(2)
CLQ_DEFINE_VALUES(2)
#endif
#if CLQ_VECTORS >= 4
CLQ_DEFINE_SCORES(4)
CLQ_DEFINE_VALUES(4)
#endif
#if CLQ_VECTORS >= 8
CLQ_DEFINE_SCORES(8)
#endif

static inline void clq_chunk_scores(const __global cache_t *k, const float *query, int blocks,
                                    float *scores) {
  int b = 0;
#if CLQ_VECTORS >= 8
  for (; b + 8 <= blocks; b += 8) clq_scores8(k + b * CLQ_HEAD_DIM * 16, query, scores + b * 16);
#endif
#if CLQ_VECTORS >= 4
  for (; b + 4 <= blocks; b += 4) clq_scores4(k + b * CLQ_HEAD_DIM * 16, query, scores + b * 16);
#endif
#if CLQ_VECTORS >= 2
  for (; b + 2 <= blocks; b += 2) clq_scores2(k + b * CLQ_HEAD_DIM * 16, query, scores + b * 16);
#endif
  for (; b < blocks; b++) clq_scores1(k + b * CLQ_HEAD_DIM * 16, query, scores + b * 16);
}

// The weighted sums of a chunk: keys [0, all), which every line sees, then the
// few that only some lines see.
static inline void clq_chunk_values(const __global cache_t *v, const float *weights, int all,
                                    const int *counts, float16 *sums) {
  int n = 0;
#if CLQ_VECTORS >= 4
  for (; n + 4 <= CLQ_DIM_VECTORS; n += 4) {
    clq_values4(v + 16 * n, weights, all, sums + n);
  }
#endif
#if CLQ_VECTORS >= 2
  for (; n + 2 <= CLQ_DIM_VECTORS; n += 2) {
    clq_values2(v + 16 * n, weights, all, sums + n);
  }
#endif
  for (; n < CLQ_DIM_VECTORS; n++) {
    clq_values1(v + 16 * n, weights, all, sums + n);
  }
  __attribute__((opencl_unroll_hint(1))) for (int t = 0; t < CLQ_LINES; t++) {
    for (int j = all; j < counts[t]; j++) {
      const float16 weight = (float16)weights[t * CLQ_SCORE_STRIDE + j];
      for (n = 0; n < CLQ_DIM_VECTORS; n++) {
        const float16 value = CLQ_LOAD16(v + (long)j * CLQ_HEAD_DIM + 16 * n);
        sums[t * CLQ_DIM_VECTORS + n] = fma(weight, value, sums[t * CLQ_DIM_VECTORS + n]);
      }
    }
  }
}

// Turns a line's scores into weights exp(s - m); returns their sum.
static inline float clq_line_weights(float *scores, int count, float *m) {
  int last = (count - 1) >> 4;
  float16 tail = vload16(last, scores);
  tail = CLQ_LANES < (int16)(count - 16 * last) ? tail : (float16)(-CLQ_INF);
  clq_store_private(tail, scores + 16 * last);
  float16 top = tail;
  for (int i = 0; i < last; i++) {
    float16 s = vload16(i, scores);
    top = s > top ? s : top;
  }
  *m = clq_fold_max16(top);
  float origin = clq_score_origin(*m);
  float16 sum = (float16)0.0f;
  for (int i = 0; i <= last; i++) {
    float16 p = clq_exp_down16(vload16(i, scores) - origin);
    clq_store_private(p, scores + 16 * i);
    sum += p;
  }
  return clq_fold_add16(sum);
}

static inline void clq_store_line(const float16 *sums, float inverse, __global CLQ_OUT_T *out,
                                  __global float *out_scale, __global int *out_sum) {
#if CLQ_OUT == CLQ_OUT_Q8
  for (int g = 0; g < CLQ_HEAD_DIM / 32; g++) {
    char16 q0, q1;
    float s;
    int total = clq_quant_group32(sums[2 * g] * inverse, sums[2 * g + 1] * inverse, &q0, &q1, &s);
    clq_store_i8(q0, out + 32 * g);
    clq_store_i8(q1, out + 32 * g + 16);
    out_scale[g] = s;
    if (out_sum) out_sum[g] = total;
  }
#else
  for (int n = 0; n < CLQ_DIM_VECTORS; n++) clq_store_f32(sums[n] * inverse, out + 16 * n);
#endif
}

// One work-item: a tile of CLQ_LINES lines of one KV head. Lines of a KV head
// are numbered row by row, its query heads within; the last tiles, which see
// most keys, come first. A short last tile repeats its last line.
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void attention_tile(CLQ_ATTENTION_ARGS) {
  CLQ_AT(const float, q);
  CLQ_AT(const cache_t, k_cache);
  CLQ_AT(const cache_t, v_cache);
  CLQ_AT(const int, position);
  CLQ_AT(CLQ_OUT_T, out);
  CLQ_AT(float, out_scale);
  CLQ_AT(int, out_sum);
  const int group = heads / kv_heads;
  const int kv = (int)get_global_id(0);
  const long lines = rows * group;
  const long first_line = (long)(get_global_size(1) - 1 - get_global_id(1)) * CLQ_LINES;
  const long past = position[0];

  float query[CLQ_HEAD_DIM * CLQ_LINES];
  float scores[CLQ_LINES * CLQ_SCORE_STRIDE];
  float16 part[CLQ_LINES * CLQ_DIM_VECTORS];
  float16 sums[CLQ_LINES * CLQ_DIM_VECTORS];
  float line_m[CLQ_LINES], line_l[CLQ_LINES];
  long visible[CLQ_LINES]; // keys of each line; 0 for one at a bad position
  long least = capacity, most = 0;
  for (int t = 0; t < CLQ_LINES; t++) {
    long line = min(first_line + t, lines - 1);
    long row = line / group;
    const __global float *from = q + row * q_row + (kv * group + line % group) * q_head;
    for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
      clq_store_private(vload16(n, from) * scale, query + t * CLQ_HEAD_DIM + 16 * n);
    }
    long count = past + row + 1;
    if (past < 0 || count > capacity) {
      clq_device_error(error_word, CLQ_ERROR_POSITION, (int)(past + row));
      count = 0;
    }
    visible[t] = count;
    least = min(least, count);
    most = max(most, count);
    line_m[t] = -CLQ_INF;
    line_l[t] = 0.0f;
    for (int n = 0; n < CLQ_DIM_VECTORS; n++) sums[t * CLQ_DIM_VECTORS + n] = (float16)0.0f;
  }

  const __global cache_t *k = k_cache + kv * k_head;
  const __global cache_t *v = v_cache + kv * v_head;
  for (long start = 0; start < most; start += CLQ_CHUNK) {
    int counts[CLQ_LINES];
    int keys = (int)min(most - start, (long)CLQ_CHUNK);
    int all = (int)clamp(least - start, 0L, (long)CLQ_CHUNK);
    clq_chunk_scores(k + start * CLQ_HEAD_DIM, query, (keys + 15) >> 4, scores);
    float chunk_m[CLQ_LINES], chunk_l[CLQ_LINES];
    for (int t = 0; t < CLQ_LINES; t++) {
      counts[t] = (int)clamp(visible[t] - start, 0L, (long)CLQ_CHUNK);
      if (counts[t] > 0)
        chunk_l[t] = clq_line_weights(scores + t * CLQ_SCORE_STRIDE, counts[t], &chunk_m[t]);
    }
    clq_chunk_values(v + start * CLQ_HEAD_DIM, scores, all, counts, part);
    for (int t = 0; t < CLQ_LINES; t++) {
      if (counts[t] == 0) continue;
      float a = 0.0f, b = 1.0f;
      if (start > 0) line_m[t] = clq_merge(line_m[t], chunk_m[t], &a, &b);
      else line_m[t] = chunk_m[t];
      line_l[t] = fma(line_l[t], a, chunk_l[t] * b);
      for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
        int i = t * CLQ_DIM_VECTORS + n;
        sums[i] = fma(sums[i], (float16)a, part[i] * b);
      }
    }
  }

  for (int t = 0; t < CLQ_LINES && first_line + t < lines; t++) {
    long row = (first_line + t) / group;
    int head = kv * group + (int)((first_line + t) % group);
    long groups = (row * heads + head) * (CLQ_HEAD_DIM / 32);
    clq_store_line(sums + t * CLQ_DIM_VECTORS, clq_line_inverse(line_l[t]),
                   out + row * out_row + head * CLQ_HEAD_DIM, out_scale + groups,
                   out_sum_base ? out_sum + groups : 0);
  }
}

#endif
