/* The elements of a norm's row, x to y of lib/norm.h, by vectors of 16 on CPUs, else of 4.
 *
 * The file that includes lib/norm.h sets CLQ_CENTERED, and the host, as element types of
 * lib/types.h (0: absent)
 *   CLQ_X           f32, f16, bf16; or i8, u8 or i32 times scales
 *   CLQ_RESIDUAL, CLQ_BIAS, CLQ_GAMMA, CLQ_BETA
 *   CLQ_OUT, CLQ_CODES   lib/emit.h
 *   CLQ_CAST        0: all in f32; 1: gamma + 1 for gamma (Gemma);
 *                   2: rounded to CLQ_ROUND before gamma and after (LLaMA)
 *   CLQ_SCALED      1: factor is not 1
 *   CLQ_WRITES_SUM  0: the residual stays as it is, s is made again where it is needed again */
#ifndef CLQ_LIB_NORM_ELEMENTS_H
#define CLQ_LIB_NORM_ELEMENTS_H

#include "lib/emit.h"
#include "lib/math.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

#ifndef CLQ_X
#define CLQ_X CLQ_F32
#endif
#ifndef CLQ_RESIDUAL
#define CLQ_RESIDUAL 0
#endif
#ifndef CLQ_BIAS
#define CLQ_BIAS 0
#endif
#ifndef CLQ_GAMMA
#define CLQ_GAMMA 0
#endif
#ifndef CLQ_BETA
#define CLQ_BETA 0
#endif
#ifndef CLQ_CAST
#define CLQ_CAST 0
#endif
#ifndef CLQ_ROUND
#define CLQ_ROUND CLQ_F32
#endif
#ifndef CLQ_SCALED
#define CLQ_SCALED 0
#endif
#ifndef CLQ_WRITES_SUM
#define CLQ_WRITES_SUM 1
#endif
#define CLQ_SUM_IS_KEPT (CLQ_RESIDUAL && CLQ_WRITES_SUM)

#define CLQ_X_IS_INTEGER (CLQ_X >= CLQ_I8)

typedef CLQ_T(CLQ_X) clq_x;
typedef CLQ_T(CLQ_RESIDUAL) clq_residual;
typedef CLQ_T(CLQ_BIAS) clq_bias;
typedef CLQ_T(CLQ_GAMMA) clq_gamma;
typedef CLQ_T(CLQ_BETA) clq_beta;

/* x_scale, x_zero: x_step apart from row to row (0: the tensor's), x_zero also x_zero_column from
 * column to column; x_column: a scale of each column; exponent: of each column, a power of two.
 * Each may be NULL. */
#define CLQ_NORM_ARGS                                                                      \
  CLQ_TENSOR(const clq_x, x), CLQ_TENSOR(const float, x_scale), CLQ_TENSOR(const int, x_zero), \
      CLQ_TENSOR(const float, x_column), CLQ_TENSOR(const char, exponent),                 \
      CLQ_TENSOR(const clq_bias, bias), CLQ_TENSOR(clq_residual, residual),                \
      CLQ_TENSOR(const clq_gamma, gamma), CLQ_TENSOR(const clq_beta, beta),                \
      CLQ_TENSOR(float, mean), CLQ_TENSOR(float, rstd), CLQ_OUT_ARGS, const long rows,     \
      const long cols, const long x_stride, const long residual_stride,                    \
      const long x_step, const long x_zero_column, const float alpha, const float factor,  \
      const float eps

/* ------------------------------------------------- a row, by 16 or by 4 */

