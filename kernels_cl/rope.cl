/* Rotary position embedding, and the append to the KV cache, in one launch.
 *
 * A pair (a, b) at an angle with cosine c and sine s becomes
 *     a' = fma(a, c, -(b * s)),   b' = fma(b, c, a * s)
 * in every form, so all of them give the same bits.
 *
 * Caches as in attention.cl: k [kv_heads, capacity / 16, head_dim, 16],
 * v [kv_heads, capacity, head_dim]. Without k and v, kv_heads is 0 and the
 * caches are never touched. */
#include "lib/device_error.h"
#include "lib/half.h"
#include "lib/tensor.h"
#include "lib/traits.h"
#include "lib/types.h"

#pragma OPENCL FP_CONTRACT OFF

#ifndef CLQ_HEAD_DIM
#define CLQ_HEAD_DIM 64 /* even */
#endif
#ifndef CLQ_LAYOUT
#define CLQ_LAYOUT 1 /* clq_rope_layout: 1 adjacent, 2 halves */
#endif
#ifndef CLQ_CACHE
#define CLQ_CACHE CLQ_F32 /* of the caches: CLQ_F32, CLQ_F16 */
#endif

#if CLQ_CACHE == CLQ_F16
typedef half cache_t;
static inline void store_cache(float x, long i, __global cache_t *p) { clq_store_half(x, i, p); }
static inline void store_cache16(float16 x, __global cache_t *p) { clq_store_half16(x, 0, p); }
#else
typedef float cache_t;
static inline void store_cache(float x, long i, __global cache_t *p) { p[i] = x; }
static inline void store_cache16(float16 x, __global cache_t *p) { vstore16(x, 0, p); }
#endif

/* What both kernels take. Strides in elements; `dims` elements of a head rotate, the rest is
 * copied; `positions` is the table's length. */
#define ROPE_ARGS                                                                              \
  CLQ_TENSOR(const float, q), CLQ_TENSOR(float, out), CLQ_TENSOR(const float, k),              \
      CLQ_TENSOR(const float, v), CLQ_TENSOR(cache_t, k_cache), CLQ_TENSOR(cache_t, v_cache),  \
      CLQ_TENSOR(const int, position), CLQ_TENSOR(const float, table),                         \
      __global int *error_word, const long rows, const int heads, const int kv_heads,          \
      const int dims, const long positions, const long capacity, const long q_row,             \
      const long q_head, const long out_row, const long out_head, const long k_row,            \
      const long k_head, const long v_row, const long v_head, const long k_cache_head,         \
      const long v_cache_head

#define ROPE_AT                    \
  CLQ_AT(const float, q);          \
  CLQ_AT(float, out);              \
  CLQ_AT(const float, k);          \
  CLQ_AT(const float, v);          \
  CLQ_AT(cache_t, k_cache);        \
  CLQ_AT(cache_t, v_cache);        \
  CLQ_AT(const int, position);     \
  CLQ_AT(const float, table);

/* Elements of pair i. */
static inline int pair_first(int i) { return CLQ_LAYOUT == 1 ? 2 * i : i; }
static inline int pair_second(int i, int dims) { return CLQ_LAYOUT == 1 ? 2 * i + 1 : i + dims / 2; }

/* Is there room for this position in the table and in the caches? */
static inline bool position_fits(long p, long positions, long capacity, int kv_heads) {
  return p >= 0 && p < positions && (kv_heads == 0 || p < capacity);
}

static inline long k_cache_index(long head_start, long p, int d) {
  return head_start + (p >> 4) * (16 * CLQ_HEAD_DIM) + d * 16 + (p & 15);
}

#if !CLQ_ON_CPU

/* The portable form: one work-item for two elements of a head of a row. Dimension 1 counts the
 * heads of q, then those of k, then those of v. */
__kernel void rope_pairs(ROPE_ARGS) {
  ROPE_AT
  const int i = (int)get_global_id(0);
  int head = (int)get_global_id(1);
  const long row = (long)get_global_id(2);
  const long p = position[0] + row;
  if (!position_fits(p, positions, capacity, kv_heads)) {
    if (i == 0 && head == 0) {
      clq_device_error(error_word, CLQ_ERROR_POSITION, (int)p);
    }
    return;
  }
  const bool is_q = head < heads;
  const bool is_v = head >= heads + kv_heads;
  const __global float *from = q + row * q_row + head * q_head;
  if (is_v) {
    head -= heads + kv_heads;
    from = v + row * v_row + head * v_head;
  } else if (!is_q) {
    head -= heads;
    from = k + row * k_row + head * k_head;
  }
  const bool rotates = !is_v && i < dims / 2;
  const int first = rotates ? pair_first(i) : 2 * i;
  const int second = rotates ? pair_second(i, dims) : 2 * i + 1;
  const float a = from[first];
  const float b = from[second];
  float x = a;
  float y = b;
  if (rotates) {
    const float c = table[p * dims + 2 * i];
    const float s = table[p * dims + 2 * i + 1];
    x = fma(a, c, -(b * s));
    y = fma(b, c, a * s);
  }
  if (is_q) {
    __global float *to = out + row * out_row + head * out_head;
    to[first] = x;
    to[second] = y;
  } else if (is_v) {
    const long to = head * v_cache_head + p * CLQ_HEAD_DIM;
    store_cache(x, to + first, v_cache);
    store_cache(y, to + second, v_cache);
  } else {
    store_cache(x, k_cache_index(head * k_cache_head, p, first), k_cache);
    store_cache(y, k_cache_index(head * k_cache_head, p, second), k_cache);
  }
}

