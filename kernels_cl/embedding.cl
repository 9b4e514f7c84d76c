/* Gather of rows from a packed weight matrix. An id that is no row gives zeros and an error. */
#include "lib/device_error.h"
#include "lib/order.h"
#include "lib/quads.h"
#include "lib/tensor.h"
#include "lib/traits.h"
#include "lib/weights.h"

#pragma OPENCL FP_CONTRACT OFF

#ifndef CLQ_OUT
#define CLQ_OUT CLQ_F32
#endif
/* Floats are stored as they come; what makes codes takes longer to build. */
#if CLQ_OUT == CLQ_I8 || CLQ_OUT == CLQ_U8
#include "lib/emit.h"
#else
typedef CLQ_T(CLQ_OUT) clq_out;
#define CLQ_OUT_IS_CODES 0
#define CLQ_OUT_ARGS                                                                              \
  CLQ_TENSOR(clq_out, out), CLQ_TENSOR(float, scale), CLQ_TENSOR(int, zero),                      \
      CLQ_TENSOR(int, sum), const long out_stride, const long group, const long scale_step
#endif

enum { TILE = 16 }; /* rows of the table that lie side by side */

#define EMBEDDING_ARGS                                                                            \
  CLQ_TENSOR(const int, ids), CLQ_TENSOR(const uint, w), CLQ_TENSOR(const clq_scale, w_scale),    \
      CLQ_TENSOR(const clq_scale, min), CLQ_TENSOR(const uchar, w_zero), CLQ_OUT_ARGS,            \
      const long table_rows, const long cols, const long padded_cols, const long w_group,         \
      __global int *error_word CLQ_ORDER_ARGS

/* Where a row of the table lies. */
typedef struct table_row {
  const __global uint *w; /* the tile's first word; NULL: no row, but zeros */
  const __global clq_scale *scale;
  const __global clq_scale *min;
  const __global uchar *zero;
  long groups; /* where the tile's first group is in these */
  int lane;    /* of the tile */
  int group;
} table_row;

#define TABLE_ROW(id)                                                                             \
  {                                                                                               \
    (id) < 0 || (id) >= table_rows ? 0 : w_base + w_start + (id) / TILE * CLQ_W_TILE_WORDS(padded_cols), \
        w_scale_base + w_scale_start, min_base + min_start, w_zero_base + w_zero_start,           \
        (id) / TILE * ((cols + w_group - 1) / w_group) * TILE, (int)((id) % TILE), (int)w_group   \
  }

/* Elements k .. k + 3, k a multiple of 4, which share a scale; those at end and beyond are zeros. */
CLQ_INLINE float4 table_values(const table_row *t, long k, long end) {
  if (t->w == 0 || k >= end) {
    return (float4)0.0f;
  }
#if CLQ_W_BITS >= 16
  const __global clq_stored *w = (const __global clq_stored *)t->w + t->lane;
  return (float4)(clq_load_weight(k * TILE, w), k + 1 < end ? clq_load_weight((k + 1) * TILE, w) : 0.0f,
                  k + 2 < end ? clq_load_weight((k + 2) * TILE, w) : 0.0f,
                  k + 3 < end ? clq_load_weight((k + 3) * TILE, w) : 0.0f);
#else
  const uint word = clq_codes(t->w + t->lane, (int)k & ~7, (int)k >> 2 & 1);
  const int4 bits = (int4)((int)(word << 24), (int)(word << 16), (int)(word << 8), (int)word);
  const float4 codes = convert_float4(CLQ_W_SIGNED ? bits >> 24 : as_int4(as_uint4(bits) >> 24u));
  const long p = t->groups + (long)((int)k / t->group) * TILE + t->lane;
  const float s = clq_load_scale(p, t->scale);
#if CLQ_W_MIN
  const float4 v = fma(codes, (float4)s, (float4)clq_load_scale(p, t->min));
#elif CLQ_W_ZERO
  const float4 v = (codes - (float)t->zero[p]) * s;
#else
  const float4 v = (codes - (float)CLQ_W_OFFSET) * s;
#endif
  return as_float4(as_int4(v) & clq_mask4(k, end));
#endif
}

#if !CLQ_OUT_IS_CODES

#define STORE_1(v, i, p) ((p)[i] = (v))
#define STORE_2(v, i, p) clq_store_half((v), (i), (p))
#define STORE_3(v, i, p) ((p)[i] = clq_bf16_from_f32(v))
#define STORE CLQ_PASTE(STORE_, CLQ_OUT)

/* Elements k .. k + 3 to where their columns stand. */
#if CLQ_W_ORDER
#define PUT(v, out, k, end)                                                                       \
  {                                                                                               \
    const float each[4] = {(v).x, (v).y, (v).z, (v).w};                                           \
    for (int j = 0; j < 4 && (k) + j < (end); j++) {                                              \
      STORE(each[j], order[(k) + j], out);                                                        \
    }                                                                                             \
  }
#else
#define PUT(v, out, k, end) CLQ_QUAD_STORE(CLQ_OUT)(v, out, k, end);
#endif

/* Every `step`-th quad of the row from `first` on. */
#define PUT_ROW(t, row, first, end, step)                                                         \
  {                                                                                               \
    CLQ_ORDER_AT                                                                                  \
    __global clq_out *out = out_base + out_start + (row) * out_stride;                            \
    for (long k = (first); k < (end); k += (step)) {                                              \
      const float4 v = table_values(&(t), k, (end));                                              \
      PUT(v, out, k, (end))                                                                       \
    }                                                                                             \
  }

#endif

#if CLQ_ON_CPU

/* One work-item a row of out. */
__kernel void embedding_rows(EMBEDDING_ARGS) {
  const long row = get_global_id(0);
  const long id = ids_base[ids_start + row];
  const table_row t = TABLE_ROW(id);
  if (t.w == 0) {
    clq_device_error(error_word, CLQ_ERROR_EMBEDDING_ID, (int)id);
  }
#if CLQ_OUT_IS_CODES
  CLQ_OUT_ROW(o, row, 0L, cols);
#define VALUE(i, end)                                                                             \
  (float16)(table_values(&t, (i), (end)), table_values(&t, (i) + 4, (end)),                       \
            table_values(&t, (i) + 8, (end)), table_values(&t, (i) + 12, (end)))
  CLQ_EMIT_ROW(VALUE, cols, o)
#else
  PUT_ROW(t, row, 0L, cols, 4)
#endif
}

#else

#if CLQ_OUT_IS_CODES
#include "lib/emit_group.h"
#endif

/* One work-group for `chunk` columns of a row: all of it, or a multiple of the group. */
__kernel void embedding_group(EMBEDDING_ARGS, const long chunk) {
  const long row = get_group_id(0);
  const long begin = (long)get_group_id(1) * chunk;
  const long width = min(chunk, cols - begin);
  const long id = ids_base[ids_start + row];
  const table_row t = TABLE_ROW(id);
  if (t.w == 0 && begin == 0 && get_local_id(0) == 0) {
    clq_device_error(error_word, CLQ_ERROR_EMBEDDING_ID, (int)id);
  }
#if CLQ_OUT_IS_CODES
  CLQ_OUT_ROW(o, row, begin, cols);
  CLQ_EMIT_SCRATCH(scratch);
#define VALUE(i, end) table_values(&t, begin + (i), begin + (end))
  CLQ_EMIT_ROW_GROUP(VALUE, width, o, scratch)
#else
  PUT_ROW(t, row, begin + 4 * (long)get_local_id(0), begin + width, 4 * (long)get_local_size(0))
#endif
}

#endif
