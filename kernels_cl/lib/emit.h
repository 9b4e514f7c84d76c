/* The end of every kernel that makes a row of numbers: as floats, or quantized
 * in the same pass, always by the same code, so that fused results are those of
 * the unfused operators bit for bit.
 *
 * The host sets CLQ_OUT, an element type of lib/types.h, and for codes
 *   CLQ_CODES  CLQ_SYMMETRIC   scale found for every group of a row
 *              CLQ_ASYMMETRIC  and a zero point
 *              CLQ_STATIC      scale and zero point given, scale_step apart:
 *                              0 for all channels, 1 for each its own
 *
 * A kernel takes CLQ_OUT_ARGS and offers its row as a macro VALUE(i, end): the
 * float16 of elements i .. i+15, zeros at end and beyond; it may be evaluated
 * twice for an element.
 *
 *   CLQ_OUT_ROW(o, row, begin, cols);   declares the row's output, from column begin
 *   CLQ_EMIT_ROW(VALUE, cols, o)        writes cols elements */
#ifndef CLQ_LIB_EMIT_H
#define CLQ_LIB_EMIT_H

#include "lib/quantize.h"
#include "lib/rows.h"
#include "lib/tensor.h"

#define CLQ_SYMMETRIC 0
#define CLQ_ASYMMETRIC 1
#define CLQ_STATIC 2

#ifndef CLQ_OUT
#define CLQ_OUT CLQ_F32
#endif
#ifndef CLQ_CODES
#define CLQ_CODES CLQ_SYMMETRIC
#endif

#define CLQ_OUT_IS_CODES (CLQ_OUT == CLQ_I8 || CLQ_OUT == CLQ_U8)
#define CLQ_LOWEST (CLQ_OUT == CLQ_U8 ? 0 : -128)

typedef CLQ_T(CLQ_OUT) clq_out;

/* group: elements that share a scale; cols for one scale a row. */
#define CLQ_OUT_ARGS                                                                 \
  CLQ_TENSOR(clq_out, out), CLQ_TENSOR(float, scale), CLQ_TENSOR(int, zero),         \
      CLQ_TENSOR(int, sum), const long out_stride, const long group, const long scale_step

/* One row of the output. zero and sum may be NULL. */
typedef struct {
  __global clq_out *out;
  __global float *scale;
  __global int *zero;
  __global int *sum;
  long group;
  long step; /* of scale and zero from channel to channel */
} clq_out_row;

static inline clq_out_row clq_out_row_of(__global clq_out *out, __global float *scale,
                                         __global int *zero, __global int *sum, long group,
                                         long step) {
  clq_out_row o;
  o.out = out;
  o.scale = scale;
  o.zero = zero;
  o.sum = sum;
  o.group = group;
  o.step = step;
  return o;
}

#if CLQ_CODES == CLQ_STATIC
#define CLQ_OUT_ROW(o, row, begin, cols)                                                   \
  const clq_out_row o = clq_out_row_of(                                                    \
      out_base + out_start + (row) * out_stride + (begin), CLQ_PLANE(scale, (begin) * scale_step), \
      CLQ_PLANE(zero, (begin) * scale_step), CLQ_PLANE(sum, row), group, scale_step)
