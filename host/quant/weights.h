/* Packed weights, one copy for every kernel: integer and float GEMM and the gather of embedding
 * rows, on CPUs and GPUs.
 *
 * W[N, K] lies in tiles of 16 rows of W (columns of the product), N padded up to 16 with zeros:
 *
 *   2 to 6, 8 bits  codes  [N/16][Kp/32][bits][16][4 bytes]
 *       A block of 32 elements of K has a row of 16 words for each bit: `low` rows of their
 *       low bits (2 of 2 and 3 bits, 4 of 4 to 6, 8 of 8), then rows of the other 1 or 2. A row
 *       of words for low bits holds 32 / low elements, byte j of a word those that are j modulo
 *       4, ascending from its least significant bits on; likewise the rows of high bits. Codes
 *       are unsigned, but bytes with neither zero points nor minima. Of formats with a table of
 *       16 values (clqi_format_values), codes choose one.
 *   f32, f16, bf16  values [N/16][K][16]
 *
 * Kp is K padded up to 32; the padding's codes are zero bits (kernels meet them with x = 0).
 * Planes behind the codes, each [N/16][groups][16], groups = ceil(K / group):
 *   scale  f16, f32 or bf16; or those of super-blocks of 256 elements: 16 halves, then for each
 * group 16 signed bytes which these multiply min    as scale; with minima zero   u8; plain codes
 * with zero points W[n, k] = code * scale + min with minima; (code - zero) * scale with zero
 * points; else (code - 2^(bits - 1)) * scale, and code * scale for signed bytes; values[code] *
 * scale. All in one buffer; planes start at multiples of 128 bytes.
 *
 * What a format becomes (the table of quant/formats.c), and the bits that a weight then takes:
 *
 *                         codes            group  scale     min         bits (in files)
 *   Q4_0                  n                   32  f16 d     -            4.5  (4.5)
 *   Q4_1                  n                   32  f16 d     f16 m        5    (5)
 *   Q5_0                  5 bits: n           32  f16 d     -            5.5  (5.5)
 *   Q5_1                  5 bits: n           32  f16 d     f16 m        6    (6)
 *   Q8_0                  n                   32  f16 d     -            8.5  (8.5)
 *   Q2_K                  2 bits: n           16  d, sc     -dmin, m     3.125 (2.625)
 *   Q3_K                  3 bits: n           16  d, sc     -            3.563 (3.4375)
 *   Q4_K                  n                   32  d, sc     -dmin, m     4.625 (4.5)
 *   Q5_K                  5 bits: n           32  d, sc     -dmin, m     5.625 (5.5)
 *   Q6_K                  6 bits: n           16  d, sc     -            6.563 (6.5625)
 *   IQ4_NL                n, of 16 values     32  f16 d     -            4.5  (4.5)
 *   MXFP4                 n, of 2 e2m1        32  bf16 / 2  -            4.5  (4.25)
 *   W2, W3, W4, W8        n                  any  any       any          2, 3, 4, 8 and the planes
 *   f32, f16, bf16        values               -  -         -           32, 16
 *
 * Where the description gives an order, k above is a position: i32 order[K] behind all planes has
 * the column of W and of x that stands there.
 *
 * Columns that stay f16 beside codes of 8 bits have zeros there, and behind all planes f16
 * [N/16][count][16] and their numbers, i32 [count].
 *
 * (n: the code as files number it from 0, Q3_K's third bit counted.) The products that are scales
 * and minima of the K formats are exact in f32: weights are what the file says, bit for bit.
 *
 * Bits of element (n, k), i = k % 32, in a block whose first word is (n/16 * Kp/32 + k/32) * bits
 * * 16: those of the rows of `r` bits from row f on (f, r: 0, low; low, bits - low) in byte i%4 of
 * word (f + i * r / 32) * 16 + n%16 of the block, from bit i % (32 / r) / 4 * r on. Of floats:
 * element (n/16 * K + k) * 16 + n%16; of planes: element (n/16 * groups + k/group) * 16 + n%16. */
#ifndef CLQI_QUANT_WEIGHTS_H
#define CLQI_QUANT_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>

#include <clquant/quantize.h>

enum { CLQI_TILE = 16 };

struct clq_weights {
  clq_context *context;
  cl_mem mem;
  clq_format format;
  int32_t bits; /* of one code: 2 to 6, 8, 16 or 32 */
  clq_dtype
      scale_dtype; /* and of minima: f32, f16, bf16, i8 of super-blocks; meaningless for floats */
  int32_t values;  /* clqi_format_values; 0: none */
  bool has_min;
  bool has_zero;
  int64_t rows;          /* N */
  int64_t cols;          /* K */
  int64_t padded_cols;   /* Kp; K for floats */
  int64_t group;         /* elements that share a scale; K if one a row; 0 for floats */
  int64_t groups;        /* 0 for floats */
  uint64_t scale_offset; /* bytes from the buffer's start */
  uint64_t min_offset;
  uint64_t zero_offset;
  int32_t outlier_count;
  uint64_t outlier_offset;        /* values, */
  uint64_t outlier_column_offset; /* and their columns */
  bool has_order;
  uint64_t order_offset;
  uint64_t bytes;
  bool claimed; /* bytes: see clqi_memory_claim */
};

/* Bytes of one element of the planes of scales and minima. */
static inline size_t clqi_weights_scale_bytes(const clq_weights *w) {
  return w->scale_dtype == CLQ_F32 ? 4 : w->scale_dtype == CLQ_I8 ? 1 : 2;
}

enum { CLQI_SUPER_BLOCK = 256 };

/* Groups of a super-block; 0: scales are no bytes. */
static inline int64_t clqi_weights_super(const clq_weights *w) {
  return w->scale_dtype == CLQ_I8 ? CLQI_SUPER_BLOCK / w->group : 0;
}

/* Bytes of the plane of scales, or of minima, of a row of W: what halves super-blocks have is
 * counted. */
static inline int64_t clqi_weights_plane_bytes(const clq_weights *w) {
  const int64_t halves = w->scale_dtype == CLQ_I8 ? 2 * (w->cols / CLQI_SUPER_BLOCK) : 0;
  return w->groups * (int64_t)clqi_weights_scale_bytes(w) + halves;
}

/* Whether codes of 8 bits are signed; shorter ones never are. */
static inline bool clqi_weights_are_signed(const clq_weights *w) {
  return w->bits == 8 && !w->has_zero && !w->has_min;
}

/* Of the bits of a code, those that lie in its block's first rows. */
static inline int32_t clqi_weights_low_bits(const clq_weights *w) {
  return w->bits == 3 ? 2 : w->bits == 5 || w->bits == 6 ? 4 : w->bits;
}

/* The code that means zero where neither zero points nor minima say it. */
static inline int clqi_weights_middle(const clq_weights *w) {
  return clqi_weights_are_signed(w) ? 0 : 1 << (w->bits - 1);
}

#endif
