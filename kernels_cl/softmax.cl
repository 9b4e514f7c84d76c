/* Softmax of rows, f32 or int8.
 *
 * f32:   m = max x (min x for a negative scale);  e = exp(fma(x, scale, -(m * scale)))
 * int8:  the difference D = max - code is 0 .. 255, so exp comes from a table that is exact for
 *        the dequantized logits up to the rounding of its entries. With step = x's scale * the
 *        caller's scale:  e = high[D / 16] * low[D % 16],  high[a] = exp(-16 a * step),
 *        low[b] = exp(-b * step).  A zero point cancels in D.
 *
 * The sum is taken in 64 lanes (element i in lane i mod 64) that fold neighbours first; then
 * out = e * (1 / sum), as u8 rint(e * (256 / sum)) saturated to 255. Every form does the same
 * operations in the same order. */
#include "lib/fold.h"
#include "lib/math.h"
#include "lib/quantize.h"
#include "lib/rows.h"
#include "lib/tensor.h"
#include "lib/traits.h"
#include "lib/types.h"

#pragma OPENCL FP_CONTRACT OFF

/* The type of the input: CLQ_F32, CLQ_I8; of the output: CLQ_F32, CLQ_U8 (int8 input only). */
#ifndef CLQ_X
#define CLQ_X CLQ_I8
#endif
#ifndef CLQ_OUT
#define CLQ_OUT CLQ_F32
#endif
#define CLQ_WORK_ITEMS 64 /* a lane each; not to be changed without the order of the sum */

#if CLQ_OUT == CLQ_U8
typedef uchar out_t;
#else
typedef float out_t;
#endif

/* A row of -inf has no largest element to count from: its exponentials are then 0, not NaN. */
static inline float origin_of(float m) { return m == -CLQ_INF ? 0.0f : m; }

/* What exponentials are multiplied by; 0 for a row of -inf, whose m that is. */
static inline float factor_of(float m, float sum) {
  const float factor = clq_div(CLQ_OUT == CLQ_U8 ? 256.0f : 1.0f, sum);
  return m == -CLQ_INF && sum == 0.0f ? 0.0f : factor;
}

/* out_scale: one f32 that receives 1/256, or NULL. */
#define SOFTMAX_I8_ARGS                                                                           \
  CLQ_TENSOR(const char, x), CLQ_TENSOR(const float, x_scale), CLQ_TENSOR(out_t, out),            \
      CLQ_TENSOR(float, out_scale), const long rows, const long cols, const long x_row,           \
      const long out_row, const int per_token, const float scale

#define SOFTMAX_F32_ARGS                                                                          \
  CLQ_TENSOR(const float, x), CLQ_TENSOR(float, out), const long rows, const long cols,           \
      const long x_row, const long out_row, const float scale

#if !CLQ_ON_CPU

/* --- the portable forms: one work-group of 64 a row --- */

