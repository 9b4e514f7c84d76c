/* One row of sequences of rows that lie behind one another: their mean, their first or last, divided
 * by its length if wanted.
 *
 * Sums go over ascending rows, what they round off kept beside them. Squares are summed in 256 lanes
 * (column c in lane c mod 256), which fold neighbours first. So all forms give the same bits. */
#include "lib/device_error.h"
#include "lib/fold.h"
#include "lib/input.h"
#include "lib/math.h"
#include "lib/quads.h"
#include "lib/rows.h"
#include "lib/tensor.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

#ifndef CLQ_OUT
#define CLQ_OUT CLQ_F32
#endif
/* 1: divided by the larger of its length and eps. */
#ifndef CLQ_NORMALIZE
#define CLQ_NORMALIZE 0
#endif
/* Not 0: the most columns, whose means are kept while the length is found; else they are computed
 * twice. */
#ifndef CLQ_KEEP
#define CLQ_KEEP 0
#endif

/* clq_pooling */
#define POOL_FIRST 2
#define POOL_LAST 3

typedef CLQ_T(CLQ_OUT) clq_out;

#define POOL_ARGS                                                                               \
  CLQ_TENSOR(const clq_x, x), CLQ_TENSOR(const int, starts), CLQ_TENSOR(clq_out, out),          \
      const long rows, const long cols, const long x_stride, const long out_stride,             \
      const int pooling, const float eps, __global int *error_word

/* The rows that count: the first and how many. Of what is no sequence: -1, 0. */
static inline long2 pool_range(const __global int *starts, long rows, int pooling) {
  const long begin = starts[0];
  const long end = starts[1];
  if (begin < 0 || begin > end || end > rows) {
    return (long2)(-1, 0);
  }
  const long first = pooling == POOL_LAST ? max(begin, end - 1) : begin;
  return (long2)(first, pooling == POOL_FIRST ? min(end - begin, 1L) : end - first);
}

/* sum += v; rest += what that rounds off (Knuth's two-sum). */
#define POOL_ADD(F, sum, rest, v)                                                               \
  {                                                                                             \
    const F pool_v = (v);                                                                       \
    const F pool_sum = (sum) + pool_v;                                                          \
    const F pool_part = pool_sum - (sum);                                                       \
    (rest) += ((sum) - (pool_sum - pool_part)) + (pool_v - pool_part);                          \
    (sum) = pool_sum;                                                                           \
  }

/* Of an infinite sum nothing is known to be rounded off. */
#define POOL_MEAN(F, S, sum, rest, count) \
  clq_div##S((sum) + ((rest) == (rest) ? (rest) : (F)0.0f), (F)(float)(count))

static inline float pool_length(float squares, float eps) {
  const float length = clq_sqrt(squares);
  return length < eps ? eps : length;
}

#if CLQ_ON_CPU

/* Columns i .. i + 15 of the pooled row, zeros at end and beyond; x: the first row that counts. */
CLQ_INLINE float16 pool_16(const __global clq_x *x, long count, long stride, long i, long end) {
  float16 sum = CLQ_ROW_LOAD_X(x, i, end);
  float16 rest = (float16)0.0f;
  for (long row = 1; row < count; row++) {
    POOL_ADD(float16, sum, rest, CLQ_ROW_LOAD_X(x + row * stride, i, end))
  }
  return count > 1 ? POOL_MEAN(float16, 16, sum, rest, count) : sum;
}

/* i .. i + 63 at once, all of them columns. */
CLQ_INLINE void pool_64(const __global clq_x *x, long count, long stride, long i, float16 *v) {
  float16 rest[4];
  for (int j = 0; j < 4; j++) {
    v[j] = CLQ_ROW_LOAD_X(x, i + 16 * j, i + 16 * j + 16);
    rest[j] = (float16)0.0f;
  }
  for (long row = 1; row < count; row++) {
    const __global clq_x *at = x + row * stride;
    for (int j = 0; j < 4; j++) {
      POOL_ADD(float16, v[j], rest[j], CLQ_ROW_LOAD_X(at, i + 16 * j, i + 16 * j + 16))
    }
  }
  for (int j = 0; j < 4 && count > 1; j++) {
    v[j] = POOL_MEAN(float16, 16, v[j], rest[j], count);
  }
}

/* i .. i + 63, zeros at cols and beyond. */
CLQ_INLINE void pool_columns(const __global clq_x *x, long count, long stride, long i, long cols,
                             float16 *v) {
  if (count > 0 && i + 64 <= cols) {
    pool_64(x, count, stride, i, v);
    return;
  }
  __attribute__((opencl_unroll_hint(1))) for (int j = 0; j < 4; j++) {
    v[j] = count > 0 ? pool_16(x, count, stride, i + 16 * j, cols) : (float16)0.0f;
  }
}

