/* Horizontal folds of a wide vector in a fixed order, neighbours first: lanes
 * 2i and 2i + 1, then those sums in pairs, and so on. lib/warp.h folds work-items
 * by the same tree, whatever the width of a warp, and host/ref/math.c repeats
 * it, so a sum over the same lanes has the same bits everywhere. */
#ifndef CLQ_LIB_FOLD_H
#define CLQ_LIB_FOLD_H

#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

static inline float clq_fold_add4(float4 v) {
  float2 p = v.even + v.odd;
  return p.x + p.y;
}

static inline float clq_fold_add8(float8 v) {
  return clq_fold_add4(v.even + v.odd);
}

static inline float clq_fold_add16(float16 v) {
  return clq_fold_add8(v.even + v.odd);
}

/* Integer sums and maxima are exact in any order; this one is the cheapest. */
static inline int clq_fold_add16i(int16 v) {
  int8 a = v.lo + v.hi;
  int4 b = a.lo + a.hi;
  int2 c = b.lo + b.hi;
  return c.x + c.y;
}

static inline int clq_fold_max16i(int16 v) {
  int8 a = max(v.lo, v.hi);
  int4 b = max(a.lo, a.hi);
  int2 c = max(b.lo, b.hi);
  return max(c.x, c.y);
}

static inline int clq_fold_min16i(int16 v) {
  int8 a = min(v.lo, v.hi);
  int4 b = min(a.lo, a.hi);
  int2 c = min(b.lo, b.hi);
  return min(c.x, c.y);
}

/* The first and the second of each two neighbours, and of each two neighbouring quads, of two
 * vectors: orders that a shuffle within 128 bits gives. Taken in turn as below they keep
 * neighbours together. */
#define CLQ_FIRSTS(a, b) \
  ((float16)((a).s02, (b).s02, (a).s46, (b).s46, (a).s8a, (b).s8a, (a).sce, (b).sce))
#define CLQ_SECONDS(a, b) \
  ((float16)((a).s13, (b).s13, (a).s57, (b).s57, (a).s9b, (b).s9b, (a).sdf, (b).sdf))
#define CLQ_FIRST_QUADS(a, b) ((float16)((a).s0123, (a).s89ab, (b).s0123, (b).s89ab))
#define CLQ_SECOND_QUADS(a, b) ((float16)((a).s4567, (a).scdef, (b).s4567, (b).scdef))

/* Lane 4 k + j: the sum of quad k of vj, of v0 to v3. */
CLQ_INLINE float16 clq_fold_quads(float16 v0, float16 v1, float16 v2, float16 v3) {
  const float16 a = CLQ_FIRSTS(v0, v1) + CLQ_SECONDS(v0, v1);
  const float16 b = CLQ_FIRSTS(v2, v3) + CLQ_SECONDS(v2, v3);
  return CLQ_FIRSTS(a, b) + CLQ_SECONDS(a, b);
}

/* 128 lanes, lane 16 j + k in v[j]. */
CLQ_INLINE float clq_fold_add128(const float16 *v) {
  const float16 a = clq_fold_quads(v[0], v[1], v[2], v[3]);
  const float16 b = clq_fold_quads(v[4], v[5], v[6], v[7]);
  const float16 c = CLQ_FIRST_QUADS(a, b) + CLQ_SECOND_QUADS(a, b);
  return clq_fold_add8((float8)(c.s0123, c.s89ab) + (float8)(c.s4567, c.scdef));
}

/* Largest lane; a NaN is passed over while there is a number. */
static inline float clq_fold_max16(float16 v) {
  float8 a = fmax(v.lo, v.hi);
  float4 b = fmax(a.lo, a.hi);
  float2 c = fmax(b.lo, b.hi);
  return fmax(c.x, c.y);
}

#endif
