/* out[M, N] = x[M, K] * W[N, K]^T with int8 activations, on tensor cores (lib/mma.h): a warp
 * computes 16 * CLQ_ROW_TILES rows by 16 * CLQ_COLUMN_TILES columns, CLQ_WARPS warps of a work-group
 * lie side by side. Launch: (32 * CLQ_WARPS for each block of columns, row blocks), work-groups of one
 * block.
 * Weights, groups and the order of additions: as gemm_q8_tile.cl. */
#include "lib/gemm_args.h"
#include "lib/mma.h"
#include "lib/q8_lane.h"

#ifndef CLQ_WARPS
#define CLQ_WARPS 4
#endif
#ifndef CLQ_ROW_TILES
#define CLQ_ROW_TILES 2
#endif
#ifndef CLQ_COLUMN_TILES
#define CLQ_COLUMN_TILES 4
#endif

/* Codes of this lane's column, at wt, from element k on, four at k + 4 * quad and four 16 behind.
 * What lies behind the group meets zeros of x. */
CLQ_INLINE void load_codes(uint *b, __global const uint *wt, int k, int quad, int padded) {
CLQ_MMA_UNROLL
  for (int i = 0; i < 2; i++) {
    const int at = min(k + 16 * i + 4 * quad, padded - 4);
    b[i] = clq_codes(wt, at & ~7, at >> 2 & 1);
  }
}