#else
#define CLQ_OUT_ROW(o, row, begin, cols)                                                   \
  const long o##_plane = (row) * (((cols) + group - 1) / group) + (begin) / group;         \
  const clq_out_row o = clq_out_row_of(                                                    \
      out_base + out_start + (row) * out_stride + (begin), CLQ_PLANE(scale, o##_plane),    \
      CLQ_PLANE(zero, o##_plane), CLQ_PLANE(sum, o##_plane), group, scale_step)
#endif

/* STEP(VALUE, o, i, end) for every 16 elements from begin to end; it has no code for partial steps
 * but where it takes the last one. */
#define CLQ_ROW_WALK(STEP, VALUE, o, begin, end)                                           \
  {                                                                                        \
    const long clq_whole = (begin) + (((end) - (begin)) & -16L);                           \
    for (long clq_i = (begin); clq_i < clq_whole; clq_i += 16) {                           \
      STEP(VALUE, o, clq_i, clq_i + 16)                                                    \
    }                                                                                      \
    if (clq_whole < (end)) {                                                               \
      STEP(VALUE, o, clq_whole, end)                                                       \
    }                                                                                      \
  }

#if !CLQ_OUT_IS_CODES

#define CLQ_STEP_STORE(VALUE, o, i, end)                                                   \
  CLQ_ROW_STREAM(CLQ_OUT)(VALUE(i, end), (o).out, i, end);
/* Past the caches go whole, aligned steps: a row that starts between them has a step of its own for
 * what lies before the first. */
#define CLQ_EMIT_ROW(VALUE, cols, o)                                                       \
  {                                                                                        \
    const long clq_head = CLQ_STREAM ? clq_row_head((ulong)(o).out, sizeof *(o).out, cols) : 0L; \
    if (clq_head > 0) {                                                                    \
      CLQ_STEP_STORE(VALUE, o, 0L, clq_head)                                               \
    }                                                                                      \
    CLQ_ROW_WALK(CLQ_STEP_STORE, VALUE, o, clq_head, (long)(cols))                         \
  }

#else

/* One scale with its zero point, and what makes codes with it. */
typedef clq_affine clq_coder;

/* F: 4 or 16 floats, I: as many ints, S: how many.
 *   clq_least, clq_most   running extremes of a group, from 0
 *   clq_code              codes with a coder
 *   clq_static_code       codes with the scales given for elements i and on
 *   clq_inside            codes, those at end and beyond made 0 for a sum */
#if CLQ_CODES == CLQ_SYMMETRIC
#define CLQ_DEFINE_CODES(F, I, S, LOAD)                                                    \
  static inline I clq_least##S(I m, F v) { return m; }                                     \
  static inline I clq_most##S(I m, F v) { return clq_absmax##S(m, v); }                    \
  static inline I clq_code##S(F v, clq_coder c) { return clq_quant_code_int##S(v, c.mult); } \
  static inline I clq_inside##S(I codes, long i, long end) { return codes; }
#else
#define CLQ_DEFINE_CODES(F, I, S, LOAD)                                                    \
  static inline I clq_least##S(I m, F v) { return min(m, clq_order##S(v)); }               \
  static inline I clq_most##S(I m, F v) { return max(m, clq_order##S(v)); }                \
  static inline I clq_code##S(F v, clq_coder c) {                                          \
    return clq_affine_code##S(v, (F)c.mult, (I)c.zero, CLQ_LOWEST);                        \
  }                                                                                        \
  static inline I clq_inside##S(I codes, long i, long end) {                               \
    return codes & clq_mask##S(i, end);                                                    \
  }                                                                                        \
  static inline I clq_static_code##S(F v, const clq_out_row *o, clq_coder c, long i, long end) { \
    if (o->step == 0) {                                                                    \
      return clq_code##S(v, c);                                                            \
    }                                                                                      \
    const I zero = o->zero == 0 ? (I)0 : LOAD##i32(o->zero, i, end);                       \
    const F mult = clq_div##S((F)1.0f, LOAD##f32(o->scale, i, end));                       \
    return clq_affine_code##S(v, mult, zero, CLQ_LOWEST);                                  \
  }
#endif
CLQ_DEFINE_CODES(float16, int16, 16, clq_row_load_)

/* From a group's extremes; low counts for asymmetric codes only. */
static inline clq_coder clq_coder_of(int low, int high) {
#if CLQ_CODES == CLQ_SYMMETRIC
  clq_coder c;
  c.scale = clq_quant_scale(high);
  c.mult = clq_quant_mult(high);
  c.zero = 0;
  return c;
#else
  return clq_affine_of(low, high, CLQ_LOWEST);
#endif
}

/* The first of the scales that are given. */
static inline clq_coder clq_static_coder(const clq_out_row *o) {
  clq_coder c;
  c.scale = o->scale[0];
  c.mult = clq_div(1.0f, c.scale);
  c.zero = o->zero == 0 ? 0 : o->zero[0];
  return c;
}