#else

/* One head of one row, rotated into private memory. `angles`: the table at its position. */
static inline void rotate(const __global float *x, const __global float *angles, int dims,
                          float *y) {
  const int pairs = dims / 2;
  int i = 0;
  for (; i + 8 <= pairs; i += 8) {
    const float16 t = vload16(0, angles + 2 * i);
    const float8 c = t.even;
    const float8 s = t.odd;
#if CLQ_LAYOUT == 1
    const float16 v = vload16(0, x + 2 * i);
    float16 r;
    r.even = fma(v.even, c, -(v.odd * s));
    r.odd = fma(v.odd, c, v.even * s);
    vstore16(r, 0, y + 2 * i);
#else
    const float8 a = vload8(0, x + i);
    const float8 b = vload8(0, x + i + pairs);
    vstore8(fma(a, c, -(b * s)), 0, y + i);
    vstore8(fma(b, c, a * s), 0, y + i + pairs);
#endif
  }
  for (; i < pairs; i++) {
    const float a = x[pair_first(i)];
    const float b = x[pair_second(i, dims)];
    y[pair_first(i)] = fma(a, angles[2 * i], -(b * angles[2 * i + 1]));
    y[pair_second(i, dims)] = fma(b, angles[2 * i], a * angles[2 * i + 1]);
  }
  for (int d = dims; d < CLQ_HEAD_DIM; d++) {
    y[d] = x[d];
  }
}

/* The form for CPUs: one work-item for the rows that fall into one block of 16 keys of the
 * cache, and one KV head with its share of the query heads; so a whole block of k is turned
 * in private memory and stored 16 keys at a time. Dimension 0: blocks from that of position[0]
 * on; dimension 1: KV heads, or query heads without caches. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void rope_blocks(ROPE_ARGS) {
  ROPE_AT
  const long past = position[0];
  const long block = (past >> 4) + (long)get_global_id(0);
  const int slot = (int)get_global_id(1);
  const int slots = (int)get_global_size(1);
  const int head_begin = (int)((long)heads * slot / slots);
  const int head_end = (int)((long)heads * (slot + 1) / slots);
  const long begin = max(block * 16 - past, 0L);
  const long end = min(block * 16 + 16 - past, rows);

  float turned[CLQ_HEAD_DIM * 16]; /* as a block of the cache */
  int there = 0;                   /* bit per key of it */
  for (long row = begin; row < end; row++) {
    const long p = past + row;
    if (!position_fits(p, positions, capacity, kv_heads)) {
      clq_device_error(error_word, CLQ_ERROR_POSITION, (int)p);
      continue;
    }
    const __global float *angles = table + p * dims;
    float y[CLQ_HEAD_DIM];
    for (int head = head_begin; head < head_end; head++) {
      rotate(q + row * q_row + head * q_head, angles, dims, y);
      __global float *to = out + row * out_row + head * out_head;
      for (int d = 0; d < CLQ_HEAD_DIM; d++) {
        to[d] = y[d];
      }
    }
    if (kv_heads > 0) {
      const int key = (int)(p & 15);
      there |= 1 << key;
      rotate(k + row * k_row + slot * k_head, angles, dims, y);
      for (int d = 0; d < CLQ_HEAD_DIM; d++) {
        turned[d * 16 + key] = y[d];
      }
      const __global float *from = v + row * v_row + slot * v_head;
      __global cache_t *to = v_cache + slot * v_cache_head + p * CLQ_HEAD_DIM;
      int d = 0;
      for (; d + 16 <= CLQ_HEAD_DIM; d += 16) {
        store_cache16(vload16(0, from + d), to + d);
      }
      for (; d < CLQ_HEAD_DIM; d++) {
        store_cache(from[d], d, to);
      }
    }
  }

  if (there != 0) {
    __global cache_t *to = k_cache + slot * k_cache_head + block * (16 * CLQ_HEAD_DIM);
    if (there == 0xffff) {
      for (int d = 0; d < CLQ_HEAD_DIM; d++) {
        store_cache16(vload16(d, turned), to + d * 16);
      }
    } else {
      for (int key = 0; key < 16; key++) {
        if ((there >> key & 1) != 0) {
          for (int d = 0; d < CLQ_HEAD_DIM; d++) {
            store_cache(turned[d * 16 + key], d * 16 + key, to);
          }
        }
      }
    }
  }
}

#endif
