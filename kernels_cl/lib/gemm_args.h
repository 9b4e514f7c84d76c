/* What all forms of GEMM take, in the order in which host/ops/gemm.c gives it:
 *   out[rows, cols] = x[rows, depth] * W[cols, depth]^T
 * with W packed (lib/weights.h): w codes or floats, ws scales, wm minima, wz zero
 * points. `group` elements of K share what is summed before it is scaled. What becomes of the
 * product on its way out: lib/epilogue.h. */
#ifndef CLQ_LIB_GEMM_ARGS_H
#define CLQ_LIB_GEMM_ARGS_H

#include "lib/epilogue.h"
#include "lib/order.h"
#include "lib/product.h"
#include "lib/tensor.h"
#include "lib/weights.h"

#ifndef CLQ_X_GROUPED
#define CLQ_X_GROUPED 1 /* 1: x scales per CLQ_X_RATIO * `group` elements; 0: per token */
#endif
#ifndef CLQ_X_RATIO
#define CLQ_X_RATIO 1 /* groups that an x scale serves: more than 1 where groups of the weights are
                         shorter than those of x, which divide by them */
#endif
#ifndef CLQ_X_SUM
#define CLQ_X_SUM 0 /* 1: x_sum holds the sum of the codes of every group */
#endif

/* The x scales of a row of so many groups. */
static inline int clq_x_groups(int groups) { return (groups + CLQ_X_RATIO - 1) / CLQ_X_RATIO; }

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

/* With x of int8: xs its scales, x_sum its sums; a scale of the weights serves w_ratio groups. */
#define CLQ_GEMM_Q8_ARGS                                                                  \
  CLQ_TENSOR(const char, x), CLQ_TENSOR(const float, xs), CLQ_TENSOR(const int, x_sum),   \
      CLQ_GEMM_WEIGHTS_AND_OUT, const int w_ratio

#define CLQ_GEMM_Q8_AT     \
  CLQ_AT(const char, x);   \
  CLQ_AT(const float, xs); \
  CLQ_AT(const int, x_sum); \
  CLQ_GEMM_AT

/* With x of float. */
#define CLQ_GEMM_F32_ARGS CLQ_TENSOR(const float, x), CLQ_GEMM_WEIGHTS_AND_OUT

#define CLQ_GEMM_F32_AT   \
  CLQ_AT(const float, x); \
  CLQ_GEMM_AT

#endif