__kernel __attribute__((reqd_work_group_size(32 * CLQ_WARPS, 1, 1))) void gemm_q8_mma(
    CLQ_GEMM_Q8_ARGS) {
  CLQ_GEMM_Q8_AT
  __local uint fragments[CLQ_WARPS][CLQ_MMA_SCRATCH];

  const int lane = (int)get_local_id(0) & 31;
  const int warp = (int)get_local_id(0) / 32;
  __local uint *scratch = fragments[warp];
  const int row = lane / 4;
  const int quad = lane & 3;
  const int m0 = (int)get_group_id(1) * 16 * CLQ_ROW_TILES + row;
  const int t0 = ((int)get_group_id(0) * CLQ_WARPS + warp) * CLQ_COLUMN_TILES;
  const int last_tile = (cols + 15) / 16 - 1;
  const int padded = (depth + 31) & ~31;
  const int groups = (depth + group - 1) / group;
  const int w_groups = (groups + w_ratio - 1) / w_ratio;

  float c[CLQ_ROW_TILES][2 * CLQ_COLUMN_TILES][4];
CLQ_MMA_UNROLL
  for (int r = 0; r < CLQ_ROW_TILES; r++) {
CLQ_MMA_UNROLL
    for (int t = 0; t < 2 * CLQ_COLUMN_TILES; t++) {
CLQ_MMA_UNROLL
      for (int i = 0; i < 4; i++) c[r][t][i] = 0.0f;
    }
  }
  for (int g = 0; g < groups; g++) {
    const int k1 = min((g + 1) * group, depth);
    int acc[CLQ_ROW_TILES][2 * CLQ_COLUMN_TILES][4];
    int sum[CLQ_ROW_TILES][4];
#if CLQ_X_AFFINE
    int w_sum[2 * CLQ_COLUMN_TILES][4]; /* of column i & 1 */
CLQ_MMA_UNROLL
    for (int t = 0; t < 2 * CLQ_COLUMN_TILES; t++) {
CLQ_MMA_UNROLL
      for (int i = 0; i < 4; i++) w_sum[t][i] = 0;
    }
#endif
CLQ_MMA_UNROLL
    for (int r = 0; r < CLQ_ROW_TILES; r++) {
CLQ_MMA_UNROLL
      for (int i = 0; i < 4; i++) sum[r][i] = 0;
CLQ_MMA_UNROLL
      for (int t = 0; t < 2 * CLQ_COLUMN_TILES; t++) {
CLQ_MMA_UNROLL
        for (int i = 0; i < 4; i++) acc[r][t][i] = 0;
      }
    }
    for (int k = g * group; k < k1; k += 32) {
      uint a[CLQ_ROW_TILES][4];
CLQ_MMA_UNROLL
      for (int r = 0; r < CLQ_ROW_TILES; r++) {
CLQ_MMA_UNROLL
        for (int i = 0; i < 4; i++) {
          const int m = min(m0 + 16 * r + 8 * (i & 1), rows - 1);
          const int at = k + 16 * (i / 2) + 4 * quad;
          a[r][i] = CLQ_LOAD_WORD(x + (long)m * x_stride, at, k1 - at);
        }
#if CLQ_NEED_SUM && !CLQ_X_SUM
        const uint ones[2] = {0x01010101u, 0x01010101u};
        clq_mma_s8(sum[r], a[r], ones, scratch);
#endif
      }
#if CLQ_X_AFFINE
      uint there[4]; /* ones for x's codes */
CLQ_MMA_UNROLL
      for (int i = 0; i < 4; i++) {
        const int left = k1 - (k + 16 * (i / 2) + 4 * quad);
        there[i] = left >= 4 ? 0x01010101u : left > 0 ? 0x01010101u >> (32 - 8 * left) : 0u;
      }
#endif
CLQ_MMA_UNROLL
      for (int t = 0; t < 2 * CLQ_COLUMN_TILES; t++) {
        const int tile = min(t0 + t / 2, last_tile);
        uint b[2];
        load_codes(b, w + tile * CLQ_W_TILE_WORDS(padded) + 8 * (t & 1) + row, k, quad, padded);
#if CLQ_X_AFFINE && !CLQ_W_SIGNED
        clq_mma_u8(w_sum[t], there, b, scratch);
#elif CLQ_X_AFFINE
        clq_mma_s8(w_sum[t], there, b, scratch);
#endif
CLQ_MMA_UNROLL
        for (int r = 0; r < CLQ_ROW_TILES; r++) {
#if CLQ_W_SIGNED
          clq_mma_s8(acc[r][t], a[r], b, scratch);
#else
          clq_mma_u8(acc[r][t], a[r], b, scratch);
#endif
        }
      }
    }
CLQ_MMA_UNROLL
    for (int r = 0; r < CLQ_ROW_TILES; r++) {
CLQ_MMA_UNROLL
      for (int i = 0; i < 4; i++) {
        const long row_at = min(m0 + 16 * r + 8 * (i / 2), rows - 1);
        const long at = clq_x_at(row_at, g, groups);
        const int elements = clq_group_depth(g, group, depth);
#if CLQ_NEED_SUM && CLQ_X_SUM
        sum[r][i] = clq_given_sum(x_sum, at, elements);
#endif
#if CLQ_X_AFFINE
        const int zero = clq_x_offset(x_zero, at);
        sum[r][i] -= zero * elements;
#endif
CLQ_MMA_UNROLL
        for (int t = 0; t < 2 * CLQ_COLUMN_TILES; t++) {
          const int tile = min(t0 + t / 2, last_tile);
          const long q = ((long)tile * w_groups + g / w_ratio) * 16 + 8 * (t & 1) + 2 * quad + (i & 1);
          const float s = clq_load_scale(q, ws);
#if CLQ_X_AFFINE
          acc[r][t][i] -= zero * w_sum[t][i & 1];
#endif
#if CLQ_W_ZERO
          const int v = acc[r][t][i] - (int)wz[q] * sum[r][i];
#else
          const int v = acc[r][t][i] - CLQ_W_OFFSET * sum[r][i];
#endif
#if CLQ_X_GROUPED
          c[r][t][i] = fma((float)v * xs[at], s, c[r][t][i]);
#else
          c[r][t][i] = fma((float)v, s, c[r][t][i]);
#endif
#if CLQ_W_MIN
#if CLQ_X_GROUPED
          c[r][t][i] = fma(xs[at] * (float)sum[r][i], clq_load_scale(q, wm), c[r][t][i]);
#else
          c[r][t][i] = fma((float)sum[r][i], clq_load_scale(q, wm), c[r][t][i]);
#endif
#endif
        }
      }
    }
  }
CLQ_MMA_UNROLL
  for (int r = 0; r < CLQ_ROW_TILES; r++) {
CLQ_MMA_UNROLL
    for (int t = 0; t < 2 * CLQ_COLUMN_TILES; t++) {
CLQ_MMA_UNROLL
      for (int i = 0; i < 4; i++) {
        const long m = m0 + 16 * r + 8 * (i / 2);
        const int n = 16 * (t0 + t / 2) + 8 * (t & 1) + 2 * quad + (i & 1);
        if (m < rows && n < cols) {
          const float v = CLQ_X_GROUPED ? c[r][t][i] : c[r][t][i] * xs[m];
          CLQ_PUT(v, m, n);
        }
      }
    }
  }
}
