/* What the CPU forms of integer GEMM share: 16 columns of packed weights
 * against int8 activations. */
#ifndef CLQ_LIB_Q8_H
#define CLQ_LIB_Q8_H

#include "lib/dot.h"
#include "lib/gemm_args.h"
#include "lib/tile.h"

#ifndef CLQ_SUM_GROUP
#define CLQ_SUM_GROUP 32 /* elements summed in int32, 16 or 32; 0: as `group` says */
#endif
#ifndef CLQ_CHUNK
#define CLQ_CHUNK 2048 /* most elements of K at a time, a multiple of 32, at least the group */
#endif

#if CLQ_SUM_GROUP
#define CLQ_CHUNK_GROUPS (CLQ_CHUNK / CLQ_SUM_GROUP)
#else
#define CLQ_CHUNK_GROUPS (CLQ_CHUNK / 8)
#endif

/* The group as a constant, where the host gave one. */
static inline int clq_sum_group(int group) { return CLQ_SUM_GROUP ? CLQ_SUM_GROUP : group; }

/* How the products are taken:
 *   CLQ_DOT_VNNI   vpdpbusd on four codes
 *   CLQ_Q8_PAIRS   AVX2, codes of 6 bits or less: pairs are added in int16 for CLQ_Q8_BLOCK_K
 *                  elements (8 * 2 * 15 * 128 = 30720, 4 * 2 * 31 * 128, 2 * 2 * 63 * 128), then
 *                  widened
 *   CLQ_Q8_WIDE    AVX2, 8-bit codes: both sides widened to int16, where no pair can
 *                  saturate; even and odd codes of x lie apart
 *   else           the compiler's vectors */
#define CLQ_Q8_PAIRS (CLQ_DOT_AVX2 && !CLQ_DOT_VNNI && CLQ_W_CODE_BITS < 8)
#define CLQ_Q8_WIDE (CLQ_DOT_AVX2 && !CLQ_DOT_VNNI && CLQ_W_CODE_BITS == 8)
#define CLQ_Q8_BLOCK_K (CLQ_Q8_PAIRS && CLQ_W_CODE_BITS > 4 ? (CLQ_W_CODE_BITS == 5 ? 16 : 8) : 32)

/* Where weights enter the product unsigned they are off by CLQ_Q8_OFFSET;
 * CLQ_Q8_OFFSET * sum(x) is taken off before the products are added. */
#if CLQ_W_SIGNED
#define CLQ_Q8_OFFSET (CLQ_Q8_WIDE ? 0 : 128)
#else
#define CLQ_Q8_OFFSET CLQ_W_OFFSET
#endif
#define CLQ_Q8_NEED_SUM (CLQ_Q8_OFFSET != 0 || CLQ_W_ZERO || CLQ_W_MIN)

/* Eight elements of K take CLQ_Q8_STEPS steps, each with one word of x for each row. */
#define CLQ_Q8_STEPS (CLQ_Q8_WIDE ? 4 : 2)
#define CLQ_Q8_X_WORDS(elements) ((elements) / 8 * CLQ_Q8_STEPS)

/* Sixteen columns of weights, or of sums of products. AVX2 has vectors of eight: keeping the
 * halves apart saves taking vectors of sixteen to pieces where the compiler has those too. */
#define CLQ_Q8_HALVES (CLQ_Q8_PAIRS || CLQ_Q8_WIDE)
#if CLQ_Q8_HALVES
typedef struct clq_columns {
  int8 lo, hi;
} clq_columns;
#else
typedef int16 clq_columns;
#endif

/* The codes k + 4 i .. k + 4 i + 3 of a tile with the words w, a byte each as products take them. */
static inline clq_columns clq_four_weights(__global const uint *w, int k, int i) {
#if CLQ_Q8_HALVES
  return (clq_columns){as_int8(clq_codes8(w, k, i)), as_int8(clq_codes8(w + 8, k, i))};
#else
  return as_int16(clq_codes16(w, k, i) ^ (CLQ_W_SIGNED ? 0x80808080u : 0u));
#endif
}

