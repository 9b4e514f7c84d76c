/* What the CPU forms of integer GEMM share: 16 columns of packed weights
 * against int8 activations. */
#ifndef CLQ_LIB_Q8_H
#define CLQ_LIB_Q8_H

#include "lib/dot.h"
#include "lib/tile.h"
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

/* How the products are taken:
 *   VNNI   vpdpbusd on four codes
 *   PAIRS  AVX2, 4-bit weights: pairs are added in int16 for BLOCK_K elements
 *          (8 * 2 * 15 * 128 = 30720), then widened
 *   WIDE   AVX2, 8-bit weights: both sides widened to int16, where no pair can
 *          saturate; even and odd codes of x lie apart
 *   else   the compiler's vectors */
#define PAIRS (CLQ_DOT_AVX2 && !CLQ_DOT_VNNI && CLQ_W_BITS == 4)
#define WIDE (CLQ_DOT_AVX2 && !CLQ_DOT_VNNI && CLQ_W_BITS == 8)
#define BLOCK_K 32

/* Where weights enter the product unsigned they are off by OFFSET;
 * OFFSET * sum(x) is taken off before the products are added. */
#if CLQ_W_BITS == 8
#define OFFSET (WIDE ? 0 : 128)
#else
#define OFFSET CLQ_W_OFFSET
#endif
#define NEED_SUM (OFFSET || CLQ_W_ZERO || CLQ_W_MIN)

/* Eight elements of K take STEPS steps, each with one word of x for each row. */
#define STEPS (WIDE ? 4 : 2)
#define X_WORDS(elements) ((elements) / 8 * STEPS)
#define W_WORDS_PER_8 (16 * 8 / CLQ_W_PER_WORD) /* of a tile of weights */

/* Sixteen columns of weights, or of sums of products. AVX2 has vectors of eight: keeping the
 * halves apart saves taking vectors of sixteen to pieces where the compiler has those too. */
#define HALVES (PAIRS || WIDE)
#if HALVES
typedef struct columns {
  int8 lo, hi;
} columns;
#else
typedef int16 columns;
#endif

/* The weights of step s of the eight elements at w. */
static inline columns step_weights(__global const uint *w, int s) {
#if PAIRS
  const int8 mask = 0x0f0f0f0f;
  const uint8 lo = vload8(0, w), hi = vload8(1, w);
  return (columns){as_int8(lo >> (4 * s)) & mask, as_int8(hi >> (4 * s)) & mask};
#elif WIDE
  const short16 lo = as_short16(vload8(s / 2 * 2, w)), hi = as_short16(vload8(s / 2 * 2 + 1, w));
  const short16 eight = 8;
  return s % 2 ? (columns){as_int8(lo >> eight), as_int8(hi >> eight)}
               : (columns){as_int8((lo << eight) >> eight), as_int8((hi << eight) >> eight)};
#elif CLQ_W_BITS == 4
  return as_int16((vload16(0, w) >> (4 * s)) & 0x0f0f0f0fu);
#else
  return as_int16(vload16(s, w) ^ 0x80808080u);
#endif
}

/* acc + the step's products with the word *a of a row. */
static inline columns step(columns acc, columns w, const int *a) {
#if CLQ_DOT_VNNI
  __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*a));
  return acc;
#elif PAIRS
  const int8 x = *a;
  return (columns){as_int8(as_short16(acc.lo) + as_short16(clq_avx2_madd8(w.lo, x))),
                   as_int8(as_short16(acc.hi) + as_short16(clq_avx2_madd8(w.hi, x)))};
#elif WIDE
  const int8 x = *a;
  return (columns){acc.lo + clq_avx2_madd16(w.lo, x), acc.hi + clq_avx2_madd16(w.hi, x)};
#else
  return clq_dot4x16_u8s8(acc, as_uint16(w), *a);
#endif
}

/* The int32 sums behind what up to BLOCK_K elements of steps from zero left. */
static inline int16 steps_sum(columns acc) {
#if PAIRS
  const int8 ones = 0x00010001;
  return (int16)(clq_avx2_madd16(acc.lo, ones), clq_avx2_madd16(acc.hi, ones));
#elif WIDE
  return (int16)(acc.lo, acc.hi);
#else
  return acc;
#endif
}

#if HALVES
#define NO_COLUMNS ((columns){0, 0})
#else
#define NO_COLUMNS ((columns)0)
#endif

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
