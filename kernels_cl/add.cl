/* Element-wise sum of rows. The host sets CLQ_X and CLQ_OUT to the same type. */
#include "lib/emit.h"
#ifndef CLQ_X
#define CLQ_X CLQ_OUT
#endif
#include "lib/input.h"
#include "lib/tensor.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

#define ADD_ARGS                                                                                \
  CLQ_TENSOR(const clq_x, a), CLQ_TENSOR(const clq_x, b), CLQ_TENSOR(clq_x, out),               \
      const long cols, const long a_stride, const long b_stride, const long out_stride

#define ADD_AT(row)                                                 \
  const __global clq_x *a = a_base + a_start + (row) * a_stride;    \
  const __global clq_x *b = b_base + b_start + (row) * b_stride;    \
  __global clq_x *out = out_base + out_start + (row) * out_stride

/* out may be a or b in both forms. */
#if CLQ_ON_CPU

/* One work-item a row. */
__kernel void add_rows(ADD_ARGS) {
  ADD_AT((long)get_global_id(0));
  for (long i = 0; i < cols; i += 16) {
    CLQ_ROW_STORE_X(CLQ_ROW_LOAD_X(a, i, cols) + CLQ_ROW_LOAD_X(b, i, cols), out, i, cols);
  }
}

#else

/* One work-item an element: dimension 0 counts columns (and some beyond), 1 rows. */
__kernel void add_elements(ADD_ARGS) {
  ADD_AT((long)get_global_id(1));
  const long i = get_global_id(0);
  if (i < cols) {
    CLQ_STORE_X(CLQ_LOAD_X(i, a) + CLQ_LOAD_X(i, b), i, out);
  }
}

#endif
