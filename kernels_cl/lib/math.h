/* Elementary functions with the same bits on every device.
 *
 * OpenCL allows 2.5 ulp for division, 3 for square root and exp, and leaves
 * tanh and erf looser still; quantized codes would differ from device to
 * device. Everything here is built from operations that OpenCL requires to be
 * exact (add, multiply, fma, rint, integer arithmetic), with the device's own
 * division and square root used at most as a first guess.
 *
 * Each function exists for float and, with a suffix, for float4, float8 and
 * float16 (clq_exp, clq_exp4, clq_exp8, clq_exp16):
 *   clq_div     a / b        correctly rounded
 *   clq_sqrt    sqrt(x)      correctly rounded
 *   clq_rsqrt   1 / sqrt(x)  correctly rounded
 *   clq_exp     e^x          1 ulp   (0.89 measured)
 *   clq_exp_down  the same bits for x <= 88, where nothing can overflow
 *   clq_sigmoid 1/(1+e^-x)   3 ulp   (2.5 measured)
 *   clq_tanh    tanh(x)      2 ulp   (1.6 measured)
 *   clq_erf     erf(x)       1 ulp   (0.99 measured)
 *
 * Subnormal numbers, which many devices flush: clq_div, clq_sqrt and clq_rsqrt
 * take a subnormal operand as zero; a result of clq_div, clq_exp or clq_sigmoid
 * whose magnitude is FLT_MIN or less is zero of the same sign; clq_tanh and
 * clq_erf of a subnormal may be zero. NaN in, NaN out, payload unspecified.
 *
 * CLQ_DIVIDE_IS_EXACT=1: operators / and sqrt() round correctly, as a probe has
 * shown under the build options in use, and are used directly.
 *
 * The C twin, bit for bit, is host/ref/math.c. */
#ifndef CLQ_LIB_MATH_H
#define CLQ_LIB_MATH_H

#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

#define CLQ_INF as_float(0x7f800000)
#define CLQ_NAN as_float(0x7fc00000)
#define CLQ_TINY 0x1p-126f /* FLT_MIN, the smallest normal number */

/* F: float type, I: int type of the same width, S: suffix of the names.
 *
 * clq_div_near: a / b for operands and quotient well inside the normal range
 * (a and b within 2^-60 .. 2^60). Two Newton steps turn the device's reciprocal,
 * right to 3 ulp, into the nearest float (but for significands of all ones,
 * where they may end one below, at an even one); two Markstein corrections make
 * the quotient correctly rounded. That no reciprocal and no root of any
 * significand depends on the device's guess was checked over all of them. */
#if CLQ_DIVIDE_IS_EXACT
#define CLQ_DEFINE_DIV(F, I, S)                                                \
  static inline F clq_div_near##S(F a, F b) { return a / b; }                  \
  static inline F clq_div##S(F a, F b) {                                       \
    a = fabs(a) < (F)CLQ_TINY ? a * 0.0f : a;                                  \
    b = fabs(b) < (F)CLQ_TINY ? b * 0.0f : b;                                  \
    F q = a / b;                                                               \
    I sign = as_##I(q) & (I)(int)0x80000000;                                   \
    return fabs(q) <= (F)CLQ_TINY ? as_##F(sign) : q;                          \
  }                                                                            \
  static inline F clq_sqrt_near##S(F x) { return sqrt(x); }                    \
  static inline F clq_sqrt##S(F x) {                                           \
    return sqrt(fabs(x) < (F)CLQ_TINY ? x * 0.0f : x);                         \
  }
