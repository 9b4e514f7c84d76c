/* Rotary position embedding, an RMSNorm of each head before it, and the append to the KV cache with
 * its quantization, in one launch.
 *
 * A pair (a, b) at an angle with cosine c and sine s becomes
 *     a' = fma(a, c, -(b * s)),   b' = fma(b, c, a * s)
 * in every form, and a norm sums as rmsnorm does, so all of them give the same bits.
 *
 * Caches as clq_kv_cache has them. Without k and v, kv_heads is 0 and the caches are never
 * touched. */
#include "lib/device_error.h"
#include "lib/half.h"
#include "lib/rows.h"
#include "lib/sequences.h"
#include "lib/tensor.h"
#include "lib/traits.h"
#include "lib/types.h"

#ifndef CLQ_HEAD_DIM
#define CLQ_HEAD_DIM 64 /* even; with caches a multiple of 16 */
#endif
#ifndef CLQ_LAYOUT
#define CLQ_LAYOUT 1 /* clq_rope_layout: 1 adjacent, 2 halves */
#endif
#ifndef CLQ_K
#define CLQ_K CLQ_F32 /* of the caches: CLQ_F32, CLQ_F16, CLQ_I8, and CLQ_U8 for two codes a byte */
#endif
#ifndef CLQ_V
#define CLQ_V CLQ_F32
#endif
#ifndef CLQ_K_GIVEN
#define CLQ_K_GIVEN 0 /* 1: the scales of keys are given, one a channel */
#endif

#include "lib/kv_codes.h"

#pragma OPENCL FP_CONTRACT OFF

#define CLQ_K_IS_CODES (CLQ_K >= CLQ_I8)
#define CLQ_V_IS_CODES (CLQ_V >= CLQ_I8)
/* Bytes of a token's head, as codes. */
#define CLQ_K_BYTES (CLQ_K == CLQ_U8 ? CLQ_HEAD_DIM / 2 : CLQ_HEAD_DIM)
#define CLQ_V_BYTES (CLQ_V == CLQ_U8 ? CLQ_HEAD_DIM / 2 : CLQ_HEAD_DIM)

typedef CLQ_T(CLQ_K) k_t;
typedef CLQ_T(CLQ_V) v_t;

/* What both kernels take. Strides in elements; `dims` elements of a head rotate, the rest is
 * copied; `positions` is the table's length. NULL may be: q with out, k with v and the caches,
 * planes that the caches do not have, position, starts, table (dims is 0 then), gammas. */
#define ROPE_ARGS                                                                              \
  CLQ_TENSOR(const float, q), CLQ_TENSOR(float, out), CLQ_TENSOR(const float, k),              \
      CLQ_TENSOR(const float, v), CLQ_TENSOR(k_t, k_cache), CLQ_TENSOR(v_t, v_cache),          \
      CLQ_TENSOR(float, k_scale), CLQ_TENSOR(int, k_zero), CLQ_TENSOR(float, v_scale),         \
      CLQ_TENSOR(int, v_zero), CLQ_TENSOR(const int, position), CLQ_TENSOR(const int, starts), \
      CLQ_TENSOR(const float, table), CLQ_TENSOR(const float, q_gamma),                        \
      CLQ_TENSOR(const float, k_gamma), __global int *error_word, const long rows,             \
      const int sequences, const int heads, const int kv_heads, const int dims,                \
      const long positions, const long capacity, const long q_row, const long q_head,          \
      const long out_row, const long out_head, const long k_row, const long k_head,            \
      const long v_row, const long v_head, const long k_cache_sequence,                        \
      const long k_cache_head, const long v_cache_sequence, const long v_cache_head,           \
      const float eps

