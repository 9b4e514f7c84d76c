/* The end of a kernel as in lib/emit.h, for a work-group a row: the same codes,
 * scales and sums. A kernel offers its row as a macro VALUE(i, end): the float4
 * of elements i .. i+3, zeros at end and beyond, where i may lie too; it may be
 * evaluated twice for an element, by different work-items.
 *
 *   CLQ_EMIT_SCRATCH(scratch);      at the kernel's outermost level
 *   CLQ_EMIT_ROW_GROUP(VALUE, cols, o, scratch)
 *     o as CLQ_OUT_ROW declares it; every work-item of the group comes here
 *
 * The local size is a power of two, from 32 to CLQ_GROUP; no result depends on it. */
#ifndef CLQ_LIB_EMIT_GROUP_H
#define CLQ_LIB_EMIT_GROUP_H

#include "lib/emit.h"
#include "lib/quads.h"
#include "lib/warp.h"

#ifndef CLQ_GROUP
#define CLQ_GROUP 256
#endif

#if CLQ_OUT_IS_CODES

#define CLQ_EMIT_SCRATCH(scratch) __local int scratch[3][CLQ_GROUP]

CLQ_DEFINE_CODES(float4, int4, 4, clq_quad_load_)

static inline int clq_quad_max(int4 v) { return max(max(v.x, v.y), max(v.z, v.w)); }
static inline int clq_quad_min(int4 v) { return min(min(v.x, v.y), min(v.z, v.w)); }
static inline int clq_quad_sum(int4 v) { return (v.x + v.y) + (v.z + v.w); }

/* Over the work-group, or over each n neighbours of it: the coder of what these hold. */
static inline clq_coder clq_group_coder(int4 low, int4 high, __local int (*scratch)[CLQ_GROUP]) {
  const int least =
      CLQ_CODES == CLQ_ASYMMETRIC ? clq_group_reduce_mini(clq_quad_min(low), scratch[2]) : 0;
  return clq_coder_of(least, clq_group_reduce_maxi(clq_quad_max(high), scratch[0]));
}
static inline clq_coder clq_segment_coder(int4 low, int4 high, uint n,
                                          __local int (*scratch)[CLQ_GROUP]) {
  const int least =
      CLQ_CODES == CLQ_ASYMMETRIC ? clq_segment_reduce_mini(clq_quad_min(low), n, scratch[2]) : 0;
  return clq_coder_of(least, clq_segment_reduce_maxi(clq_quad_max(high), n, scratch[0]));
}

#if CLQ_CODES == CLQ_STATIC

#define CLQ_EMIT_ROW_GROUP(VALUE, cols, o, scratch)                                        \
  {                                                                                        \
    const clq_coder clq_c = clq_static_coder(&(o));                                        \
    int4 clq_total = (int4)0;                                                              \
    for (long clq_i = 4 * (long)get_local_id(0); clq_i < (cols);                           \
         clq_i += 4 * (long)get_local_size(0)) {                                           \
      const int4 clq_q = clq_static_code4(VALUE(clq_i, cols), &(o), clq_c, clq_i, (cols)); \
      clq_total += clq_inside4(clq_q, clq_i, (cols));                                      \
      CLQ_QUAD_STORE(CLQ_OUT)(clq_q, (o).out, clq_i, (cols));                              \
    }                                                                                      \
    const int clq_sum = clq_group_reduce_addi(clq_quad_sum(clq_total), (scratch)[1]);      \
    if (get_local_id(0) == 0) {                                                            \
      clq_emit_planes(&(o), 0, clq_c, clq_sum);                                            \
    }                                                                                      \
  }

#else

/* Three ways, by what shares a scale: a row, or a group that fills the
 * work-group, is taken by all work-items together; a power of two (it divides what
 * they take at once) by neighbours, whose values stay in registers; anything else by one work-item. */