#else
#define CLQ_DEFINE_DIV(F, I, S)                                                \
  static inline F clq_div_near##S(F a, F b) {                                  \
    F y = (F)1.0f / b;                                                         \
    y = fma(fma(-b, y, (F)1.0f), y, y);                                        \
    y = fma(fma(-b, y, (F)1.0f), y, y);                                        \
    I all_ones = (as_##I(b) & 0x007fffff) == 0x007fffff;                       \
    y = as_##F(as_##I(y) | (all_ones & 1));                                    \
    F q = a * y;                                                               \
    q = fma(fma(-b, q, a), y, q);                                              \
    return fma(fma(-b, q, a), y, q);                                           \
  }                                                                            \
  /* Divides the significands, adds the exponents as integers. */              \
  static inline F clq_div##S(F a, F b) {                                       \
    I ia = as_##I(a), ib = as_##I(b);                                          \
    I ea = (ia >> 23) & 255, eb = (ib >> 23) & 255;                            \
    I sign = (ia ^ ib) & (I)(int)0x80000000;                                   \
    I ma = (ia & 0x007fffff) | 0x3f800000;                                     \
    I mb = (ib & 0x007fffff) | 0x3f800000;                                     \
    I q = as_##I(clq_div_near##S(as_##F(ma), as_##F(mb)));                     \
    I e = (q >> 23) + ea - eb;                                                 \
    I bits = (e << 23) | (q & 0x007fffff);                                     \
    bits = e >= 255 ? (I)0x7f800000 : bits;                                    \
    bits = ((e <= 0) | (bits == 0x00800000)) ? (I)0 : bits;                    \
    bits = ((ea == 0) | (eb == 255)) ? (I)0 : bits;                            \
    bits = ((eb == 0) | (ea == 255)) ? (I)0x7f800000 : bits;                   \
    I invalid = ((ea == 0) & (eb == 0)) | ((ea == 255) & (eb == 255));         \
    bits = (invalid | (a != a) | (b != b)) ? (I)0x7fc00000 : bits;             \
    return as_##F(bits | sign);                                                \
  }                                                                            \
  /* Square root of x in [1, 4): after one correction the result or a          \
   * neighbour of it, told apart by Tuckerman's test,                          \
   * s (s - ulp) < x <= s (s + ulp). */                                        \
  static inline F clq_sqrt_near##S(F x) {                                      \
    F s = sqrt(x);                                                             \
    s = fma(fma(-s, s, x), (F)0.5f / s, s);                                    \
    F below = as_##F(as_##I(s) - 1);                                           \
    F above = as_##F(as_##I(s) + 1);                                           \
    F r = fma(s, below, -x) >= (F)0.0f ? below : s;                            \
    return fma(s, above, -x) < (F)0.0f ? above : r;                            \
  }                                                                            \
  static inline F clq_sqrt##S(F x) {                                           \
    I ix = as_##I(x);                                                          \
    I e = ix >> 23;                                                            \
    I odd = (e & 1) ^ 1;                                                       \
    I m = (ix & 0x007fffff) | ((odd + 127) << 23);                             \
    I r = as_##I(clq_sqrt_near##S(as_##F(m)));                                 \
    r += ((e - odd - 127) >> 1) << 23;                                         \
    F s = as_##F(r);                                                           \
    s = ((e <= 0) | (x == (F)CLQ_INF)) ? x : s;                                \
    s = ((x < -(F)CLQ_TINY) | (x != x)) ? (F)CLQ_NAN : s;                      \
    return (e & 255) == 0 ? x * 0.0f : s;                                      \
  }
#endif

