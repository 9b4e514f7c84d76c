/* The sum of two tensors of codes in integers alone. With a' = a - a_zero and b' = b - b_zero, at most
 * 255 in magnitude:
 *
 *   1 saturate   y = a' + b'
 *   2 gemmlowp   y = r(r(a' << 20, a) + r(b' << 20, b), out)
 *                r(x, m) = SaturatingRoundingDoublingHighMul(x, m's multiplier), then
 *                RoundingDivideByPOT by m's shift
 *   3 single     y = (a' * a_multiplier + b' * b_multiplier + (1 << (shift - 1))) >> shift
 *
 * and then y + zero, saturated. Multipliers are from 0 to 2^31 - 1, shifts from 0 to 31, the last one
 * from 11 to 62, so nothing overflows: of 2, a' << 20 stays below 2^28, its product and the sum's
 * below 2^60; of 3, both products together stay below 2^40, and y below 2^30. As multipliers are not
 * negative, the first rounding of r is (x * multiplier + 2^30) >> 31. */
#include "lib/fold.h"
#include "lib/planes.h"
#include "lib/tensor.h"
#include "lib/traits.h"
#include "lib/types.h"

#ifndef CLQ_A
#define CLQ_A CLQ_I8
#endif
#ifndef CLQ_B
#define CLQ_B CLQ_A
#endif
#ifndef CLQ_OUT
#define CLQ_OUT CLQ_I8
#endif

#define SATURATE 1
#define GEMMLOWP 2
#define SINGLE   3
#ifndef CLQ_MODE
#define CLQ_MODE SATURATE
#endif

typedef CLQ_T(CLQ_A) a_t;
typedef CLQ_T(CLQ_B) b_t;
typedef CLQ_T(CLQ_OUT) out_t;

/* What a sum is scaled with; shifts to the right. */
typedef struct scaling {
  int a_zero, a_multiplier, a_shift;
  int b_zero, b_multiplier, b_shift;
  int out_multiplier, out_shift;
  int zero, low, high;
} scaling;

/* low, high: what codes saturate to. */
#define INTEGER_ADD_ARGS                                                                           \
  CLQ_TENSOR(const a_t, a), CLQ_TENSOR(const b_t, b), CLQ_TENSOR(out_t, out), const long cols,     \
      const long a_stride, const long b_stride, const long out_stride, const int a_zero,           \
      const int a_multiplier, const int a_shift, const int b_zero, const int b_multiplier,         \
      const int b_shift, const int out_multiplier, const int out_shift, const int low,             \
      const int high, CLQ_PLANES_ARGS

#define SCALING                                                                                    \
  {a_zero,  a_multiplier, a_shift,   b_zero, b_multiplier, b_shift, out_multiplier,                \
   out_shift, zero_code,  low, high}

#define INTEGER_ADD_AT(row)                                       \
  const __global a_t *a = a_base + a_start + (row) * a_stride;    \
  const __global b_t *b = b_base + b_start + (row) * b_stride;    \
  __global out_t *out = out_base + out_start + (row) * out_stride

enum { UP = 20 }; /* bits that gemmlowp's sum has below those of a code */

#if CLQ_ON_CPU

#include "lib/pairs.h"
#include "lib/rows.h"

/* x * 2^-shift, halves away from zero. */
static inline int16 divide_by_power(int16 x, int shift) {
  const int16 mask = (int16)((int)((1u << shift) - 1u));
  const int16 threshold = (mask >> 1) - (x < (int16)0); /* true is -1 */
  return (x >> shift) - ((x & mask) > threshold);
}

static inline int16 rescale(int16 x, int multiplier, int shift) {
  const long8 m = (long8)(long)multiplier;
  const long8 half_unit = (long8)(1L << 30);
  const long8 even = clq_at_even(as_long8(x)) * m + half_unit;
  const long8 odd = clq_at_odd(as_long8(x)) * m + half_unit;
  return divide_by_power(clq_join_pairs(even >> 31L, odd >> 31L), shift);
}

