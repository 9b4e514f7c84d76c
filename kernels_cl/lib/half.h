/* 16-bit float storage without cl_khr_fp16.
 *
 * f16 goes through vload_half and vstore_half_rte, core since OpenCL 1.0; a
 * pointer to half is the only use of that type here. bf16 is a ushort that
 * holds the upper half of a float. Offsets count elements. */
#ifndef CLQ_LIB_HALF_H
#define CLQ_LIB_HALF_H

#include "lib/traits.h"

/* x86, on an implementation that compiles inline assembly for the host CPU, by
 * vcvtph2ps: 2 for 16 lanes at once (AVX-512), 1 for 8 (F16C), 0 not at all. */
#ifndef CLQ_HALF_X86
#define CLQ_HALF_X86 (CLQ_HAS_X86_AVX512 ? 2 : CLQ_HAS_X86_F16C)
#endif

/* p[i] as float; exact. */
static inline float clq_load_half(size_t i, const __global half *p) {
  return vload_half(i, p);
}

/* p[8 i .. 8 i + 7] as float; exact, no alignment beyond that of one half.
 * Assembly quiets a signalling NaN; every other value is the same. */
static inline float8 clq_load_half8(size_t i, const __global half *p) {
#if CLQ_HALF_X86
  float8 r;
  ushort8 h = vload8(i, (const __global ushort *)p);
  __asm__("vcvtph2ps %1, %0" : "=x"(r) : "x"(h));
  return r;
#else
  return vload_half8(i, p);
#endif
}

/* p[16 i .. 16 i + 15] as float; otherwise as clq_load_half8. */
static inline float16 clq_load_half16(size_t i, const __global half *p) {
#if CLQ_HALF_X86 == 2
  float16 r;
  ushort16 h = vload16(i, (const __global ushort *)p);
  __asm__("vcvtph2ps %1, %0" : "=v"(r) : "v"(h));
  return r;
#elif CLQ_HALF_X86
  return (float16)(clq_load_half8(2 * i, p), clq_load_half8(2 * i + 1, p));
#else
  return vload_half16(i, p);
#endif
}

/* p[i] = x to the nearest half, ties to even; overflow gives infinity. */
static inline void clq_store_half(float x, size_t i, __global half *p) {
  vstore_half_rte(x, i, p);
}

/* The bits of 16 halves, rounded as by clq_store_half. */
static inline ushort16 clq_f16_from_f32_16(float16 x) {
#if CLQ_HALF_X86 == 2
  ushort16 h;
  __asm__("vcvtps2ph $0, %1, %0" : "=v"(h) : "v"(x));
  return h;
#elif CLQ_HALF_X86
  ushort8 low, high;
  __asm__("vcvtps2ph $0, %1, %0" : "=x"(low) : "x"(x.lo));
  __asm__("vcvtps2ph $0, %1, %0" : "=x"(high) : "x"(x.hi));
  return (ushort16)(low, high);
#else
  ushort h[16];
  vstore_half16_rte(x, 0, (half *)h);
  return vload16(0, h);
#endif
}

/* What these bits stand for. */
static inline float16 clq_f32_from_f16_16(ushort16 h) {
#if CLQ_HALF_X86 == 2
  float16 r;
  __asm__("vcvtph2ps %1, %0" : "=v"(r) : "v"(h));
  return r;
#elif CLQ_HALF_X86
  float8 low, high;
  __asm__("vcvtph2ps %1, %0" : "=x"(low) : "x"(h.lo));
  __asm__("vcvtph2ps %1, %0" : "=x"(high) : "x"(h.hi));
  return (float16)(low, high);
#else
  /* Not through memory: what is written there as ushorts and read as halves, a compiler may take
   * for different things, and pocl's did. */
  const uint16 size = convert_uint16(h) & 0x7fffu;
  const uint16 exponent = select((uint16)(112u << 23), (uint16)(224u << 23), size >= 0x7c00u);
  const float16 normal = as_float16((size << 13) + exponent);
  const float16 f = select(normal, convert_float16(size) * 0x1p-24f, size < 0x400u);
  return as_float16(as_uint16(f) | (convert_uint16(h) & 0x8000u) << 16);
#endif
}

/* p[16 i .. 16 i + 15] = x. */
static inline void clq_store_half16(float16 x, size_t i, __global half *p) {
  vstore16(clq_f16_from_f32_16(x), i, (__global ushort *)p);
}

static inline void clq_store_half8(float8 x, size_t i, __global half *p) {
  vstore_half8_rte(x, i, p);
}

/* x rounded to f16, as a float. */
static inline float4 clq_round_f16_4(float4 x) {
  ushort h[4];
  vstore_half4_rte(x, 0, (half *)h);
  return vload_half4(0, (const half *)h);
}
static inline float16 clq_round_f16_16(float16 x) {
  return clq_f32_from_f16_16(clq_f16_from_f32_16(x));
}

/* F: float type, U: uint type, H: ushort type of one width, S: suffix (none, _4, _8, _16).
 * clq_f32_from_bf16: exact. clq_bf16_from_f32: nearest, ties to even; a NaN
 * stays a NaN (made quiet, sign kept). */
#define CLQ_DEFINE_BF16(F, U, H, S)                                            \
  static inline F clq_f32_from_bf16##S(H h) {                                  \
    return as_##F(convert_##U(h) << 16);                                       \
  }                                                                            \
  static inline H clq_bf16_from_f32##S(F x) {                                  \
    U u = as_##U(x);                                                           \
    U r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;                              \
    U n = (u >> 16) | 0x40u;                                                   \
    return convert_##H((u & 0x7fffffffu) > 0x7f800000u ? n : r);               \
  }

CLQ_DEFINE_BF16(float, uint, ushort, )
CLQ_DEFINE_BF16(float4, uint4, ushort4, _4)
CLQ_DEFINE_BF16(float8, uint8, ushort8, _8)
CLQ_DEFINE_BF16(float16, uint16, ushort16, _16)

#endif
