/* out = activation(x), or activation(x) * up: the gate of a gated MLP, as floats or quantized. */
#include "lib/activation.h"
#include "lib/emit.h"
#include "lib/input.h"
#include "lib/math.h"
#include "lib/tensor.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

/* The type of up's elements; 0: there is none. */
#ifndef CLQ_UP
#define CLQ_UP 0
#endif
/* Not 0: the most elements of a row, which are computed once and kept for the codes. */
#ifndef CLQ_KEEP
#define CLQ_KEEP 0
#endif

typedef CLQ_T(CLQ_UP) clq_up;

#define ACTIVATE_ARGS                                                                        \
  CLQ_TENSOR(const clq_x, x), CLQ_TENSOR(const clq_up, up), CLQ_OUT_ARGS, const long cols,   \
      const long x_stride, const long up_stride

#if CLQ_ON_CPU

static inline float16 activated(const __global clq_x *x, const __global clq_up *up, long i,
                                long end) {
  const float16 v = CLQ_ROW_LOAD_X(x, i, end);
  const float16 y = CLQ_ACTIVATE(float16, 16, v);
#if CLQ_UP
  return y * CLQ_ROW_LOAD(CLQ_UP)(up, i, end);
#else
  return y;
#endif
}

static inline float16 value_at(const float *kept, long i, long end) {
  const float16 v = vload16(0, kept + i);
  return i + 16 <= end ? v : as_float16(as_int16(v) & clq_mask16(i, end));
}

/* One work-item a row. */
__kernel void activate_rows(ACTIVATE_ARGS) {
  const long row = get_global_id(0);
  const __global clq_x *x = x_base + x_start + row * x_stride;
  const __global clq_up *up = CLQ_PLANE(up, row * up_stride);
  CLQ_OUT_ROW(o, row, 0L, cols);
#if CLQ_KEEP
  float kept[CLQ_KEEP + 16];
  const long whole = cols & -16L;
  for (long i = 0; i < whole; i += 16) {
    vstore16(activated(x, up, i, i + 16), 0, kept + i);
  }
  vstore16(activated(x, up, whole, cols), 0, kept + whole);
#define VALUE(i, end) value_at(kept, (i), (end))
#else
#define VALUE(i, end) activated(x, up, (i), (end))
#endif
  CLQ_EMIT_ROW(VALUE, cols, o)
}

#else

#include "lib/emit_group.h"

static inline float4 activated(const __global clq_x *x, const __global clq_up *up, long i,
                               long end) {
  const float4 v = CLQ_QUAD_LOAD_X(x, i, end);
  const float4 y = CLQ_ACTIVATE(float4, 4, v);
#if CLQ_UP
  return y * CLQ_QUAD_LOAD(CLQ_UP)(up, i, end);
#else
  return y;
#endif
}

/* One work-group for `chunk` columns of a row: all of it, or a multiple of the group. */
__kernel void activate_group(ACTIVATE_ARGS, const long chunk) {
  const long row = get_group_id(0);
  const long begin = (long)get_group_id(1) * chunk;
  const long width = min(chunk, cols - begin);
  const __global clq_x *x = x_base + x_start + row * x_stride + begin;
  const __global clq_up *up = CLQ_PLANE(up, row * up_stride + begin);
  CLQ_OUT_ROW(o, row, begin, cols);
  CLQ_EMIT_SCRATCH(scratch);
#define VALUE(i, end) activated(x, up, (i), (end))
  CLQ_EMIT_ROW_GROUP(VALUE, width, o, scratch)
}

#endif
