/* What the kernels of softmax share: which elements of a row count, the sum's factor, and how a
 * probability is stored.
 *
 * Sums of floats are taken in 64 lanes (element i in lane i mod 64), which fold neighbours first;
 * every form does the same operations in the same order. The host sets
 *   CLQ_X      the type of the logits
 *   CLQ_OUT    of the result: CLQ_F32, CLQ_F16, CLQ_BF16; CLQ_U8, in steps of 1/256; CLQ_I8, codes
 *              with the scale and zero point given; CLQ_U16, exponentials in steps of
 *              2^-16
 *   CLQ_MASK   0: none; CLQ_U8: 0 hides an element; a float type: is added to the scaled logit
 *   CLQ_FINISH what becomes of the exponentials */
#ifndef CLQ_LIB_SOFTMAX_H
#define CLQ_LIB_SOFTMAX_H

#include "lib/fold.h"
#include "lib/half.h"
#include "lib/math.h"
#include "lib/quantize.h"
#include "lib/rows.h"
#include "lib/tensor.h"
#include "lib/traits.h"
#include "lib/types.h"

#pragma OPENCL FP_CONTRACT OFF

#define CLQ_PROBABILITIES 0
#define CLQ_LOGARITHMS 1
#define CLQ_EXPONENTIALS 2 /* as they are, and their sum beside them */

#ifndef CLQ_OUT
#define CLQ_OUT CLQ_F32
#endif
#ifndef CLQ_MASK
#define CLQ_MASK 0
#endif
#ifndef CLQ_FINISH
#define CLQ_FINISH CLQ_PROBABILITIES
#endif
#define CLQ_WORK_ITEMS 64 /* a lane each; not to be changed without the order of the sum */

typedef CLQ_T(CLQ_OUT) clq_out;
typedef CLQ_T(CLQ_MASK) clq_mask;

/* lengths: of which each serves rows_of_length rows, or NULL. queries: rows of one causal matrix, or 0.
 * The mask has mask_rows rows, which rows of x take in turn. out_scale: of CLQ_U8 a place for 1/256,
 * or NULL. */
#define CLQ_SOFTMAX_ARGS                                                                         \
  CLQ_TENSOR(const clq_x, x), CLQ_TENSOR(const clq_mask, mask), CLQ_TENSOR(const int, lengths),  \
      CLQ_TENSOR(clq_out, out), CLQ_TENSOR(float, out_scale), CLQ_TENSOR(const int, out_zero),   \
      CLQ_TENSOR(float, sum), const long rows, const long cols, const long x_row,                \
      const long out_row, const long mask_row, const long mask_rows, const long rows_of_length,  \
      const long queries, const float scale

/* Elements of the row that count, from the first on. */
static inline long clq_visible(const __global int *lengths, long rows_of_length, long queries,
                               long row, long cols) {
  long n = cols;
  if (lengths != 0) {
    n = min(n, max((long)lengths[row / rows_of_length], 0L));
  }
  if (queries > 0) {
    n = min(n, max(cols - queries + row % queries + 1, 0L));
  }
  return n;
}
#define CLQ_VISIBLE(row) \
  clq_visible(CLQ_PLANE(lengths, 0), rows_of_length, queries, row, cols)
#define CLQ_MASK_OF(row) CLQ_PLANE(mask, (row) % mask_rows * mask_row)

/* A row of -inf has no largest element to count from: its exponentials are then 0, not NaN. */
static inline float clq_origin_of(float m) { return m == -CLQ_INF ? 0.0f : m; }

/* What exponentials are multiplied by; 0 for a row of -inf, whose m that is. */
static inline float clq_factor_of(float m, float sum) {
  const float factor = clq_div(CLQ_OUT == CLQ_U8 ? 256.0f : 1.0f, sum);
  return m == -CLQ_INF && sum == 0.0f ? 0.0f : factor;
}

/* log x of a normal x of 1 or more: x = 2^k (1 + f), f in [-0.29, 0.41], and with s = f / (2 + f)
 * the series of atanh; within 1 ulp. A NaN stays one, so does Inf. */
static inline float clq_log_of(float x) {
  const int bits = as_int(x) + (0x3f800000 - 0x3f3504f3);
  const int k = (bits >> 23) - 127;
  const float f = as_float((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
  const float s = clq_div(f, 2.0f + f);
  const float z = s * s;
  const float w = z * z;
  const float series = z * fma(w, 0x1.23d3dcp-2f, 0x1.555554p-1f) + w * fma(w, 0x1.f13c4cp-3f, 0x1.999c26p-2f);
  const float half_square = 0.5f * f * f;
  const float n = (float)k;
  const float y = fma(s, half_square + series, n * 0x1.7f7d1cp-20f) - half_square + f;
  return x < CLQ_INF ? fma(n, 0x1.62e4p-1f, y) : x;
}

/* a: what i8 codes are made with. */
#if CLQ_OUT == CLQ_I8
#define CLQ_OUT_AFFINE(a)                                                                   \
  clq_affine a;                                                                             \
  a.scale = out_scale_base[out_scale_start];                                                \
  a.mult = clq_div(1.0f, a.scale);                                                          \
  a.zero = out_zero_base == 0 ? 0 : out_zero_base[out_zero_start]
#else
#define CLQ_OUT_AFFINE(a)                                                                   \
  clq_affine a;                                                                             \
  a.scale = a.mult = 0.0f;                                                                  \
  a.zero = 0
#endif

/* p, of CLQ_U8 times 256 already, as it is stored, for F floats and I ints. A u8 or u16 comes from the
 * low bits of p + 1.5 * 2^23; NaN becomes 0. */
#if CLQ_OUT == CLQ_U8 || CLQ_OUT == CLQ_U16
#define CLQ_MOST (CLQ_OUT == CLQ_U8 ? 255 : 65535)
#define CLQ_DEFINE_STORED(F, I, S)                                                          \
  static inline I clq_stored##S(F p, clq_affine a) {                                        \
    p = CLQ_OUT == CLQ_U16 ? p * 0x1p+16f : p;                                              \
    p = p > (F)(float)CLQ_MOST ? (F)(float)CLQ_MOST : p;                                    \
    p = p != p ? (F)0.0f : p;                                                               \
    return as_##I(p + 0x1.8p+23f) & CLQ_MOST;                                               \
  }
#elif CLQ_OUT == CLQ_I8
#define CLQ_DEFINE_STORED(F, I, S)                                                          \
  static inline I clq_stored##S(F p, clq_affine a) {                                        \
    return clq_affine_code##S(p, (F)a.mult, (I)a.zero, -128);                               \
  }