#if CLQ_ON_CPU
typedef float16 clq_v;
typedef int16 clq_vi;
enum { CLQ_WIDTH = 16 };
#define CLQ_LOAD(type) CLQ_ROW_LOAD(type)
#define CLQ_STORE(type) CLQ_ROW_STORE(type)
#define clq_v_from_int convert_float16
#define clq_v_mask clq_mask16
#define clq_v_bits as_int16
#define clq_v_of_bits as_float16
#define clq_v_round_f16 clq_round_f16_16
#define clq_v_to_bf16 clq_bf16_from_f32_16
#define clq_v_from_bf16 clq_f32_from_bf16_16
#else
#include "lib/quads.h"
typedef float4 clq_v;
typedef int4 clq_vi;
enum { CLQ_WIDTH = 4 };
#define CLQ_LOAD(type) CLQ_QUAD_LOAD(type)
#define CLQ_STORE(type) CLQ_QUAD_STORE(type)
#define clq_v_from_int convert_float4
#define clq_v_mask clq_mask4
#define clq_v_bits as_int4
#define clq_v_of_bits as_float4
#define clq_v_round_f16 clq_round_f16_4
#define clq_v_to_bf16 clq_bf16_from_f32_4
#define clq_v_from_bf16 clq_f32_from_bf16_4
#endif

/* v, of elements i and on, with zeros at end and beyond. */
CLQ_INLINE clq_v clq_v_inside(clq_v v, long i, long end) {
  return clq_v_of_bits(clq_v_bits(v) & clq_v_mask(i, end));
}

/* x rounded to a float type. */
#define CLQ_ROUNDED_1(x) (x)
#define CLQ_ROUNDED_2(x) clq_v_round_f16(x)
#define CLQ_ROUNDED_3(x) clq_v_from_bf16(clq_v_to_bf16(x))
#define CLQ_ROUNDED(type, x) CLQ_PASTE(CLQ_ROUNDED_, type)(x)

/* What a row is made from. */
typedef struct {
  const __global clq_x *x;
  float scale;
  const __global int *zero; /* of the row, or of its columns */
  long zero_column;
  const __global float *column;
  const __global char *exponent;
  const __global clq_bias *bias;
  __global clq_residual *residual;
  const __global clq_gamma *gamma;
  const __global clq_beta *beta;
  long cols;
  float alpha;
  float factor;
} clq_norm_row;

#define CLQ_NORM_ROW(r, row, end)                                                          \
  clq_norm_row r;                                                                          \
  r.x = x_base + x_start + (row) * x_stride;                                               \
  r.scale = x_scale_base == 0 ? 1.0f : x_scale_base[x_scale_start + (row) * x_step];       \
  r.zero = CLQ_PLANE(x_zero, (row) * x_step);                                              \
  r.zero_column = x_zero_column;                                                           \
  r.column = CLQ_PLANE(x_column, 0);                                                       \
  r.exponent = CLQ_PLANE(exponent, 0);                                                     \
  r.bias = bias_base + bias_start;                                                         \
  r.residual = residual_base + residual_start + (row) * residual_stride;                   \
  r.gamma = gamma_base + gamma_start;                                                      \
  r.beta = beta_base + beta_start;                                                         \
  r.cols = end;                                                                            \
  r.alpha = alpha;                                                                         \
  r.factor = factor

/* Elements i and on of x, as floats; zeros at end and beyond, as all below. Where a caller says
 * end as i + CLQ_WIDTH, no code for partial steps is left. */
CLQ_INLINE clq_v clq_norm_x(const clq_norm_row *r, long i, long end) {
#if CLQ_X_IS_INTEGER
  clq_vi q = CLQ_LOAD(CLQ_X)(r->x, i, end);
  if (r->zero != 0) {
    q -= r->zero_column != 0 ? CLQ_LOAD(CLQ_I32)(r->zero, i, end) : (clq_vi)r->zero[0];
    q &= clq_v_mask(i, end);
  }
  if (r->exponent != 0) {
    q <<= clamp(CLQ_LOAD(CLQ_I8)(r->exponent, i, end), (clq_vi)0, (clq_vi)7);
  }
  const clq_v v = clq_v_from_int(q) * r->scale;
  return r->column == 0 ? v : v * CLQ_LOAD(CLQ_F32)(r->column, i, end);
#else
  return CLQ_LOAD(CLQ_X)(r->x, i, end);
#endif
}

