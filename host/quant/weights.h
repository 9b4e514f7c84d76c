/* Packed weights, one copy for every kernel: integer and float GEMM and the gather of embedding
 * rows, on CPUs and GPUs.
 *
 * W[N, K] lies in tiles of 16 rows of W (columns of the product), N padded up to 16 with zeros:
 *
 *   4 bits (Q4_0, Q4_1, W4)  codes  [N/16][Kp/8][16][4 bytes]
 *       byte j of column n: element k = 8 i + j in the low nibble, 8 i + 4 + j in the high one,
 *       both unsigned
 *   8 bits (Q8_0, W8)        codes  [N/16][Kp/4][16][4 bytes]  signed
 *   f32, f16                 values [N/16][K][16]
 *
 * Kp is K padded up to 32; the padding's codes are zero bits (kernels meet them with x = 0).
 * Planes behind the codes, each [N/16][groups][16], groups = ceil(K / group):
 *   scale  f16 (Q4_0, Q4_1, Q8_0) or f32 (W4, W8)
 *   min    f16 (Q4_1)
 *   zero   u8  (W4 with zero points)
 * W[n, k] = code * scale + min (Q4_1), (code - zero) * scale with zero 8 unless the plane says
 * otherwise (Q4_0, W4), code * scale (Q8_0, W8). All in one buffer; planes start at multiples of
 * 128 bytes.
 *
 * Element (n, k) of 4-bit codes: byte ((n/16 * Kp/8 + k/8) * 16 + n%16) * 4 + k%4, low nibble if
 * k%8 < 4; of 8-bit codes: byte ((n/16 * Kp/4 + k/4) * 16 + n%16) * 4 + k%4; of floats: element
 * (n/16 * K + k) * 16 + n%16; of planes: element (n/16 * groups + k/group) * 16 + n%16. */
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
  int32_t bits;      /* of one code: 4, 8, 16 or 32 */
  bool scale_is_f32; /* else f16; meaningless for floats */
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
  uint64_t bytes;
  bool claimed; /* bytes: see clqi_memory_claim */
};

/* Bytes of one element of the scale plane. */
static inline size_t clqi_weights_scale_bytes(const clq_weights *w) {
  return w->scale_is_f32 ? 4 : 2;
}

#endif
