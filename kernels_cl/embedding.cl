/* Gather of rows from a packed weight matrix. */
#include "lib/device_error.h"
#include "lib/tensor.h"
#include "lib/weights.h"

#pragma OPENCL FP_CONTRACT OFF

enum { TILE = 16 }; /* rows of the table that lie side by side */

/* One work-item a row of out. An id that is no row gives zeros and an error. */
__kernel void embedding_rows(CLQ_TENSOR(const int, ids), CLQ_TENSOR(const uint, w),
                             CLQ_TENSOR(const clq_scale, scale), CLQ_TENSOR(const half, min),
                             CLQ_TENSOR(const uchar, zero), CLQ_TENSOR(float, out),
                             const long table_rows, const long cols, const long padded_cols,
                             const long group, const long out_stride, __global int *error_word) {
  const long row = get_global_id(0);
  const int id = ids_base[ids_start + row];
  __global float *out = out_base + out_start + row * out_stride;
  if (id < 0 || id >= table_rows) {
    clq_device_error(error_word, CLQ_ERROR_EMBEDDING_ID, id);
    for (long k = 0; k < cols; ++k) {
      out[k] = 0.0f;
    }
    return;
  }
  const long tile = id / TILE;
  const long lane = id % TILE;
#if CLQ_W_BITS >= 16
  for (long k = 0; k < cols; ++k) {
    const long at = (tile * cols + k) * TILE + lane;
#if CLQ_W_BITS == 16
    out[k] = clq_load_half(at, (const __global half *)(w_base + w_start));
#else
    out[k] = ((const __global float *)(w_base + w_start))[at];
#endif
  }
#else
  const __global uint *words = w_base + w_start + tile * (padded_cols / CLQ_W_PER_WORD) * TILE;
  const long plane = tile * ((cols + group - 1) / group) * TILE + lane;
  for (long k = 0; k < cols; ++k) {
    const long p = plane + k / group * TILE;
    const uint word = words[k / CLQ_W_PER_WORD * TILE + lane];
    const int j = (int)(k % CLQ_W_PER_WORD);
    const float code = CLQ_W_CODE(float, int, word, j);
    const float s = clq_load_scale(p, scale_base + scale_start);
#if CLQ_W_MIN
    const float shift = clq_load_half(p, min_base + min_start);
#elif CLQ_W_ZERO
    const float shift = (float)zero_base[zero_start + p];
#else
    const float shift = -(float)CLQ_W_OFFSET * s;
#endif
    out[k] = CLQ_W_VALUE(code, s, shift);
  }
#endif
}
