/* The end of a kernel as in lib/emit.h, for a work-group a row: the same codes,
 * scales and sums. A kernel offers its row as a macro VALUE(i, end): the float4
 * of elements i .. i+3, zeros at end and beyond, where i may lie too; it may be
 * evaluated twice for an element, by different work-items.
 *
 *   CLQ_EMIT_SCRATCH(scratch);      at the kernel's outermost level
 *   CLQ_EMIT_ROW_GROUP(VALUE, cols, group, out, scale, sum, scratch)
 *     out .. sum as CLQ_EMIT_ROW; every work-item of the group comes here
 *
 * The local size is a power of two, from 32 to CLQ_GROUP; no result depends on it. */
#ifndef CLQ_LIB_EMIT_GROUP_H
#define CLQ_LIB_EMIT_GROUP_H

#include "lib/emit.h"
#include "lib/quads.h"
#include "lib/warp.h"

#define CLQ_GROUP 256

#if CLQ_OUT == CLQ_OUT_Q8

#define CLQ_EMIT_SCRATCH(scratch) __local int scratch[2][CLQ_GROUP]

static inline int clq_quad_max(int4 v) { return max(max(v.x, v.y), max(v.z, v.w)); }
static inline int clq_quad_sum(int4 v) { return (v.x + v.y) + (v.z + v.w); }

static inline void clq_emit_planes(__global float *scale, __global int *sum, long g,
                                   int absmax_bits, int total) {
  scale[g] = clq_quant_scale(absmax_bits);
  if (sum != 0) {
    sum[g] = total;
  }
}

/* Three ways, by what shares a scale: a row, or a group that fills the
 * work-group, is taken by all work-items together; a power of two (it divides what
 * they take at once) by neighbours, whose values stay in registers; anything else by one work-item. */
#define CLQ_EMIT_ROW_GROUP(VALUE, cols, group, out, scale, sum, scratch)                   \
  {                                                                                        \
    const long clq_lid = (long)get_local_id(0);                                            \
    const long clq_items = (long)get_local_size(0);                                        \
    const long clq_cols = (cols);                                                          \
    const long clq_group = (group);                                                        \
    if (clq_group >= clq_cols || clq_group >= 4 * clq_items) {                             \
      for (long clq_b = 0, clq_g = 0; clq_b < clq_cols; clq_b += clq_group, ++clq_g) {     \
        const long clq_e = min(clq_b + clq_group, clq_cols);                               \
        int4 clq_m = (int4)0;                                                              \
        for (long clq_i = clq_b + 4 * clq_lid; clq_i < clq_e; clq_i += 4 * clq_items) {    \
          clq_m = clq_absmax4(clq_m, VALUE(clq_i, clq_e));                                 \
        }                                                                                  \
        const int clq_bits = clq_group_reduce_maxi(clq_quad_max(clq_m), (scratch)[0]);     \
        const float clq_mult = clq_quant_mult(clq_bits);                                   \
        int4 clq_total = (int4)0;                                                          \
        for (long clq_i = clq_b + 4 * clq_lid; clq_i < clq_e; clq_i += 4 * clq_items) {    \
          const int4 clq_q = clq_quant_code_int4(VALUE(clq_i, clq_e), clq_mult);           \
          clq_total += clq_q;                                                              \
          clq_quad_store_i8(convert_char4(clq_q), (out), clq_i, clq_e);                    \
        }                                                                                  \
        const int clq_sum = clq_group_reduce_addi(clq_quad_sum(clq_total), (scratch)[1]);  \
        if (clq_lid == 0) {                                                                \
          clq_emit_planes((scale), (sum), clq_g, clq_bits, clq_sum);                       \
        }                                                                                  \
      }                                                                                    \
    } else if (clq_group >= 4 && 4 * clq_items % clq_group == 0) {                         \
      const uint clq_n = (uint)clq_group / 4;                                              \
      for (long clq_b = 0; clq_b < clq_cols; clq_b += 4 * clq_items) {                     \
        const long clq_i = clq_b + 4 * clq_lid;                                            \
        const float4 clq_v = VALUE(clq_i, clq_cols);                                       \
        const int clq_m = clq_quad_max(clq_absmax4((int4)0, clq_v));                       \
        const int clq_bits = clq_segment_reduce_maxi(clq_m, clq_n, (scratch)[0]);          \
        const int4 clq_q = clq_quant_code_int4(clq_v, clq_quant_mult(clq_bits));           \
        clq_quad_store_i8(convert_char4(clq_q), (out), clq_i, clq_cols);                   \
        const int clq_sum = clq_segment_reduce_addi(clq_quad_sum(clq_q), clq_n, (scratch)[1]); \
        if ((clq_lid & (clq_n - 1)) == 0 && clq_i < clq_cols) {                            \
          clq_emit_planes((scale), (sum), clq_i / clq_group, clq_bits, clq_sum);           \
        }                                                                                  \
      }                                                                                    \
    } else {                                                                               \
      for (long clq_g = clq_lid; clq_g * clq_group < clq_cols; clq_g += clq_items) {       \
        const long clq_b = clq_g * clq_group;                                              \
        const long clq_e = min(clq_b + clq_group, clq_cols);                               \
        int4 clq_m = (int4)0;                                                              \
        for (long clq_i = clq_b; clq_i < clq_e; clq_i += 4) {                              \
          clq_m = clq_absmax4(clq_m, VALUE(clq_i, clq_e));                                 \
        }                                                                                  \
        const int clq_bits = clq_quad_max(clq_m);                                          \
        const float clq_mult = clq_quant_mult(clq_bits);                                   \
        int4 clq_total = (int4)0;                                                          \
        for (long clq_i = clq_b; clq_i < clq_e; clq_i += 4) {                              \
          const int4 clq_q = clq_quant_code_int4(VALUE(clq_i, clq_e), clq_mult);           \
          clq_total += clq_q;                                                              \
          clq_quad_store_i8(convert_char4(clq_q), (out), clq_i, clq_e);                    \
        }                                                                                  \
        clq_emit_planes((scale), (sum), clq_g, clq_bits, clq_quad_sum(clq_total));         \
      }                                                                                    \
    }                                                                                      \
  }

#else

#define CLQ_EMIT_SCRATCH(scratch)

#if CLQ_OUT == CLQ_OUT_F32
#define CLQ_QUAD_STORE_OUT clq_quad_store_f32
#else
#define CLQ_QUAD_STORE_OUT clq_quad_store_f16
#endif

#define CLQ_EMIT_ROW_GROUP(VALUE, cols, group, out, scale, sum, scratch)                   \
  for (long clq_i = 4 * (long)get_local_id(0); clq_i < (cols);                             \
       clq_i += 4 * (long)get_local_size(0)) {                                             \
    CLQ_QUAD_STORE_OUT(VALUE(clq_i, cols), (out), clq_i, (cols));                          \
  }

#endif

#endif
