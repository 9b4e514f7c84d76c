/* What becomes of a product v of row m and column n before it is stored, in this order:
 *   v = fma(x_outliers[m, j], w_outliers[n, j], v), j ascending
 *   v = v + bias[n];  v = activation(v);  v = v * gate[m, n];  v = v + residual[m, n]
 * and then, where out is i8 or u8, its code with the scale that is given, as lib/emit.h makes it,
 * which is added to sum[m].
 *
 * The host sets CLQ_BIAS, CLQ_GATE, CLQ_RESIDUAL and CLQ_OUTLIERS, element types of lib/types.h (0: absent), and
 * CLQ_ACTIVATION (lib/activation.h). Kernels take CLQ_EPILOGUE_ARGS last of what they share, begin
 * with CLQ_EPILOGUE_AT, and end with
 *   CLQ_PUT(v, m, n)               one element
 *                                  (a loop over some begins with CLQ_PUT_EACH)
 *   CLQ_PUT16(v, m, n, p, last)    16 columns, or as many as are left, which belong at p; unless
 *                                  `last` they are partial sums, which stay in an out of f32
 * Where nothing of it is asked for these are CLQ_STORE_OUT and clq_store_columns. */
#ifndef CLQ_LIB_EPILOGUE_H
#define CLQ_LIB_EPILOGUE_H

#include "lib/activation.h"
#include "lib/product.h"
#include "lib/tensor.h"
#include "lib/traits.h"

#ifndef CLQ_BIAS
#define CLQ_BIAS 0
#endif
#ifndef CLQ_GATE
#define CLQ_GATE 0
#endif
#ifndef CLQ_RESIDUAL
#define CLQ_RESIDUAL 0
#endif
#ifndef CLQ_OUTLIERS
#define CLQ_OUTLIERS 0
#endif

#define CLQ_CODES_OUT (CLQ_OUT == CLQ_I8 || CLQ_OUT == CLQ_U8)

#if !(CLQ_BIAS || CLQ_ACTIVATION || CLQ_GATE || CLQ_RESIDUAL || CLQ_OUTLIERS || CLQ_CODES_OUT)

#define CLQ_EPILOGUE_ARGS
#define CLQ_EPILOGUE_AT
#define CLQ_PUT_EACH
#define CLQ_PUT(v, m, n) CLQ_STORE_OUT(v, (m) * out_stride + (n), out)
#define CLQ_PUT16(v, m, n, p, last) clq_store_columns(v, p, cols - (n))

#else

/* The library puts a header where it is first named, once: these three, and what they alone name,
 * must not be named before. */
#include "lib/rows.h"
#include "lib/math.h"
#include "lib/quantize.h"

#pragma OPENCL FP_CONTRACT OFF

/* Strides in elements from row to row; of scale and zero from column to column, 0 or 1. zero and
 * sum may be NULL. */
typedef struct clq_epilogue {
  const __global CLQ_T(CLQ_BIAS) * bias;
  const __global CLQ_T(CLQ_GATE) * gate;
  const __global CLQ_T(CLQ_RESIDUAL) * residual;
  const __global float *scale;
  const __global int *zero;
  volatile __global int *sum;
  long gate_stride, residual_stride, scale_step;
#if CLQ_OUTLIERS
  const __global CLQ_T(CLQ_OUTLIERS) * x_outliers;
  const __global half *w_outliers; /* [cols / 16][outliers][16] */
  long x_outliers_stride;
  int outliers;
#endif
} clq_epilogue;

#if CLQ_OUTLIERS
#define CLQ_OUTLIER_ARGS                                                                   \
  , CLQ_TENSOR(const CLQ_T(CLQ_OUTLIERS), x_outliers), CLQ_TENSOR(const half, w_outliers), \
      const long x_outliers_stride, const int outliers
#define CLQ_OUTLIER_AT                              \
  epilogue.x_outliers = CLQ_PLANE(x_outliers, 0);   \
  epilogue.w_outliers = CLQ_PLANE(w_outliers, 0);   \
  epilogue.x_outliers_stride = x_outliers_stride;   \
  epilogue.outliers = outliers;
