/* out[M, N] = x[M, K] * W[N, K]^T with float activations, for GPUs and as the
 * portable base: one work-item computes CLQ_ROWS rows of one column. Launch:
 * (columns padded to the work-group, row blocks), work-groups of one row.
 * Each result is one chain of fma over K in ascending order, on weights that
 * are rounded once (lib/weights.h): the same bits as gemm_f32_tile.cl. */
#include "lib/gemm_args.h"

#ifndef CLQ_ROWS
#define CLQ_ROWS 4
#endif

__kernel void gemm_f32_lane(CLQ_GEMM_F32_ARGS) {
  CLQ_GEMM_F32_AT

  const int n = (int)get_global_id(0);
  const int m0 = (int)get_global_id(1) * CLQ_ROWS;
  if (n >= cols) {
    return;
  }
  float c[CLQ_ROWS];
  for (int r = 0; r < CLQ_ROWS; r++) {
    c[r] = 0.0f;
  }
#if CLQ_W_BITS < 16
  __global const uint *wt = w + n / 16 * CLQ_W_TILE_WORDS((depth + 31) & ~31) + n % 16;
  const int groups = (depth + group - 1) / group;
#endif
  for (int k = 0; k < depth;) {
#if CLQ_W_BITS < 16
    const uint word = clq_word(wt, k);
    const long q = ((long)(n / 16) * groups + k / group) * 16 + n % 16;
    const float s = clq_load_scale(q, ws);
#if CLQ_W_ZERO
    const float shift = (float)wz[q];
#elif CLQ_W_MIN
    const float shift = clq_load_scale(q, wm);
#else
    const float shift = -CLQ_W_OFFSET * s;
#endif
    const int end = min(CLQ_W_PER_WORD, depth - k);
    for (int j = 0; j < end; j++, k++) {
      const float v = CLQ_W_VALUE(CLQ_W_CODE(float, int, word, j), s, shift);
#else
    {
      const float v = clq_load_weight(((long)(n / 16) * depth + k) * 16 + n % 16, w);
#endif
      for (int r = 0; r < CLQ_ROWS; r++) {
        c[r] = fma(CLQ_X_VALUE((long)min(m0 + r, rows - 1), CLQ_COLUMN(k)), v, c[r]);
      }
#if CLQ_W_BITS >= 16
      k++;
#endif
    }
  }
  CLQ_PUT_EACH for (int r = 0; r < CLQ_ROWS; r++) {
    const long m = m0 + r;
    if (m < rows) {
      CLQ_PUT(c[r], m, n);
    }
  }
}
