/* What the forms of LayerNorm and RMSNorm for GPUs share. 32 neighbouring work-items,
 * a lane for each quad of a chunk of 128, take a block of 1024 elements. */
#ifndef CLQ_LIB_NORM_QUADS_H
#define CLQ_LIB_NORM_QUADS_H

#if CLQ_FORM == 3
#define CLQ_GROUP 256 /* the most work-items that the host launches as stream */
#else
#define CLQ_GROUP 512 /* and as group */
#endif

#include "lib/emit_group.h"
#include "lib/fold.h"
#include "lib/norm_elements.h"
#include "lib/norm_stats.h"

enum { CLQ_SEGMENTS = CLQ_GROUP / 32 };

/* Statistics of a block: chunks as they come, then the fold over its lanes. */
typedef struct {
  float4 mean;
  float4 m2; /* RMSNorm: squares */
} clq_norm_block;

static inline clq_norm_block clq_norm_block_empty(void) {
  clq_norm_block b;
  b.mean = b.m2 = (float4)0.0f;
  return b;
}

/* Chunk k of the block. */
static inline clq_norm_block clq_norm_block_add(clq_norm_block b, float4 t, float pivot, int k) {
#if CLQ_CENTERED
  const float4 d = t - pivot;
  const float4 delta = d - b.mean;
  b.mean = fma(delta, (float4)clq_norm_reciprocal[k], b.mean);
  b.m2 = fma(delta, d - b.mean, b.m2);
#else
  b.m2 = fma(t, t, b.m2);
#endif
  return b;
}

/* The quads of a lane that took `steps` chunks, merged. */
static inline clq_welford clq_norm_block_lane(clq_norm_block b, int steps) {
  const float n = (float)steps;
#if CLQ_CENTERED
  return clq_welford_merge_equal(clq_welford_merge_equal(clq_welford_of(n, b.mean.x, b.m2.x),
                                                         clq_welford_of(n, b.mean.y, b.m2.y)),
                                 clq_welford_merge_equal(clq_welford_of(n, b.mean.z, b.m2.z),
                                                         clq_welford_of(n, b.mean.w, b.m2.w)));
#else
  return clq_welford_of(n, 0.0f, clq_fold_add4(b.m2));
#endif
}

/* Chunks of a row that blocks are made of: LayerNorm leaves what is behind the last whole one. */
static inline long clq_norm_chunks(long cols) {
  return CLQ_CENTERED ? cols / CLQ_CHUNK : (cols + CLQ_CHUNK - 1) / CLQ_CHUNK;
}

/* Blocks of a round, whose folds lie in local memory, after those before them. */
static inline clq_norm_total clq_norm_join_all(clq_norm_total total, __local const float *means,
                                               __local const float *m2s, long first, long segments,
                                               long chunks) {
  for (long j = 0, c = first; j < segments && c < chunks; ++j, c += CLQ_STEPS) {
    const float count = (float)(CLQ_CHUNK * min(chunks - c, (long)CLQ_STEPS));
    total = clq_norm_join(total, clq_welford_of(count, means[j], m2s[j]));
  }
  return total;
}

#endif
