/* Horizontal folds of a wide vector in a fixed order: upper half onto lower
 * half until one lane is left, so lane i meets lane i + 8, then i + 4, i + 2,
 * i + 1. The same tree in every kernel and in host/ref/math.c. */
#ifndef CLQ_LIB_FOLD_H
#define CLQ_LIB_FOLD_H

#pragma OPENCL FP_CONTRACT OFF

static inline float clq_fold_add4(float4 v) {
  float2 p = v.lo + v.hi;
  return p.x + p.y;
}

static inline float clq_fold_add8(float8 v) {
  return clq_fold_add4(v.lo + v.hi);
}

static inline float clq_fold_add16(float16 v) {
  return clq_fold_add8(v.lo + v.hi);
}

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

/* Largest lane; of a NaN and a number, either. */
static inline float clq_fold_max16(float16 v) {
  float8 a = fmax(v.lo, v.hi);
  float4 b = fmax(a.lo, a.hi);
  float2 c = fmax(b.lo, b.hi);
  return fmax(c.x, c.y);
}

#endif
