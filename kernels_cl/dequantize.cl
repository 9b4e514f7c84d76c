/* 8-bit codes to floats: scale * (code - zero), rounded once. */
#include "lib/emit.h"
#include "lib/input.h"
#include "lib/tensor.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

/* How the column moves in the plane of scales, from the host:
 *   plane element = row * row_step + col / group   (group large: one a row; row_step 0: shared) */
#define DEQUANTIZE_ARGS                                                                         \
  CLQ_TENSOR(const clq_x, x), CLQ_TENSOR(const float, scale), CLQ_TENSOR(const int, zero),       \
      CLQ_TENSOR(clq_out, out), const long cols, const long x_stride, const long out_stride,  \
      const long row_step, const long group

#define DEQUANTIZE_AT(row)                                                      \
  const __global clq_x *x = x_base + x_start + (row) * x_stride;                 \
  const __global float *scale = scale_base + scale_start + (row) * row_step;    \
  const __global int *zero = zero_base + zero_start + (row) * row_step;         \
  __global clq_out *out = out_base + out_start + (row) * out_stride

static inline void store_value(int code, float scale, int zero, __global clq_out *out, long i) {
  const float v = scale * (float)(code - zero);
#if CLQ_OUT == CLQ_F16
  vstore_half_rte(v, i, out);
#elif CLQ_OUT == CLQ_BF16
  out[i] = clq_bf16_from_f32(v);
#else
  out[i] = (clq_out)v;
#endif
}

#if CLQ_ON_CPU

/* One work-item a row. */
__kernel void dequantize_rows(DEQUANTIZE_ARGS) {
  DEQUANTIZE_AT((long)get_global_id(0));
  for (long b = 0, g = 0; b < cols; b += group, ++g) {
    const long e = min(b + group, cols);
    const float s = scale[g];
    const int z = zero_base == 0 ? 0 : zero[g];
    for (long i = b; i < e; ++i) {
      store_value(x[i], s, z, out, i);
    }
  }
}

#else

/* One work-item an element: dimension 0 counts columns (and some beyond), 1 rows. */
__kernel void dequantize_elements(DEQUANTIZE_ARGS) {
  DEQUANTIZE_AT((long)get_global_id(1));
  const long i = get_global_id(0);
  if (i < cols) {
    const long g = i / group;
    store_value(x[i], scale[g], zero_base == 0 ? 0 : zero[g], out, i);
  }
}

#endif
