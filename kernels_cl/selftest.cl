// Every function of lib/ in a kernel, so that tests can run it on a device and
// tests/compile_backends.sh can look at what each back end compiles to. One
// section per header, chosen by CLQ_SELFTEST_<X>=1; without a choice, all.

#ifndef CLQ_SELFTEST_MATH
#define CLQ_SELFTEST_MATH 0
#endif
#ifndef CLQ_SELFTEST_HALF
#define CLQ_SELFTEST_HALF 0
#endif
#ifndef CLQ_SELFTEST_WARP
#define CLQ_SELFTEST_WARP 0
#endif
#ifndef CLQ_SELFTEST_WELFORD
#define CLQ_SELFTEST_WELFORD 0
#endif
#ifndef CLQ_SELFTEST_DOT
#define CLQ_SELFTEST_DOT 0
#endif
#ifndef CLQ_SELFTEST_QUANTIZE
#define CLQ_SELFTEST_QUANTIZE 0
#endif
#define CLQ_SELFTEST_ALL                                                                     \
  !(CLQ_SELFTEST_MATH || CLQ_SELFTEST_HALF || CLQ_SELFTEST_WARP || CLQ_SELFTEST_WELFORD ||   \
    CLQ_SELFTEST_DOT || CLQ_SELFTEST_QUANTIZE)

#include "lib/dot.h"
#include "lib/fold.h"
#include "lib/half.h"
#include "lib/math.h"
#include "lib/quantize.h"
#include "lib/warp.h"
#include "lib/welford.h"

#pragma OPENCL FP_CONTRACT OFF

#if CLQ_SELFTEST_MATH || CLQ_SELFTEST_ALL

// y[i] = function number `op` of a[i] (and b[i]); N elements a work-item.
#define CLQ_SELFTEST_DEFINE_MATH(F, S, LOAD, STORE)                                         \
  __kernel void selftest_math##S(__global const float *a, __global const float *b,          \
                                 __global float *y, const int op) {                         \
    const size_t i = get_global_id(0);                                                      \
    const F x = LOAD(a);                                                                    \
    F r = x;                                                                                \
    switch (op) {                                                                           \
      case 0: r = clq_div##S(x, LOAD(b)); break;                                            \
      case 1: r = clq_sqrt##S(x); break;                                                    \
      case 2: r = clq_rsqrt##S(x); break;                                                   \
      case 3: r = clq_exp##S(x); break;                                                     \
      case 4: r = clq_sigmoid##S(x); break;                                                 \
      case 5: r = clq_tanh##S(x); break;                                                    \
      case 6: r = clq_erf##S(x); break;                                                     \
      default: r = clq_round##S(x); break;                                                  \
    }                                                                                       \
    STORE(r, y);                                                                            \
  }
#define CLQ_LOAD1(p) (p)[i]
#define CLQ_LOAD4(p) vload4(i, (p))
#define CLQ_LOAD8(p) vload8(i, (p))
#define CLQ_LOAD16(p) vload16(i, (p))
#define CLQ_STORE1(v, p) (p)[i] = (v)
#define CLQ_STORE4(v, p) vstore4((v), i, (p))
#define CLQ_STORE8(v, p) vstore8((v), i, (p))
#define CLQ_STORE16(v, p) vstore16((v), i, (p))
CLQ_SELFTEST_DEFINE_MATH(float, , CLQ_LOAD1, CLQ_STORE1)
CLQ_SELFTEST_DEFINE_MATH(float4, 4, CLQ_LOAD4, CLQ_STORE4)
CLQ_SELFTEST_DEFINE_MATH(float8, 8, CLQ_LOAD8, CLQ_STORE8)
CLQ_SELFTEST_DEFINE_MATH(float16, 16, CLQ_LOAD16, CLQ_STORE16)

#endif
#if CLQ_SELFTEST_HALF || CLQ_SELFTEST_ALL