#else
#define CLQ_OUTLIER_ARGS
#define CLQ_OUTLIER_AT
#endif

#define CLQ_EPILOGUE_ARGS                                                                  \
  , CLQ_TENSOR(const CLQ_T(CLQ_BIAS), bias), CLQ_TENSOR(const CLQ_T(CLQ_GATE), gate),      \
      CLQ_TENSOR(const CLQ_T(CLQ_RESIDUAL), residual), CLQ_TENSOR(const float, out_scale), \
      CLQ_TENSOR(const int, out_zero), CLQ_TENSOR(int, out_sum), const long gate_stride,   \
      const long residual_stride, const long scale_step CLQ_OUTLIER_ARGS

#define CLQ_EPILOGUE_AT                        \
  clq_epilogue epilogue;                       \
  epilogue.bias = CLQ_PLANE(bias, 0);          \
  epilogue.gate = CLQ_PLANE(gate, 0);          \
  epilogue.residual = CLQ_PLANE(residual, 0);  \
  epilogue.scale = CLQ_PLANE(out_scale, 0);    \
  epilogue.zero = CLQ_PLANE(out_zero, 0);      \
  epilogue.sum = CLQ_PLANE(out_sum, 0);        \
  epilogue.gate_stride = gate_stride;          \
  epilogue.residual_stride = residual_stride;  \
  epilogue.scale_step = scale_step;            \
  CLQ_OUTLIER_AT

/* With so much in it a loop stays one, and registers have no index. */
#define CLQ_PUT_EACH __attribute__((opencl_unroll_hint))
#define CLQ_PUT(v, m, n) clq_put(&epilogue, v, m, n, cols, out + (m) * out_stride + (n))
#define CLQ_PUT16(v, m, n, p, last)                  \
  if (CLQ_OUT == CLQ_F32 && !(last)) {               \
    clq_store_columns(v, p, cols - (n));             \
  } else {                                           \
    clq_put16(&epilogue, v, m, n, cols, p);          \
  }

/* What lib/rows.h has for 16 elements, for one. */
#define CLQ_DEFINE_ELEMENT(NAME, T, V, LOAD1)                                              \
  static inline V clq_element_##NAME(const __global T *p, long i, long end) { return LOAD1(p + i); }
CLQ_DEFINE_ELEMENT(f32, float, float, CLQ_LOAD1)
CLQ_DEFINE_ELEMENT(f16, half, float, CLQ_LOAD1_F16)
CLQ_DEFINE_ELEMENT(bf16, ushort, float, CLQ_LOAD1_BF16)
CLQ_DEFINE_ELEMENT(i32, int, int, CLQ_LOAD1)

#if CLQ_OUTLIERS
CLQ_INLINE float clq_x_outlier(const clq_epilogue *e, long m, int j) {
  return CLQ_NAMED(clq_element_, CLQ_OUTLIERS)(e->x_outliers + m * e->x_outliers_stride, j, 0);
}
CLQ_INLINE float clq_add_outliers(const clq_epilogue *e, float v, long m, long n) {
  const __global half *w = e->w_outliers + n / 16 * e->outliers * 16 + n % 16;
  for (int j = 0; j < e->outliers; j++) {
    v = fma(clq_x_outlier(e, m, j), clq_load_half(16 * j, w), v);
  }
  return v;
}
CLQ_INLINE float16 clq_add_outliers16(const clq_epilogue *e, float16 v, long m, long n) {
  const __global half *w = e->w_outliers + n / 16 * e->outliers * 16;
  for (int j = 0; j < e->outliers; j++) {
    v = fma((float16)clq_x_outlier(e, m, j), clq_load_half16(j, w), v);
  }
  return v;
}
#define CLQ_ADD_OUTLIERS(v, S) v = clq_add_outliers##S(e, v, m, n);
#else
#define CLQ_ADD_OUTLIERS(v, S)
#endif
#if CLQ_BIAS
#define CLQ_ADD_BIAS(v, LOAD) v = v + CLQ_NAMED(LOAD, CLQ_BIAS)(e->bias, n, cols);
#else
#define CLQ_ADD_BIAS(v, LOAD)
#endif
#if CLQ_GATE
#define CLQ_TIMES_GATE(v, LOAD) \
  v = v * CLQ_NAMED(LOAD, CLQ_GATE)(e->gate + m * e->gate_stride, n, cols);
