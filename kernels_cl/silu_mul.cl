/* The gate of a gated MLP: silu(gate) * up, as floats or quantized. */
#include "lib/emit.h"
#include "lib/math.h"
#include "lib/tensor.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

#define SILU_MUL_ARGS                                                                     \
  CLQ_TENSOR(const float, gate), CLQ_TENSOR(const float, up), CLQ_OUT_ARGS, const long cols, \
      const long gate_stride, const long up_stride

#if CLQ_ON_CPU

/* One work-item a row. */
__kernel void silu_mul_rows(SILU_MUL_ARGS) {
  const long row = get_global_id(0);
  const __global float *gate = gate_base + gate_start + row * gate_stride;
  const __global float *up = up_base + up_start + row * up_stride;
  CLQ_OUT_ROW(o, row, 0L, cols);
#define GATE(i, end) clq_row_load_f32(gate, (i), (end))
#define VALUE(i, end) \
  ((GATE(i, end) * clq_sigmoid16(GATE(i, end))) * clq_row_load_f32(up, (i), (end)))
  CLQ_EMIT_ROW(VALUE, cols, o)
}

#else

#include "lib/emit_group.h"

static inline float4 silu_mul_quad(const __global float *gate, const __global float *up, long i,
                                   long end) {
  const float4 g = clq_quad_load_f32(gate, i, end);
  return (g * clq_sigmoid4(g)) * clq_quad_load_f32(up, i, end);
}

/* One work-group for `chunk` columns of a row: all of it, or a multiple of the group. */
__kernel void silu_mul_group(SILU_MUL_ARGS, const long chunk) {
  const long row = get_group_id(0);
  const long begin = (long)get_group_id(1) * chunk;
  const long width = min(chunk, cols - begin);
  const __global float *gate = gate_base + gate_start + row * gate_stride + begin;
  const __global float *up = up_base + up_start + row * up_stride + begin;
  CLQ_OUT_ROW(o, row, begin, cols);
  CLQ_EMIT_SCRATCH(scratch);
#define VALUE(i, end) silu_mul_quad(gate, up, (i), (end))
  CLQ_EMIT_ROW_GROUP(VALUE, width, o, scratch)
}

#endif
