/* Activations as floats, for a library that multiplies those: floats[m, k] = x[first + m, k], dense;
 * of codes what they stand for. Launch: (K padded to the work-group, rows), work-groups of one row. */
#include "lib/gemm_args.h"

#if CLQ_X_CODES
#define X_ARGS                                                                            \
  CLQ_TENSOR(const clq_x, x), CLQ_TENSOR(const float, xs), CLQ_TENSOR(const int, x_zero), \
      const int x_group
#define X_AT                 \
  CLQ_AT(const clq_x, x);    \
  CLQ_AT(const float, xs);   \
  CLQ_AT(const int, x_zero);
#else
#define X_ARGS CLQ_TENSOR(const clq_x, x)
#define X_AT CLQ_AT(const clq_x, x);
#endif

__kernel void gemm_f32_x(X_ARGS, CLQ_TENSOR(float, floats), const long x_stride, const int first,
                         const int depth) {
  X_AT
  CLQ_AT(float, floats);
  const int k = (int)get_global_id(0);
  const long m = (long)get_global_id(1);
  if (k < depth) {
    floats[m * depth + k] = CLQ_X_VALUE(first + m, k);
  }
}
