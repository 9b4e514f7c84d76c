/* out[M, N] = x[M, K] * W[N, K]^T with int8 activations for few rows, for GPUs:
 * a work-group of 16 columns by SLICES slices of K. Launch: (column tiles *
 * 16 * SLICES, rows), work-groups of (16 * SLICES, 1).
 * Weights, groups and the order of additions: as gemm_q8_tile.cl. What is exact
 * is spread over the slices: each takes the integer sums of its groups. What is
 * rounded is not: one lane of each column then adds the groups in order. */
#include "lib/gemm_args.h"
#include "lib/q8_lane.h"

#define SLICES 8
#define CHUNK_GROUPS 64

__kernel __attribute__((reqd_work_group_size(16 * SLICES, 1, 1))) void gemm_q8_split(
    CLQ_GEMM_Q8_ARGS) {
  CLQ_GEMM_Q8_AT

  /* Of each group: the sum of products (times the x scale), and its factor; the sum of codes
   * (likewise), and the minimum. */
  __local float sums[CHUNK_GROUPS][16];
  __local float scales[CHUNK_GROUPS][16];
#if CLQ_W_MIN
  __local float lifts[CHUNK_GROUPS];
  __local float least[CHUNK_GROUPS][16];
#endif
  const int column = (int)get_local_id(0) % 16;
  const int slice = (int)get_local_id(0) / 16;
  const long tile = (long)get_group_id(0);
  const long m = (long)get_global_id(1);
  const int padded = (depth + 31) & ~31;
  const int groups = (depth + group - 1) / group;
  const int w_groups = (groups + w_ratio - 1) / w_ratio;
  __global const char *row = x + m * x_stride;
  __global const uint *words = w + tile * CLQ_W_TILE_WORDS(padded) + column;

  float c = 0.0f;
  for (int g0 = 0; g0 < groups; g0 += CHUNK_GROUPS) {
    const int g1 = min(g0 + CHUNK_GROUPS, groups);
    for (int g = g0 + slice; g < g1; g += SLICES) {
      const int k0 = g * group;
      const int k1 = min(k0 + group, padded);
      const int elements = clq_group_depth(g, group, depth);
      const long i = clq_x_at(m, g, groups);
      int acc = 0, sum = 0;
#if CLQ_X_AFFINE
      int w_sum = 0;
#endif
      for (int k = k0; k < k1; k += 8) {
        const uint a = CLQ_LOAD_WORD(row, k, depth - k);
        const uint b = CLQ_LOAD_WORD(row, k + 4, depth - k - 4);
        acc = clq_dot_step8(words, k, a, b, acc);
#if CLQ_NEED_SUM && !CLQ_X_SUM
        sum = clq_sum_step8(a, b, sum);
#endif
#if CLQ_X_AFFINE
        w_sum = clq_dot_step8(words, k, 0x01010101u, 0x01010101u, w_sum);
#endif
      }
#if CLQ_NEED_SUM && CLQ_X_SUM
      sum = clq_given_sum(x_sum, i, elements);
#endif
#if CLQ_X_AFFINE
      const int zero = clq_x_offset(x_zero, i);
      acc -= zero * w_sum;
      sum -= zero * elements;
#endif
      const long q = (tile * w_groups + g / w_ratio) * 16 + column;
      const float s = CLQ_X_GROUPED ? xs[i] : 1.0f;
#if CLQ_W_ZERO
      acc -= (int)wz[q] * sum;
#else
      acc -= CLQ_W_OFFSET * sum;
#endif
      sums[g - g0][column] = CLQ_X_GROUPED ? (float)acc * s : (float)acc;
      scales[g - g0][column] = clq_load_scale(q, ws);
#if CLQ_W_MIN
      least[g - g0][column] = clq_load_scale(q, wm);
      if (column == 0) {
        lifts[g - g0] = CLQ_X_GROUPED ? s * (float)sum : (float)sum;
      }
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (slice == 0) {
      for (int g = 0; g < g1 - g0; g++) {
        c = fma(sums[g][column], scales[g][column], c);
#if CLQ_W_MIN
        c = fma(lifts[g], least[g][column], c);
#endif
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  const long n = tile * 16 + column;
  if (slice == 0 && n < cols) {
    CLQ_PUT(CLQ_X_GROUPED ? c : c * xs[m], m, n);
  }
}