#define CLQ_EMIT_ROW_GROUP(VALUE, cols, o, scratch)                                        \
  {                                                                                        \
    const long clq_lid = (long)get_local_id(0);                                            \
    const long clq_items = (long)get_local_size(0);                                        \
    const long clq_cols = (cols);                                                          \
    const long clq_group = (o).group;                                                      \
    if (clq_group >= clq_cols || clq_group >= 4 * clq_items) {                             \
      for (long clq_b = 0, clq_g = 0; clq_b < clq_cols; clq_b += clq_group, ++clq_g) {     \
        const long clq_e = min(clq_b + clq_group, clq_cols);                               \
        int4 clq_low = (int4)0, clq_high = (int4)0, clq_total = (int4)0;                   \
        for (long clq_i = clq_b + 4 * clq_lid; clq_i < clq_e; clq_i += 4 * clq_items) {    \
          const float4 clq_v = VALUE(clq_i, clq_e);                                        \
          clq_low = clq_least4(clq_low, clq_v);                                            \
          clq_high = clq_most4(clq_high, clq_v);                                           \
        }                                                                                  \
        const clq_coder clq_c = clq_group_coder(clq_low, clq_high, (scratch));             \
        for (long clq_i = clq_b + 4 * clq_lid; clq_i < clq_e; clq_i += 4 * clq_items) {    \
          const int4 clq_q = clq_code4(VALUE(clq_i, clq_e), clq_c);                        \
          clq_total += clq_inside4(clq_q, clq_i, clq_e);                                   \
          CLQ_QUAD_STORE(CLQ_OUT)(clq_q, (o).out, clq_i, clq_e);                           \
        }                                                                                  \
        const int clq_sum = clq_group_reduce_addi(clq_quad_sum(clq_total), (scratch)[1]);  \
        if (clq_lid == 0) {                                                                \
          clq_emit_planes(&(o), clq_g, clq_c, clq_sum);                                    \
        }                                                                                  \
      }                                                                                    \
    } else if (clq_group >= 4 && 4 * clq_items % clq_group == 0) {                         \
      const uint clq_n = (uint)clq_group / 4;                                              \
      for (long clq_b = 0; clq_b < clq_cols; clq_b += 4 * clq_items) {                     \
        const long clq_i = clq_b + 4 * clq_lid;                                            \
        const float4 clq_v = VALUE(clq_i, clq_cols);                                       \
        const clq_coder clq_c = clq_segment_coder(clq_least4((int4)0, clq_v),              \
                                                  clq_most4((int4)0, clq_v), clq_n, (scratch)); \
        const int4 clq_q = clq_code4(clq_v, clq_c);                                        \
        CLQ_QUAD_STORE(CLQ_OUT)(clq_q, (o).out, clq_i, clq_cols);                          \
        const int clq_sum = clq_segment_reduce_addi(                                       \
            clq_quad_sum(clq_inside4(clq_q, clq_i, clq_cols)), clq_n, (scratch)[1]);       \
        if ((clq_lid & (clq_n - 1)) == 0 && clq_i < clq_cols) {                            \
          clq_emit_planes(&(o), clq_i / clq_group, clq_c, clq_sum);                        \
        }                                                                                  \
      }                                                                                    \
    } else {                                                                               \
      for (long clq_g = clq_lid; clq_g * clq_group < clq_cols; clq_g += clq_items) {       \
        const long clq_b = clq_g * clq_group;                                              \
        const long clq_e = min(clq_b + clq_group, clq_cols);                               \
        int4 clq_low = (int4)0, clq_high = (int4)0, clq_total = (int4)0;                   \
        for (long clq_i = clq_b; clq_i < clq_e; clq_i += 4) {                              \
          const float4 clq_v = VALUE(clq_i, clq_e);                                        \
          clq_low = clq_least4(clq_low, clq_v);                                            \
          clq_high = clq_most4(clq_high, clq_v);                                           \
        }                                                                                  \
        const clq_coder clq_c = clq_coder_of(clq_quad_min(clq_low), clq_quad_max(clq_high)); \
        for (long clq_i = clq_b; clq_i < clq_e; clq_i += 4) {                              \
          const int4 clq_q = clq_code4(VALUE(clq_i, clq_e), clq_c);                        \
          clq_total += clq_inside4(clq_q, clq_i, clq_e);                                   \
          CLQ_QUAD_STORE(CLQ_OUT)(clq_q, (o).out, clq_i, clq_e);                           \
        }                                                                                  \
        clq_emit_planes(&(o), clq_g, clq_c, clq_quad_sum(clq_total));                      \
      }                                                                                    \
    }                                                                                      \
  }

#endif

#else

#define CLQ_EMIT_SCRATCH(scratch) __local int(*const scratch)[CLQ_GROUP] = 0

#define CLQ_EMIT_ROW_GROUP(VALUE, cols, o, scratch)                                        \
  (void)(scratch);                                                                         \
  for (long clq_i = 4 * (long)get_local_id(0); clq_i < (cols);                             \
       clq_i += 4 * (long)get_local_size(0)) {                                             \
    CLQ_QUAD_STORE(CLQ_OUT)(VALUE(clq_i, cols), (o).out, clq_i, (cols));                   \
  }

#endif

#endif
