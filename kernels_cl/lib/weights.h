/* Packed weights (layout: host/quant/weights.h) as kernels see them; the host
 * sets these options from the format. */
#ifndef CLQ_LIB_WEIGHTS_H
#define CLQ_LIB_WEIGHTS_H

#include "lib/half.h"
#include "lib/lookup.h"
#include "lib/types.h"

#pragma OPENCL FP_CONTRACT OFF

#ifndef CLQ_W_BITS
#define CLQ_W_BITS 4 /* 2, 3, 4, 5, 6, 8: codes; 16, 32: floats */
#endif
#ifndef CLQ_W_BF16
#define CLQ_W_BF16 0 /* 1: the floats of 16 bits are bfloat16; 0: half */
#endif
#ifndef CLQ_W_ZERO
#define CLQ_W_ZERO 0 /* 1: a zero point u8 per group; 0: the middle of the codes */
#endif
#ifndef CLQ_W_MIN
#define CLQ_W_MIN 0 /* 1: code * scale + a minimum of the scale's type, no zero point */
#endif
#ifndef CLQ_W_SCALE
#define CLQ_W_SCALE CLQ_F16 /* the type of scales and minima; CLQ_F32, CLQ_BF16 */
#endif
#ifndef CLQ_W_SUPER
#define CLQ_W_SUPER 0 /* 8, 16: groups of a super-block, whose scales and minima are bytes that one half
                         multiplies; 0: each is a float of the type above */
#endif

/* Bits of a code once it is taken out: with a table (lib/lookup.h) those of its values. */
#define CLQ_W_CODE_BITS (CLQ_W_TABLE == 1 ? 8 : CLQ_W_TABLE == 2 ? 5 : CLQ_W_BITS)

/* Codes are unsigned, but for bytes that have neither zero point nor minimum. */
#define CLQ_W_SIGNED (CLQ_W_CODE_BITS == 8 && !CLQ_W_ZERO && !CLQ_W_MIN)

/* What is taken off a code when no zero point is stored. */
#if CLQ_W_CODE_BITS < 8 && !CLQ_W_MIN && !CLQ_W_ZERO
#define CLQ_W_OFFSET (1 << (CLQ_W_CODE_BITS - 1))
#else
#define CLQ_W_OFFSET 0
#endif

/* Scales and minima: clq_load_scale(i, p) is element i of the plane that begins at p,
 * clq_load_scale16(i, p) are those of the 16 columns of a group, i a multiple of 16. */
#if CLQ_W_SUPER
typedef char clq_scale;
#define CLQ_SUPER_BYTES (32 + 16 * CLQ_W_SUPER) /* 16 halves, then 16 bytes for each group */
static inline const __global char *clq_super_block(long i, const __global char *plane) {
  return plane + (ulong)i / (16 * CLQ_W_SUPER) * CLQ_SUPER_BYTES;
}
/* Both are exact: a half has 11 bits, a byte 8. */
static inline float clq_load_scale(long i, const __global char *plane) {
  const __global char *super = clq_super_block(i, plane);
  return (float)super[32 + (ulong)i % (16 * CLQ_W_SUPER)] *
         clq_load_half((size_t)(i % 16), (const __global half *)super);
}
static inline float16 clq_load_scale16(long i, const __global char *plane) {
  const __global char *super = clq_super_block(i, plane);
  return convert_float16(vload16(0, super + 32 + (ulong)i % (16 * CLQ_W_SUPER))) *
         clq_load_half16(0, (const __global half *)super);
}
#elif CLQ_W_SCALE == CLQ_F32
typedef float clq_scale;
#define clq_load_scale(i, p)   ((p)[i])
#define clq_load_scale16(i, p) vload16(0, (p) + (i))
#elif CLQ_W_SCALE == CLQ_BF16
typedef ushort clq_scale;
#define clq_load_scale(i, p)   clq_f32_from_bf16((p)[i])
#define clq_load_scale16(i, p) clq_f32_from_bf16_16(vload16(0, (p) + (i)))
#else
typedef half clq_scale;
#define clq_load_scale(i, p)   clq_load_half(i, p)
#define clq_load_scale16(i, p) clq_load_half16(0, (p) + (i))
#endif

/* Floats as they are stored, or words of codes. clq_load_weight(i, p), clq_load_weight16(p): one of
 * those floats, and 16. */
#if CLQ_W_BITS == 32
typedef float clq_stored;
#define clq_load_weight(i, p) ((p)[i])
#define clq_load_weight16(p)  vload16(0, p)
#elif CLQ_W_BITS == 16 && CLQ_W_BF16
typedef ushort clq_stored;
#define clq_load_weight(i, p) clq_f32_from_bf16((p)[i])
#define clq_load_weight16(p)  clq_f32_from_bf16_16(vload16(0, p))
#elif CLQ_W_BITS == 16
typedef half clq_stored;
#define clq_load_weight(i, p) clq_load_half(i, p)
#define clq_load_weight16(p)  clq_load_half16(0, p)
#else
typedef uint clq_stored;
#endif

/* Codes lie in blocks of 32 elements of K, CLQ_W_BITS rows of a word for each column: first the rows
 * of their CLQ_W_LOW low bits, then those of the CLQ_W_HIGH others. Words from the start of a tile
 * of 16 columns, which has `padded` elements: */
