/* What the forms of attention share: their arguments, which rows belong to which sequence, which
 * keys a row sees, how parts of a line merge, and the end of a line.
 *
 * The host sets CLQ_HEAD_DIM, CLQ_K and CLQ_V (element types of the caches), CLQ_OUT and CLQ_CODES
 * (lib/emit.h), and CLQ_SPLIT=1 where chunks are computed apart and merged by a second launch. */
#ifndef CLQ_LIB_ATTENTION_H
#define CLQ_LIB_ATTENTION_H

#include "lib/emit.h"
#include "lib/half.h"
#include "lib/math.h"
#include "lib/quantize.h"
#include "lib/rows.h"
#include "lib/sequences.h"
#include "lib/tensor.h"
#include "lib/traits.h"
#include "lib/types.h"

#pragma OPENCL FP_CONTRACT OFF

#ifndef CLQ_HEAD_DIM
#define CLQ_HEAD_DIM 64 /* a multiple of 16 */
#endif
#ifndef CLQ_K
#define CLQ_K CLQ_F32
#endif
#ifndef CLQ_V
#define CLQ_V CLQ_F32
#endif
#ifndef CLQ_K_GIVEN
#define CLQ_K_GIVEN 0 /* 1: the scales of keys are of channels, [kv_heads, head_dim] */
#endif
#ifndef CLQ_SPLIT
#define CLQ_SPLIT 0
#endif

#define CLQ_CHUNK 256 /* keys; changing it changes results */
#define CLQ_UNROLL(n) __attribute__((opencl_unroll_hint(n)))

/* What runs once a chunk or a tile: inlined, with all that is unrolled in it, it takes the compiler
 * of a CPU driver three times as long. */
#define APART static __attribute__((noinline))

typedef CLQ_T(CLQ_K) k_t;
typedef CLQ_T(CLQ_V) v_t;

/* What the kernels take. Strides are in elements. NULL may be: position (all 0), starts
 * (rows / sequences each), keys (position and the rows of the sequence), the planes of the caches
 * (floats have none) and those of `out`. `window` is above every position where there is none.
 * CLQ_SPLIT: a chunk's sums lie at parts[row][head][chunk], [head_dim] each, and behind all of
 * them its largest score and its sum of exponentials. */
#define ATTENTION_TENSORS                                                                      \
  CLQ_TENSOR(const float, q), CLQ_TENSOR(const k_t, k), CLQ_TENSOR(const v_t, v),              \
      CLQ_TENSOR(const float, k_scale), CLQ_TENSOR(const int, k_zero),                         \
      CLQ_TENSOR(const float, v_scale), CLQ_TENSOR(const int, v_zero),                         \
      CLQ_TENSOR(const int, position), CLQ_TENSOR(const int, starts),                          \
      CLQ_TENSOR(const int, keys), CLQ_TENSOR(clq_out, out), CLQ_TENSOR(float, out_scale),     \
      CLQ_TENSOR(int, out_sum), __global int *error_word
#define ATTENTION_NUMBERS                                                                      \
  const long rows, const int sequences, const int heads, const int kv_heads,                   \
      const long capacity, const long q_row, const long q_head, const long k_sequence,         \
      const long k_head, const long v_sequence, const long v_head, const long out_row,         \
      const float scale, const long window, const int bidirectional
#if CLQ_SPLIT
#define ATTENTION_ARGS \
  ATTENTION_TENSORS, ATTENTION_NUMBERS, CLQ_TENSOR(float, parts), const long chunks
#define ATTENTION_PARTS CLQ_AT(float, parts);
#else
#define ATTENTION_ARGS ATTENTION_TENSORS, ATTENTION_NUMBERS
#define ATTENTION_PARTS
#endif

#define ATTENTION_AT                                                                           \
  CLQ_AT(const float, q);                                                                      \
  CLQ_AT(clq_out, out);                                                                        \
  CLQ_AT(float, out_scale);                                                                    \
  ATTENTION_PARTS                                                                              \
  const batch in = {{CLQ_PLANE(starts, 0), CLQ_PLANE(position, 0), error_word, rows, sequences}, \
                    CLQ_PLANE(keys, 0), heads / kv_heads, capacity, window, bidirectional};

/* What says which rows see which keys. */
typedef struct batch {
  clq_sequences all;
  const __global int *keys;
  int group; /* query heads of a KV head */
  long capacity;
  long window;
  int bidirectional;
} batch;

/* Keys begin .. end - 1. */
typedef struct span {
  long begin;
  long end;
} span;

/* The keys that row `row` of a sequence sees; none, reported, where they are not in the cache. */
static inline span keys_seen(const batch *in, const clq_sequence *s, long row) {
  const long at = s->past + row;
  const long all = in->keys != 0 ? (long)in->keys[s->index] : s->past + s->rows;
  const long end = in->bidirectional ? all : at + 1;
  span seen = {0, 0};
  if (s->past < 0) {
    clq_device_error(in->all.error_word, CLQ_ERROR_POSITION, (int)s->past);
  } else if (end < 0 || end > in->capacity) {
    const bool told = in->bidirectional && in->keys != 0;
    clq_device_error(in->all.error_word, told ? CLQ_ERROR_KEYS : CLQ_ERROR_POSITION,
                     (int)(told ? end : end - 1));
  } else {
    seen.end = in->bidirectional ? min(end, at + in->window) : end;
    seen.begin = min(max(at + 1 - in->window, 0L), seen.end);
  }
  return seen;
}

/* Of one KV head of a sequence. Scales and zero points are those of its keys and of its values. */
typedef struct head_cache {
  const __global k_t *k;
  const __global v_t *v;
  const __global float *k_scale;
  const __global int *k_zero;
  const __global float *v_scale;
  const __global int *v_zero;
} head_cache;

#define HEAD_CACHE(name, s, kv)                                                                \
  const head_cache name = {                                                                    \
      k_base + k_start + (s) * k_sequence + (kv) * k_head,                                     \
      v_base + v_start + (s) * v_sequence + (kv) * v_head,                                     \
      CLQ_PLANE(k_scale, CLQ_K_GIVEN ? (kv) * (long)CLQ_HEAD_DIM                                \
                                     : ((long)(s) * kv_heads + (kv)) * capacity),                                  \
      CLQ_PLANE(k_zero, ((long)(s) * kv_heads + (kv)) * capacity),                                   \
      CLQ_PLANE(v_scale, ((long)(s) * kv_heads + (kv)) * capacity),                                  \
      CLQ_PLANE(v_zero, ((long)(s) * kv_heads + (kv)) * capacity)};

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

/* Planes of codes, where a line's begin. */
#if CLQ_OUT == CLQ_I8 && CLQ_CODES != CLQ_STATIC
#define LINE_PLANE(line) ((line) * (CLQ_HEAD_DIM / 32))
#else
#define LINE_PLANE(line) 0
#endif

#if CLQ_OUT == CLQ_I8 && CLQ_CODES != CLQ_STATIC
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

#endif
