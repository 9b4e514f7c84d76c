/* Rows of bytes, four at a time. */
#ifndef CLQ_LIB_BYTES_H
#define CLQ_LIB_BYTES_H

/* Four bytes at p as a word, those at and behind `left` zero. */
static inline int clq_load_bytes(__global const char *p, int left) {
  if (left >= 4) {
    return as_int(vload4(0, p));
  }
  int v = 0;
  for (int j = 0; j < left; j++) {
    v |= (int)(uchar)p[j] << (8 * j);
  }
  return v;
}

#endif
