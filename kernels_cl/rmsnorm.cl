/* RMSNorm, fused with the residual before it and the quantization after it.
 *
 *   s = x + residual     rounded to the storage type and written back
 *   y = (s * rstd) * gamma
 *
 * The squares are summed in 32 lanes (element i in lane i mod 32) that fold
 * neighbours first, whatever the device's own width. */
#include "lib/emit.h"
#include "lib/fold.h"
#include "lib/math.h"
#include "lib/tensor.h"

#pragma OPENCL FP_CONTRACT OFF

/* CLQ_X: type of x and residual, CLQ_OUT_F32 or CLQ_OUT_F16. */
#ifndef CLQ_X
#define CLQ_X CLQ_OUT_F32
#endif

#if CLQ_X == CLQ_OUT_F32
typedef float x_t;
#define LOAD_X clq_row_load_f32
#define STORE_X clq_row_store_f32
#else
typedef half x_t;
#define LOAD_X clq_row_load_f16
#define STORE_X clq_row_store_f16
#endif

/* One work-item a row. */
__kernel void rmsnorm_rows(CLQ_TENSOR(const x_t, x), CLQ_TENSOR(x_t, residual),
                           CLQ_TENSOR(const float, gamma), CLQ_TENSOR(CLQ_OUT_T, out),
                           CLQ_TENSOR(float, scale), CLQ_TENSOR(int, sum), const long cols,
                           const long x_stride, const long residual_stride, const long out_stride,
                           const long group, const float eps) {
  const long row = get_global_id(0);
  CLQ_AT(const x_t, x);
  CLQ_AT(x_t, residual);
  CLQ_AT(const float, gamma);
  CLQ_AT(CLQ_OUT_T, out);
  const bool has_residual = residual_base != 0;
  const bool has_gamma = gamma_base != 0;
  x += row * x_stride;
  residual += row * residual_stride;
  out += row * out_stride;

  float16 low = (float16)0.0f;
  float16 high = (float16)0.0f;
  for (long i = 0; i < cols; i += 32) {
    float16 a = LOAD_X(x, i, cols);
    float16 b = LOAD_X(x, i + 16, cols);
    if (has_residual) {
      a += LOAD_X(residual, i, cols);
      b += LOAD_X(residual, i + 16, cols);
      STORE_X(a, residual, i, cols);
      STORE_X(b, residual, i + 16, cols);
#if CLQ_X == CLQ_OUT_F16
      a = LOAD_X(residual, i, cols);
      b = LOAD_X(residual, i + 16, cols);
#endif
    }
    low = fma(a, a, low);
    high = fma(b, b, high);
  }
  const float mean = clq_div(clq_fold_add32(low, high), (float)cols);
  const float rstd = clq_rsqrt(mean + eps);

  const __global x_t *s = has_residual ? (const __global x_t *)residual : x;
#define VALUE(i, end)                                  \
  (has_gamma ? (LOAD_X(s, (i), (end)) * rstd) * clq_row_load_f32(gamma, (i), (end)) \
             : LOAD_X(s, (i), (end)) * rstd)
#if CLQ_OUT == CLQ_OUT_Q8
  const long groups = (cols + group - 1) / group;
  __global float *row_scale = scale_base + scale_start + row * groups;
  __global int *row_sum = sum_base == 0 ? 0 : sum_base + sum_start + row * groups;
#endif
  CLQ_EMIT_ROW(VALUE, cols, group, out, row_scale, row_sum)
}
