/* Sixteen columns of a row at the matrix's right edge, for CPU tiles. */
#ifndef CLQ_LIB_TILE_H
#define CLQ_LIB_TILE_H

/* Vectors at any address of an element; vload16 and vstore16 come in pieces from some compilers. */
typedef float clq_float16_at __attribute__((ext_vector_type(16), aligned(4)));

/* `left` floats at p, or 16 if there are more; the others zero. */
static inline float16 clq_load_columns(__global const float *p, int left) {
  if (left >= 16) {
    return *(__global const clq_float16_at *)p;
  }
  float16 c = 0.0f;
  for (int j = 0; j < left; j++) {
    ((float *)&c)[j] = p[j];
  }
  return c;
}

static inline void clq_store_columns(float16 c, __global float *p, int left) {
  if (left >= 16) {
    *(__global clq_float16_at *)p = c;
    return;
  }
  for (int j = 0; j < left; j++) {
    p[j] = ((const float *)&c)[j];
  }
}

#endif
