/* Sixteen columns of a row at the matrix's right edge, for CPU tiles. */
#ifndef CLQ_LIB_TILE_H
#define CLQ_LIB_TILE_H

/* `left` floats at p, or 16 if there are more; the others zero. */
static inline float16 clq_load_columns(__global const float *p, int left) {
  if (left >= 16) {
    return vload16(0, p);
  }
  float v[16];
  for (int j = 0; j < 16; j++) {
    v[j] = j < left ? p[j] : 0.0f;
  }
  return vload16(0, v);
}

static inline void clq_store_columns(float16 c, __global float *p, int left) {
  if (left >= 16) {
    vstore16(c, 0, p);
    return;
  }
  float v[16];
  vstore16(c, 0, v);
  for (int j = 0; j < left; j++) {
    p[j] = v[j];
  }
}

#endif
