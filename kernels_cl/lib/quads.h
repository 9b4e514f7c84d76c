/* Walking a row four elements at a time, the form that GPUs want: neighbouring
 * work-items take neighbouring quads. A quad that reaches past the end reads
 * zeros there and writes nothing; one that begins past it is all zeros. Offsets
 * count elements; no alignment is needed. */
#ifndef CLQ_LIB_QUADS_H
#define CLQ_LIB_QUADS_H

#include "lib/half.h"

static inline float4 clq_quad_load_f32(const __global float *p, long i, long end) {
  if (i + 4 <= end) {
    return vload4(0, p + i);
  }
  return (float4)(i < end ? p[i] : 0.0f, i + 1 < end ? p[i + 1] : 0.0f,
                  i + 2 < end ? p[i + 2] : 0.0f, 0.0f);
}

static inline float4 clq_quad_load_f16(const __global half *p, long i, long end) {
  if (i + 4 <= end) {
    return vload_half4(0, p + i);
  }
  return (float4)(i < end ? vload_half(i, p) : 0.0f, i + 1 < end ? vload_half(i + 1, p) : 0.0f,
                  i + 2 < end ? vload_half(i + 2, p) : 0.0f, 0.0f);
}

static inline void clq_quad_store_f32(float4 x, __global float *p, long i, long end) {
  if (i + 4 <= end) {
    vstore4(x, 0, p + i);
    return;
  }
  if (i < end) p[i] = x.x;
  if (i + 1 < end) p[i + 1] = x.y;
  if (i + 2 < end) p[i + 2] = x.z;
}

static inline void clq_quad_store_f16(float4 x, __global half *p, long i, long end) {
  if (i + 4 <= end) {
    vstore_half4_rte(x, 0, p + i);
    return;
  }
  if (i < end) vstore_half_rte(x.x, i, p);
  if (i + 1 < end) vstore_half_rte(x.y, i + 1, p);
  if (i + 2 < end) vstore_half_rte(x.z, i + 2, p);
}

static inline void clq_quad_store_i8(char4 x, __global char *p, long i, long end) {
  if (i + 4 <= end) {
    vstore4(x, 0, p + i);
    return;
  }
  if (i < end) p[i] = x.x;
  if (i + 1 < end) p[i + 1] = x.y;
  if (i + 2 < end) p[i + 2] = x.z;
}

#endif
