/* out[M, N] = x[M, K] * W[N, K]^T with int8 activations, for GPUs and as the
 * portable base: one work-item computes CLQ_ROWS rows of one column. Launch:
 * (columns padded to the work-group, row blocks), work-groups of one row.
 * Weights, groups and the order of additions: as gemm_q8_tile.cl. */
#include "lib/gemm_args.h"
#include "lib/q8_lane.h"

#ifndef CLQ_ROWS
#define CLQ_ROWS 4
#endif

__kernel void gemm_q8_lane(CLQ_GEMM_Q8_ARGS) {
  CLQ_GEMM_Q8_AT

  const int n = (int)get_global_id(0);
  const int m0 = (int)get_global_id(1) * CLQ_ROWS;
  if (n >= cols) {
    return;
  }
  const int padded = (depth + 31) & ~31;
  const int groups = (depth + group - 1) / group;
  const int w_groups = (groups + w_ratio - 1) / w_ratio;
  __global const uint *wt = w + n / 16 * CLQ_W_TILE_WORDS(padded) + n % 16;

  float c[CLQ_ROWS];
  for (int r = 0; r < CLQ_ROWS; r++) {
    c[r] = 0.0f;
  }
  for (int g = 0; g < groups; g++) {
    const int k1 = min((g + 1) * group, padded);
    int acc[CLQ_ROWS], sum[CLQ_ROWS];
#if CLQ_X_AFFINE
    int w_sum = 0;
#endif
    for (int r = 0; r < CLQ_ROWS; r++) {
      acc[r] = 0;
      sum[r] = 0;
    }
    for (int k = g * group; k < k1; k += 8) {
      CLQ_LOAD_EACH for (int r = 0; r < CLQ_ROWS; r++) {
        __global const char *p = x + (long)min(m0 + r, rows - 1) * x_stride;
        const uint a = CLQ_LOAD_WORD(p, k, depth - k);
        const uint b = CLQ_LOAD_WORD(p, k + 4, depth - k - 4);
        acc[r] = clq_dot_step8(wt, k, a, b, acc[r]);
#if CLQ_NEED_SUM && !CLQ_X_SUM
        sum[r] = clq_sum_step8(a, b, sum[r]);
#endif
      }
#if CLQ_X_AFFINE
      w_sum = clq_dot_step8(wt, k, 0x01010101u, 0x01010101u, w_sum);
#endif
    }
    const long q = ((long)(n / 16) * w_groups + g / w_ratio) * 16 + n % 16;
    const float s = clq_load_scale(q, ws);
    const int elements = clq_group_depth(g, group, depth);
    for (int r = 0; r < CLQ_ROWS; r++) {
      const long i = clq_x_at(min(m0 + r, rows - 1), g, groups);
#if CLQ_NEED_SUM && CLQ_X_SUM
      sum[r] = clq_given_sum(x_sum, i, elements);
#endif
#if CLQ_X_AFFINE
      const int zero = clq_x_offset(x_zero, i);
      acc[r] -= zero * w_sum;
      sum[r] -= zero * elements;
#endif
#if CLQ_W_ZERO
      acc[r] -= (int)wz[q] * sum[r];
#else
      acc[r] -= CLQ_W_OFFSET * sum[r];
#endif
#if CLQ_X_GROUPED
      c[r] = fma((float)acc[r] * xs[i], s, c[r]);
#else
      c[r] = fma((float)acc[r], s, c[r]);
#endif
#if CLQ_W_MIN
#if CLQ_X_GROUPED
      c[r] = fma(xs[i] * (float)sum[r], clq_load_scale(q, wm), c[r]);
#else
      c[r] = fma((float)sum[r], clq_load_scale(q, wm), c[r]);
#endif
#endif
    }
  }
  CLQ_PUT_EACH for (int r = 0; r < CLQ_ROWS; r++) {
    const long m = m0 + r;
    if (m < rows) {
      CLQ_PUT(CLQ_X_GROUPED ? c[r] : c[r] * xs[m], m, n);
    }
  }
}