#define ROPE_AT                                                                          \
  CLQ_AT(const float, q);                                                                \
  CLQ_AT(float, out);                                                                    \
  CLQ_AT(const float, k);                                                                \
  CLQ_AT(const float, v);                                                                \
  CLQ_AT(k_t, k_cache);                                                                  \
  CLQ_AT(v_t, v_cache);                                                                  \
  CLQ_AT(float, k_scale);                                                                \
  CLQ_AT(int, k_zero);                                                                   \
  CLQ_AT(float, v_scale);                                                                \
  CLQ_AT(int, v_zero);                                                                   \
  CLQ_AT(const float, table);                                                            \
  const __global float *q_gains = CLQ_PLANE(q_gamma, 0);                                 \
  const __global float *k_gains = CLQ_PLANE(k_gamma, 0);                                 \
  const clq_sequences all = {CLQ_PLANE(starts, 0), CLQ_PLANE(position, 0), error_word, rows, \
                             sequences};

/* Elements of pair i. */
static inline int pair_first(int i) { return CLQ_LAYOUT == 1 ? 2 * i : i; }
static inline int pair_second(int i, int dims) { return CLQ_LAYOUT == 1 ? 2 * i + 1 : i + dims / 2; }

/* Is there room for this position in the table and in the caches? */
static inline bool position_fits(long p, long positions, long capacity, int kv_heads) {
  return p >= 0 && p < positions && (kv_heads == 0 || p < capacity);
}

/* 1 / sqrt(mean of squares + eps) of a head, summed as rmsnorm sums a row of so many columns. */
static inline float head_rstd(const __global float *x, float eps) {
  float16 squares[8];
  for (int j = 0; j < 8; j++) {
    const float16 t = clq_row_load_f32(x, 16 * j, CLQ_HEAD_DIM);
    squares[j] = t * t;
#if CLQ_HEAD_DIM > 128
    const float16 u = clq_row_load_f32(x, 128 + 16 * j, CLQ_HEAD_DIM);
    squares[j] = fma(u, u, squares[j]);
#endif
  }
  return clq_rsqrt(clq_div(clq_fold_add128(squares), (float)CLQ_HEAD_DIM) + eps);
}

/* Codes of 16 numbers, those from channel d on. `given`: the scales of the head's channels. */
#if CLQ_K == CLQ_U8
#define K_CODES_OF(x, a) clq_kv4_of(x, a)
#define K_CODE(x, a, d) clq_kv4_code(x, a)
#define K_CODE16(x, a, d) clq_kv4_code16(x, a)
#elif CLQ_K_GIVEN
#define K_CODE(x, a, d) clq_kv_given_code(x, given[d])
#define K_CODE16(x, a, d) clq_kv_given_code16(x, vload16(0, given + (d)))
#else
#define K_CODES_OF(x, a) clq_kv8_of(x, a)
#define K_CODE(x, a, d) clq_kv8_code(x, a)
#define K_CODE16(x, a, d) clq_kv8_code16(x, a)
#endif
#if CLQ_V == CLQ_U8
#define V_CODES_OF(x, a) clq_kv4_of(x, a)
#define V_CODE(x, a) clq_kv4_code(x, a)
#define V_CODE16(x, a) clq_kv4_code16(x, a)
#else
#define V_CODES_OF(x, a) clq_kv8_of(x, a)
#define V_CODE(x, a) clq_kv8_code(x, a)
#define V_CODE16(x, a) clq_kv8_code16(x, a)
#endif

#if !CLQ_ON_CPU

#if CLQ_K == CLQ_F16
static inline void store_k(float x, long i, __global k_t *p) { clq_store_half(x, i, p); }
#elif CLQ_K == CLQ_F32
static inline void store_k(float x, long i, __global k_t *p) { p[i] = x; }
#endif
#if CLQ_V == CLQ_F16
static inline void store_v(float x, long i, __global v_t *p) { clq_store_half(x, i, p); }
#elif CLQ_V == CLQ_F32
static inline void store_v(float x, long i, __global v_t *p) { p[i] = x; }
#endif

