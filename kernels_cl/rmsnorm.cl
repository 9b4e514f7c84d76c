/* RMSNorm, fused with the residual before it and the quantization after it.
 *
 *   s = x + residual     rounded to the storage type and written back
 *   y = (s * rstd) * gamma
 *
 * The squares are summed in 32 lanes (element i in lane i mod 32) that fold
 * neighbours first, whatever the device's own width. */
#include "lib/emit.h"
#include "lib/fold.h"
#include "lib/input.h"
#include "lib/math.h"
#include "lib/tensor.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

#define RMSNORM_ARGS                                                                           \
  CLQ_TENSOR(const clq_x, x), CLQ_TENSOR(clq_x, residual), CLQ_TENSOR(const float, gamma),     \
      CLQ_TENSOR(CLQ_OUT_T, out), CLQ_TENSOR(float, scale), CLQ_TENSOR(int, sum),              \
      const long cols, const long x_stride, const long residual_stride, const long out_stride, \
      const long group, const float eps

static inline float rstd_of(float16 low, float16 high, long cols, float eps) {
  return clq_rsqrt(clq_div(clq_fold_add32(low, high), (float)cols) + eps);
}

#if CLQ_ON_CPU

/* One work-item a row. */
__kernel void rmsnorm_rows(RMSNORM_ARGS) {
  const long row = get_global_id(0);
  const bool has_residual = residual_base != 0;
  const bool has_gamma = gamma_base != 0;
  const __global clq_x *x = x_base + x_start + row * x_stride;
  const __global float *gamma = gamma_base + gamma_start;
  __global clq_x *residual = residual_base + residual_start + row * residual_stride;
  __global CLQ_OUT_T *out = out_base + out_start + row * out_stride;

  float16 low = (float16)0.0f;
  float16 high = (float16)0.0f;
  for (long i = 0; i < cols; i += 32) {
    float16 a = CLQ_ROW_LOAD_X(x, i, cols);
    float16 b = CLQ_ROW_LOAD_X(x, i + 16, cols);
    if (has_residual) {
      a += CLQ_ROW_LOAD_X(residual, i, cols);
      b += CLQ_ROW_LOAD_X(residual, i + 16, cols);
      CLQ_ROW_STORE_X(a, residual, i, cols);
      CLQ_ROW_STORE_X(b, residual, i + 16, cols);
#if CLQ_X == CLQ_OUT_F16
      a = CLQ_ROW_LOAD_X(residual, i, cols);
      b = CLQ_ROW_LOAD_X(residual, i + 16, cols);
#endif
    }
    low = fma(a, a, low);
    high = fma(b, b, high);
  }
  const float rstd = rstd_of(low, high, cols, eps);

  const __global clq_x *s = has_residual ? (const __global clq_x *)residual : x;
#define VALUE(i, end)                                                                       \
  (has_gamma ? (CLQ_ROW_LOAD_X(s, (i), (end)) * rstd) * clq_row_load_f32(gamma, (i), (end)) \
             : CLQ_ROW_LOAD_X(s, (i), (end)) * rstd)
  CLQ_EMIT_PLANES(row * ((cols + group - 1) / group));
  CLQ_EMIT_ROW(VALUE, cols, group, out, row_scale, row_sum)
}

#else

#include "lib/emit_group.h"

/* One work-group a row. All work-items load, add and store quads; the first 32, one for each lane
 * of the sum, read them back from local memory in ascending order. */
__kernel void rmsnorm_group(RMSNORM_ARGS) {
  __local float tile[2][4 * CLQ_GROUP];
  __local float lanes[32];
  CLQ_EMIT_SCRATCH(scratch);
  const long row = get_group_id(0);
  const int lid = (int)get_local_id(0);
  const int span = 4 * (int)get_local_size(0);
  const bool has_residual = residual_base != 0;
  const bool has_gamma = gamma_base != 0;
  const __global clq_x *x = x_base + x_start + row * x_stride;
  const __global float *gamma = gamma_base + gamma_start;
  __global clq_x *residual = residual_base + residual_start + row * residual_stride;
  __global CLQ_OUT_T *out = out_base + out_start + row * out_stride;

  float squares = 0.0f;
  int turn = 0;
  for (long begin = 0; begin < cols; begin += span) {
    const long i = begin + 4 * lid;
    float4 v = CLQ_QUAD_LOAD_X(x, i, cols);
    if (has_residual) {
      v += CLQ_QUAD_LOAD_X(residual, i, cols);
      CLQ_QUAD_STORE_X(v, residual, i, cols);
#if CLQ_X == CLQ_OUT_F16
      v = CLQ_QUAD_LOAD_X(residual, i, cols);
#endif
    }
    vstore4(v, lid, tile[turn]);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid < 32) {
      const int n = (int)min((long)span, cols - begin);
      for (int k = lid; k < n; k += 32) {
        squares = fma(tile[turn][k], tile[turn][k], squares);
      }
    }
    turn ^= 1;
  }
  if (lid < 32) {
    lanes[lid] = squares;
  }
  /* The sums become visible to all, and so does the residual. */
  barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
  const float rstd = rstd_of(vload16(0, lanes), vload16(1, lanes), cols, eps);

  const __global clq_x *s = has_residual ? (const __global clq_x *)residual : x;
#define VALUE(i, end)                                                                         \
  (has_gamma ? (CLQ_QUAD_LOAD_X(s, (i), (end)) * rstd) * clq_quad_load_f32(gamma, (i), (end)) \
             : CLQ_QUAD_LOAD_X(s, (i), (end)) * rstd)
  CLQ_EMIT_PLANES(row * ((cols + group - 1) / group));
  CLQ_EMIT_ROW_GROUP(VALUE, cols, group, out, row_scale, row_sum, scratch)
}

#endif
