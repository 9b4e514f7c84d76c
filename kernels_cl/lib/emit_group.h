/* The end of a kernel as in lib/emit.h, for a work-group a row: the same codes,
 * scales and sums. A kernel offers its row as a macro VALUE(i, end): the float4
 * of elements i .. i+3, zeros at end and beyond, where i may lie too; it may be
 * evaluated twice for an element, by different work-items.
 *
 *   CLQ_EMIT_SCRATCH(scratch);      at the kernel's outermost level
 *   CLQ_EMIT_ROW_GROUP(VALUE, cols, o, scratch)
 *     o as CLQ_OUT_ROW declares it; every work-item of the group comes here
 *
 * The local size is a power of two, from 32 to CLQ_GROUP; no result depends on it.
 *
 * The host sets for codes whose scales are found here
 *   CLQ_SHARE  CLQ_SHARE_ROW   one scale a row
 *              CLQ_SHARE_NEAR  a scale for 4, 8, ... 128 columns
 *              CLQ_SHARE_ANY   for any other number of them
 * One at a time: kernels with all three are slow to build, and more than Intel's compiler for CPUs
 * can take (lib/warp.h). */
#ifndef CLQ_LIB_EMIT_GROUP_H
#define CLQ_LIB_EMIT_GROUP_H

#include "lib/emit.h"
#include "lib/quads.h"
#include "lib/warp.h"

#ifndef CLQ_GROUP
#define CLQ_GROUP 256
#endif

#define CLQ_SHARE_ROW 0
#define CLQ_SHARE_NEAR 1
#define CLQ_SHARE_ANY 2
#ifndef CLQ_SHARE
#define CLQ_SHARE CLQ_SHARE_ROW
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

/* Elements begin to end share scale g: all work-items together, or one of them alone. */
#define CLQ_EMIT_TOGETHER(VALUE, begin, end, g, o, scratch)                                \
  {                                                                                        \
    const long clq_mine = (begin) + 4 * (long)get_local_id(0);                             \
    int4 clq_low = (int4)0, clq_high = (int4)0, clq_total = (int4)0;                       \
    for (long clq_i = clq_mine; clq_i < (end); clq_i += 4 * (long)get_local_size(0)) {     \
      const float4 clq_v = VALUE(clq_i, end);                                              \
      clq_low = clq_least4(clq_low, clq_v);                                                \
      clq_high = clq_most4(clq_high, clq_v);                                               \
    }                                                                                      \
    const clq_coder clq_c = clq_group_coder(clq_low, clq_high, (scratch));                 \
    for (long clq_i = clq_mine; clq_i < (end); clq_i += 4 * (long)get_local_size(0)) {     \
      const int4 clq_q = clq_code4(VALUE(clq_i, end), clq_c);                              \
      clq_total += clq_inside4(clq_q, clq_i, end);                                         \
      CLQ_QUAD_STORE(CLQ_OUT)(clq_q, (o).out, clq_i, end);                                 \
    }                                                                                      \
    const int clq_sum = clq_group_reduce_addi(clq_quad_sum(clq_total), (scratch)[1]);      \
    if (get_local_id(0) == 0) {                                                            \
      clq_emit_planes(&(o), (g), clq_c, clq_sum);                                          \
    }                                                                                      \
  }
#define CLQ_EMIT_ALONE(VALUE, begin, end, g, o)                                            \
  {                                                                                        \
    int4 clq_low = (int4)0, clq_high = (int4)0, clq_total = (int4)0;                       \
    for (long clq_i = (begin); clq_i < (end); clq_i += 4) {                                \
      const float4 clq_v = VALUE(clq_i, end);                                              \
      clq_low = clq_least4(clq_low, clq_v);                                                \
      clq_high = clq_most4(clq_high, clq_v);                                               \
    }                                                                                      \
    const clq_coder clq_c = clq_coder_of(clq_quad_min(clq_low), clq_quad_max(clq_high));   \
    for (long clq_i = (begin); clq_i < (end); clq_i += 4) {                                \
      const int4 clq_q = clq_code4(VALUE(clq_i, end), clq_c);                              \
      clq_total += clq_inside4(clq_q, clq_i, end);                                         \
      CLQ_QUAD_STORE(CLQ_OUT)(clq_q, (o).out, clq_i, end);                                 \
    }                                                                                      \
    clq_emit_planes(&(o), (g), clq_c, clq_quad_sum(clq_total));                            \
  }

#if CLQ_SHARE == CLQ_SHARE_ROW

#define CLQ_EMIT_ROW_GROUP(VALUE, cols, o, scratch)                                        \
  CLQ_EMIT_TOGETHER(VALUE, 0L, (long)(cols), 0L, o, scratch)

#elif CLQ_SHARE == CLQ_SHARE_NEAR

/* Neighbours share a scale, and their values stay in registers. */
#define CLQ_EMIT_ROW_GROUP(VALUE, cols, o, scratch)                                        \
  {                                                                                        \
    const uint clq_n = (uint)(o).group / 4;                                                \
    for (long clq_b = 0; clq_b < (cols); clq_b += 4 * (long)get_local_size(0)) {           \
      const long clq_i = clq_b + 4 * (long)get_local_id(0);                                \
      const float4 clq_v = VALUE(clq_i, cols);                                             \
      const clq_coder clq_c = clq_segment_coder(clq_least4((int4)0, clq_v),                \
                                                clq_most4((int4)0, clq_v), clq_n, (scratch)); \
      const int4 clq_q = clq_code4(clq_v, clq_c);                                          \
      CLQ_QUAD_STORE(CLQ_OUT)(clq_q, (o).out, clq_i, cols);                                \
      const int clq_sum = clq_segment_reduce_addi(                                         \
          clq_quad_sum(clq_inside4(clq_q, clq_i, cols)), clq_n, (scratch)[1]);             \
      if (((uint)get_local_id(0) & (clq_n - 1)) == 0 && clq_i < (cols)) {                  \
        clq_emit_planes(&(o), clq_i / (o).group, clq_c, clq_sum);                          \
      }                                                                                    \
    }                                                                                      \
  }

#else

/* Long groups one after the other, short ones side by side. */
#define CLQ_EMIT_ROW_GROUP(VALUE, cols, o, scratch)                                        \
  {                                                                                        \
    const long clq_cols = (cols);                                                          \
    const long clq_group = (o).group;                                                      \
    if (clq_group > 128) {                                                                 \
      for (long clq_b = 0, clq_g = 0; clq_b < clq_cols; clq_b += clq_group, ++clq_g) {     \
        const long clq_e = min(clq_b + clq_group, clq_cols);                               \
        CLQ_EMIT_TOGETHER(VALUE, clq_b, clq_e, clq_g, o, scratch)                          \
      }                                                                                    \
    } else {                                                                               \
      for (long clq_g = get_local_id(0); clq_g * clq_group < clq_cols;                     \
           clq_g += get_local_size(0)) {                                                   \
        const long clq_b = clq_g * clq_group;                                              \
        const long clq_e = min(clq_b + clq_group, clq_cols);                               \
        CLQ_EMIT_ALONE(VALUE, clq_b, clq_e, clq_g, o)                                      \
      }                                                                                    \
    }                                                                                      \
  }

#endif

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