#if CLQ_K_IS_CODES
/* Work-item i of a key's head, which is in local memory: two codes. `to` starts at the key. */
CLQ_INLINE void append_k(const __local float *x, int i, const __global float *given,
                            __global k_t *to, __global float *scale, __global int *zero) {
#if CLQ_K_GIVEN
  const clq_affine a = {0.0f, 0.0f, 0};
#else
  clq_affine a;
  K_CODES_OF(x, &a);
  if (i == 0) {
    *scale = a.scale;
    if (zero != 0) {
      *zero = a.zero;
    }
  }
#endif
#if CLQ_K == CLQ_U8
  const int d = i / 4 * 8 + i % 4;
  to[i / 4 * 64 + i % 4] = (uchar)(K_CODE(x[d], a, d) | K_CODE(x[d + 4], a, d + 4) << 4);
#else
  for (int d = 2 * i; d < 2 * i + 2; d++) {
    to[d / 4 * 64 + d % 4] = (char)K_CODE(x[d], a, d);
  }
#endif
}
#endif

#if CLQ_V_IS_CODES
CLQ_INLINE void append_v(const __local float *x, int i, __global v_t *to,
                            __global float *scale, __global int *zero) {
  clq_affine a;
  V_CODES_OF(x, &a);
  if (i == 0) {
    *scale = a.scale;
    if (zero != 0) {
      *zero = a.zero;
    }
  }
#if CLQ_V == CLQ_U8
  to[4 * i] = (uchar)(V_CODE(x[i], a) | V_CODE(x[i + CLQ_HEAD_DIM / 2], a) << 4);
#else
  for (int d = 2 * i; d < 2 * i + 2; d++) {
    to[4 * d] = (char)V_CODE(x[d], a);
  }
#endif
}
#endif

/* The portable form: one work-item for two elements of a head of a row, one work-group for the
 * head. Dimension 1 counts the heads of q, then those of k, then those of v. */
__kernel void rope_pairs(ROPE_ARGS) {
  ROPE_AT
  const int i = (int)get_global_id(0);
  int head = (int)get_global_id(1);
  const long row = (long)get_global_id(2);
  if (head == 0) {
    clq_check_starts(&all, row * (CLQ_HEAD_DIM / 2) + i, rows * (CLQ_HEAD_DIM / 2));
  }
  const clq_sequence s = clq_sequence_of_row(&all, row);
  const bool mine = row >= s.first && row - s.first < s.rows;
  const long p = s.past + (row - s.first);
  const bool fits = mine && position_fits(p, positions, capacity, kv_heads);
  if (mine && !fits && i == 0 && head == 0) {
    clq_device_error(error_word, CLQ_ERROR_POSITION, (int)p);
  }
  const bool is_q = head < heads;
  const bool is_v = head >= heads + kv_heads;
  head -= is_v ? heads + kv_heads : is_q ? 0 : heads;
  const bool rotates = !is_v && i < dims / 2;
  const int first = rotates ? pair_first(i) : 2 * i;
  const int second = rotates ? pair_second(i, dims) : 2 * i + 1;
  float x = 0.0f;
  float y = 0.0f;
  if (fits) {
    const __global float *from = is_q   ? q + row * q_row + head * q_head
                                 : is_v ? v + row * v_row + head * v_head
                                        : k + row * k_row + head * k_head;
    const __global float *gains = is_q ? q_gains : is_v ? 0 : k_gains;
    float a = from[first];
    float b = from[second];
    if (gains != 0) {
      const float rstd = head_rstd(from, eps);
      a = a * rstd * gains[first];
      b = b * rstd * gains[second];
    }
    x = a;
    y = b;
    if (rotates) {
      const float cosine = table[p * dims + 2 * i];
      const float sine = table[p * dims + 2 * i + 1];
      x = fma(a, cosine, -(b * sine));
      y = fma(b, cosine, a * sine);
    }
  }
  const long plane = ((long)s.index * kv_heads + head) * capacity + p;
  const long k_head_start = s.index * k_cache_sequence + head * k_cache_head;
  const long v_head_start = s.index * v_cache_sequence + head * v_cache_head;

  __local float shared[CLQ_HEAD_DIM];
  shared[first] = x;
  shared[second] = y;
  barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE); /* out may be q, which norms read whole */
  if (!fits) {
    return;
  }
  if (is_q) {
    __global float *to = out + row * out_row + head * out_head;
    to[first] = x;
    to[second] = y;
  } else if (is_v) {
#if CLQ_V_IS_CODES
    append_v(shared, i, v_cache + v_head_start + (p >> 2) * (4 * CLQ_V_BYTES) + (p & 3),
             v_scale + plane, v_zero_base == 0 ? 0 : v_zero + plane);
#else
    store_v(x, v_head_start + p * CLQ_HEAD_DIM + first, v_cache);
    store_v(y, v_head_start + p * CLQ_HEAD_DIM + second, v_cache);
#endif
  } else {
#if CLQ_K_IS_CODES
    append_k(shared, i, k_scale + head * CLQ_HEAD_DIM,
             k_cache + k_head_start + (p >> 4) * (16 * CLQ_K_BYTES) + (p & 15) * 4,
             k_scale + plane, k_zero_base == 0 ? 0 : k_zero + plane);
#else
    const long at = k_head_start + (p >> 4) * (16 * CLQ_HEAD_DIM) + (p & 15);
    store_k(x, at + first * 16, k_cache);
    store_k(y, at + second * 16, k_cache);
#endif
  }
}

