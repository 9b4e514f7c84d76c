/* Symmetric int8 quantization of rows and groups.
 *
 * A row (or group) is walked twice. First its largest magnitude, kept as the
 * integer bits of |x| so that the maximum is exact, does not depend on order
 * and lets NaN and Inf win over every number:
 *     int m = 0;  m = clq_absmax(m, x) for all x;    (integer maximum merges)
 *     float scale = clq_quant_scale(m), mult = clq_quant_mult(m);
 * then the codes:  q = clq_quant_code_int(x, mult), in [-127, 127].
 *
 *   ordinary row        scale = absmax / 127, q = rint(x * (127 / absmax)),
 *                       ties to even
 *   absmax < 2^-119     scale 0, codes 0 (absmax / 127 would not be normal)
 *   a NaN in the row    scale NaN, codes 0
 *   an Inf, no NaN      scale Inf; finite elements 0, infinite ones +-127
 *
 * Asymmetric codes fill [lo, lo + 255], x = scale * (code - zero). The row's
 * least and largest elements, with 0 between them, are kept as ordered integers
 * (clq_order), so that again the extremes are exact and NaN wins:
 *   ordinary row        scale = max/255 - min/255, zero = rint(lo - min * mult)
 *                       with mult = 1 / scale, code = rint(x * mult) + zero
 *   the rows above      scale as there, zero lo + 128; codes are zero but for
 *                       infinities, which saturate
 *
 * Static codes have a scale given: code = rint(x * (1 / scale)) + zero, saturated. */
#ifndef CLQ_LIB_QUANTIZE_H
#define CLQ_LIB_QUANTIZE_H

#include "lib/fold.h"
#include "lib/math.h"

#pragma OPENCL FP_CONTRACT OFF

#define CLQ_QUANT_SMALLEST 0x1p-119f

/* Scale of a row from the bits of its largest magnitude. */
static inline float clq_quant_scale(int absmax_bits) {
  float absmax = as_float(absmax_bits);
  float scale = clq_div(absmax, 127.0f);
  return absmax_bits < as_int(CLQ_QUANT_SMALLEST) ? 0.0f : scale;
}

/* Multiplier of a row: 127 / absmax; 0 for a zero row and for a row with an
 * Inf; NaN for a row with a NaN. */
static inline float clq_quant_mult(int absmax_bits) {
  float absmax = as_float(absmax_bits);
  float mult = clq_div(127.0f, absmax);
  return absmax_bits < as_int(CLQ_QUANT_SMALLEST) ? 0.0f : mult;
}

/* F, I: float and int type of one width; S: suffix (none, 4, 16). */
#define CLQ_DEFINE_QUANTIZE(F, I, S)                                           \
  /* Running maximum of |x| as bits. */                                        \
  static inline I clq_absmax##S(I m, F x) {                                    \
    return max(m, as_##I(x) & 0x7fffffff);                                     \
  }                                                                            \
                                                                               \
  /* Nearest integer, ties to even, for |x| <= 2^22: the sum's low bits. */    \
  static inline I clq_round_int##S(F x) {                                      \
    return as_##I(x + 0x1.8p+23f) - 0x4b400000;                                \
  }                                                                            \
                                                                               \
  /* rint(x) saturated to [lo, hi] (|lo|, |hi| <= 2^22); NaN gives 0. */       \
  static inline I clq_round_sat##S(F x, float lo, float hi) {                  \
    x = x > (F)hi ? (F)hi : x;                                                 \
    x = x < (F)lo ? (F)lo : x;                                                 \
    x = x != x ? (F)0.0f : x;                                                  \
    return clq_round_int##S(x);                                                \
  }                                                                            \
                                                                               \
  /* Code of x, in [-127, 127] as an int, with the row's multiplier. */        \
  static inline I clq_quant_code_int##S(F x, float mult) {                     \
    F v = x * mult;                                                            \
    if (mult > 0.0f) { /* an ordinary row: nothing to saturate */              \
      return clq_round_int##S(v);                                              \
    }                                                                          \
    v = ((fabs(x) == (F)CLQ_INF) & ((F)mult == (F)0.0f)) ? x : v;               \
    return clq_round_sat##S(v, -127.0f, 127.0f);                               \
  }

CLQ_DEFINE_QUANTIZE(float, int, )
CLQ_DEFINE_QUANTIZE(float4, int4, 4)
CLQ_DEFINE_QUANTIZE(float16, int16, 16)

/* A float as an integer of the same order: -NaN < -Inf < ... < Inf < NaN. */
static inline int16 clq_order16(float16 x) {
  int16 bits = as_int16(x);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}
static inline int4 clq_order4(float4 x) {
  int4 bits = as_int4(x);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}
static inline float clq_from_order(int k) {
  return as_float(k ^ ((k >> 31) & 0x7fffffff));
}

/* What turns a number into a code of [lo, lo + 255]. */
typedef struct {
  float scale;
  float mult;
  int zero;
} clq_affine;

/* Of a row whose extremes, 0 included, are low and high (clq_order). */
static inline clq_affine clq_affine_of(int low, int high, int lo) {
  const float least = clq_from_order(low);
  const float most = clq_from_order(high);
  clq_affine a;
  a.scale = clq_div(most, 255.0f) - clq_div(least, 255.0f);
  const bool number = a.scale >= CLQ_QUANT_SMALLEST && a.scale < CLQ_INF;
  a.mult = number ? clq_div(1.0f, a.scale) : a.scale != a.scale ? a.scale : 0.0f;
  a.scale = a.scale < CLQ_QUANT_SMALLEST ? 0.0f : a.scale;
  const int zero = clq_round_int(fmax(fmin((float)lo - least * a.mult, 256.0f), -256.0f));
  a.zero = number ? min(max(zero, lo), lo + 255) : lo + 128;
  return a;
}

/* Codes of elements; mult and zero may differ between them. */
#define CLQ_DEFINE_AFFINE_CODE(F, I, S)                                        \
  static inline I clq_affine_code##S(F x, F mult, I zero, int lo) {            \
    F v = x * mult;                                                            \
    v = ((fabs(x) == (F)CLQ_INF) & (mult == (F)0.0f)) ? x : v;                 \
    return clamp(clq_round_sat##S(v, -0x1p+21f, 0x1p+21f) + zero, (I)lo,       \
                 (I)(lo + 255));                                               \
  }
CLQ_DEFINE_AFFINE_CODE(float, int, )
CLQ_DEFINE_AFFINE_CODE(float4, int4, 4)
CLQ_DEFINE_AFFINE_CODE(float16, int16, 16)

/* One group of 32 values: codes, scale, and the sum of the codes returned. */
static inline int clq_quant_group32(float16 x0, float16 x1, char16 *q0,
                                    char16 *q1, float *scale) {
  int m = clq_fold_max16i(clq_absmax16(clq_absmax16((int16)0, x0), x1));
  float mult = clq_quant_mult(m);
  int16 c0 = clq_quant_code_int16(x0, mult);
  int16 c1 = clq_quant_code_int16(x1, mult);
  *scale = clq_quant_scale(m);
  *q0 = convert_char16(c0);
  *q1 = convert_char16(c1);
  return clq_fold_add16i(c0 + c1);
}

#endif
