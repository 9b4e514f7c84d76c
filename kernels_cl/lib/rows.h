/* Walking a row 16 elements at a time, the form that CPUs want: one work-item
 * takes a row, and the last, partial step reads zeros and writes nothing past
 * the end. Offsets count elements; no alignment is needed. */
#ifndef CLQ_LIB_ROWS_H
#define CLQ_LIB_ROWS_H

#include "lib/half.h"

/* p[i .. i+15]; elements at end and beyond are 0 and are not read. */
static inline float16 clq_row_load_f32(const __global float *p, long i, long end) {
  if (i + 16 <= end) {
    return vload16(0, p + i);
  }
  float v[16];
  for (int k = 0; k < 16; ++k) {
    v[k] = i + k < end ? p[i + k] : 0.0f;
  }
  return vload16(0, v);
}

static inline float16 clq_row_load_f16(const __global half *p, long i, long end) {
  if (i + 16 <= end) {
    return clq_load_half16(0, p + i);
  }
  float v[16];
  for (int k = 0; k < 16; ++k) {
    v[k] = i + k < end ? vload_half(i + k, p) : 0.0f;
  }
  return vload16(0, v);
}

/* p[0 .. 15] = x. pocl takes a vstore16 apart, one of bytes into 16 stores that cost more than
 * computing them; a packed structure needs no alignment either and is stored at once. */
typedef struct __attribute__((packed)) clq_packed_f32 {
  float16 v;
} clq_packed_f32;
typedef struct __attribute__((packed)) clq_packed_i8 {
  char16 v;
} clq_packed_i8;
static inline void clq_store_f32(float16 x, __global float *p) {
  ((__global clq_packed_f32 *)p)->v = x;
}
static inline void clq_store_i8(char16 x, __global char *p) {
  ((__global clq_packed_i8 *)p)->v = x;
}

static inline void clq_row_store_f32(float16 x, __global float *p, long i, long end) {
  if (i + 16 <= end) {
    clq_store_f32(x, p + i);
    return;
  }
  float v[16];
  vstore16(x, 0, v);
  for (int k = 0; i + k < end; ++k) {
    p[i + k] = v[k];
  }
}

static inline void clq_row_store_f16(float16 x, __global half *p, long i, long end) {
  if (i + 16 <= end) {
    clq_store_half16(x, 0, p + i);
    return;
  }
  float v[16];
  vstore16(x, 0, v);
  for (int k = 0; i + k < end; ++k) {
    vstore_half_rte(v[k], i + k, p);
  }
}

static inline void clq_row_store_i8(char16 x, __global char *p, long i, long end) {
  if (i + 16 <= end) {
    clq_store_i8(x, p + i);
    return;
  }
  char v[16];
  vstore16(x, 0, v);
  for (int k = 0; i + k < end; ++k) {
    p[i + k] = v[k];
  }
}

#endif