#else

#define PADDED ((CLQ_HEAD_DIM + 15) / 16 * 16)
#define APART static __attribute__((noinline)) /* compiled once */

static inline void store_private(float16 x, float *p) { ((clq_packed_f32 *)p)->v = x; }

/* A head of a row into private memory, normalized if there are gains. */
APART void load_head(const __global float *x, const __global float *gains, float eps,
                             float *y) {
  float rstd = 0.0f;
  if (gains != 0) {
    rstd = head_rstd(x, eps);
  }
  for (int d = 0; d < CLQ_HEAD_DIM; d += 16) {
    float16 v = clq_row_load_f32(x, d, CLQ_HEAD_DIM);
    if (gains != 0) {
      v = v * rstd * clq_row_load_f32(gains, d, CLQ_HEAD_DIM);
    }
    store_private(v, y + d);
  }
}

/* Turns a head in place. `angles`: the table at its position. */
APART void rotate(const __global float *angles, int dims, float *y) {
  const int pairs = dims / 2;
  int i = 0;
  for (; i + 8 <= pairs; i += 8) {
    const float16 t = vload16(0, angles + 2 * i);
    const float8 c = t.even;
    const float8 s = t.odd;
#if CLQ_LAYOUT == 1
    const float16 v = vload16(0, y + 2 * i);
    float16 r;
    r.even = fma(v.even, c, -(v.odd * s));
    r.odd = fma(v.odd, c, v.even * s);
    vstore16(r, 0, y + 2 * i);
#else
    const float8 a = vload8(0, y + i);
    const float8 b = vload8(0, y + i + pairs);
    vstore8(fma(a, c, -(b * s)), 0, y + i);
    vstore8(fma(b, c, a * s), 0, y + i + pairs);
#endif
  }
  for (; i < pairs; i++) {
    const float a = y[pair_first(i)];
    const float b = y[pair_second(i, dims)];
    y[pair_first(i)] = fma(a, angles[2 * i], -(b * angles[2 * i + 1]));
    y[pair_second(i, dims)] = fma(b, angles[2 * i], a * angles[2 * i + 1]);
  }
}

