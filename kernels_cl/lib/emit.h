/* The end of every kernel that makes a row of numbers: as floats, or quantized
 * to int8 in the same pass, always by the same code, so that fused results are
 * those of the unfused operators bit for bit.
 *
 * The host sets CLQ_OUT. A kernel offers its row as a macro VALUE(i, end): the
 * float16 of elements i .. i+15, zeros at end and beyond; it may be evaluated
 * twice for an element.
 *
 *   CLQ_EMIT_ROW(VALUE, cols, group, out, scale, sum)
 *     out    the row's first element, of type CLQ_OUT_T
 *     group  elements that share a scale; cols for one scale a row
 *     scale  the row's first scale; sum: its first sum, or NULL
 *
 * In a kernel with the arguments scale and sum, CLQ_EMIT_PLANES(i) declares
 * row_scale and row_sum at element i of those planes. */
#ifndef CLQ_LIB_EMIT_H
#define CLQ_LIB_EMIT_H

#include "lib/quantize.h"
#include "lib/rows.h"

#define CLQ_OUT_F32 1
#define CLQ_OUT_F16 2
#define CLQ_OUT_Q8 4

#ifndef CLQ_OUT
#define CLQ_OUT CLQ_OUT_F32
#endif

#if CLQ_OUT == CLQ_OUT_Q8

#define CLQ_OUT_T char

#define CLQ_EMIT_PLANES(i)                                    \
  __global float *row_scale = scale_base + scale_start + (i); \
  __global int *row_sum = sum_base == 0 ? 0 : sum_base + sum_start + (i)

#define CLQ_EMIT_ROW(VALUE, cols, group, out, scale, sum)                                \
  for (long clq_b = 0, clq_g = 0; clq_b < (cols); clq_b += (group), ++clq_g) {           \
    const long clq_e = min(clq_b + (group), (long)(cols));                               \
    float clq_scale;                                                                     \
    int clq_sum;                                                                         \
    if ((group) == 32) {                                                                 \
      char16 clq_q0, clq_q1;                                                             \
      clq_sum = clq_quant_group32(VALUE(clq_b, clq_e), VALUE(clq_b + 16, clq_e),         \
                                  &clq_q0, &clq_q1, &clq_scale);                         \
      clq_row_store_i8(clq_q0, (out), clq_b, clq_e);                                     \
      clq_row_store_i8(clq_q1, (out), clq_b + 16, clq_e);                                \
    } else {                                                                             \
      int16 clq_m = (int16)0;                                                            \
      for (long clq_i = clq_b; clq_i < clq_e; clq_i += 16) {                             \
        clq_m = clq_absmax16(clq_m, VALUE(clq_i, clq_e));                                \
      }                                                                                  \
      const int clq_bits = clq_fold_max16i(clq_m);                                       \
      const float clq_mult = clq_quant_mult(clq_bits);                                   \
      clq_scale = clq_quant_scale(clq_bits);                                             \
      int16 clq_total = (int16)0;                                                        \
      for (long clq_i = clq_b; clq_i < clq_e; clq_i += 16) {                             \
        const int16 clq_q = clq_quant_code_int16(VALUE(clq_i, clq_e), clq_mult);         \
        clq_total += clq_q;                                                              \
        clq_row_store_i8(convert_char16(clq_q), (out), clq_i, clq_e);                    \
      }                                                                                  \
      clq_sum = clq_fold_add16i(clq_total);                                              \
    }                                                                                    \
    (scale)[clq_g] = clq_scale;                                                          \
    if ((sum) != 0) {                                                                    \
      (sum)[clq_g] = clq_sum;                                                            \
    }                                                                                    \
  }

#else

#define CLQ_EMIT_PLANES(i)

#if CLQ_OUT == CLQ_OUT_F32
#define CLQ_OUT_T float
#define CLQ_STORE_OUT clq_row_store_f32
#else
#define CLQ_OUT_T half
#define CLQ_STORE_OUT clq_row_store_f16
#endif

#define CLQ_EMIT_ROW(VALUE, cols, group, out, scale, sum)                                \
  for (long clq_i = 0; clq_i < (cols); clq_i += 16) {                                    \
    CLQ_STORE_OUT(VALUE(clq_i, cols), (out), clq_i, (cols));                             \
  }

#endif

#endif
