/* What the CPU forms of integer GEMM share: 16 columns of packed weights
 * against int8 activations. */
#ifndef CLQ_LIB_Q8_H
#define CLQ_LIB_Q8_H

#include "lib/dot.h"
#include "lib/weights.h"

#ifndef CLQ_X_GROUPED
#define CLQ_X_GROUPED 1 /* 1: x scales per `group` elements; 0: per token */
#endif
#ifndef CLQ_X_SUM
#define CLQ_X_SUM 0 /* 1: x_sum holds the sum of the codes of every group */
#endif
#ifndef CLQ_GROUP
#define CLQ_GROUP 32 /* elements summed in int32, a multiple of 8; 0: as `group` says */
#endif

#if CLQ_GROUP
#define GROUP CLQ_GROUP
#else
#define GROUP group
#endif

/* The weights enter the product unsigned, off by OFFSET; OFFSET * sum(x) is
 * taken off before the products are added. */
#if CLQ_W_BITS == 8
#define OFFSET 128
#else
#define OFFSET CLQ_W_OFFSET
#endif
#define NEED_SUM (OFFSET || CLQ_W_ZERO || CLQ_W_MIN)

#define UNROLL __attribute__((opencl_unroll_hint))
#define ONCE __attribute__((opencl_unroll_hint(1))) /* compiling takes part in the first token */

/* acc + u8(w) * s8(*a), *a being four codes of one row for all 16 columns. */
static inline int16 dot_step(int16 acc, uint16 w, const int *a) {
#if CLQ_DOT_VNNI
  __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*a));
  return acc;
#elif CLQ_W_BITS == 4
  return clq_dot4x16_u7s8(acc, w, *a);
#else
  return clq_dot4x16_u8s8(acc, w, *a);
#endif
}

/* The words of eight elements of K, four in each result, unsigned. */
static inline void load_weights(__global const uint *w, uint16 *lo, uint16 *hi) {
#if CLQ_W_BITS == 4
  const uint16 b = vload16(0, w);
  *lo = b & 0x0f0f0f0fu;
  *hi = (b >> 4) & 0x0f0f0f0fu;
#else
  *lo = vload16(0, w) ^ 0x80808080u;
  *hi = vload16(1, w) ^ 0x80808080u;
#endif
}
#define WORDS_PER_8 (16 * 8 / CLQ_W_PER_WORD) /* how far that is in a tile */

/* Four codes at p, those at and behind `left` zero. */
static inline int load_codes(__global const char *p, int left) {
  if (left >= 4) {
    return as_int(vload4(0, p));
  }
  int v = 0;
  for (int j = 0; j < left; j++) {
    v |= (int)(uchar)p[j] << (8 * j);
  }
  return v;
}

/* acc[i] + the four codes of v[i]. */
static inline int8 sum_codes(int8 acc, int8 v) {
#if CLQ_DOT_VNNI
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"((int8)0x01010101), "v"(v));
  return acc;
#else
  return acc + (((v << 24) >> 24) + ((v << 16) >> 24) + ((v << 8) >> 24) + (v >> 24));
#endif
}

#endif
