/* Rows of floats to int8 codes with scales and sums. */
#include "lib/emit.h"
#include "lib/tensor.h"

#pragma OPENCL FP_CONTRACT OFF

/* CLQ_X: type of x, CLQ_OUT_F32 or CLQ_OUT_F16. */
#ifndef CLQ_X
#define CLQ_X CLQ_OUT_F32
#endif

#if CLQ_X == CLQ_OUT_F32
typedef float x_t;
#define LOAD_X clq_row_load_f32
#else
typedef half x_t;
#define LOAD_X clq_row_load_f16
#endif

/* One work-item a row. Always built with CLQ_OUT=CLQ_OUT_Q8; the other values only serve to compile
 * this file alone. */
__kernel void quantize_rows(CLQ_TENSOR(const x_t, x), CLQ_TENSOR(CLQ_OUT_T, out),
                            CLQ_TENSOR(float, scale), CLQ_TENSOR(int, sum), const long cols,
                            const long x_stride, const long out_stride, const long group) {
  const long row = get_global_id(0);
  const __global x_t *x = x_base + x_start + row * x_stride;
  __global CLQ_OUT_T *out = out_base + out_start + row * out_stride;
#if CLQ_OUT == CLQ_OUT_Q8
  const long groups = (cols + group - 1) / group;
  __global float *row_scale = scale_base + scale_start + row * groups;
  __global int *row_sum = sum_base == 0 ? 0 : sum_base + sum_start + row * groups;
#endif
#define VALUE(i, end) LOAD_X(x, (i), (end))
  CLQ_EMIT_ROW(VALUE, cols, group, out, row_scale, row_sum)
}
