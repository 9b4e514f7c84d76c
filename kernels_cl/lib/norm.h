/* LayerNorm and RMSNorm: what their kernels share.
 *
 *   s = alpha * residual + x + bias     rounded to residual's type, written back
 *   t = s * factor
 *   y = (t - mean) * rstd * gamma + beta   (RMSNorm: no mean)
 *
 * Statistics. 128 lanes (element i in lane i mod 128) run over blocks of 1024
 * elements, 8 to a lane; the lanes of a block fold neighbours first, and blocks
 * merge in ascending order, their sum compensated. LayerNorm: Welford on
 * t - pivot, with the mean of the row's first 128 elements as the pivot, merged by
 * Chan's formula; what is left of the row after whole 128s comes last, in two
 * passes. RMSNorm: sums of squares. Every form does just this, so all give the
 * same bits.
 *
 * The file that includes this sets
 *   CLQ_CENTERED    1: LayerNorm, 0: RMSNorm
 * and the host, as element types of lib/types.h (0: absent)
 *   CLQ_X           f32, f16, bf16; or i8, u8 or i32 times scales
 *   CLQ_RESIDUAL, CLQ_BIAS, CLQ_GAMMA, CLQ_BETA
 *   CLQ_OUT, CLQ_CODES   lib/emit.h
 *   CLQ_FORM        the one form that is wanted, for compilers take seconds over each: 1 warp,
 *                   2 group, 3 stream; 0: all that the device may have
 *   CLQ_CAST        0: all in f32; 1: gamma + 1 for gamma (Gemma);
 *                   2: rounded to CLQ_ROUND before gamma and after (LLaMA) */
#ifndef CLQ_LIB_NORM_H
#define CLQ_LIB_NORM_H

#include "lib/emit.h"
#include "lib/fold.h"
#include "lib/math.h"
#include "lib/traits.h"
#include "lib/welford.h"

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
#ifndef CLQ_FORM
#define CLQ_FORM 0
#endif
#ifndef CLQ_CAST
#define CLQ_CAST 0
#endif
#ifndef CLQ_ROUND
#define CLQ_ROUND CLQ_F32
#endif
#ifndef CLQ_SCALED /* factor is not 1 */
#define CLQ_SCALED 0
#endif

#define CLQ_X_IS_INTEGER (CLQ_X >= CLQ_I8)

typedef CLQ_T(CLQ_X) clq_x;
typedef CLQ_T(CLQ_RESIDUAL) clq_residual;
typedef CLQ_T(CLQ_BIAS) clq_bias;
typedef CLQ_T(CLQ_GAMMA) clq_gamma;
typedef CLQ_T(CLQ_BETA) clq_beta;

/* x_scale: of the row (x_scale_row apart) or, at 0, of the tensor; x_column: of each column;
 * x_zero: x_zero_row apart from row to row, x_zero_column from column to column; exponent: of each
 * column, a power of two. Each may be NULL. */
#define CLQ_NORM_ARGS                                                                      \
  CLQ_TENSOR(const clq_x, x), CLQ_TENSOR(const float, x_scale), CLQ_TENSOR(const int, x_zero), \
      CLQ_TENSOR(const float, x_column), CLQ_TENSOR(const char, exponent),                 \
      CLQ_TENSOR(const clq_bias, bias), CLQ_TENSOR(clq_residual, residual),                \
      CLQ_TENSOR(const clq_gamma, gamma), CLQ_TENSOR(const clq_beta, beta),                \
      CLQ_TENSOR(float, mean), CLQ_TENSOR(float, rstd), CLQ_OUT_ARGS, const long rows,     \
      const long cols, const long x_stride, const long residual_stride,                    \
      const long x_scale_row, const long x_zero_row, const long x_zero_column,             \
      const float alpha, const float factor, const float eps

/* ------------------------------------------------- a row, by 16 or by 4 */

#if CLQ_ON_CPU
typedef float16 clq_v;
typedef int16 clq_vi;
enum { CLQ_WIDTH = 16 };
#define CLQ_LOAD(type) CLQ_ROW_LOAD(type)
#define CLQ_STORE(type) CLQ_ROW_STORE(type)
#define clq_v_from_int convert_float16
#define clq_v_mask clq_mask16
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
#define clq_v_round_f16 clq_round_f16_4
#define clq_v_to_bf16 clq_bf16_from_f32_4
#define clq_v_from_bf16 clq_f32_from_bf16_4
#endif