#else
#define CLQ_TIMES_GATE(v, LOAD)
#endif
#if CLQ_RESIDUAL
#define CLQ_ADD_RESIDUAL(v, LOAD) \
  v = v + CLQ_NAMED(LOAD, CLQ_RESIDUAL)(e->residual + m * e->residual_stride, n, cols);
#else
#define CLQ_ADD_RESIDUAL(v, LOAD)
#endif

#define CLQ_DEFINE_EPILOGUE(F, S, LOAD)                                                    \
  CLQ_INLINE F clq_finish##S(const clq_epilogue *e, F v, long m, long n, long cols) {      \
    CLQ_ADD_OUTLIERS(v, S)                                                                 \
    CLQ_ADD_BIAS(v, LOAD)                                                                  \
    v = CLQ_ACTIVATE(F, S, v);                                                             \
    CLQ_TIMES_GATE(v, LOAD)                                                                \
    CLQ_ADD_RESIDUAL(v, LOAD)                                                              \
    return v;                                                                              \
  }
CLQ_DEFINE_EPILOGUE(float, , clq_element_)
CLQ_DEFINE_EPILOGUE(float16, 16, clq_row_load_)

#if CLQ_CODES_OUT

#define CLQ_LOWEST_CODE (CLQ_OUT == CLQ_U8 ? 0 : -128)

/* Of column n, or of 16 from it on; what stands for those at cols and beyond means nothing. */
#define CLQ_DEFINE_EPILOGUE_CODE(F, I, S, LOAD)                                            \
  CLQ_INLINE I clq_epilogue_code##S(const clq_epilogue *e, F v, long n, long cols) {       \
    if (e->scale_step == 0) {                                                              \
      const int zero = e->zero == 0 ? 0 : e->zero[0];                                      \
      return clq_affine_code##S(v, (F)clq_div(1.0f, e->scale[0]), (I)zero, CLQ_LOWEST_CODE); \
    }                                                                                      \
    const I zeros = e->zero == 0 ? (I)0 : LOAD##i32(e->zero, n, cols);                     \
    const F mult = clq_div##S((F)1.0f, LOAD##f32(e->scale, n, cols));                      \
    return clq_affine_code##S(v, mult, zeros, CLQ_LOWEST_CODE);                            \
  }
CLQ_DEFINE_EPILOGUE_CODE(float, int, , clq_element_)
CLQ_DEFINE_EPILOGUE_CODE(float16, int16, 16, clq_row_load_)

CLQ_INLINE void clq_put(const clq_epilogue *e, float v, long m, long n, long cols,
                        __global clq_out *p) {
  const int code = clq_epilogue_code(e, clq_finish(e, v, m, n, cols), n, cols);
  *p = (clq_out)code;
  if (e->sum != 0) {
    atomic_add(e->sum + m, code);
  }
}

CLQ_INLINE void clq_put16(const clq_epilogue *e, float16 v, long m, long n, long cols,
                          __global clq_out *p) {
  const int16 codes = clq_epilogue_code16(e, clq_finish16(e, v, m, n, cols), n, cols);
  CLQ_ROW_STORE(CLQ_OUT)(codes, p, 0, cols - n);
  if (e->sum != 0) {
    atomic_add(e->sum + m, clq_fold_add16i(codes & clq_mask16(n, cols)));
  }
}

#else

CLQ_INLINE void clq_put(const clq_epilogue *e, float v, long m, long n, long cols,
                        __global clq_out *p) {
  CLQ_STORE_OUT(clq_finish(e, v, m, n, cols), 0, p);
}

CLQ_INLINE void clq_put16(const clq_epilogue *e, float16 v, long m, long n, long cols,
                          __global clq_out *p) {
  CLQ_ROW_STORE(CLQ_OUT)(clq_finish16(e, v, m, n, cols), p, 0, cols - n);
}

#endif
#endif

#endif