/* A block of 16 keys on its way into the cache, as it lies there. */
#if CLQ_K_IS_CODES
#define K_BLOCK (4 * CLQ_K_BYTES) /* elements of a block */
typedef uint k_word;
APART void keep_k(const float *y, int key, const __global float *given,
                          __global float *scale, __global int *zero, k_word *block) {
#if !CLQ_K_GIVEN
  clq_affine a;
  K_CODES_OF(y, &a);
  *scale = a.scale;
  if (zero != 0) {
    *zero = a.zero;
  }
#endif
  for (int d = 0; d < CLQ_HEAD_DIM; d += 16) {
    const int16 code = K_CODE16(vload16(0, y + d), a, d);
#if CLQ_K == CLQ_U8
    const uchar16 c = convert_uchar16(code);
    const uint2 w = as_uint2((uchar8)(c.s0123 | (uchar4)(c.s4567 << 4), c.s89ab | (uchar4)(c.scdef << 4)));
    block[d / 8 * 16 + key] = w.x;
    block[(d / 8 + 1) * 16 + key] = w.y;
#else
    const uint4 w = as_uint4(convert_char16(code));
    block[(d / 4) * 16 + key] = w.x;
    block[(d / 4 + 1) * 16 + key] = w.y;
    block[(d / 4 + 2) * 16 + key] = w.z;
    block[(d / 4 + 3) * 16 + key] = w.w;
#endif
  }
}
CLQ_DEFINE_STORE(u32, uint, uint16)
static inline void store_k16(const k_word *from, long i, __global k_t *to) {
  clq_store_u32(vload16(0, from + i), (__global uint *)to + i);
}
static inline void store_k(k_word x, long i, __global k_t *to) { ((__global uint *)to)[i] = x; }
#else
#define K_BLOCK (16 * CLQ_HEAD_DIM)
typedef float k_word;
APART void keep_k(const float *y, int key, const __global float *given,
                          __global float *scale, __global int *zero, k_word *block) {
  for (int d = 0; d < CLQ_HEAD_DIM; d++) {
    block[d * 16 + key] = y[d];
  }
}
#if CLQ_K == CLQ_F16
static inline void store_k16(const k_word *from, long i, __global k_t *to) {
  clq_store_b16(clq_f16_from_f32_16(vload16(0, from + i)), (__global ushort *)to + i);
}
static inline void store_k(k_word x, long i, __global k_t *to) { clq_store_half(x, i, to); }
#else
static inline void store_k16(const k_word *from, long i, __global k_t *to) {
  clq_store_f32(vload16(0, from + i), to + i);
}
static inline void store_k(k_word x, long i, __global k_t *to) { to[i] = x; }
#endif
#endif

/* `there`: a bit for each key of the block that is to be written. */
APART void store_k_block(const k_word *block, int there, __global k_t *to) {
  if (there == 0xffff) {
    for (int i = 0; i < K_BLOCK; i += 16) {
      store_k16(block, i, to);
    }
    return;
  }
  for (int key = 0; key < 16; key++) {
    if ((there >> key & 1) != 0) {
      for (int i = key; i < K_BLOCK; i += 16) {
        store_k(block[i], i, to);
      }
    }
  }
}

#if CLQ_V_IS_CODES
/* The bytes of a key's values; kept key by key, and turned when four keys are stored together. */
APART void keep_v(const float *x, __global float *scale, __global int *zero,
                          uchar *bytes) {
  clq_affine a;
  V_CODES_OF(x, &a);
  *scale = a.scale;
  if (zero != 0) {
    *zero = a.zero;
  }
  for (int d = 0; d < CLQ_HEAD_DIM; d += 16) {
    const uchar16 c = convert_uchar16(V_CODE16(vload16(0, x + d), a) & 0xff);
    vstore16(c, 0, bytes + d);
  }
#if CLQ_V == CLQ_U8
  for (int d = 0; d < CLQ_HEAD_DIM / 2; d++) {
    bytes[d] = (uchar)(bytes[d] | bytes[d + CLQ_HEAD_DIM / 2] << 4);
  }
#endif
}

/* The four keys from `quad` on, a multiple of 4, of which `there` says which. */
APART void store_v_quad(uchar bytes[16][CLQ_HEAD_DIM], int quad, int there,
                                __global v_t *to) {
  if (there == 15) {
    for (int d = 0; d < CLQ_V_BYTES; d += 8) {
      const uint8 w = convert_uint8(vload8(0, bytes[quad] + d)) |
                      convert_uint8(vload8(0, bytes[quad + 1] + d)) << 8 |
                      convert_uint8(vload8(0, bytes[quad + 2] + d)) << 16 |
                      convert_uint8(vload8(0, bytes[quad + 3] + d)) << 24;
      vstore8(w, 0, (__global uint *)to + d);
    }
    return;
  }
  for (int j = 0; j < 4; j++) {
    if ((there >> j & 1) != 0) {
      for (int d = 0; d < CLQ_V_BYTES; d++) {
        to[4 * d + j] = (v_t)bytes[quad + j][d];
      }
    }
  }
}
#endif

