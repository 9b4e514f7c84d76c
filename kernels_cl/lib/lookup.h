/* Codes of 4 bits that choose one of 16 values (CLQ_W_TABLE of lib/weights.h): four in a word, a byte
 * each, to the four bytes of their values. Of one word, of eight, of 16; back end by the device's
 * traits: byte permutations of x86, NVIDIA and AMD, else selections bit by bit. */
#ifndef CLQ_LIB_LOOKUP_H
#define CLQ_LIB_LOOKUP_H

#include "lib/traits.h"

#ifndef CLQ_W_TABLE
#define CLQ_W_TABLE 0 /* 1: IQ4_NL's, signed; 2: those of e2m1 (MXFP4), doubled, plus 16; 0: none */
#endif

#define CLQ_TABLE_WORD(a, b, c, d)                                                                 \
  ((uint)(uchar)(a) | (uint)(uchar)(b) << 8 | (uint)(uchar)(c) << 16 | (uint)(uchar)(d) << 24)
#if CLQ_W_TABLE == 1
#define CLQ_TABLE_WORDS                                                                            \
  CLQ_TABLE_WORD(-127, -104, -83, -65), CLQ_TABLE_WORD(-49, -35, -22, -10),                        \
      CLQ_TABLE_WORD(1, 13, 25, 38), CLQ_TABLE_WORD(53, 69, 89, 113)
#elif CLQ_W_TABLE == 2
#define CLQ_TABLE_WORDS                                                                            \
  CLQ_TABLE_WORD(16, 17, 18, 19), CLQ_TABLE_WORD(20, 22, 24, 28), CLQ_TABLE_WORD(16, 15, 14, 13),  \
      CLQ_TABLE_WORD(12, 10, 8, 4)
#endif

#if CLQ_W_TABLE
#define CLQ_DEFINE_SELECTED_LOOK_UP(NAME, TYPE)                                                    \
  static inline TYPE NAME(TYPE codes) {                                                            \
    const uint words[4] = {CLQ_TABLE_WORDS};                                                       \
    const TYPE b0 = (codes & 0x01010101u) * 255u, b1 = (codes >> 1 & 0x01010101u) * 255u;          \
    const TYPE b2 = (codes >> 2 & 0x01010101u) * 255u, b3 = (codes >> 3 & 0x01010101u) * 255u;     \
    return bitselect(CLQ_TABLE_OF_8(TYPE, 0), CLQ_TABLE_OF_8(TYPE, 8), b3);                        \
  }
#define CLQ_TABLE_OF_8(TYPE, i) bitselect(CLQ_TABLE_OF_4(TYPE, i), CLQ_TABLE_OF_4(TYPE, (i) + 4), b2)
#define CLQ_TABLE_OF_4(TYPE, i) bitselect(CLQ_TABLE_OF_2(TYPE, i), CLQ_TABLE_OF_2(TYPE, (i) + 2), b1)
#define CLQ_TABLE_OF_2(TYPE, i) bitselect(CLQ_TABLE_OF_1(TYPE, i), CLQ_TABLE_OF_1(TYPE, (i) + 1), b0)
#define CLQ_TABLE_OF_1(TYPE, i) ((TYPE)(0x01010101u * (words[(i) / 4] >> (i) % 4 * 8 & 255u)))

#if CLQ_HAS_NVIDIA_PTX
/* Byte i of the result is that of the eight of a and b which the nibble i of `which` says. */
static inline uint clq_bytes_of(uint a, uint b, uint which) {
  uint r;
  __asm__("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(which));
  return r;
}
static inline uint clq_look_up(uint codes) {
  const uint words[4] = {CLQ_TABLE_WORDS};
  const uint nibbles = clq_bytes_of(codes | codes >> 4, 0, 0x4420);
  const uint low = clq_bytes_of(words[0], words[1], nibbles & 0x7777u);
  const uint high = clq_bytes_of(words[2], words[3], nibbles & 0x7777u);
  return clq_bytes_of(low, high, 0x3210u | (nibbles & 0x8888u) >> 1);
}
#elif CLQ_HAS_AMD_DOT
static inline uint clq_look_up(uint codes) {
  const uint words[4] = {CLQ_TABLE_WORDS};
  const uint low = __builtin_amdgcn_perm(words[1], words[0], codes & 0x07070707u);
  const uint high = __builtin_amdgcn_perm(words[3], words[2], codes & 0x07070707u);
  return __builtin_amdgcn_perm(high, low, 0x03020100u | (codes & 0x08080808u) >> 1);
}
#else
CLQ_DEFINE_SELECTED_LOOK_UP(clq_look_up, uint)
#endif

#if CLQ_HAS_X86_AVX2
static inline uint8 clq_look_up8(uint8 codes) {
  const uint8 table = ((uint4)(CLQ_TABLE_WORDS)).s01230123;
  uint8 r;
  __asm__("vpshufb %2, %1, %0" : "=x"(r) : "x"(table), "x"(codes));
  return r;
}
#else
CLQ_DEFINE_SELECTED_LOOK_UP(clq_look_up8, uint8)
#endif

#if CLQ_HAS_X86_VNNI
static inline uint16 clq_look_up16(uint16 codes) {
  const uint16 table = ((uint4)(CLQ_TABLE_WORDS)).s0123012301230123;
  uint16 r;
  __asm__("vpshufb %2, %1, %0" : "=v"(r) : "v"(table), "v"(codes));
  return r;
}
#else
static inline uint16 clq_look_up16(uint16 codes) {
  return (uint16)(clq_look_up8(codes.lo), clq_look_up8(codes.hi));
}
#endif
#else
#define clq_look_up(codes) (codes)
#define clq_look_up8(codes) (codes)
#define clq_look_up16(codes) (codes)
#endif

#endif
