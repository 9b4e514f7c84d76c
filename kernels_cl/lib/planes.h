/* What an operator whose codes do not come from floats leaves beside them: the output's scale and
 * zero point as the host gives them, one a tensor or one a row, and the sum of a row's codes. Each
 * plane may be NULL.
 *
 *   CLQ_PLANES_ARGS            of a kernel
 *   CLQ_PUBLISH(row, codes)    by one work-item of those that made the row */
#ifndef CLQ_LIB_PLANES_H
#define CLQ_LIB_PLANES_H

#include "lib/tensor.h"

/* plane_step: 0 where the first row writes the tensor's; scale_bits: the scale's. */
#define CLQ_PLANES_ARGS                                                                            \
  CLQ_TENSOR(int, out_scale), CLQ_TENSOR(int, out_zero), CLQ_TENSOR(int, sum),                     \
      const int plane_step, const int scale_bits, const int zero_code

static inline void clq_publish(long row, int codes, __global int *sum, __global int *scale,
                               __global int *zero, int plane_step, int scale_bits, int zero_code) {
  if (sum != 0) {
    sum[row] = codes;
  }
  if (row == 0 || plane_step != 0) {
    if (scale != 0) {
      scale[row] = scale_bits;
    }
    if (zero != 0) {
      zero[row] = zero_code;
    }
  }
}
#define CLQ_PUBLISH(row, codes)                                                                    \
  clq_publish(row, codes, CLQ_PLANE(sum, 0), CLQ_PLANE(out_scale, 0), CLQ_PLANE(out_zero, 0),      \
              plane_step, scale_bits, zero_code)

#endif