/* A sequence's blocks of 16 keys into which rows of it fall. */
static inline long blocks_of(const clq_sequence *s) {
  return s->rows == 0 ? 0 : ((s->past + s->rows - 1) >> 4) - (s->past >> 4) + 1;
}

/* The form for CPUs: one work-item for the rows of a sequence that fall into one block of 16 keys
 * of the cache, and one KV head with its share of the query heads; so a whole block of k is turned
 * in private memory and stored 16 keys at a time. Dimension 0: blocks of one sequence after the
 * other; dimension 1: KV heads, or query heads without caches. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void rope_blocks(ROPE_ARGS) {
  ROPE_AT
  const int slot = (int)get_global_id(1);
  const int slots = (int)get_global_size(1);
  const int head_begin = (int)((long)heads * slot / slots);
  const int head_end = (int)((long)heads * (slot + 1) / slots);
  long index = (long)get_global_id(0);
  if (slot == 0) {
    clq_check_starts(&all, index, (long)get_global_size(0));
  }
  clq_sequence s = clq_sequence_at(&all, 0);
  for (long blocks = blocks_of(&s); index >= blocks; blocks = blocks_of(&s)) {
    index -= blocks;
    if (s.index + 1 == sequences) {
      return;
    }
    s = clq_sequence_at(&all, s.index + 1);
  }
  const long block = (s.past >> 4) + index;
  const long begin = s.first + max(block * 16 - s.past, 0L);
  const long end = s.first + min(block * 16 + 16 - s.past, s.rows);
  const long plane = ((long)s.index * kv_heads + slot) * capacity;
  __global v_t *values = v_cache + s.index * v_cache_sequence + slot * v_cache_head;

  k_word turned[K_BLOCK];
#if CLQ_V_IS_CODES
  uchar bytes[16][CLQ_HEAD_DIM];
#endif
  int there = 0; /* bit per key of the block */
  for (long row = begin; row < end; row++) {
    const long p = s.past + (row - s.first);
    if (!position_fits(p, positions, capacity, kv_heads)) {
      clq_device_error(error_word, CLQ_ERROR_POSITION, (int)p);
      continue;
    }
    const __global float *angles = table + p * dims;
    float y[PADDED];
    for (int head = head_begin; head < head_end; head++) {
      load_head(q + row * q_row + head * q_head, q_gains, eps, y);
      rotate(angles, dims, y);
      __global float *to = out + row * out_row + head * out_head;
      for (int d = 0; d < CLQ_HEAD_DIM; d += 16) {
        clq_row_store_f32(vload16(0, y + d), to, d, CLQ_HEAD_DIM);
      }
    }
    if (kv_heads > 0) {
      const int key = (int)(p & 15);
      there |= 1 << key;
      load_head(k + row * k_row + slot * k_head, k_gains, eps, y);
      rotate(angles, dims, y);
      keep_k(y, key, k_scale + slot * CLQ_HEAD_DIM, k_scale + plane + p,
             k_zero_base == 0 ? 0 : k_zero + plane + p, turned);
      const __global float *from = v + row * v_row + slot * v_head;
#if CLQ_V_IS_CODES
      load_head(from, 0, eps, y);
      keep_v(y, v_scale + plane + p, v_zero_base == 0 ? 0 : v_zero + plane + p, bytes[key]);
#else
      for (int d = 0; d < CLQ_HEAD_DIM; d += 16) {
        const float16 x = clq_row_load_f32(from, d, CLQ_HEAD_DIM);
        CLQ_ROW_STORE(CLQ_V)(x, values + p * CLQ_HEAD_DIM, d, CLQ_HEAD_DIM);
      }
#endif
    }
  }

  if (there != 0) {
    store_k_block(turned, there,
                  k_cache + s.index * k_cache_sequence + slot * k_cache_head +
                      block * (CLQ_K_IS_CODES ? 16 * CLQ_K_BYTES : 16 * CLQ_HEAD_DIM));
#if CLQ_V_IS_CODES
    for (int quad = 0; quad < 16; quad += 4) {
      store_v_quad(bytes, quad, there >> quad & 15,
                   values + (block * 4 + quad / 4) * (4 * CLQ_V_BYTES));
    }
#endif
  }
}

#endif