/* One work-item a sequence. */
__kernel void pool_rows(POOL_ARGS) {
  const long sequence = get_global_id(0);
  const long2 range = pool_range(starts_base + starts_start + sequence, rows, pooling);
  const __global clq_x *x = x_base + x_start + max(range.x, 0L) * x_stride;
  __global clq_out *out = out_base + out_start + sequence * out_stride;
  if (range.x < 0) {
    clq_device_error(error_word, CLQ_ERROR_POOL_STARTS, (int)sequence);
  }
#if CLQ_NORMALIZE
#if CLQ_KEEP
  float kept[CLQ_KEEP + 64];
#endif
  float16 lanes[16];
  for (int j = 0; j < 16; j++) {
    lanes[j] = (float16)0.0f;
  }
  for (long i = 0; i < cols; i += 64) {
    float16 v[4];
    pool_columns(x, range.y, x_stride, i, cols, v);
    for (int j = 0; j < 4; j++) {
      const int lane = (int)(i >> 4 & 15) + j;
      lanes[lane] = fma(v[j], v[j], lanes[lane]);
#if CLQ_KEEP
      vstore16(v[j], 0, kept + i + 16 * j);
#endif
    }
  }
  float folded[16];
  for (int j = 0; j < 16; j++) {
    folded[j] = clq_fold_add16(lanes[j]);
  }
  const float16 length = pool_length(clq_fold_add16(vload16(0, folded)), eps);
#endif
  for (long i = 0; i < cols; i += 64) {
    float16 v[4];
#if CLQ_NORMALIZE && CLQ_KEEP
    for (int j = 0; j < 4; j++) {
      v[j] = vload16(0, kept + i + 16 * j);
    }
#else
    pool_columns(x, range.y, x_stride, i, cols, v);
#endif
    for (int j = 0; j < 4 && i + 16 * j < cols; j++) {
#if CLQ_NORMALIZE
      v[j] = clq_div16(v[j], length);
#endif
      CLQ_ROW_STORE(CLQ_OUT)(v[j], out, i + 16 * j, cols);
    }
  }
}

#else

#include "lib/warp.h"

#define POOL_WORK_ITEMS 64 /* four lanes each; not to be changed without the order of the sum */

/* Columns i .. i + 3. */
static inline float4 pool_columns(const __global clq_x *x, long count, long stride, long i,
                                  long cols) {
  if (count == 0) {
    return (float4)0.0f;
  }
  float4 sum = CLQ_QUAD_LOAD_X(x, i, cols);
  float4 rest = (float4)0.0f;
  for (long row = 1; row < count; row++) {
    POOL_ADD(float4, sum, rest, CLQ_QUAD_LOAD_X(x + row * stride, i, cols))
  }
  return count > 1 ? POOL_MEAN(float4, 4, sum, rest, count) : sum;
}

/* One work-group a sequence. */
__kernel __attribute__((reqd_work_group_size(POOL_WORK_ITEMS, 1, 1))) void pool_group(POOL_ARGS) {
  const long sequence = get_group_id(0);
  const int lid = (int)get_local_id(0);
  const long2 range = pool_range(starts_base + starts_start + sequence, rows, pooling);
  const __global clq_x *x = x_base + x_start + max(range.x, 0L) * x_stride;
  __global clq_out *out = out_base + out_start + sequence * out_stride;
  if (range.x < 0 && lid == 0) {
    clq_device_error(error_word, CLQ_ERROR_POOL_STARTS, (int)sequence);
  }
#if CLQ_NORMALIZE
  __local float scratch[POOL_WORK_ITEMS];
#if CLQ_KEEP
  __local float4 kept[CLQ_KEEP / 4]; /* each work-item reads what it wrote itself */
#endif
  float4 lanes = (float4)0.0f;
  for (long i = 4 * lid; i < cols; i += 4 * POOL_WORK_ITEMS) {
    const float4 v = pool_columns(x, range.y, x_stride, i, cols);
    lanes = fma(v, v, lanes);
#if CLQ_KEEP
    kept[i / 4] = v;
#endif
  }
  const float4 length =
      pool_length(clq_group_reduce_add(clq_fold_add4(lanes), scratch), eps);
#endif
  for (long i = 4 * lid; i < cols; i += 4 * POOL_WORK_ITEMS) {
#if CLQ_NORMALIZE && CLQ_KEEP
    float4 v = kept[i / 4];
#else
    float4 v = pool_columns(x, range.y, x_stride, i, cols);
#endif
#if CLQ_NORMALIZE
    v = clq_div4(v, length);
#endif
    CLQ_QUAD_STORE(CLQ_OUT)(v, out, i, cols);
  }
}

#endif
