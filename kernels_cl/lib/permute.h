/* A table of 256 bytes in four vector registers, and 64 codes at a time to their bytes. With
 * CLQ_PERMUTE_X86 by vpermi2b, which has 128 entries; else nothing is here. */
#ifndef CLQ_LIB_PERMUTE_H
#define CLQ_LIB_PERMUTE_H

#ifndef CLQ_PERMUTE_X86
#define CLQ_PERMUTE_X86 0
#endif

#if CLQ_PERMUTE_X86

/* 64 bytes at any address. */
typedef struct __attribute__((packed)) clq_bytes64 {
  uint16 v;
} clq_bytes64;

static inline uint16 clq_load_bytes64(const __global uchar *p) {
  return ((const __global clq_bytes64 *)p)->v;
}

static inline void clq_store_bytes64(uint16 v, __global uchar *p) {
  ((__global clq_bytes64 *)p)->v = v;
}

typedef struct clq_bytes256 {
  uint16 v[4];
} clq_bytes256;

static inline clq_bytes256 clq_load_bytes256(const __global uchar *p) {
  clq_bytes256 t;
  t.v[0] = clq_load_bytes64(p);
  t.v[1] = clq_load_bytes64(p + 64);
  t.v[2] = clq_load_bytes64(p + 128);
  t.v[3] = clq_load_bytes64(p + 192);
  return t;
}

/* Byte by byte: a - b; the larger, of signed and of unsigned ones. */
static inline uint16 clq_sub_bytes64(uint16 a, uint16 b) {
  __asm__("vpsubb %2, %1, %0" : "=v"(a) : "v"(a), "v"(b));
  return a;
}
static inline uint16 clq_max_i8x64(uint16 a, uint16 b) {
  __asm__("vpmaxsb %2, %1, %0" : "=v"(a) : "v"(a), "v"(b));
  return a;
}
static inline uint16 clq_max_u8x64(uint16 a, uint16 b) {
  __asm__("vpmaxub %2, %1, %0" : "=v"(a) : "v"(a), "v"(b));
  return a;
}

/* The sum of each eight bytes. */
static inline ulong8 clq_sum_bytes64(uint16 v) {
  ulong8 sums;
  __asm__("vpsadbw %2, %1, %0" : "=v"(sums) : "v"(v), "v"((uint16)0));
  return sums;
}

static inline uint16 clq_permute128(uint16 low, uint16 high, uint16 codes) {
  __asm__("vpermi2b %2, %1, %0" : "+v"(codes) : "v"(low), "v"(high));
  return codes;
}

static inline uint16 clq_permute64(const clq_bytes256 *t, uint16 codes) {
  const uint16 sign = codes & 0x80808080u;
  const uint16 upper = sign | (sign - (sign >> 7u)); /* all ones where the code is 128 or more */
  return bitselect(clq_permute128(t->v[0], t->v[1], codes), clq_permute128(t->v[2], t->v[3], codes),
                   upper);
}

#endif

#endif
