/* out = a + b, each floats or codes with scales, as floats or quantized.
 *
 * The host sets CLQ_A and CLQ_B, element types of lib/types.h. A float out may be a or b. */
#include "lib/emit.h"
#include "lib/tensor.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

#ifndef CLQ_A
#define CLQ_A CLQ_F32
#endif
#ifndef CLQ_B
#define CLQ_B CLQ_A
#endif
#define CLQ_IS_CODES(type) ((type) >= CLQ_I8)

typedef CLQ_T(CLQ_A) clq_a;
typedef CLQ_T(CLQ_B) clq_b;

/* Of codes: a scale, and a zero point unless that is NULL, `step` apart from row to row and `column`
 * (0 or 1) from column to column. */
#define ADD_INPUT(T, x)                                                                          \
  CLQ_TENSOR(const T, x), CLQ_TENSOR(const float, x##_scale), CLQ_TENSOR(const int, x##_zero),   \
      const long x##_stride, const long x##_step, const long x##_column
#define ADD_ARGS ADD_INPUT(clq_a, a), ADD_INPUT(clq_b, b), CLQ_OUT_ARGS, const long cols

/* What the codes of a row stand for. */
typedef struct clq_scales {
  const __global float *scale;
  const __global int *zero;
  float first_scale; /* the row's, unless columns have their own */
  int first_zero;
  bool by_column;
} clq_scales;

static inline clq_scales clq_scales_of(const __global float *scale, const __global int *zero,
                                       long column) {
  clq_scales s;
  s.scale = scale;
  s.zero = zero;
  s.first_scale = scale != 0 ? scale[0] : 0.0f;
  s.first_zero = zero != 0 ? zero[0] : 0;
  s.by_column = column != 0;
  return s;
}

/* From column `begin` of a row. */
#define ADD_AT(x, row, begin)                                                                    \
  x##_base + x##_start + (row) * x##_stride + (begin)
#define ADD_SCALES(x, row, begin)                                                                \
  clq_scales_of(CLQ_PLANE(x##_scale, (row) * x##_step + (begin) * x##_column),                   \
                CLQ_PLANE(x##_zero, (row) * x##_step + (begin) * x##_column), x##_column)

#if CLQ_ON_CPU
#define ADD_LOAD(type) CLQ_ROW_LOAD(type)
#define ADD_MASK       clq_mask16
#define ADD_CONVERT    convert_float16
#define ADD_BITS       as_int16
#define ADD_FLOATS     as_float16
typedef float16 add_v;
typedef int16 add_vi;
#else
#include "lib/emit_group.h"
#define ADD_LOAD(type) CLQ_QUAD_LOAD(type)
#define ADD_MASK       clq_mask4
#define ADD_CONVERT    convert_float4
#define ADD_BITS       as_int4
#define ADD_FLOATS     as_float4
typedef float4 add_v;
typedef int4 add_vi;
#endif

/* Elements i and on, zeros at end and beyond. */
#define ADD_DEFINE_FLOATS(NAME, T, TYPE)                                                         \
  CLQ_INLINE add_v NAME(const __global T *p, const clq_scales *s, long i, long end) {            \
    return ADD_LOAD(TYPE)(p, i, end);                                                            \
  }
#define ADD_DEFINE_CODES(NAME, T, TYPE)                                                          \
  CLQ_INLINE add_v NAME(const __global T *p, const clq_scales *s, long i, long end) {            \
    add_v scale = (add_v)s->first_scale;                                                         \
    add_vi zero = (add_vi)s->first_zero;                                                         \
    if (s->by_column) {                                                                          \
      scale = ADD_LOAD(CLQ_F32)(s->scale, i, end);                                               \
      zero = s->zero != 0 ? ADD_LOAD(CLQ_I32)(s->zero, i, end) : (add_vi)0;                      \
    }                                                                                            \
    const add_v x = scale * ADD_CONVERT(ADD_LOAD(TYPE)(p, i, end) - zero);                       \
    return ADD_FLOATS(ADD_BITS(x) & ADD_MASK(i, end));                                           \
  }
#if CLQ_IS_CODES(CLQ_A)
ADD_DEFINE_CODES(value_of_a, clq_a, CLQ_A)
#else
ADD_DEFINE_FLOATS(value_of_a, clq_a, CLQ_A)
#endif
#if CLQ_IS_CODES(CLQ_B)
ADD_DEFINE_CODES(value_of_b, clq_b, CLQ_B)
#else
ADD_DEFINE_FLOATS(value_of_b, clq_b, CLQ_B)
#endif
#define VALUE(i, end) (value_of_a(a, &a_scales, (i), (end)) + value_of_b(b, &b_scales, (i), (end)))

#if CLQ_ON_CPU

/* One work-item a row. */
__kernel void add_rows(ADD_ARGS) {
  const long row = get_global_id(0);
  const __global clq_a *a = ADD_AT(a, row, 0L);
  const __global clq_b *b = ADD_AT(b, row, 0L);
  const clq_scales a_scales = ADD_SCALES(a, row, 0L);
  const clq_scales b_scales = ADD_SCALES(b, row, 0L);
  CLQ_OUT_ROW(o, row, 0L, cols);
  CLQ_EMIT_ROW(VALUE, cols, o)
}

#else

/* One work-group for `chunk` columns of a row: all of it, or a multiple of the group. */
__kernel void add_group(ADD_ARGS, const long chunk) {
  const long row = get_group_id(0);
  const long begin = (long)get_group_id(1) * chunk;
  const long width = min(chunk, cols - begin);
  const __global clq_a *a = ADD_AT(a, row, begin);
  const __global clq_b *b = ADD_AT(b, row, begin);
  const clq_scales a_scales = ADD_SCALES(a, row, begin);
  const clq_scales b_scales = ADD_SCALES(b, row, begin);
  CLQ_OUT_ROW(o, row, begin, cols);
  CLQ_EMIT_SCRATCH(scratch);
  CLQ_EMIT_ROW_GROUP(VALUE, width, o, scratch)
}

#endif