static inline float group_max(float x, int lid, __local float *scratch) {
  scratch[lid] = x;
  barrier(CLK_LOCAL_MEM_FENCE);
  float16 m = vload16(0, scratch);
  for (int i = 1; i < CLQ_WORK_ITEMS / 16; i++) {
    const float16 other = vload16(i, scratch);
    m = other > m ? other : m;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  return clq_fold_max16(m);
}

static inline float group_sum(float x, int lid, __local float *scratch) {
  scratch[lid] = x;
  barrier(CLK_LOCAL_MEM_FENCE);
  const float a = clq_fold_add16(vload16(0, scratch)) + clq_fold_add16(vload16(1, scratch));
  const float b = clq_fold_add16(vload16(2, scratch)) + clq_fold_add16(vload16(3, scratch));
  barrier(CLK_LOCAL_MEM_FENCE);
  return a + b;
}

#if CLQ_X == CLQ_F32

__kernel __attribute__((reqd_work_group_size(CLQ_WORK_ITEMS, 1, 1))) void softmax_f32_group(
    SOFTMAX_F32_ARGS) {
  CLQ_AT(const float, x);
  CLQ_AT(float, out);
  __local float scratch[CLQ_WORK_ITEMS];
  const int lid = (int)get_local_id(0);
  x += (long)get_group_id(0) * x_row;
  out += (long)get_group_id(0) * out_row;
  const float sign = scale < 0.0f ? -1.0f : 1.0f;
  float most = -CLQ_INF;
  for (long i = lid; i < cols; i += CLQ_WORK_ITEMS) {
    const float v = x[i] * sign;
    most = v > most ? v : most;
  }
  const float m = group_max(most, lid, scratch) * (sign * scale);
  const float origin = origin_of(m);
  float sum = 0.0f;
  for (long i = lid; i < cols; i += CLQ_WORK_ITEMS) {
    const float e = clq_exp_down(fma(x[i], scale, -origin));
    out[i] = e;
    sum += e;
  }
  const float factor = factor_of(m, group_sum(sum, lid, scratch));
  for (long i = lid; i < cols; i += CLQ_WORK_ITEMS) {
    out[i] *= factor;
  }
}

#else

static inline float table_entry(int difference, float step) {
  return clq_exp((float)(-16 * (difference >> 4)) * step) *
         clq_exp((float)-(difference & 15) * step);
}

__kernel __attribute__((reqd_work_group_size(CLQ_WORK_ITEMS, 1, 1))) void softmax_i8_group(
    SOFTMAX_I8_ARGS) {
  CLQ_AT(const char, x);
  CLQ_AT(const float, x_scale);
  CLQ_AT(out_t, out);
  CLQ_AT(float, out_scale);
  __local float scratch[CLQ_WORK_ITEMS];
  __local float table[256];
  const int lid = (int)get_local_id(0);
  const long row = (long)get_group_id(0);
  const float step = x_scale[per_token ? row : 0] * scale;
  x += row * x_row;
  out += row * out_row;
  for (int i = lid; i < 256; i += CLQ_WORK_ITEMS) {
    table[i] = table_entry(i, step);
  }
  int m = -128;
  for (long i = lid; i < cols; i += CLQ_WORK_ITEMS) {
    m = max(m, (int)x[i]);
  }
  const int top = (int)group_max((float)m, lid, scratch);
  float sum = 0.0f;
  for (long i = lid; i < cols; i += CLQ_WORK_ITEMS) {
    sum += table[top - x[i]];
  }
  const float factor = factor_of(0.0f, group_sum(sum, lid, scratch));
  for (long i = lid; i < cols; i += CLQ_WORK_ITEMS) {
    const float p = table[top - x[i]] * factor;
#if CLQ_OUT == CLQ_U8
    out[i] = (uchar)clq_round_sat(p, 0.0f, 255.0f);
#else
    out[i] = p;
#endif
  }
  if (row == 0 && lid == 0 && out_scale_base != 0) {
    out_scale[0] = 0x1p-8f;
  }
}

#endif

#else

/* --- the forms for CPUs: one work-item for a few rows --- */

#define LANES ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))

static inline float16 larger(float16 a, float16 b) { return b > a ? b : a; }

static inline float sum_of(const float16 *lanes) {
  return (clq_fold_add16(lanes[0]) + clq_fold_add16(lanes[1])) +
         (clq_fold_add16(lanes[2]) + clq_fold_add16(lanes[3]));
}

#if CLQ_X == CLQ_F32

static inline float largest_of(const __global float *x, long cols) {
  const long whole = cols & ~63L;
  float16 m0 = (float16)(-CLQ_INF), m1 = m0, m2 = m0, m3 = m0;
  for (long i = 0; i < whole; i += 64) {
    m0 = larger(m0, vload16(0, x + i));
    m1 = larger(m1, vload16(1, x + i));
    m2 = larger(m2, vload16(2, x + i));
    m3 = larger(m3, vload16(3, x + i));
  }
  for (long i = whole; i < cols; i += 16) {
    const float16 v = clq_row_load_f32(x, i, cols);
    m0 = larger(m0, LANES < (int16)(int)min(cols - i, 16L) ? v : (float16)(-CLQ_INF));
  }
  return clq_fold_max16(larger(larger(m0, m1), larger(m2, m3)));
}

static inline float smallest_of(const __global float *x, long cols) {
  float m = CLQ_INF;
  for (long i = 0; i < cols; i++) {
    m = x[i] < m ? x[i] : m;
  }
  return m;
}

static inline void softmax_f32_row(const __global float *x, __global float *out, long cols,
                                   float scale) {
  const float m = (scale < 0.0f ? smallest_of(x, cols) : largest_of(x, cols)) * scale;
  const float16 origin = (float16)origin_of(m);
  const long whole = cols & ~63L;
  float16 lanes[4] = {(float16)0.0f, (float16)0.0f, (float16)0.0f, (float16)0.0f};
  for (long i = 0; i < whole; i += 64) {
    __attribute__((opencl_unroll_hint(4))) for (int j = 0; j < 4; j++) {
      const float16 e = clq_exp_down16(fma(vload16(j, x + i), (float16)scale, -origin));
      clq_store_f32(e, out + i + 16 * j);
      lanes[j] += e;
    }
  }
  for (long i = whole; i < cols; i += 16) {
    const float16 s = fma(clq_row_load_f32(x, i, cols), (float16)scale, -origin);
    const float16 outside = (float16)(-CLQ_INF);
    const float16 e = clq_exp_down16(LANES < (int16)(int)min(cols - i, 16L) ? s : outside);
    clq_row_store_f32(e, out, i, cols);
    lanes[(i - whole) >> 4] += e;
  }
  const float factor = factor_of(m, sum_of(lanes));
  for (long i = 0; i < whole; i += 64) {
    __attribute__((opencl_unroll_hint(4))) for (int j = 0; j < 4; j++) {
      clq_store_f32(vload16(j, out + i) * factor, out + i + 16 * j);
    }
  }
  for (long i = whole; i < cols; i += 16) {
    clq_row_store_f32(clq_row_load_f32(out, i, cols) * factor, out, i, cols);
  }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void softmax_f32_rows(
    SOFTMAX_F32_ARGS, const long rows_per_item) {
  CLQ_AT(const float, x);
  CLQ_AT(float, out);
  const long begin = (long)get_global_id(0) * rows_per_item;
  const long end = min(begin + rows_per_item, rows);
  for (long row = begin; row < end; row++) {
    softmax_f32_row(x + row * x_row, out + row * out_row, cols, scale);
  }
}

#else

/* The 256-entry table as its two factors, each one vector. */
typedef struct exp_table {
  float16 high;
  float16 low;
} exp_table;

/* from[lane % 16]. */
#if CLQ_HAS_X86_AVX512
static inline float16 pick(float16 from, int16 lane) {
  float16 r;
  __asm__("vpermps %2, %1, %0" : "=v"(r) : "v"(lane), "v"(from));
  return r;
}
#else
static inline float16 pick(float16 from, int16 lane) {
  return shuffle(from, as_uint16(lane & 15));
}
#endif

static inline exp_table make_table(float step) {
  exp_table t;
  t.high = clq_exp16(convert_float16(-16 * LANES) * step);
  t.low = clq_exp16(convert_float16(-LANES) * step);
  return t;
}

/* Codes i .. i+15 of a row, -128 at end and beyond. */
static inline char16 load_codes(const __global char *x, long i, long end) {
  if (i + 16 <= end) {
    return vload16(0, x + i);
  }
  char v[16];
  for (int k = 0; k < 16; k++) {
    v[k] = i + k < end ? x[i + k] : (char)-128;
  }
  return vload16(0, v);
}

static inline float16 exp_codes(const exp_table *t, char16 codes, int top) {
  const int16 difference = top - convert_int16(codes);
  return pick(t->high, difference >> 4) * pick(t->low, difference);
}

/* p as it is stored; a u8 from the low bits of p + 1.5 * 2^23, for p in [0, 256]. */
#if CLQ_OUT == CLQ_U8
typedef uchar16 out16;
static inline out16 output(float16 p) {
  p = p > (float16)255.0f ? (float16)255.0f : p;
  return convert_uchar16(as_int16(p + 0x1.8p+23f) & 255);
}
static inline void store_whole(out16 v, __global out_t *out) {
  clq_store_u8(v, out);
}
static inline void store_part(out16 v, __global out_t *out, long i, long end) {
  clq_row_store_u8(convert_int16(v), out, i, end);
}
#else
typedef float16 out16;
static inline out16 output(float16 p) { return p; }
static inline void store_whole(out16 v, __global out_t *out) { clq_store_f32(v, out); }
static inline void store_part(out16 v, __global out_t *out, long i, long end) {
  clq_row_store_f32(v, out, i, end);
}
#endif

static inline void softmax_i8_row(const __global char *x, __global out_t *out, long cols,
                                  const exp_table *t) {
  char16 most = (char16)-128;
  const long whole = cols & ~63L;
  for (long i = 0; i < whole; i += 64) {
    most = max(max(most, max(vload16(0, x + i), vload16(1, x + i))),
               max(vload16(2, x + i), vload16(3, x + i)));
  }
  for (long i = whole; i < cols; i += 16) {
    most = max(most, load_codes(x, i, cols));
  }
  const int top = clq_fold_max16i(convert_int16(most));

  float16 lanes[4] = {(float16)0.0f, (float16)0.0f, (float16)0.0f, (float16)0.0f};
  for (long i = 0; i < whole; i += 64) {
    __attribute__((opencl_unroll_hint(4))) for (int j = 0; j < 4; j++) {
      lanes[j] += exp_codes(t, vload16(j, x + i), top);
    }
  }
  for (long i = whole; i < cols; i += 16) {
    const float16 e = exp_codes(t, load_codes(x, i, cols), top);
    const float16 none = (float16)0.0f;
    lanes[(i - whole) >> 4] += LANES < (int16)(int)min(cols - i, 16L) ? e : none;
  }
  const float sum = sum_of(lanes);
  const float factor = factor_of(0.0f, sum);
#if CLQ_OUT == CLQ_U8
  if (sum != sum) {
    for (long i = 0; i < cols; i++) {
      out[i] = 0;
    }
    return;
  }
#endif
  for (long i = 0; i < whole; i += 64) {
    __attribute__((opencl_unroll_hint(4))) for (int j = 0; j < 4; j++) {
      store_whole(output(exp_codes(t, vload16(j, x + i), top) * factor), out + i + 16 * j);
    }
  }
  for (long i = whole; i < cols; i += 16) {
    store_part(output(exp_codes(t, load_codes(x, i, cols), top) * factor), out, i, cols);
  }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void softmax_i8_rows(
    SOFTMAX_I8_ARGS, const long rows_per_item) {
  CLQ_AT(const char, x);
  CLQ_AT(const float, x_scale);
  CLQ_AT(out_t, out);
  CLQ_AT(float, out_scale);
  const long begin = (long)get_global_id(0) * rows_per_item;
  const long end = min(begin + rows_per_item, rows);
  exp_table table = make_table(x_scale[per_token ? begin : 0] * scale);
  for (long row = begin; row < end; row++) {
    if (per_token && row > begin) {
      table = make_table(x_scale[row] * scale);
    }
    softmax_i8_row(x + row * x_row, out + row * out_row, cols, &table);
  }
  if (begin == 0 && out_scale_base != 0) {
    out_scale[0] = 0x1p-8f;
  }
}

#endif

#endif