// 32 halves to floats by each width, and back.
__kernel void selftest_half(__global const half *h, __global float *x1, __global float *x8,
                            __global float *x16, __global half *h1, __global half *h8,
                            __global half *h16) {
  const size_t i = get_global_id(0);
  for (size_t k = 16 * i; k < 16 * i + 16; k++) x1[k] = clq_load_half(k, h);
  vstore8(clq_load_half8(2 * i, h), 2 * i, x8);
  vstore8(clq_load_half8(2 * i + 1, h), 2 * i + 1, x8);
  vstore16(clq_load_half16(i, h), i, x16);
  for (size_t k = 16 * i; k < 16 * i + 16; k++) clq_store_half(x1[k], k, h1);
  clq_store_half8(vload8(2 * i, x8), 2 * i, h8);
  clq_store_half8(vload8(2 * i + 1, x8), 2 * i + 1, h8);
  clq_store_half16(vload16(i, x16), i, h16);
}

// Floats to f16 and bf16, and bf16 back to floats; 16 a work-item.
__kernel void selftest_narrow(__global const float *x, __global half *h, __global ushort *b1,
                              __global ushort *b8, __global ushort *b16, __global float *y) {
  const size_t i = get_global_id(0);
  const float16 v = vload16(i, x);
  clq_store_half16(v, i, h);
  for (size_t k = 16 * i; k < 16 * i + 16; k++) b1[k] = clq_bf16_from_f32(x[k]);
  vstore8(clq_bf16_from_f32_8(v.lo), 2 * i, b8);
  vstore8(clq_bf16_from_f32_8(v.hi), 2 * i + 1, b8);
  vstore16(clq_bf16_from_f32_16(v), i, b16);
  vstore16(clq_f32_from_bf16_16(vload16(i, b16)), i, y);
}

#endif
#if CLQ_SELFTEST_WARP || CLQ_SELFTEST_ALL

// out: ten numbers a work-item, in the order written below.
__kernel void selftest_warp(__global const float *x, __global const int *n, __global float *out,
                            __local float *scratch) {
  const size_t i = get_global_id(0);
  const size_t size = get_local_size(0);
  __local float *other = scratch + size;
  __global float *o = out + 10 * i;
  o[0] = (float)clq_warp_size();
  o[1] = (float)(clq_warp_index() * clq_warp_size() + clq_warp_lane());
  o[2] = clq_warp_broadcast(x[i], clq_warp_size() - 1, scratch);
  o[3] = clq_warp_reduce_add(x[i], other);
  o[4] = clq_warp_reduce_max(x[i], scratch);
  o[5] = as_float(clq_warp_reduce_addi(n[i], (__local int *)other));
  o[6] = as_float(clq_warp_reduce_maxi(n[i], (__local int *)scratch));
  o[7] = clq_group_reduce_add(x[i], other);
  o[8] = clq_group_reduce_max(x[i], scratch);
  o[9] = as_float(clq_group_reduce_addi(n[i], (__local int *)other));
}

// out: sum and maximum over the segment of each work-item.
__kernel void selftest_segment(__global const int *n, __global int *out, const int segment,
                               __local int *scratch) {
  const size_t i = get_global_id(0);
  out[2 * i] = clq_segment_reduce_addi(n[i], (uint)segment, scratch);
  out[2 * i + 1] = clq_segment_reduce_maxi(n[i], (uint)segment, scratch + get_local_size(0));
}

#endif
#if CLQ_SELFTEST_WELFORD || CLQ_SELFTEST_ALL

// Each `segment` neighbouring work-items hold a row of as many elements. out[row]: mean - pivot,
// variance.
__kernel void selftest_welford_segment(__global const float *x, __global float *out,
                                       const int segment, __local clq_welford *scratch) {
  const size_t i = get_global_id(0);
  const size_t row = i / (size_t)segment;
  const float d = x[i] - x[row * (size_t)segment];
  const clq_welford w = clq_segment_reduce_welford_equal(clq_welford_of(1.0f, d, 0.0f),
                                                         (uint)segment, scratch);
  if (i == row * (size_t)segment) {
    out[2 * row] = w.mean;
    out[2 * row + 1] = clq_div(w.m2, w.n);
  }
}

