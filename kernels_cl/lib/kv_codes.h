/* A token's share of a quantized KV cache: the codes of one head, CLQ_HEAD_DIM numbers.
 *
 *   8 bits   symmetric, -127..127, as lib/quantize.h
 *   4 bits   asymmetric, 0..15, x = scale * (code - zero); with 0 counted among the numbers
 *            scale = max / 15 - min / 15, zero = rint(-min * (1 / scale)) within 0..15,
 *            code = rint(x * (1 / scale)) + zero within 0..15; where lib/quantize.h has no ordinary
 *            row, scale as there, zero 8, codes 8 but for infinities, which are 0 or 15 */
#ifndef CLQ_LIB_KV_CODES_H
#define CLQ_LIB_KV_CODES_H

#include "lib/quantize.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

#if CLQ_ON_CPU
#define CLQ_HEAD_SPACE /* where a head lies: private */
#else
#define CLQ_HEAD_SPACE __local
#endif

/* What the codes of a head are made with. */
CLQ_INLINE void clq_kv8_of(const CLQ_HEAD_SPACE float *x, clq_affine *a) {
  int16 m = (int16)0;
  for (int i = 0; i < CLQ_HEAD_DIM / 16; i++) {
    m = clq_absmax16(m, vload16(i, x));
  }
  const int absmax = clq_fold_max16i(m);
  a->scale = clq_quant_scale(absmax);
  a->mult = clq_quant_mult(absmax);
  a->zero = 0;
}

CLQ_INLINE void clq_kv4_of(const CLQ_HEAD_SPACE float *x, clq_affine *a) {
  int16 low = (int16)0;
  int16 high = (int16)0;
  for (int i = 0; i < CLQ_HEAD_DIM / 16; i++) {
    const int16 order = clq_order16(vload16(i, x));
    low = min(low, order);
    high = max(high, order);
  }
  const float least = clq_from_order(clq_fold_min16i(low));
  const float most = clq_from_order(clq_fold_max16i(high));
  const float scale = clq_div(most, 15.0f) - clq_div(least, 15.0f);
  const bool number = scale >= CLQ_QUANT_SMALLEST && scale < CLQ_INF;
  a->scale = scale < CLQ_QUANT_SMALLEST ? 0.0f : scale;
  a->mult = number ? clq_div(1.0f, scale) : scale != scale ? scale : 0.0f;
  a->zero = number ? min(max(clq_round_int(-least * a->mult), 0), 15) : 8;
}

#define CLQ_DEFINE_KV_CODE(F, I, S)                                            \
  static inline I clq_kv8_code##S(F x, clq_affine a) {                         \
    return clq_quant_code_int##S(x, a.mult);                                   \
  }                                                                            \
                                                                               \
  static inline I clq_kv4_code##S(F x, clq_affine a) {                         \
    F v = x * a.mult;                                                          \
    v = ((fabs(x) == (F)CLQ_INF) & ((F)a.mult == (F)0.0f)) ? x : v;            \
    return clamp(clq_round_sat##S(v, -64.0f, 64.0f) + a.zero, (I)0, (I)15);    \
  }                                                                            \
                                                                               \
  /* With a given scale of each number; a NaN's code is 0. */                  \
  static inline I clq_kv_given_code##S(F x, F scale) {                         \
    return clq_round_sat##S(x * clq_div##S((F)1.0f, scale), -127.0f, 127.0f);  \
  }
CLQ_DEFINE_KV_CODE(float, int, )
CLQ_DEFINE_KV_CODE(float16, int16, 16)

#endif