static inline long8 single(long8 a, long8 b, scaling s) {
  const long8 sum = a * (long8)(long)s.a_multiplier + b * (long8)(long)s.b_multiplier;
  return (sum + (long8)(1L << (s.out_shift - 1))) >> (long8)(long)s.out_shift;
}

CLQ_INLINE int16 code_of(int16 a, int16 b, scaling s) {
  a -= s.a_zero;
  b -= s.b_zero;
#if CLQ_MODE == GEMMLOWP
  const int16 sum =
      rescale(a << UP, s.a_multiplier, s.a_shift) + rescale(b << UP, s.b_multiplier, s.b_shift);
  const int16 y = rescale(sum, s.out_multiplier, s.out_shift);
#elif CLQ_MODE == SINGLE
  const long8 pairs_a = as_long8(a);
  const long8 pairs_b = as_long8(b);
  const int16 y = clq_join_pairs(single(clq_at_even(pairs_a), clq_at_even(pairs_b), s),
                                 single(clq_at_odd(pairs_a), clq_at_odd(pairs_b), s));
#else
  const int16 y = a + b;
#endif
  return clamp(y + s.zero, (int16)s.low, (int16)s.high);
}

/* One work-item a row. */
__kernel void integer_add_rows(INTEGER_ADD_ARGS) {
  const long row = get_global_id(0);
  INTEGER_ADD_AT(row);
  const scaling s = SCALING;
  int16 codes = (int16)0;
  for (long i = 0; i < cols; i += 16) {
    const int16 y =
        code_of(CLQ_ROW_LOAD(CLQ_A)(a, i, cols), CLQ_ROW_LOAD(CLQ_B)(b, i, cols), s);
    codes += y & clq_mask16(i, cols);
    CLQ_ROW_STORE(CLQ_OUT)(y, out, i, cols);
  }
  CLQ_PUBLISH(row, clq_fold_add16i(codes));
}

#else

#include "lib/warp.h"

#define CLQ_GROUP 256 /* the most work-items of a group */

static inline int divide_by_power(int x, int shift) {
  const int mask = (int)((1u << shift) - 1u);
  const int threshold = (mask >> 1) + (x < 0 ? 1 : 0);
  return (x >> shift) + ((x & mask) > threshold ? 1 : 0);
}

static inline int rescale(int x, int multiplier, int shift) {
  return divide_by_power((int)(((long)x * multiplier + (1L << 30)) >> 31), shift);
}

static inline int code_of(int a, int b, scaling s) {
  a -= s.a_zero;
  b -= s.b_zero;
#if CLQ_MODE == GEMMLOWP
  const int sum = rescale(a * (1 << UP), s.a_multiplier, s.a_shift) +
                  rescale(b * (1 << UP), s.b_multiplier, s.b_shift);
  const int y = rescale(sum, s.out_multiplier, s.out_shift);
#elif CLQ_MODE == SINGLE
  const long sum = (long)a * s.a_multiplier + (long)b * s.b_multiplier;
  const int y = (int)((sum + (1L << (s.out_shift - 1))) >> s.out_shift);
#else
  const int y = a + b;
#endif
  return clamp(y + s.zero, s.low, s.high);
}

/* One work-group a row, whose work-items take neighbouring elements. */
__kernel void integer_add_group(INTEGER_ADD_ARGS) {
  __local int scratch[CLQ_GROUP];
  const long row = get_group_id(0);
  INTEGER_ADD_AT(row);
  const scaling s = SCALING;
  int codes = 0;
  for (long i = get_local_id(0); i < cols; i += get_local_size(0)) {
    const int y = code_of(a[i], b[i], s);
    codes += y;
    out[i] = (out_t)y;
  }
  codes = clq_group_reduce_addi(codes, scratch);
  if (get_local_id(0) == 0) {
    CLQ_PUBLISH(row, codes);
  }
}

#endif
