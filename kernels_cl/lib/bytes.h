/* Rows of bytes, four at a time. */
#ifndef CLQ_LIB_BYTES_H
#define CLQ_LIB_BYTES_H

/* Four bytes at p as a word, xor `flip`; those at and behind `left` zero. */
static inline int clq_load_bytes(__global const char *p, int left, uint flip) {
  if (left >= 4) {
    return as_int(vload4(0, p)) ^ (int)flip;
  }
  int v = 0;
  for (int j = 0; j < left; j++) {
    v |= (int)((uchar)p[j] ^ (flip & 255u)) << (8 * j);
  }
  return v;
}

/* The same of the bytes p[at[0]] and on. */
static inline int clq_gather_bytes(__global const char *p, __global const int *at, int left,
                                   uint flip) {
  if (left >= 4) {
    const int4 i = vload4(0, at);
    return as_int((char4)(p[i.s0], p[i.s1], p[i.s2], p[i.s3])) ^ (int)flip;
  }
  int v = 0;
  for (int j = 0; j < left; j++) {
    v |= (int)((uchar)p[at[j]] ^ (flip & 255u)) << (8 * j);
  }
  return v;
}

#endif