// A work-item a row of 8 elements.
__kernel void selftest_welford8(__global const float *x, __global float *out, const int cols) {
  const size_t row = get_global_id(0);
  const float8 d = vload8(0, x + row * (size_t)cols) - x[row * (size_t)cols];
  const clq_welford w = clq_welford8_fold(1.0f, d, (float8)0.0f);
  out[2 * row] = w.mean;
  out[2 * row + 1] = clq_div(w.m2, w.n);
}

#endif
#if CLQ_SELFTEST_DOT || CLQ_SELFTEST_ALL

// Two results a work-item: s8 x s8, u8 x s8.
__kernel void selftest_dot4(__global const uint *a, __global const uint *b, __global int *c) {
  const size_t i = get_global_id(0);
  const int start = c[2 * i];
  c[2 * i] = clq_dot4_i8(a[i], b[i], start);
  c[2 * i + 1] = clq_dot4_u8s8(a[i], b[i], start);
}

// Sixteen columns a work-item against one word of activations; `kind` 0 u8s8,
// 1 s8s8, 2 u7s8.
__kernel void selftest_dot4x16(__global const uint *w, __global const int *a, __global int *c,
                               const int kind) {
  const size_t i = get_global_id(0);
  const uint16 v = vload16(i, w);
  int16 acc = vload16(i, c);
  if (kind == 0) acc = clq_dot4x16_u8s8(acc, v, a[i]);
  if (kind == 1) acc = clq_dot4x16_s8s8(acc, v, a[i]);
  if (kind == 2) acc = clq_dot4x16_u7s8(acc, v, a[i]);
  vstore16(acc, i, c);
}

#endif
#if CLQ_SELFTEST_QUANTIZE || CLQ_SELFTEST_ALL

// One row a work-item, cols a multiple of 16: codes of the scalar and of the
// wide form, scale, sum of codes.
__kernel void selftest_quantize(__global const float *x, __global char *q1, __global char *q16,
                                __global float *scale, __global int *sum, const int cols) {
  const size_t row = get_global_id(0);
  __global const float *p = x + row * cols;
  int16 top = (int16)0;
  for (int i = 0; i < cols; i += 16) top = clq_absmax16(top, vload16(0, p + i));
  const int absmax = clq_fold_max16i(top);
  const float mult = clq_quant_mult(absmax);
  scale[row] = clq_quant_scale(absmax);
  int16 total = (int16)0;
  for (int i = 0; i < cols; i += 16) {
    const int16 q = clq_quant_code_int16(vload16(0, p + i), mult);
    total += q;
    vstore16(convert_char16(q), 0, q16 + row * cols + i);
  }
  sum[row] = clq_fold_add16i(total);
  for (int i = 0; i < cols; i++) q1[row * cols + i] = (char)clq_quant_code_int(p[i], mult);
}

// Groups of 32, one a work-item.
__kernel void selftest_quantize32(__global const float *x, __global char *q, __global float *scale,
                                  __global int *sum) {
  const size_t g = get_global_id(0);
  char16 q0;
  char16 q1;
  float s;
  sum[g] = clq_quant_group32(vload16(2 * g, x), vload16(2 * g + 1, x), &q0, &q1, &s);
  scale[g] = s;
  vstore16(q0, 2 * g, q);
  vstore16(q1, 2 * g + 1, q);
}

// rint saturated to a char, one and sixteen at a time.
__kernel void selftest_saturate(__global const float *x, __global char *q1, __global char *q16) {
  const size_t i = get_global_id(0);
  for (size_t k = 16 * i; k < 16 * i + 16; k++) q1[k] = (char)clq_round_sat(x[k], -128.0f, 127.0f);
  vstore16(convert_char16(clq_round_sat16(vload16(i, x), -128.0f, 127.0f)), i, q16);
}

#endif
