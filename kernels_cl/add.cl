/* Element-wise sum of rows. */
#include "lib/emit.h"
#include "lib/tensor.h"

#pragma OPENCL FP_CONTRACT OFF

/* CLQ_X: type of both operands, CLQ_OUT_F32 or CLQ_OUT_F16; CLQ_OUT is the same. */
#ifndef CLQ_X
#define CLQ_X CLQ_OUT
#endif

#if CLQ_X == CLQ_OUT_F16
typedef half x_t;
#define LOAD_X clq_row_load_f16
#else
typedef float x_t;
#define LOAD_X clq_row_load_f32
#endif

/* One work-item a row. out may be a or b. */
__kernel void add_rows(CLQ_TENSOR(const x_t, a), CLQ_TENSOR(const x_t, b),
                       CLQ_TENSOR(CLQ_OUT_T, out), const long cols, const long a_stride,
                       const long b_stride, const long out_stride) {
  const long row = get_global_id(0);
  const __global x_t *a = a_base + a_start + row * a_stride;
  const __global x_t *b = b_base + b_start + row * b_stride;
  __global CLQ_OUT_T *out = out_base + out_start + row * out_stride;
#define VALUE(i, end) (LOAD_X(a, (i), (end)) + LOAD_X(b, (i), (end)))
#if CLQ_OUT != CLQ_OUT_Q8
  CLQ_EMIT_ROW(VALUE, cols, cols, out, 0, 0)
#endif
}
