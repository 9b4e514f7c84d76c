/* Rows of floats to int8 codes with scales and sums. */
#include "lib/emit.h"
#include "lib/input.h"
#include "lib/tensor.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

/* Always built for codes; other values of CLQ_OUT only serve to compile this file alone. */

#define QUANTIZE_ARGS \
  CLQ_TENSOR(const clq_x, x), CLQ_OUT_ARGS, const long cols, const long x_stride

#if CLQ_ON_CPU

/* One work-item a row. */
__kernel void quantize_rows(QUANTIZE_ARGS) {
  const long row = get_global_id(0);
  const __global clq_x *x = x_base + x_start + row * x_stride;
  CLQ_OUT_ROW(o, row, 0L, cols);
#define VALUE(i, end) CLQ_ROW_LOAD_X(x, (i), (end))
  CLQ_EMIT_ROW(VALUE, cols, o)
}

#else

#include "lib/emit_group.h"

/* One work-group for `chunk` columns of a row: all of it, or a multiple of the group. */
__kernel void quantize_group(QUANTIZE_ARGS, const long chunk) {
  const long row = get_group_id(0);
  const long begin = (long)get_group_id(1) * chunk;
  const long width = min(chunk, cols - begin);
  const __global clq_x *x = x_base + x_start + row * x_stride + begin;
  CLQ_OUT_ROW(o, row, begin, cols);
  CLQ_EMIT_SCRATCH(scratch);
#define VALUE(i, end) CLQ_QUAD_LOAD_X(x, (i), (end))
  CLQ_EMIT_ROW_GROUP(VALUE, width, o, scratch)
}

#endif
