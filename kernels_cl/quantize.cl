/* Rows of floats to int8 codes with scales and sums. */
#include "lib/emit.h"
#include "lib/input.h"
#include "lib/tensor.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

/* Always built for codes; other values of CLQ_OUT only serve to compile this file alone. */

/* An element type, or 0: of columns that count as zeros and go to `outliers` instead. */
#ifndef CLQ_OUTLIERS
#define CLQ_OUTLIERS 0
#endif

#if CLQ_OUTLIERS

#define OUTLIER_ARGS                                                                            \
  , CLQ_TENSOR(const int, columns), CLQ_TENSOR(CLQ_T(CLQ_OUTLIERS), outliers),                  \
      const long outliers_stride, const int outlier_count

/* The first of the ascending columns that is not below `column`. */
static inline int outlier_from(const __global int *columns, int count, long column) {
  int first = 0;
  while (count > 0) {
    const int half_count = count / 2;
    const bool below = columns[first + half_count] < column;
    first = below ? first + half_count + 1 : first;
    count = below ? count - half_count - 1 : half_count;
  }
  return first;
}

/* v, elements of x from `column` on, with zeros where columns are outliers. */
#define DEFINE_WITHOUT(F, I, S, EACH)                                                           \
  static inline F without_outliers##S(F v, const __global int *columns, int count, long column) { \
    for (int j = outlier_from(columns, count, column); j < count && columns[j] < column + S; j++) { \
      v = as_##F(select(as_##I(v), (I)0, EACH == (I)(int)(columns[j] - column)));               \
    }                                                                                           \
    return v;                                                                                   \
  }
DEFINE_WITHOUT(float4, int4, 4, (int4)(0, 1, 2, 3))
DEFINE_WITHOUT(float16, int16, 16, (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#define WITHOUT_OUTLIERS(S, v, column) \
  without_outliers##S(v, columns_base + columns_start, outlier_count, column)

#define STORE_F32(v, p) (*(p) = (v))
#define STORE_F16(v, p) clq_store_half((v), 0, (p))
#define STORE_BF16(v, p) (*(p) = clq_bf16_from_f32(v))
#define STORE_1 STORE_F32
#define STORE_2 STORE_F16
#define STORE_3 STORE_BF16

/* The row's outliers from j on, every `step`-th. */
#define PUT_OUTLIERS(row, first, step)                                                          \
  for (int clq_j = (first); clq_j < outlier_count; clq_j += (step)) {                           \
    const long clq_at = (row) * x_stride + columns_base[columns_start + clq_j];                 \
    CLQ_PASTE(STORE_, CLQ_OUTLIERS)                                                             \
    (CLQ_LOAD_X(clq_at, x_base + x_start),                                                      \
     outliers_base + outliers_start + (row) * outliers_stride + clq_j);                         \
  }

#else
#define OUTLIER_ARGS
#define WITHOUT_OUTLIERS(S, v, column) v
#define PUT_OUTLIERS(row, first, step)
#endif

#define QUANTIZE_ARGS \
  CLQ_TENSOR(const clq_x, x), CLQ_OUT_ARGS, const long cols, const long x_stride OUTLIER_ARGS

#if CLQ_ON_CPU

/* One work-item a row. */
__kernel void quantize_rows(QUANTIZE_ARGS) {
  const long row = get_global_id(0);
  const __global clq_x *x = x_base + x_start + row * x_stride;
  CLQ_OUT_ROW(o, row, 0L, cols);
#define VALUE(i, end) WITHOUT_OUTLIERS(16, CLQ_ROW_LOAD_X(x, (i), (end)), (i))
  CLQ_EMIT_ROW(VALUE, cols, o)
  PUT_OUTLIERS(row, 0, 1)
}

#else

#include "lib/emit_group.h"

/* One work-group for `chunk` columns of a row: all of it, or a multiple of the group. */
__kernel void quantize_group(QUANTIZE_ARGS, const long chunk) {
  const long row = get_group_id(0);
  const long begin = (long)get_group_id(1) * chunk;
  const long width = min(chunk, cols - begin);
  const __global clq_x *x = x_base + x_start + row * x_stride + begin;
  CLQ_OUT_ROW(o, row, begin, cols);
  CLQ_EMIT_SCRATCH(scratch);
  if (begin == 0) {
    PUT_OUTLIERS(row, (int)get_local_id(0), (int)get_local_size(0))
  }
#define VALUE(i, end) WITHOUT_OUTLIERS(4, CLQ_QUAD_LOAD_X(x, (i), (end)), begin + (i))
  CLQ_EMIT_ROW_GROUP(VALUE, width, o, scratch)
}

#endif
