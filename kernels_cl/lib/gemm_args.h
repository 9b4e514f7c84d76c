/* What all forms of GEMM take, in the order in which host/ops/gemm.c gives it:
 *   out[rows, cols] = x[rows, depth] * W[cols, depth]^T
 * with W packed (lib/weights.h): w codes or floats, ws scales, wm minima, wz zero
 * points. `group` elements of K share what is summed before it is scaled. What becomes of the
 * product on its way out: lib/epilogue.h. */
#ifndef CLQ_LIB_GEMM_ARGS_H
#define CLQ_LIB_GEMM_ARGS_H

#include "lib/epilogue.h"
#include "lib/input.h"
#include "lib/order.h"
#include "lib/product.h"
#include "lib/tensor.h"
#include "lib/weights.h"

#ifndef CLQ_X_GROUPED
#define CLQ_X_GROUPED 1 /* 1: groups of elements share an x scale; 0: a row */
#endif
#ifndef CLQ_X_RATIO
#define CLQ_X_RATIO 1 /* groups that an x scale serves: more than 1 where groups of the weights are
                         shorter than those of x, which divide by them */
#endif
#ifndef CLQ_X_SUM
#define CLQ_X_SUM 0 /* 1: x_sum holds the sum of the codes of every group */
#endif
#ifndef CLQ_X_ZERO
#define CLQ_X_ZERO 0 /* 1: x_zero holds a zero point for every x scale */
#endif

#define CLQ_X_CODES (CLQ_X == CLQ_I8 || CLQ_X == CLQ_U8)

/* Integer forms take codes as signed bytes: those of u8 are flipped, which takes 128 off, as they
 * are read. Their sums and zero points follow. */
#define CLQ_X_SHIFT (CLQ_X == CLQ_U8 ? 128 : 0)
#define CLQ_X_FLIP (CLQ_X == CLQ_U8 ? 0x80808080u : 0u)

/* Whether something is then still to be taken off x's codes, before they are multiplied: `zero`.
 * The sum of products is less by zero * (sum of the weights' codes), the sum of x's codes by zero *
 * (elements of the group). */
#define CLQ_X_AFFINE (CLQ_X_ZERO || CLQ_X_SHIFT)

/* The x scales of a row of so many groups. */
static inline int clq_x_groups(int groups) { return (groups + CLQ_X_RATIO - 1) / CLQ_X_RATIO; }

/* Which of the x scales and zero points is that of group g of row m. */
static inline long clq_x_at(long m, int g, int groups) {
  return CLQ_X_GROUPED ? m * clq_x_groups(groups) + g / CLQ_X_RATIO : m;
}

/* `zero` of the x scale i. */
static inline int clq_x_offset(__global const int *x_zero, long i) {
#if CLQ_X_ZERO
  return x_zero[i] - CLQ_X_SHIFT;
#else
  return -CLQ_X_SHIFT;
#endif
}

/* Elements of group g, the last of which may be shorter. */
static inline int clq_group_depth(int g, int group, int depth) {
  return min(group, depth - g * group);
}

#define CLQ_GEMM_WEIGHTS_AND_OUT                                                          \
  CLQ_TENSOR(const clq_stored, w), CLQ_TENSOR(const clq_scale, ws),                       \
      CLQ_TENSOR(const clq_scale, wm), CLQ_TENSOR(const uchar, wz), CLQ_TENSOR(clq_out, out), \
      const long x_stride, const long out_stride, const int rows, const int cols,         \
      const int depth, const int group CLQ_ORDER_ARGS CLQ_EPILOGUE_ARGS

#define CLQ_GEMM_AT             \
  CLQ_AT(const clq_stored, w);  \
  CLQ_AT(const clq_scale, ws);  \
  CLQ_AT(const clq_scale, wm);  \
  CLQ_AT(const uchar, wz);      \
  CLQ_AT(clq_out, out);         \
  CLQ_ORDER_AT                  \
  CLQ_EPILOGUE_AT

/* With x of codes: xs its scales, x_sum its sums, x_zero its zero points; a scale of the weights
 * serves w_ratio groups. */
#define CLQ_GEMM_Q8_ARGS                                                                  \
  CLQ_TENSOR(const char, x), CLQ_TENSOR(const float, xs), CLQ_TENSOR(const int, x_sum),   \
      CLQ_TENSOR(const int, x_zero), CLQ_GEMM_WEIGHTS_AND_OUT, const int w_ratio

#define CLQ_GEMM_Q8_AT     \
  CLQ_AT(const char, x);   \
  CLQ_AT(const float, xs); \
  CLQ_AT(const int, x_sum); \
  CLQ_AT(const int, x_zero); \
  CLQ_GEMM_AT

/* With x as floats, stored as CLQ_X says. Of codes `x_group` elements of a row share a scale. */
#if CLQ_X_CODES
#define CLQ_GEMM_F32_ARGS                                                             \
  CLQ_TENSOR(const clq_x, x), CLQ_TENSOR(const float, xs), CLQ_TENSOR(const int, x_zero), \
      const int x_group, CLQ_GEMM_WEIGHTS_AND_OUT
#define CLQ_GEMM_F32_AT      \
  CLQ_AT(const clq_x, x);    \
  CLQ_AT(const float, xs);   \
  CLQ_AT(const int, x_zero); \
  CLQ_GEMM_AT
#else
#define CLQ_GEMM_F32_ARGS CLQ_TENSOR(const clq_x, x), CLQ_GEMM_WEIGHTS_AND_OUT
#define CLQ_GEMM_F32_AT   \
  CLQ_AT(const clq_x, x); \
  CLQ_GEMM_AT
#endif

/* x[m, k], in a kernel of CLQ_GEMM_F32_ARGS. */
#if CLQ_X_CODES
#define CLQ_X_VALUE(m, k) clq_x_value(x, xs, x_zero, m, k, x_stride, depth, x_group)
static inline float clq_x_value(__global const clq_x *x, __global const float *xs,
                                __global const int *x_zero, long m, int k, long stride, int depth,
                                int x_group) {
  const long i = m * ((depth + x_group - 1) / x_group) + k / x_group;
  const int code = (int)x[m * stride + k];
  return (float)(CLQ_X_ZERO ? code - x_zero[i] : code) * xs[i];
}
#else
#define CLQ_X_VALUE(m, k) CLQ_LOAD_X((m) * x_stride + (k), x)
#endif

#endif