/* s before it is rounded to the residual's type. */
CLQ_INLINE clq_v clq_norm_exact(const clq_norm_row *r, long i, long end) {
  clq_v s = clq_norm_x(r, i, end);
#if CLQ_BIAS
  s += CLQ_LOAD(CLQ_BIAS)(r->bias, i, end);
#endif
#if CLQ_RESIDUAL
  s = fma((clq_v)r->alpha, CLQ_LOAD(CLQ_RESIDUAL)(r->residual, i, end), s);
#endif
  return s;
}

CLQ_INLINE clq_v clq_norm_sum(const clq_norm_row *r, long i, long end) {
#if CLQ_RESIDUAL
  return CLQ_ROUNDED(CLQ_RESIDUAL, clq_norm_exact(r, i, end));
#else
  return clq_norm_exact(r, i, end);
#endif
}

CLQ_INLINE clq_v clq_norm_scaled(const clq_norm_row *r, clq_v s) {
#if CLQ_SCALED
  s *= r->factor;
#endif
  return s;
}

CLQ_INLINE void clq_norm_keep_sum(const clq_norm_row *r, clq_v s, long i, long end) {
#if CLQ_SUM_IS_KEPT
  CLQ_STORE(CLQ_RESIDUAL)(s, r->residual, i, end);
#endif
}

/* t, the first time: s goes to the residual if it is kept. */
CLQ_INLINE clq_v clq_norm_first(const clq_norm_row *r, long i, long end) {
#if CLQ_ON_CPU && CLQ_SUM_IS_KEPT
  const clq_v exact = clq_norm_exact(r, i, end);
  return clq_norm_scaled(r, CLQ_ROW_KEEP(CLQ_RESIDUAL)(exact, r->residual, i, end));
#else
  const clq_v s = clq_norm_sum(r, i, end);
  clq_norm_keep_sum(r, s, i, end);
  return clq_norm_scaled(r, s);
#endif
}

/* t again, once a kept s is in the residual. */
CLQ_INLINE clq_v clq_norm_again(const clq_norm_row *r, long i, long end) {
#if CLQ_SUM_IS_KEPT
  return clq_norm_scaled(r, CLQ_LOAD(CLQ_RESIDUAL)(r->residual, i, end));
#else
  return clq_norm_scaled(r, clq_norm_sum(r, i, end));
#endif
}

/* What a row's elements are normalized with. */
typedef struct {
  float pivot;
  float mean; /* of t - pivot */
  float rstd;
} clq_norm_stats;

/* y of t at i; at end and beyond it is what nobody stores. */
CLQ_INLINE clq_v clq_norm_y(const clq_norm_row *r, clq_norm_stats n, clq_v t, long i,
                            long end) {
#if CLQ_CENTERED
  clq_v y = ((t - n.pivot) - n.mean) * n.rstd;
#else
  clq_v y = t * n.rstd;
#endif
#if CLQ_CAST == 2
  y = CLQ_ROUNDED(CLQ_ROUND, y);
#endif
#if CLQ_GAMMA && CLQ_CAST == 1
  y *= CLQ_LOAD(CLQ_GAMMA)(r->gamma, i, end) + 1.0f;
#elif CLQ_GAMMA && CLQ_BETA
  y = fma(y, CLQ_LOAD(CLQ_GAMMA)(r->gamma, i, end), CLQ_LOAD(CLQ_BETA)(r->beta, i, end));
#elif CLQ_GAMMA
  y *= CLQ_LOAD(CLQ_GAMMA)(r->gamma, i, end);
#elif CLQ_BETA
  y += CLQ_LOAD(CLQ_BETA)(r->beta, i, end);
#endif
#if CLQ_CAST == 2 && CLQ_GAMMA
  y = CLQ_ROUNDED(CLQ_ROUND, y);
#endif
  return y;
}

/* y where elements behind `end` are zeros, as lib/emit.h wants them. */
CLQ_INLINE clq_v clq_norm_y_inside(const clq_norm_row *r, clq_norm_stats n, clq_v t, long i,
                                   long end) {
  const clq_v y = clq_norm_y(r, n, t, i, end);
#if CLQ_OUT_IS_CODES
  return i + CLQ_WIDTH <= end ? y : clq_v_inside(y, i, end);
#else
  return y;
#endif
}

#endif
