/* LayerNorm and RMSNorm with rows in registers, for GPUs whose warps have 32 lanes or
 * more and exchange values.
 *
 *   warp    CLQ_LANES work-items a row, CLQ_QUADS quads each; several rows a
 *           work-group. CLQ_LANES < 32: rows of at most 4 * CLQ_LANES elements
 *   group   a work-group a row, a block for each 32 of its work-items; one
 *           barrier for the statistics */
#ifndef CLQ_LIB_NORM_WARP_H
#define CLQ_LIB_NORM_WARP_H

#include "lib/norm_quads.h"

#if !CLQ_WARP_LOCAL

#ifndef CLQ_LANES
#define CLQ_LANES 32
#endif
#ifndef CLQ_QUADS
#define CLQ_QUADS 8
#endif

/* Over the lanes that hold a block of `steps` chunks, to all of them. */
static inline clq_welford clq_norm_block_fold(clq_norm_block b, int steps, uint lanes) {
  clq_welford w = clq_norm_block_lane(b, steps);
#if CLQ_CENTERED
  return clq_lanes_reduce_welford_equal(w, lanes);
#else
  w.m2 = clq_lanes_reduce_add(w.m2, lanes);
  return w;
#endif
}

static inline float clq_chunk_sum(float4 v, uint lanes) {
  return clq_lanes_reduce_add(clq_fold_add4(v), lanes);
}

/* The mean of the first chunk, of which t is a lane's quad. */
static inline float clq_norm_pivot(float4 t, long cols, uint lanes) {
#if CLQ_CENTERED
  return clq_div(clq_chunk_sum(t, lanes) + 0.0f, (float)min((long)CLQ_CHUNK, cols));
#else
  return 0.0f;
#endif
}

/* After the blocks what is left behind the last whole chunk: t at i, the lane's quad of it. */
static inline clq_norm_total clq_norm_join_rest(clq_norm_total total, float4 t, float pivot, long i,
                                                long cols, uint lanes) {
#if CLQ_CENTERED
  const float n = (float)(cols & (CLQ_CHUNK - 1));
  const float4 d = clq_v_inside(t - pivot, i, cols);
  const float mean = clq_div(clq_chunk_sum(d, lanes) + 0.0f, fmax(n, 1.0f));
  const float4 e = clq_v_inside(d - mean, i, cols);
  return clq_norm_join(total, clq_welford_of(n, mean, clq_chunk_sum(e * e, lanes)));
#else
  return total;
#endif
}

#if CLQ_OUT_IS_CODES
static inline clq_coder clq_lanes_coder(int4 low, int4 high, uint n) {
  const int least = CLQ_CODES == CLQ_ASYMMETRIC ? clq_lanes_reduce_mini(clq_quad_min(low), n) : 0;
  return clq_coder_of(least, clq_lanes_reduce_maxi(clq_quad_max(high), n));
}
#endif

/* Writes y of the quads at begin + 128 k, k < quads, up to end, of a row that `lanes` work-items
 * hold; all of the work-group if whole. */
static inline void clq_norm_emit(const clq_out_row *o, const float4 *y, int quads, long begin,
                                 long end, uint lanes, bool whole,
                                 __local int (*scratch)[CLQ_GROUP]) {
#if !CLQ_OUT_IS_CODES
#pragma unroll
  for (int k = 0; k < quads; ++k) {
    CLQ_QUAD_STORE(CLQ_OUT)(y[k], o->out, begin + CLQ_CHUNK * k, end);
  }
#elif CLQ_SHARE == CLQ_SHARE_NEAR
  const uint n = (uint)o->group / 4;
#pragma unroll
  for (int k = 0; k < quads; ++k) {
    const long i = begin + CLQ_CHUNK * k;
    const clq_coder c =
        clq_lanes_coder(clq_least4((int4)0, y[k]), clq_most4((int4)0, y[k]), n);
    const int4 q = clq_code4(y[k], c);
    CLQ_QUAD_STORE(CLQ_OUT)(q, o->out, i, end);
    const int sum =
        clq_lanes_reduce_addi(clq_quad_sum(clq_inside4(q, i, end)), n);
    if (((uint)get_local_id(0) & (n - 1)) == 0 && i < end) {
      clq_emit_planes(o, i / o->group, c, sum);
    }
  }
#else
#if CLQ_CODES == CLQ_STATIC
  const clq_coder c = clq_static_coder(o);
#else
  int4 low = (int4)0, high = (int4)0;
#pragma unroll
  for (int k = 0; k < quads; ++k) {
    low = clq_least4(low, y[k]);
    high = clq_most4(high, y[k]);
  }
  const clq_coder c =
      whole ? clq_group_coder(low, high, scratch) : clq_lanes_coder(low, high, lanes);
#endif
  int4 total = (int4)0;
#pragma unroll
  for (int k = 0; k < quads; ++k) {
    const long i = begin + CLQ_CHUNK * k;
#if CLQ_CODES == CLQ_STATIC
    const int4 q = clq_static_code4(y[k], o, c, i, end);
#else
    const int4 q = clq_code4(y[k], c);
#endif
    total += clq_inside4(q, i, end);
    CLQ_QUAD_STORE(CLQ_OUT)(q, o->out, i, end);
  }
  const int sum = whole ? clq_group_reduce_addi(clq_quad_sum(total), scratch[1])
                        : clq_lanes_reduce_addi(clq_quad_sum(total), lanes);
  const uint first = whole ? (uint)get_local_id(0) : (uint)get_local_id(0) & (lanes - 1);
  if (first == 0 && end > 0) {
    clq_emit_planes(o, 0, c, sum);
  }
#endif
}