#else
#define CLQ_DEFINE_STORED(F, I, S) \
  static inline F clq_stored##S(F p, clq_affine a) { return p; }
#endif
CLQ_DEFINE_STORED(float, int, )
CLQ_DEFINE_STORED(float16, int16, 16)

#if CLQ_OUT == CLQ_F16
#define CLQ_STORE_ONE(v, i, p) clq_store_half(v, i, p)
#elif CLQ_OUT == CLQ_BF16
#define CLQ_STORE_ONE(v, i, p) ((p)[i] = clq_bf16_from_f32(v))
#else
#define CLQ_STORE_ONE(v, i, p) ((p)[i] = (clq_out)(v))
#endif
#define CLQ_PUT(v, i, p, a)        CLQ_STORE_ONE(clq_stored((v), (a)), i, p)
#define CLQ_PUT16(v, i, end, p, a) CLQ_ROW_STORE(CLQ_OUT)(clq_stored16((v), (a)), p, i, end)

#define CLQ_PUT_OUT_SCALE(once)                                \
  if (CLQ_OUT == CLQ_U8 && (once) && out_scale_base != 0) {    \
    out_scale_base[out_scale_start] = 0x1p-8f;                 \
  }

/* What an element that does not count gets. */
#define CLQ_HIDDEN (CLQ_FINISH == CLQ_LOGARITHMS ? -CLQ_INF : 0.0f)

#if CLQ_ON_CPU

/* STEP(i, end, j) for every 16 elements of the row's first n, those of lanes 16 j and on; for whole
 * vectors `end` is known to be i + 16. */
#define CLQ_WALK(STEP, n) CLQ_WALK_FROM(STEP, 0, n)
/* The same from a multiple of 64 on. */
#define CLQ_WALK_FROM(STEP, from, n)                                                        \
  {                                                                                         \
    const long clq_whole = (n) & ~63L;                                                      \
    for (long clq_i = (from); clq_i < clq_whole; clq_i += 64) {                             \
      __attribute__((opencl_unroll_hint(4))) for (int clq_j = 0; clq_j < 4; clq_j++) {      \
        STEP(clq_i + 16 * clq_j, clq_i + 16 * clq_j + 16, clq_j)                            \
      }                                                                                     \
    }                                                                                       \
    for (long clq_i = clq_whole; clq_i < (n); clq_i += 16) {                                \
      STEP(clq_i, (n), (int)((clq_i - clq_whole) >> 4))                                     \
    }                                                                                       \
  }

static inline float clq_sum_of_lanes(const float16 *lanes) {
  return (clq_fold_add16(lanes[0]) + clq_fold_add16(lanes[1])) +
         (clq_fold_add16(lanes[2]) + clq_fold_add16(lanes[3]));
}

/* Elements n .. cols - 1 of the row. */
static inline void clq_hide_rest(__global clq_out *out, long n, long cols, clq_affine a) {
  for (long i = n; i < cols; i += 16) {
    CLQ_PUT16((float16)CLQ_HIDDEN, i, cols, out, a);
  }
}

#else

static inline float clq_group_max(float x, int lid, __local float *scratch) {
  scratch[lid] = x;
  barrier(CLK_LOCAL_MEM_FENCE);
  float16 m = vload16(0, scratch);
  for (int i = 1; i < CLQ_WORK_ITEMS / 16; i++) {
    const float16 other = vload16(i, scratch);
    m = other > m ? other : m;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  return clq_fold_max16(m);
}

static inline float clq_group_sum(float x, int lid, __local float *scratch) {
  scratch[lid] = x;
  barrier(CLK_LOCAL_MEM_FENCE);
  const float a = clq_fold_add16(vload16(0, scratch)) + clq_fold_add16(vload16(1, scratch));
  const float b = clq_fold_add16(vload16(2, scratch)) + clq_fold_add16(vload16(3, scratch));
  barrier(CLK_LOCAL_MEM_FENCE);
  return a + b;
}

static inline void clq_hide_rest(__global clq_out *out, long n, long cols, int lid,
                                 clq_affine a) {
  for (long i = n + lid; i < cols; i += CLQ_WORK_ITEMS) {
    CLQ_PUT(CLQ_HIDDEN, i, out, a);
  }
}

#endif

#endif