#define CLQ_DEFINE_MATH(F, I, S)                                               \
  CLQ_DEFINE_DIV(F, I, S)                                                      \
                                                                               \
  static inline F clq_copysign##S(F magnitude, F sign) {                       \
    return as_##F((as_##I(magnitude) & 0x7fffffff) |                           \
                  (as_##I(sign) & (I)(int)0x80000000));                        \
  }                                                                            \
                                                                               \
  /* Nearest integer, ties to even. */                                         \
  static inline F clq_round##S(F x) { return rint(x); }                        \
                                                                               \
  /* 1/sqrt of the significand, corrected to second order with a residual      \
   * 1 - m y^2 taken in twice the precision. */                                \
  static inline F clq_rsqrt##S(F x) {                                          \
    I ix = as_##I(x);                                                          \
    I e = ix >> 23;                                                            \
    I odd = (e & 1) ^ 1;                                                       \
    F m = as_##F((ix & 0x007fffff) | ((odd + 127) << 23));                     \
    F y = clq_div_near##S((F)1.0f, clq_sqrt_near##S(m));                       \
    F hi = m * y;                                                              \
    F lo = fma(m, y, -hi);                                                     \
    F r = fma(-lo, y, fma(-hi, y, (F)1.0f));                                   \
    y = fma(y * 0.5f, fma(r * 0.75f, r, r), y);                                \
    F s = as_##F(as_##I(y) - (((e - odd - 127) >> 1) << 23));                  \
    s = x == (F)CLQ_INF ? (F)0.0f : s;                                         \
    s = ((x < -(F)CLQ_TINY) | (x != x)) ? (F)CLQ_NAN : s;                      \
    return (e & 255) == 0 ? clq_copysign##S((F)CLQ_INF, x) : s;                \
  }                                                                            \
                                                                               \
  /* x = n ln2 + r, |r| <= ln2/2; e^r by a polynomial, 2^n by adding n to the  \
   * exponent field. t holds n in its low bits. No branch, no table. */        \
  static inline F clq_exp_down##S(F x) {                                       \
    F t = fma(x, (F)0x1.715476p+0f, (F)0x1.8p+23f);                            \
    F n = t - 0x1.8p+23f;                                                      \
    F r = fma(n, (F)-0x1.62e400p-1f, x);                                       \
    r = fma(n, (F)-0x1.7f7d1cp-20f, r);                                        \
    F p = fma((F)0x1.6a4b36p-10f, r, (F)0x1.12398ep-7f);                       \
    p = fma(p, r, (F)0x1.5558b2p-5f);                                          \
    p = fma(p, r, (F)0x1.555492p-3f);                                          \
    p = fma(p, r, (F)0x1.fffffcp-2f);                                          \
    p = fma(p, r, (F)1.0f);                                                    \
    p = fma(p, r, (F)1.0f);                                                    \
    F y = as_##F(as_##I(p) + (as_##I(t) << 23));                               \
    y = x < (F)-0x1.5d589ep+6f ? (F)0.0f : y;                                  \
    return x != x ? x : y;                                                     \
  }                                                                            \
                                                                               \
  static inline F clq_exp##S(F x) {                                            \
    F y = clq_exp_down##S(x);                                                  \
    return x > (F)0x1.62e42ep+6f ? (F)CLQ_INF : y;                             \
  }                                                                            \
                                                                               \
  static inline F clq_sigmoid##S(F x) {                                        \
    return clq_div##S((F)1.0f, 1.0f + clq_exp##S(-x));                         \
  }                                                                            \
                                                                               \
  /* Odd polynomial below 0.55, else 1 - 2 / (1 + e^2|x|). */                  \
  static inline F clq_tanh##S(F x) {                                           \
    F a = fabs(x);                                                             \
    F s = x * x;                                                               \
    F p = fma((F)-0x1.97781ap-8f, s, (F)0x1.58a54cp-6f);                       \
    p = fma(p, s, (F)-0x1.b91882p-5f);                                         \
    p = fma(p, s, (F)0x1.110cd8p-3f);                                          \
    p = fma(p, s, (F)-0x1.55554ap-2f);                                         \
    p = fma(p * s, x, x);                                                      \
    F c = a > (F)10.0f ? (F)10.0f : a;                                         \
    F e = clq_exp##S(c + c);                                                   \
    F q = clq_copysign##S(1.0f - clq_div_near##S((F)2.0f, 1.0f + e), x);       \
    return a >= (F)0.55f ? q : p;                                              \
  }                                                                            \
                                                                               \
  /* Odd polynomial below 0.925, else 1 - e^Q(|x|) with Q = log erfc. */       \
  static inline F clq_erf##S(F x) {                                            \
    F a = fabs(x);                                                             \
    F s = x * x;                                                               \
    F p = fma((F)0x1.4f675ep-14f, s, (F)-0x1.a60a2ep-11f);                     \
    p = fma(p, s, (F)0x1.544a1ap-8f);                                          \
    p = fma(p, s, (F)-0x1.b8011ap-6f);                                         \
    p = fma(p, s, (F)0x1.ce2d64p-4f);                                          \
    p = fma(p, s, (F)-0x1.812740p-2f);                                         \
    p = fma(p, s, (F)0x1.06eba8p-3f);                                          \
    p = fma(p, x, x);                                                          \
    F c = a > (F)4.0f ? (F)4.0f : a;                                           \
    F q = fma((F)-0x1.78d116p-17f, c, (F)0x1.52795cp-12f);                     \
    q = fma(q, c, (F)-0x1.dd6ba8p-9f);                                         \
    q = fma(q, c, (F)0x1.855122p-6f);                                          \
    q = fma(q, c, (F)-0x1.b32568p-4f);                                         \
    q = fma(q, c, (F)-0x1.45328ep-1f);                                         \
    q = fma(q, c, (F)-0x1.0778dcp-3f);                                         \
    q = clq_copysign##S(1.0f - clq_exp##S(fma(q, c, -c)), x);                  \
    return a >= (F)0.925f ? q : p;                                             \
  }

CLQ_DEFINE_MATH(float, int, )
CLQ_DEFINE_MATH(float4, int4, 4)
CLQ_DEFINE_MATH(float8, int8, 8)
CLQ_DEFINE_MATH(float16, int16, 16)

#endif
