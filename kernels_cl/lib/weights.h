/* Packed weights (layout: host/quant/weights.h) as kernels see them; the host
 * sets these options from the format. */
#ifndef CLQ_LIB_WEIGHTS_H
#define CLQ_LIB_WEIGHTS_H

#include "lib/half.h"
#include "lib/types.h"

#pragma OPENCL FP_CONTRACT OFF

#ifndef CLQ_W_BITS
#define CLQ_W_BITS 4 /* 4, 8: codes; 16, 32: floats */
#endif
#ifndef CLQ_W_BF16
#define CLQ_W_BF16 0 /* 1: the floats of 16 bits are bfloat16; 0: half */
#endif
#ifndef CLQ_W_ZERO
#define CLQ_W_ZERO 0 /* 1: a zero point u8 per group; 0: 8 for 4 bits */
#endif
#ifndef CLQ_W_MIN
#define CLQ_W_MIN 0 /* 1: code * scale + a minimum of the scale's type, no zero point */
#endif
#ifndef CLQ_W_SCALE
#define CLQ_W_SCALE CLQ_F16 /* the type of scales and minima; CLQ_F32, CLQ_BF16 */
#endif

/* Codes are unsigned, but for bytes that have neither zero point nor minimum. */
#define CLQ_W_SIGNED (CLQ_W_BITS == 8 && !CLQ_W_ZERO && !CLQ_W_MIN)

/* What is taken off a code when no zero point is stored. */
#if CLQ_W_BITS == 4 && !CLQ_W_MIN && !CLQ_W_ZERO
#define CLQ_W_OFFSET 8
#else
#define CLQ_W_OFFSET 0
#endif

/* Of scales and minima. */
#if CLQ_W_SCALE == CLQ_F32
typedef float clq_scale;
#define clq_load_scale(i, p) ((p)[i])
#define clq_load_scale16(p)  vload16(0, p)
#elif CLQ_W_SCALE == CLQ_BF16
typedef ushort clq_scale;
#define clq_load_scale(i, p) clq_f32_from_bf16((p)[i])
#define clq_load_scale16(p)  clq_f32_from_bf16_16(vload16(0, p))
#else
typedef half clq_scale;
#define clq_load_scale(i, p) clq_load_half(i, p)
#define clq_load_scale16(p)  clq_load_half16(0, p)
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

/* Elements of K in one 32-bit word of codes. */
#define CLQ_W_PER_WORD (32 / CLQ_W_BITS)

/* Code j of a word or a vector of words, as the float type F over the int type I. */
#if CLQ_W_BITS == 4
#define CLQ_W_CODE(F, I, word, j) \
  convert_##F(as_##I(((word) >> (8 * ((j)&3) + 4 * ((j) >> 2))) & 15u))
#elif CLQ_W_SIGNED
#define CLQ_W_CODE(F, I, word, j) convert_##F((as_##I(word) << (24 - 8 * (j))) >> 24)
#else
#define CLQ_W_CODE(F, I, word, j) convert_##F(as_##I(((word) >> (8 * (j))) & 255u))
#endif

/* Weight from its code, rounded once. `shift` is the minimum, or -8 * scale (exact), or the zero
 * point. */
#if CLQ_W_ZERO
#define CLQ_W_VALUE(code, scale, shift) (((code) - (shift)) * (scale))
#elif CLQ_W_BITS == 4 || CLQ_W_MIN
#define CLQ_W_VALUE(code, scale, shift) fma(code, scale, shift)
#else
#define CLQ_W_VALUE(code, scale, shift) ((code) * (scale))
#endif

#endif
