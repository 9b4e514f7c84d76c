/* Horizontal folds of a wide vector in a fixed order, neighbours first: lanes
 * 2i and 2i + 1, then those sums in pairs, and so on. lib/warp.h folds work-items
 * by the same tree, whatever the width of a warp, and host/ref/math.c repeats
 * it, so a sum over the same lanes has the same bits everywhere. */
#ifndef CLQ_LIB_FOLD_H
#define CLQ_LIB_FOLD_H

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

/* 32 lanes: low is 0..15, high is 16..31. */
static inline float clq_fold_add32(float16 low, float16 high) {
  return clq_fold_add16((float16)(low.even + low.odd, high.even + high.odd));
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

/* 128 lanes, lane 16 j + k in v[j]. */
static inline float clq_fold_add128(const float16 *v) {
  const float16 a = (float16)(v[0].even + v[0].odd, v[1].even + v[1].odd);
  const float16 b = (float16)(v[2].even + v[2].odd, v[3].even + v[3].odd);
  const float16 c = (float16)(v[4].even + v[4].odd, v[5].even + v[5].odd);
  const float16 d = (float16)(v[6].even + v[6].odd, v[7].even + v[7].odd);
  return clq_fold_add32((float16)(a.even + a.odd, b.even + b.odd),
                        (float16)(c.even + c.odd, d.even + d.odd));
}

/* Largest lane; a NaN is passed over while there is a number. */
static inline float clq_fold_max16(float16 v) {
  float8 a = fmax(v.lo, v.hi);
  float4 b = fmax(a.lo, a.hi);
  float2 c = fmax(b.lo, b.hi);
  return fmax(c.x, c.y);
}

#endif
