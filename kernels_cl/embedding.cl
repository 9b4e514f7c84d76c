/* Gather of rows from a packed weight matrix. An id that is no row gives zeros
 * and an error. */
#include "lib/device_error.h"
#include "lib/order.h"
#include "lib/tensor.h"
#include "lib/traits.h"
#include "lib/weights.h"

#pragma OPENCL FP_CONTRACT OFF

enum { TILE = 16 }; /* rows of the table that lie side by side */

#define EMBEDDING_ARGS                                                                            \
  CLQ_TENSOR(const int, ids), CLQ_TENSOR(const uint, w), CLQ_TENSOR(const clq_scale, scale),      \
      CLQ_TENSOR(const clq_scale, min), CLQ_TENSOR(const uchar, zero), CLQ_TENSOR(float, out),         \
      const long table_rows, const long cols, const long padded_cols, const long group,           \
      const long out_stride, __global int *error_word CLQ_ORDER_ARGS

/* Where a row of the table lies. */
typedef struct table_row {
  const __global uint *w; /* the tile's first word */
  const __global clq_scale *scale;
  const __global clq_scale *min;
  const __global uchar *zero;
  int lane; /* of the tile */
} table_row;

#define TABLE_ROW(id)                                                                          \
  {                                                                                            \
    w_base + w_start + (id) / TILE * CLQ_W_TILE_WORDS(padded_cols),                    \
        scale_base + scale_start + (id) / TILE * ((cols + group - 1) / group) * TILE,          \
        min_base + min_start + (id) / TILE * ((cols + group - 1) / group) * TILE,              \
        zero_base + zero_start + (id) / TILE * ((cols + group - 1) / group) * TILE,            \
        (int)((id) % TILE)                                                                     \
  }

/* Element k of the row. */
static inline float table_value(const table_row *t, long k, long group) {
#if CLQ_W_BITS >= 16
  return clq_load_weight(k * TILE + t->lane, (const __global clq_stored *)t->w);
#else
  const long p = k / group * TILE + t->lane;
  const int j = (int)(k % CLQ_W_PER_WORD);
  const uint word = clq_word(t->w + t->lane, (int)k - j);
  const float code = CLQ_W_CODE(float, int, word, j);
  const float s = clq_load_scale(p, t->scale);
#if CLQ_W_MIN
  return fma(code, s, clq_load_scale(p, t->min));
#elif CLQ_W_ZERO
  return (code - (float)t->zero[p]) * s;
#else
  return (code - (float)CLQ_W_OFFSET) * s;
#endif
#endif
}

#if CLQ_ON_CPU

/* One work-item a row of out. */
__kernel void embedding_rows(EMBEDDING_ARGS) {
  const long row = get_global_id(0);
  const long id = ids_base[ids_start + row];
  __global float *out = out_base + out_start + row * out_stride;
  if (id < 0 || id >= table_rows) {
    clq_device_error(error_word, CLQ_ERROR_EMBEDDING_ID, (int)id);
    for (long k = 0; k < cols; ++k) {
      out[k] = 0.0f;
    }
    return;
  }
  CLQ_ORDER_AT
  const table_row t = TABLE_ROW(id);
  for (long k = 0; k < cols; ++k) {
    out[CLQ_COLUMN(k)] = table_value(&t, k, group);
  }
}

#else

/* One work-item an element: dimension 0 counts columns (and some beyond), 1 rows of out. */
__kernel void embedding_elements(EMBEDDING_ARGS) {
  const long k = get_global_id(0);
  const long row = get_global_id(1);
  const long id = ids_base[ids_start + row];
  const bool known = id >= 0 && id < table_rows;
  if (!known && k == 0) {
    clq_device_error(error_word, CLQ_ERROR_EMBEDDING_ID, (int)id);
  }
  if (k < cols) {
    CLQ_ORDER_AT
    const table_row t = TABLE_ROW(known ? id : 0);
    out_base[out_start + row * out_stride + CLQ_COLUMN(k)] = known ? table_value(&t, k, group) : 0.0f;
  }
}

#endif
