/* Codes of weights, eight at a time in a word: byte j of a word is code j. Hosts are little-endian,
 * as files are. */
#ifndef CLQI_QUANT_WORDS_H
#define CLQI_QUANT_WORDS_H

#include <stdint.h>
#include <string.h>

/* Before a loop of at most 8 turns over the parts of a word: its counts are constants then. */
#if defined(__clang__)
#define CLQI_UNROLLED _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define CLQI_UNROLLED _Pragma("GCC unroll 8")
#else
#define CLQI_UNROLLED
#endif

/* Where arguments are constants in every call, and loops go over them. */
#if defined(__GNUC__)
#define CLQI_INLINED static inline __attribute__((always_inline))
#else
#define CLQI_INLINED static inline
#endif

static inline uint16_t clqi_load16(const uint8_t *p) {
  uint16_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static inline uint32_t clqi_load32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static inline uint64_t clqi_load64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static inline void clqi_store32(uint8_t *p, uint32_t v) { memcpy(p, &v, sizeof v); }
static inline void clqi_store64(uint8_t *p, uint64_t v) { memcpy(p, &v, sizeof v); }

/* The same byte eight times. */
static inline uint64_t clqi_bytes8(unsigned byte) { return 0x0101010101010101ULL * byte; }

/* A bit string of eight codes of 1 to 8 bits, the first in the least significant ones, to a byte
 * each: its halves are moved apart, then theirs, then theirs. What follows in the string is left
 * out. */
CLQI_INLINED uint64_t clqi_spread8(uint64_t string, int bits) {
  const int gap = 8 - bits;
  string = (string & ((1ULL << 4 * bits) - 1)) | (string >> 4 * bits) << 32;
  string = (string | string << 2 * gap) & 0x0001000100010001ULL * ((1ULL << 2 * bits) - 1);
  return (string | string << gap) & clqi_bytes8((1U << bits) - 1);
}

#endif
