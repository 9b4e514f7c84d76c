/* LayerNorm and RMSNorm of rows of any width, on any device: a work-group a row,
 * which is read twice. */
#ifndef CLQ_LIB_NORM_STREAM_H
#define CLQ_LIB_NORM_STREAM_H

#include "lib/norm_quads.h"

/* The sum over a chunk, of which v is a lane's quad. Calls in a row take two scratch areas in turn;
 * here and below what is uniform is decided before barriers, not around them: in a branch that has
 * one, pocl takes the first work-item's variables for everyone's. */
static inline float clq_stream_sum(float4 v, __local float *scratch) {
  return clq_segment_reduce_add(clq_fold_add4(v), 32, scratch);
}

__kernel void CLQ_NORM_KERNEL(stream)(CLQ_NORM_ARGS) {
  __local float sums[2][CLQ_GROUP];
  __local float means[2][CLQ_SEGMENTS], m2s[2][CLQ_SEGMENTS];
#if CLQ_CENTERED
  __local clq_welford states[CLQ_GROUP];
#endif
  CLQ_EMIT_SCRATCH(scratch);
  const uint lane = (uint)get_local_id(0) & 31;
  const long segment = (long)get_local_id(0) / 32;
  const long segments = (long)get_local_size(0) / 32;
  const long row = get_group_id(0);
  const long chunks = clq_norm_chunks(cols);
  const long behind = CLQ_CHUNK * chunks + 4 * lane;
  CLQ_NORM_ROW(r, row, cols);

  float pivot = 0.0f;
#if CLQ_CENTERED
  pivot = clq_stream_sum(clq_norm_scaled(&r, clq_norm_sum(&r, 4 * lane, r.cols)), sums[0]);
  pivot = clq_div(pivot + 0.0f, (float)min((long)CLQ_CHUNK, cols));
#if CLQ_SUM_IS_KEPT
  barrier(CLK_GLOBAL_MEM_FENCE); /* all have read what is about to be written */
  if (segment == 0) {
    clq_norm_keep_sum(&r, clq_norm_sum(&r, behind, r.cols), behind, r.cols);
  }
#endif
#endif
  clq_norm_total total = clq_norm_nothing();
  int turn = 0;
  long first = 0;
  do {
    const long mine = first + CLQ_STEPS * segment;
    const int steps = (int)clamp(chunks - mine, 0L, (long)CLQ_STEPS);
    clq_norm_block block = clq_norm_block_empty();
    for (int k = 0; k < steps; ++k) {
      const float4 t = clq_norm_first(&r, CLQ_CHUNK * (mine + k) + 4 * lane, r.cols);
      block = clq_norm_block_add(block, t, pivot, k);
    }
    clq_welford folded = clq_norm_block_lane(block, steps);
#if CLQ_CENTERED
    folded = clq_segment_reduce_welford_equal(folded, 32, states);
#else
    folded.m2 = clq_segment_reduce_add(folded.m2, 32, sums[turn]);
#endif
    if (lane == 0) {
      means[turn][segment] = folded.mean;
      m2s[turn][segment] = folded.m2;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    total = clq_norm_join_all(total, means[turn], m2s[turn], first, segments, chunks);
    turn ^= 1;
    first += CLQ_STEPS * segments;
  } while (first < chunks);
#if CLQ_SUM_IS_KEPT
  barrier(CLK_GLOBAL_MEM_FENCE);
#endif
#if CLQ_CENTERED
  const float left = (float)(cols & (CLQ_CHUNK - 1));
  const float4 d = clq_v_inside(clq_norm_again(&r, behind, r.cols) - pivot, behind, cols);
  const float mean = clq_div(clq_stream_sum(d, sums[1]) + 0.0f, fmax(left, 1.0f));
  const float4 e = clq_v_inside(d - mean, behind, cols);
  total = clq_norm_join(total, clq_welford_of(left, mean, clq_stream_sum(e * e, sums[0])));
#endif
  const clq_norm_stats n = clq_norm_finish(total, pivot, cols, eps);
  if (get_local_id(0) == 0) {
    CLQ_NORM_PUBLISH(row, n)
  }
  barrier(CLK_GLOBAL_MEM_FENCE); /* out may be x: all have read it for the statistics */
  CLQ_OUT_ROW(o, row, 0L, cols);
#define VALUE(i, end) clq_norm_y_inside(&r, n, clq_norm_again(&r, (i), r.cols), (i), (end))
  CLQ_EMIT_ROW_GROUP(VALUE, cols, o, scratch)
}

#endif
