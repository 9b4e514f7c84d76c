/* GELU in integers alone, by I-BERT's polynomial (arXiv 2101.01321): erf(t) is about
 * sign(t) * (1 - 0.2888 * (1.769 - min(|t|, 1.769))^2). I-BERT's code counts 1.769 and 1 in whole steps
 * of x and of their squares, which leaves nothing of it where steps are coarse; here t has 20
 * fraction bits, whatever x's scale.
 *
 *   q = x - x_zero                         |q| < 2^31; -2^31 counts as one more
 *   u = min(|q| * x_multiplier >> x_shift, B)           |x| / sqrt(2), 20 fraction bits, B = 1.769
 *   p = (B - u)^2 >> 11                                 29 fraction bits, < 2^31
 *   e = 2^29 - (A * p >> 20)                            erf, 29 bits; A = 0.2888 of 20 bits
 *   w = 2^29 + sign(q) * e                              1 + erf, from 0 to 2^30
 *   v = q * value_multiplier >> value_shift             x / out_scale, 15 fraction bits, saturated
 *   y = v * w >> 45, then + zero, saturated
 *
 * All shifts to the right round half up; those by arguments are from 1 to 62, multipliers from 0 to
 * 2^31 - 1, so that every product is of 32 bits by 32 and stays below 2^62. */
#include "lib/fold.h"
#include "lib/planes.h"
#include "lib/tensor.h"
#include "lib/traits.h"
#include "lib/types.h"

/* The type of the input: CLQ_I8, CLQ_U8, CLQ_I32; of the output: CLQ_I8, CLQ_U8. */
#ifndef CLQ_X
#define CLQ_X CLQ_I8
#endif
#ifndef CLQ_OUT
#define CLQ_OUT CLQ_I8
#endif

typedef CLQ_T(CLQ_X) x_t;
typedef CLQ_T(CLQ_OUT) out_t;

#define BEND   1854931L /* B */
#define FACTOR 302829L  /* A */
#define MOST   0x7fffffffL

typedef struct scaling {
  long x_multiplier, x_shift, x_half;
  long value_multiplier, value_shift, value_half;
} scaling;

/* low, high: what codes saturate to. */
#define INTEGER_GELU_ARGS                                                                          \
  CLQ_TENSOR(const x_t, x), CLQ_TENSOR(out_t, out), const long cols, const long x_stride,          \
      const long out_stride, const int x_zero, const int x_multiplier, const int x_shift,          \
      const int value_multiplier, const int value_shift, const int low, const int high,            \
      CLQ_PLANES_ARGS

#define SCALING                                                                                    \
  {x_multiplier,     x_shift,     1L << (x_shift - 1),                                             \
   value_multiplier, value_shift, 1L << (value_shift - 1)}

/* y of q, an integer or a vector of them as longs, and |q|. INT(x): x, which is an integer. */
#define DEFINE_GELU(NAME, L, INT)                                                                  \
  CLQ_INLINE L NAME(L q, L magnitude, scaling s) {                                                 \
    const L u = min((magnitude * (L)s.x_multiplier + (L)s.x_half) >> (L)s.x_shift, (L)BEND);       \
    const L d = INT((L)BEND - u);                                                                  \
    const L p = INT((d * d + (L)(1L << 10)) >> (L)11);                                             \
    const L e = (L)(1L << 29) - (((L)FACTOR * p + (L)(1L << 19)) >> (L)20);                        \
    const L sign = q >> (L)63;                                                                     \
    const L w = INT((L)(1L << 29) + ((e ^ sign) - sign));                                          \
    const L value = (q * (L)s.value_multiplier + (L)s.value_half) >> (L)s.value_shift;             \
    const L v = INT(clamp(value, (L)-MOST, (L)MOST));                                              \
    return (v * w + (L)(1L << 44)) >> (L)45;                                                       \
  }

#if CLQ_ON_CPU

#include "lib/pairs.h"
#include "lib/rows.h"

DEFINE_GELU(gelu8, long8, clq_at_even)

CLQ_INLINE int16 gelu16(int16 x, int x_zero, scaling s) {
  const int16 q = CLQ_X == CLQ_I32 ? max(x, (int16)-0x7fffffff) : x - x_zero;
  const long8 value = as_long8(q);
  const long8 magnitude = as_long8(as_int16(abs(q)));
  return clq_join_pairs(gelu8(clq_at_even(value), clq_at_even(magnitude), s),
                        gelu8(clq_at_odd(value), clq_at_odd(magnitude), s));
}

/* One work-item a row. */
__kernel void integer_gelu_rows(INTEGER_GELU_ARGS) {
  const long row = get_global_id(0);
  const __global x_t *x = x_base + x_start + row * x_stride;
  __global out_t *out = out_base + out_start + row * out_stride;
  const scaling s = SCALING;
  int16 codes = (int16)0;
  for (long i = 0; i < cols; i += 16) {
    const int16 y = clamp(gelu16(CLQ_ROW_LOAD(CLQ_X)(x, i, cols), x_zero, s) + zero_code,
                          (int16)low, (int16)high);
    codes += y & clq_mask16(i, cols);
    CLQ_ROW_STORE(CLQ_OUT)(y, out, i, cols);
  }
  CLQ_PUBLISH(row, clq_fold_add16i(codes));
}

#else

#include "lib/warp.h"

#define CLQ_GROUP 256 /* the most work-items of a group */
#define ITSELF(x) (x)

DEFINE_GELU(gelu, long, ITSELF)

/* One work-group a row, whose work-items take neighbouring elements. */
__kernel void integer_gelu_group(INTEGER_GELU_ARGS) {
  __local int scratch[CLQ_GROUP];
  const long row = get_group_id(0);
  const __global x_t *x = x_base + x_start + row * x_stride;
  __global out_t *out = out_base + out_start + row * out_stride;
  const scaling s = SCALING;
  int codes = 0;
  for (long i = get_local_id(0); i < cols; i += get_local_size(0)) {
    const long q = max((long)x[i] - x_zero, -MOST);
    const int y = clamp((int)gelu(q, max(q, -q), s) + zero_code, low, high);
    codes += y;
    out[i] = (out_t)y;
  }
  codes = clq_group_reduce_addi(codes, scratch);
  if (get_local_id(0) == 0) {
    CLQ_PUBLISH(row, codes);
  }
}

#endif