#define CLQ_W_LOW (CLQ_W_BITS == 3 ? 2 : CLQ_W_BITS == 5 || CLQ_W_BITS == 6 ? 4 : CLQ_W_BITS)
#define CLQ_W_HIGH (CLQ_W_BITS - CLQ_W_LOW)
#define CLQ_W_TILE_WORDS(padded) ((long)(padded) * CLQ_W_BITS / 2)

#if CLQ_W_BITS < 16
/* Where k, a multiple of 8, is: the words of its block, of its row of so many bits from there, and by
 * how much a row is shifted; the four elements behind lie `bits` higher, or of bytes a row behind. */
#define CLQ_W_BLOCK(k) ((long)((k) >> 5) * (16 * CLQ_W_BITS))
#define CLQ_W_ROW(k, bits) ((bits) == 1 ? 0 : (bits) == 2 ? ((k) & 16) : ((k) & 24) * 2)
#define CLQ_W_SHIFT(k, bits) ((bits) == 1 ? ((k) & 24) >> 2 : (bits) == 2 ? ((k) & 8) >> 1 : 0)
#define CLQ_W_MASK(bits) (0x01010101u * ((1u << (bits)) - 1u))

/* Elements k + 4 s .. k + 4 s + 3 as bytes, for each word that LOAD takes from a row of the tile w; k
 * a multiple of 8, s 0 or 1. LOOK_UP: in the table, if there is one. */
#define CLQ_W_DEFINE_CODES(NAME, TYPE, LOAD, LOOK_UP)                                              \
  static inline TYPE NAME(__global const uint *w, int k, int s) {                                  \
    if (CLQ_W_BITS == 8) {                                                                         \
      return LOAD(w + (long)k * 4 + 16 * s);                                                       \
    }                                                                                              \
    if (CLQ_W_BITS == 4) {                                                                         \
      return LOOK_UP((LOAD(w + (long)k * 2) >> (4 * s)) & CLQ_W_MASK(4));                          \
    }                                                                                              \
    __global const uint *block = w + CLQ_W_BLOCK(k);                                               \
    const TYPE low = LOAD(block + CLQ_W_ROW(k, CLQ_W_LOW)) >> CLQ_W_SHIFT(k, CLQ_W_LOW);           \
    const TYPE codes = (low >> (CLQ_W_LOW * s)) & CLQ_W_MASK(CLQ_W_LOW);                           \
    if (CLQ_W_HIGH == 0) {                                                                         \
      return codes;                                                                                \
    }                                                                                              \
    const TYPE high = LOAD(block + 16 * CLQ_W_LOW + CLQ_W_ROW(k, CLQ_W_HIGH))                      \
                      >> CLQ_W_SHIFT(k, CLQ_W_HIGH);                                               \
    return codes | (((high >> (CLQ_W_HIGH * s)) & CLQ_W_MASK(CLQ_W_HIGH)) << CLQ_W_LOW);           \
  }
#define CLQ_W_LOAD1(p) (*(p))
#define CLQ_W_LOAD8(p) vload8(0, p)
#define CLQ_W_LOAD16(p) vload16(0, p)
/* Of one column, of eight, of all 16. */
CLQ_W_DEFINE_CODES(clq_codes, uint, CLQ_W_LOAD1, clq_look_up)
CLQ_W_DEFINE_CODES(clq_codes8, uint8, CLQ_W_LOAD8, clq_look_up8)
CLQ_W_DEFINE_CODES(clq_codes16, uint16, CLQ_W_LOAD16, clq_look_up16)
#endif

/* Elements of K in one 32-bit word as the float forms take it: of nibbles without a table the word as
 * it is stored, of others what clq_codes gives. clq_word(w, k), clq_word16(w, k): that at element
 * k. */
#if CLQ_W_BITS == 4 && !CLQ_W_TABLE
#define CLQ_W_PER_WORD 8
#define clq_word(w, k) (w)[(long)(k) * 2]
#define clq_word16(w, k) vload16(0, (w) + (long)(k) * 2)
#elif CLQ_W_BITS == 8
#define CLQ_W_PER_WORD 4
#define clq_word(w, k) (w)[(long)(k) * 4]
#define clq_word16(w, k) vload16(0, (w) + (long)(k) * 4)
#else
#define CLQ_W_PER_WORD 4
#define clq_word(w, k) clq_codes(w, (k) & ~7, (k) >> 2 & 1)
#define clq_word16(w, k) clq_codes16(w, (k) & ~7, (k) >> 2 & 1)
#endif

/* Code j of a word or a vector of words, as the float type F over the int type I. */
#if CLQ_W_BITS == 4 && !CLQ_W_TABLE
#define CLQ_W_CODE(F, I, word, j) \
  convert_##F(as_##I(((word) >> (8 * ((j)&3) + 4 * ((j) >> 2))) & 15u))
#elif CLQ_W_SIGNED
#define CLQ_W_CODE(F, I, word, j) convert_##F((as_##I(word) << (24 - 8 * (j))) >> 24)
#else
#define CLQ_W_CODE(F, I, word, j) convert_##F(as_##I(((word) >> (8 * (j))) & 255u))
#endif

/* Weight from its code, rounded once. `shift` is the minimum, or -CLQ_W_OFFSET * scale (exact), or the
 * zero point. */
#if CLQ_W_ZERO
#define CLQ_W_VALUE(code, scale, shift) (((code) - (shift)) * (scale))
#elif CLQ_W_CODE_BITS < 8 || CLQ_W_MIN
#define CLQ_W_VALUE(code, scale, shift) fma(code, scale, shift)
#else
#define CLQ_W_VALUE(code, scale, shift) ((code) * (scale))
#endif

#endif
