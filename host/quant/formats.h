/* Weight formats as they lie in files: sizes of rows, one row as floats, one block as codes. */
#ifndef CLQI_QUANT_FORMATS_H
#define CLQI_QUANT_FORMATS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <clquant/quantize.h>

/* What a format is in files, and what packing makes of it (quant/weights.h). */
typedef struct clqi_format_info {
  const char *name;
  int32_t block; /* elements that lie together in block_bytes bytes of a row */
  int32_t block_bytes;
  int32_t group;   /* elements that share a scale; 0: none (floats), or scales stand beside */
  int32_t bits;    /* of a packed code: 2 to 6 or 8; 16, 32: floats */
  clq_dtype scale; /* of packed scales and minima, 0 for floats; f16: the first halves of a block;
                      i8: of a super-block; of plain codes the description may say another */
  bool has_min;    /* a weight is code * scale + minimum; of plain codes the parts say it */
  int32_t plain;   /* bits of a plain code in files, 2, 3, 4 or 8; 0: other formats */
  int32_t values;  /* of clqi_format_values, by codes of 4 bits; 0: codes are the values */
} clqi_format_info;

/* NULL for what is no format. */
const clqi_format_info *clqi_format_find(clq_format format);

/* The 16 values of this number (as CLQ_W_TABLE of kernels_cl/lib/lookup.h); NULL of 0. */
const int8_t *clqi_format_values(int32_t number);

/* Bits of the bfloat16 2^(e - 127) / 2: the values of MXFP4's codes are doubled. */
uint16_t clqi_mxfp4_scale(uint8_t e);

/* W2, W3, W4, W8: scales, and maybe zero points or minima, stand beside the codes. */
bool clqi_format_is_plain(clq_format format);

/* Elements of one block of the GGUF formats; 1 for the others. */
int64_t clqi_format_block(clq_format format);

/* Bytes of one row of `cols` elements in the source; false for an unknown format or overflow. */
bool clqi_format_row_bytes(clq_format format, int64_t cols, size_t *bytes);

/* Decodes `cols` elements of one row to f32, each rounded once: code * scale, or fma(code, scale,
 * minimum). Formats other than plain codes. */
void clqi_format_decode_row(clq_format format, const void *row, int64_t cols, float *out);

enum { CLQI_MAX_BLOCK = 256, CLQI_MAX_BLOCK_GROUPS = 16 };

/* One block of a GGUF format, its codes as the packed form has them: those of 8 bits are signed,
 * others begin at 0. Weight k is (codes[k] - middle) * scales[k / group] (+ mins[k / group] if the
 * format has minima, whose middle is 0), or values[codes[k]] * scales[k / group]. Scales and minima
 * are exact: the product of a half and an integer of 8 bits or less. So is the product with a code,
 * at most 24 bits: a weight is rounded once, by the addition, whether that is an fma or not. */
typedef struct clqi_block {
  uint8_t codes[CLQI_MAX_BLOCK];
  float scales[CLQI_MAX_BLOCK_GROUPS];
  float mins[CLQI_MAX_BLOCK_GROUPS];
  uint16_t super[2]; /* of a super-block: the halves that make them of these integers, those of the
                        minima second */
  int8_t parts[2][CLQI_MAX_BLOCK_GROUPS];
} clqi_block;

/* The code of a GGUF format that means zero. */
int clqi_format_middle(const clqi_format_info *info);

void clqi_block_read(clq_format format, const uint8_t *bytes, clqi_block *block);

/* IEEE half to float; exact, NaN stays NaN. */
static inline float clqi_f32_from_f16(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000U) << 16;
  const uint32_t rest = h & 0x7fffU;
  uint32_t bits;
  if (rest >= 0x7c00U) {
    bits = sign | 0x7f800000U | ((rest & 0x3ffU) << 13);
  } else if (rest >= 0x400U) {
    bits = sign | ((rest << 13) + 0x38000000U);
  } else {
    const float value = (float)rest * 0x1p-24f;
    memcpy(&bits, &value, sizeof bits);
    bits |= sign;
  }
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}

/* The half at p, which need not be aligned. */
static inline float clqi_load_f16(const void *p) {
  uint16_t h;
  memcpy(&h, p, sizeof h);
  return clqi_f32_from_f16(h);
}

/* The bfloat16 at p, which need not be aligned. */
static inline float clqi_load_bf16(const void *p) {
  uint16_t h;
  memcpy(&h, p, sizeof h);
  const uint32_t bits = (uint32_t)h << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}

#endif