#if CLQ_FORM != 2
__kernel CLQ_WARPS_OF_32 void CLQ_NORM_KERNEL(warp)(CLQ_NORM_ARGS) {
  const uint lane = (uint)get_local_id(0) & (CLQ_LANES - 1);
  const long wanted = (long)get_global_id(0) / CLQ_LANES;
  const long row = min(wanted, rows - 1);
  const long begin = 4 * lane;
  const long end = wanted < rows ? cols : 0; /* none of a row that is not there */
  CLQ_NORM_ROW(r, row, end);

  float4 s[CLQ_QUADS];
#pragma unroll
  for (int k = 0; k < CLQ_QUADS; ++k) {
    s[k] = clq_norm_sum(&r, begin + CLQ_CHUNK * k, r.cols);
  }
  const float pivot = clq_norm_pivot(clq_norm_scaled(&r, s[0]), cols, CLQ_LANES);
  const int chunks = (int)clq_norm_chunks(cols);
  clq_norm_block block = clq_norm_block_empty();
  float4 rest = (float4)0.0f;
#pragma unroll
  for (int k = 0; k < CLQ_QUADS; ++k) {
    const float4 t = clq_norm_scaled(&r, s[k]);
    if (k < chunks) {
      block = clq_norm_block_add(block, t, pivot, k);
    }
    rest = k == chunks ? t : rest;
  }
  clq_norm_total total = clq_norm_join(clq_norm_nothing(),
                                    clq_norm_block_fold(block, chunks, CLQ_LANES));
  const long behind = begin + (long)CLQ_CHUNK * chunks;
  total = clq_norm_join_rest(total, rest, pivot, behind, cols, CLQ_LANES);
  const clq_norm_stats n = clq_norm_finish(total, pivot, cols, eps);
  if (lane == 0 && wanted < rows) {
    CLQ_NORM_PUBLISH(row, n)
  }
#pragma unroll
  for (int k = 0; k < CLQ_QUADS; ++k) {
    const long i = begin + CLQ_CHUNK * k;
    clq_norm_keep_sum(&r, s[k], i, r.cols);
    s[k] = clq_norm_y_inside(&r, n, clq_norm_scaled(&r, s[k]), i, end);
  }
  CLQ_OUT_ROW(o, row, 0L, cols);
  clq_norm_emit(&o, s, CLQ_QUADS, begin, end, CLQ_LANES, false, 0);
}
#endif

#if CLQ_FORM != 1
__kernel CLQ_WARPS_OF_32 void CLQ_NORM_KERNEL(group)(CLQ_NORM_ARGS) {
  CLQ_EMIT_SCRATCH(scratch);
  __local float means[CLQ_SEGMENTS], m2s[CLQ_SEGMENTS];
  const uint lane = (uint)get_local_id(0) & 31;
  const uint segment = (uint)get_local_id(0) / 32;
  const long row = get_group_id(0);
  const long begin = (long)CLQ_BLOCK * segment + 4 * lane;
  const long chunks = clq_norm_chunks(cols);
  CLQ_NORM_ROW(r, row, cols);

  float4 s[CLQ_STEPS];
#pragma unroll
  for (int k = 0; k < CLQ_STEPS; ++k) {
    s[k] = clq_norm_sum(&r, begin + CLQ_CHUNK * k, r.cols);
  }
  /* All segments look at the first chunk and at the rest themselves. */
  const long behind = CLQ_CHUNK * chunks + 4 * lane;
  float4 head = (float4)0.0f, rest = (float4)0.0f;
  if (CLQ_CENTERED) {
    head = clq_norm_scaled(&r, clq_norm_sum(&r, 4 * lane, r.cols));
    rest = clq_norm_scaled(&r, clq_norm_sum(&r, behind, r.cols));
  }
  const float pivot = clq_norm_pivot(head, cols, 32);
  const int steps = (int)clamp(chunks - CLQ_STEPS * (long)segment, 0L, (long)CLQ_STEPS);
  clq_norm_block block = clq_norm_block_empty();
#pragma unroll
  for (int k = 0; k < CLQ_STEPS; ++k) {
    if (k < steps) {
      block = clq_norm_block_add(block, clq_norm_scaled(&r, s[k]), pivot, k);
    }
  }
  const clq_welford mine = clq_norm_block_fold(block, steps, 32);
  if (lane == 0) {
    means[segment] = mine.mean;
    m2s[segment] = mine.m2;
  }
  barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE); /* out may be x */
  clq_norm_total total =
      clq_norm_join_all(clq_norm_nothing(), means, m2s, 0, CLQ_SEGMENTS, chunks);
  total = clq_norm_join_rest(total, rest, pivot, behind, cols, 32);
  const clq_norm_stats n = clq_norm_finish(total, pivot, cols, eps);
  if (get_local_id(0) == 0) {
    CLQ_NORM_PUBLISH(row, n)
  }
#pragma unroll
  for (int k = 0; k < CLQ_STEPS; ++k) {
    const long i = begin + CLQ_CHUNK * k;
    clq_norm_keep_sum(&r, s[k], i, r.cols);
    s[k] = clq_norm_y_inside(&r, n, clq_norm_scaled(&r, s[k]), i, cols);
  }
  CLQ_OUT_ROW(o, row, 0L, cols);
  clq_norm_emit(&o, s, CLQ_STEPS, begin, cols, 32, true, scratch);
}
#endif

#endif
#endif
