/* Integer dot products, exact in every back end (two's complement wrap of the
 * 32-bit accumulator is the only limit).
 *
 * For work-items of GPUs, four byte products on packed 32-bit words, byte k in
 * bits 8k..8k+7:
 *   clq_dot4_i8(a, b, c)     c + sum of s8(a) * s8(b)
 *   clq_dot4_u8s8(a, b, c)   c + sum of u8(a) * s8(b)
 * Back end, from the device's traits unless the host says otherwise; the first
 * that is 1 counts:
 *   CLQ_DOT_KHR     cl_khr_integer_dot_product, packed
 *   CLQ_DOT_NVIDIA  PTX dp4a, compute capability 6.1 and later
 *   CLQ_DOT_AMD     v_dot4 of gfx906, gfx908, gfx10.1.1, gfx10.3
 *   CLQ_DOT_AMD11   v_dot4_i32_iu8 of gfx11 and later
 *   CLQ_DOT_ARM     cl_arm_integer_dot_product_accumulate_int8
 *   none            plain C
 *
 * For CPUs, 16 columns at a time against one activation word broadcast:
 *   clq_dot4x16_u8s8(acc, w, a)  acc[i] + sum of u8(w[i]) * s8(a)
 *   clq_dot4x16_u7s8             the same; weights at most 127 (4-bit codes)
 *   clq_dot4x16_s8s8             signed weights, the full range [-128, 127]
 * Back end:
 *   CLQ_DOT_VNNI    x86 AVX-512 VNNI, inline assembly
 *   CLQ_DOT_AVX2    x86 AVX2, inline assembly
 *   none            plain C vectors */
#ifndef CLQ_LIB_DOT_H
#define CLQ_LIB_DOT_H

#include "lib/traits.h"

#ifndef CLQ_DOT_KHR
#define CLQ_DOT_KHR CLQ_HAS_KHR_INT_DOT
#endif
#ifndef CLQ_DOT_NVIDIA
#define CLQ_DOT_NVIDIA CLQ_HAS_NVIDIA_PTX
#endif
#ifndef CLQ_DOT_AMD11
#if CLQ_HAS_AMD_DOT && (defined(__GFX11__) || defined(__GFX12__))
#define CLQ_DOT_AMD11 1
#else
#define CLQ_DOT_AMD11 0
#endif
#endif
#ifndef CLQ_DOT_AMD
#define CLQ_DOT_AMD (CLQ_HAS_AMD_DOT && !CLQ_DOT_AMD11)
#endif
#ifndef CLQ_DOT_ARM
#define CLQ_DOT_ARM 0
#endif
#ifndef CLQ_DOT_VNNI
#define CLQ_DOT_VNNI CLQ_HAS_X86_VNNI
#endif
#ifndef CLQ_DOT_AVX2
#define CLQ_DOT_AVX2 CLQ_HAS_X86_AVX2
#endif

#if CLQ_DOT_KHR
#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable
#endif
#if CLQ_DOT_ARM
#pragma OPENCL EXTENSION cl_arm_integer_dot_product_accumulate_int8 : enable
#endif