/* Scale, zero point and sum of group g. */
static inline void clq_emit_planes(const clq_out_row *o, long g, clq_coder c, int sum) {
#if CLQ_CODES != CLQ_STATIC
  o->scale[g] = c.scale;
#endif
#if CLQ_CODES == CLQ_ASYMMETRIC
  o->zero[g] = c.zero;
#endif
  if (o->sum != 0) {
    o->sum[g] = sum;
  }
}

#if CLQ_CODES == CLQ_STATIC

#define CLQ_STEP_CODES(VALUE, o, i, end)                                                   \
  {                                                                                        \
    const int16 clq_q = clq_static_code16(VALUE(i, end), &(o), clq_c, i, end);             \
    clq_total += clq_inside16(clq_q, i, end);                                              \
    CLQ_ROW_STREAM(CLQ_OUT)(clq_q, (o).out, i, end);                                       \
  }
#define CLQ_EMIT_ROW(VALUE, cols, o)                                                       \
  {                                                                                        \
    const clq_coder clq_c = clq_static_coder(&(o));                                        \
    int16 clq_total = (int16)0;                                                            \
    CLQ_ROW_WALK(CLQ_STEP_CODES, VALUE, o, 0L, (long)(cols))                               \
    clq_emit_planes(&(o), 0, clq_c, clq_fold_add16i(clq_total));                           \
  }

#else

#define CLQ_STEP_EXTREMES(VALUE, o, i, end)                                                \
  {                                                                                        \
    const float16 clq_v = VALUE(i, end);                                                   \
    clq_low = clq_least16(clq_low, clq_v);                                                 \
    clq_high = clq_most16(clq_high, clq_v);                                                \
  }
#define CLQ_STEP_CODES(VALUE, o, i, end)                                                   \
  {                                                                                        \
    const int16 clq_q = clq_code16(VALUE(i, end), clq_c);                                  \
    clq_total += clq_inside16(clq_q, i, end);                                              \
    CLQ_ROW_STREAM(CLQ_OUT)(clq_q, (o).out, i, end);                                       \
  }
/* A symmetric group of 32 keeps its values in registers. */
#define CLQ_EMIT_ROW(VALUE, cols, o)                                                       \
  for (long clq_b = 0, clq_g = 0; clq_b < (cols); clq_b += (o).group, ++clq_g) {           \
    const long clq_e = min(clq_b + (o).group, (long)(cols));                               \
    if (CLQ_CODES == CLQ_SYMMETRIC && (o).group == 32 && clq_e == clq_b + 32) {            \
      clq_coder clq_c;                                                                     \
      char16 clq_q0, clq_q1;                                                               \
      const long clq_m = clq_b + 16;                                                       \
      const int clq_sum = clq_quant_group32(VALUE(clq_b, clq_m), VALUE(clq_m, clq_m + 16), \
                                            &clq_q0, &clq_q1, &clq_c.scale);               \
      CLQ_ROW_STREAM(CLQ_OUT)(convert_int16(clq_q0), (o).out, clq_b, clq_m);               \
      CLQ_ROW_STREAM(CLQ_OUT)(convert_int16(clq_q1), (o).out, clq_m, clq_m + 16);          \
      clq_emit_planes(&(o), clq_g, clq_c, clq_sum);                                        \
    } else {                                                                               \
      int16 clq_low = (int16)0, clq_high = (int16)0, clq_total = (int16)0;                 \
      CLQ_ROW_WALK(CLQ_STEP_EXTREMES, VALUE, o, clq_b, clq_e)                              \
      const clq_coder clq_c = clq_coder_of(clq_fold_min16i(clq_low), clq_fold_max16i(clq_high)); \
      CLQ_ROW_WALK(CLQ_STEP_CODES, VALUE, o, clq_b, clq_e)                                 \
      clq_emit_planes(&(o), clq_g, clq_c, clq_fold_add16i(clq_total));                     \
    }                                                                                      \
  }

#endif
#endif

#endif