/* Those of step s, whose four `four` are. */
static inline clq_columns clq_step_of(clq_columns four, int s) {
#if CLQ_Q8_WIDE && CLQ_W_SIGNED
  const short16 lo = as_short16(four.lo), hi = as_short16(four.hi), eight = 8;
  return s % 2 ? (clq_columns){as_int8(lo >> eight), as_int8(hi >> eight)}
               : (clq_columns){as_int8((lo << eight) >> eight), as_int8((hi << eight) >> eight)};
#elif CLQ_Q8_WIDE
  const int8 mask = 0x00ff00ff;
  const uint8 lo = as_uint8(four.lo), hi = as_uint8(four.hi);
  return s % 2 ? (clq_columns){as_int8(lo >> 8) & mask, as_int8(hi >> 8) & mask}
               : (clq_columns){as_int8(lo) & mask, as_int8(hi) & mask};
#else
  return four;
#endif
}
#define CLQ_Q8_FOUR_OF(s) (CLQ_Q8_WIDE ? (s) / 2 : (s))

/* The weights of step s of the eight elements from k on, in the words w of a tile. */
static inline clq_columns clq_step_weights(__global const uint *w, int k, int s) {
  return clq_step_of(clq_four_weights(w, k, CLQ_Q8_FOUR_OF(s)), s);
}

/* The same from where clq_four_weights of the eight wait. */
static inline clq_columns clq_waiting_weights(const int16 *eight, int s) {
  const int16 *four = eight + CLQ_Q8_FOUR_OF(s);
#if CLQ_Q8_HALVES
  return clq_step_of((clq_columns){((const int8 *)four)[0], ((const int8 *)four)[1]}, s);
#else
  return *four;
#endif
}

/* Lets them wait. */
static inline void clq_keep_weights(clq_columns four, int16 *at) {
#if CLQ_Q8_HALVES
  *at = (int16)(four.lo, four.hi);
#else
  *at = four;
#endif
}

/* acc + the step's products with the word *a of a row. */
static inline clq_columns clq_step(clq_columns acc, clq_columns w, const int *a) {
#if CLQ_DOT_VNNI
  __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*a));
  return acc;
#elif CLQ_Q8_PAIRS
  const int8 x = *a;
  return (clq_columns){as_int8(as_short16(acc.lo) + as_short16(clq_avx2_madd8(w.lo, x))),
                   as_int8(as_short16(acc.hi) + as_short16(clq_avx2_madd8(w.hi, x)))};
#elif CLQ_Q8_WIDE
  const int8 x = *a;
  return (clq_columns){acc.lo + clq_avx2_madd16(w.lo, x), acc.hi + clq_avx2_madd16(w.hi, x)};
#else
  return clq_dot4x16_u8s8(acc, as_uint16(w), *a);
#endif
}

/* The int32 sums behind what up to CLQ_Q8_BLOCK_K elements of steps from zero left. */
static inline int16 clq_steps_sum(clq_columns acc) {
#if CLQ_Q8_PAIRS
  const int8 ones = 0x00010001;
  return (int16)(clq_avx2_madd16(acc.lo, ones), clq_avx2_madd16(acc.hi, ones));
#elif CLQ_Q8_WIDE
  return (int16)(acc.lo, acc.hi);
#else
  return acc;
#endif
}

#if CLQ_Q8_HALVES
#define CLQ_Q8_NO_COLUMNS ((clq_columns){0, 0})
#else
#define CLQ_Q8_NO_COLUMNS ((clq_columns)0)
#endif

/* A word of x whose codes are all one, as clq_step takes it. */
#define CLQ_Q8_ONES (CLQ_Q8_WIDE ? 0x00010001 : 0x01010101)

/* What clq_step_weights adds to each code, padding too. */
#define CLQ_Q8_HIDDEN (CLQ_W_SIGNED ? CLQ_Q8_OFFSET : 0)

/* acc[i] + the four codes of v[i]. */
static inline int8 clq_sum_codes(int8 acc, int8 v) {
#if CLQ_DOT_VNNI
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"((int8)0x01010101), "v"(v));
  return acc;
#else
  return acc + (((v << 24) >> 24) + ((v << 16) >> 24) + ((v << 8) >> 24) + (v >> 24));
#endif
}

#endif