enum { CLQ_CHUNK = 128, CLQ_STEPS = 8, CLQ_BLOCK = 1024 };

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
  r.scale = x_scale_base == 0 ? 1.0f : x_scale_base[x_scale_start + (row) * x_scale_row];  \
  r.zero = CLQ_PLANE(x_zero, (row) * x_zero_row);                                          \
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
#if CLQ_RESIDUAL
  CLQ_STORE(CLQ_RESIDUAL)(s, r->residual, i, end);
#endif
}

/* t, the first time: s goes to the residual. */
CLQ_INLINE clq_v clq_norm_first(const clq_norm_row *r, long i, long end) {
#if CLQ_ON_CPU && CLQ_RESIDUAL
  const clq_v exact = clq_norm_exact(r, i, end);
  return clq_norm_scaled(r, CLQ_ROW_KEEP(CLQ_RESIDUAL)(exact, r->residual, i, end));
#else
  const clq_v s = clq_norm_sum(r, i, end);
  clq_norm_keep_sum(r, s, i, end);
  return clq_norm_scaled(r, s);
#endif
}

/* t again, once s is in the residual. */
CLQ_INLINE clq_v clq_norm_again(const clq_norm_row *r, long i, long end) {
#if CLQ_RESIDUAL
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
#if CLQ_ON_CPU
  return i + CLQ_WIDTH <= end ? y : as_float16(as_int16(y) & clq_mask16(i, end));
#else
  return i + CLQ_WIDTH <= end ? y : as_float4(as_int4(y) & clq_mask4(i, end));
#endif
#else
  return y;
#endif
}

/* ------------------------------------------------- from sums to statistics */

/* A step of Welford's method needs 1 / n. */
__constant float clq_norm_reciprocal[8] = {1.0f,        1.0f / 2.0f, 1.0f / 3.0f, 1.0f / 4.0f,
                                           1.0f / 5.0f, 1.0f / 6.0f, 1.0f / 7.0f, 1.0f / 8.0f};

/* The blocks so far. LayerNorm: of t - pivot; RMSNorm: m2 is the sum of squares. */
typedef struct {
  clq_welford w;
  float low;      /* what w.m2 lost to rounding */
  float mean_low; /* and w.mean */
} clq_norm_total;

CLQ_INLINE clq_norm_total clq_norm_nothing(void) {
  clq_norm_total total;
  total.w = clq_welford_empty();
  total.low = 0.0f;
  total.mean_low = 0.0f;
  return total;
}

/* a with x added: what is made of many blocks keeps what each addition rounds off (Knuth's
 * two-sum). */
CLQ_INLINE void clq_norm_keep_all(float *a, float *low, float x) {
  const float s = *a + x;
  const float b = s - *a;
  *low += (*a - (s - b)) + (x - b);
  *a = s;
}

/* A block after those before it, LayerNorm's by Chan's formula; one of nothing changes nothing. */
CLQ_INLINE clq_norm_total clq_norm_join(clq_norm_total total, clq_welford block) {
#if CLQ_CENTERED
  if (!(total.w.n > 0.0f)) {
    total.w = block;
  } else if (block.n > 0.0f) {
    const float n = total.w.n + block.n;
    const float share = clq_div(block.n, n);
    const float delta = (block.mean - total.w.mean) - total.mean_low;
    clq_norm_keep_all(&total.w.m2, &total.low, block.m2);
    clq_norm_keep_all(&total.w.m2, &total.low, (delta * delta) * (total.w.n * share));
    clq_norm_keep_all(&total.w.mean, &total.mean_low, delta * share);
    total.w.n = n;
  }
#else
  clq_norm_keep_all(&total.w.m2, &total.low, block.m2);
#endif
  return total;
}

/* Of a row of n elements. eps is that of t: the caller's times factor^2. */
CLQ_INLINE clq_norm_stats clq_norm_finish(clq_norm_total total, float pivot, long n, float eps) {
  clq_norm_stats s;
  s.pivot = pivot;
  const float m2 = total.w.m2 + (total.low == total.low ? total.low : 0.0f); /* NaN: of an Inf */
  s.mean = total.w.mean + total.mean_low;
  s.rstd = clq_rsqrt(clq_div(m2, (float)n) + eps);
  return s;
}

/* The statistics of s, for whoever wants them. */
#define CLQ_NORM_PUBLISH(row, n)                                                           \
  if (mean_base != 0) {                                                                    \
    mean_base[mean_start + (row)] = clq_div(n.pivot + n.mean, factor);                     \
  }                                                                                        \
  if (rstd_base != 0) {                                                                    \
    rstd_base[rstd_start + (row)] = n.rstd * factor;                                       \
  }

#endif
