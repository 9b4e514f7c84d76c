/* The gate of a gated MLP: silu(gate) * up, as floats or quantized. */
#include "lib/emit.h"
#include "lib/math.h"
#include "lib/tensor.h"

#pragma OPENCL FP_CONTRACT OFF

/* One work-item a row. */
__kernel void silu_mul_rows(CLQ_TENSOR(const float, gate), CLQ_TENSOR(const float, up),
                            CLQ_TENSOR(CLQ_OUT_T, out), CLQ_TENSOR(float, scale),
                            CLQ_TENSOR(int, sum), const long cols, const long gate_stride,
                            const long up_stride, const long out_stride, const long group) {
  const long row = get_global_id(0);
  const __global float *gate = gate_base + gate_start + row * gate_stride;
  const __global float *up = up_base + up_start + row * up_stride;
  __global CLQ_OUT_T *out = out_base + out_start + row * out_stride;
#if CLQ_OUT == CLQ_OUT_Q8
  const long groups = (cols + group - 1) / group;
  __global float *row_scale = scale_base + scale_start + row * groups;
  __global int *row_sum = sum_base == 0 ? 0 : sum_base + sum_start + row * groups;
#endif
#define GATE(i, end) clq_row_load_f32(gate, (i), (end))
#define VALUE(i, end) \
  ((GATE(i, end) * clq_sigmoid16(GATE(i, end))) * clq_row_load_f32(up, (i), (end)))
  CLQ_EMIT_ROW(VALUE, cols, group, out, row_scale, row_sum)
}