/* c + sum of s8(a) * s8(b). */
static inline int clq_dot4_i8(uint a, uint b, int c) {
#if CLQ_DOT_KHR
  /* Not the saturating form: it is slower, and the sum cannot saturate. */
  return c + dot_4x8packed_ss_int(a, b);
#elif CLQ_DOT_NVIDIA
  int r;
  __asm__("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
#elif CLQ_DOT_AMD
  return __builtin_amdgcn_sdot4((int)a, (int)b, c, false);
#elif CLQ_DOT_AMD11
  return __builtin_amdgcn_sudot4(true, (int)a, true, (int)b, c, false);
#elif CLQ_DOT_ARM
  return arm_dot_acc(as_char4(a), as_char4(b), c);
#else
  int4 p = convert_int4(as_char4(a)) * convert_int4(as_char4(b));
  return c + ((p.x + p.y) + (p.z + p.w));
#endif
}

/* c + sum of u8(a) * s8(b). */
static inline int clq_dot4_u8s8(uint a, uint b, int c) {
#if CLQ_DOT_KHR
  return c + dot_4x8packed_us_int(a, b);
#elif CLQ_DOT_NVIDIA
  int r;
  __asm__("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
#elif CLQ_DOT_AMD11
  return __builtin_amdgcn_sudot4(false, (int)a, true, (int)b, c, false);
#elif CLQ_DOT_AMD || CLQ_DOT_ARM
  /* No mixed form here: a = (a - 128) + 128, and a ^ 0x80 is a - 128. */
  int sum = clq_dot4_i8(0x01010101u, b, 0);
  return clq_dot4_i8(a ^ 0x80808080u, b, c) + sum * 128;
#else
  int4 p = convert_int4(as_uchar4(a)) * convert_int4(as_char4(b));
  return c + ((p.x + p.y) + (p.z + p.w));
#endif
}

#if CLQ_DOT_AVX2
/* Per lane: low halves multiplied + high halves multiplied, as int16 pairs. */
static inline int8 clq_avx2_madd16(int8 a, int8 b) {
  int8 r;
  __asm__("vpmaddwd %2, %1, %0" : "=x"(r) : "x"(a), "x"(b));
  return r;
}

/* Byte pairs u8(w) * s8(a) added and saturated to int16. */
static inline int8 clq_avx2_madd8(int8 w, int8 a) {
  int8 r;
  __asm__("vpmaddubsw %2, %1, %0" : "=x"(r) : "x"(w), "x"(a));
  return r;
}

/* Even and odd bytes widened to int16: no product or sum can saturate. */
static inline int8 clq_avx2_dot_u8s8(int8 acc, uint8 w, short2 even, short2 odd) {
  int8 p = clq_avx2_madd16(as_int8(w & 0x00ff00ffu), (int8)as_int(even));
  int8 q = clq_avx2_madd16(as_int8((w >> 8) & 0x00ff00ffu), (int8)as_int(odd));
  return acc + (p + q);
}
#endif

/* acc[i] + sum of u8(w[i]) * s8(a); full range of both. */
static inline int16 clq_dot4x16_u8s8(int16 acc, uint16 w, int a) {
#if CLQ_DOT_VNNI
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"((int16)a));
  return acc;
#elif CLQ_DOT_AVX2
  short2 even = convert_short2(as_char4(a).even);
  short2 odd = convert_short2(as_char4(a).odd);
  return (int16)(clq_avx2_dot_u8s8(acc.lo, w.lo, even, odd),
                 clq_avx2_dot_u8s8(acc.hi, w.hi, even, odd));
#else
  char4 s = as_char4(a);
  int16 p = as_int16(w & 0xffu) * (int)s.x;
  int16 q = as_int16((w >> 8) & 0xffu) * (int)s.y;
  p += as_int16((w >> 16) & 0xffu) * (int)s.z;
  q += as_int16(w >> 24) * (int)s.w;
  return acc + (p + q);
#endif
}

/* As clq_dot4x16_u8s8 for weights in [0, 127], whose byte pairs fit int16:
 * 2 * 127 * 128 = 32512. Only AVX2 gains from the promise. */
static inline int16 clq_dot4x16_u7s8(int16 acc, uint16 w, int a) {
#if CLQ_DOT_AVX2 && !CLQ_DOT_VNNI
  int8 s = (int8)a, ones = (int8)0x00010001;
  int8 lo = clq_avx2_madd16(clq_avx2_madd8(as_int8(w.lo), s), ones);
  int8 hi = clq_avx2_madd16(clq_avx2_madd8(as_int8(w.hi), s), ones);
  return acc + (int16)(lo, hi);
#else
  return clq_dot4x16_u8s8(acc, w, a);
#endif
}

/* acc[i] + sum of s8(w[i]) * s8(a): weights offset by 128 and the offset's
 * share taken off again. Kernels that own their packing do better to store
 * w + 128 and subtract 128 * sum(a) once per block. */
static inline int16 clq_dot4x16_s8s8(int16 acc, uint16 w, int a) {
  int offset = 128 * clq_dot4_i8(as_uint(a), 0x01010101u, 0);
  return clq_dot4x16_u8s8(acc - offset, w ^ 0x80808080u, a);
}

#endif
