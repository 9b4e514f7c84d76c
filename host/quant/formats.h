/* Weight formats as they lie in files: sizes of rows, and one row as floats. */
#ifndef CLQI_QUANT_FORMATS_H
#define CLQI_QUANT_FORMATS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <clquant/quantize.h>

/* Elements of one block of the GGUF formats; 1 for the others. */
int64_t clqi_format_block(clq_format format);

/* Bytes of one row of `cols` elements in the source; false for an unknown format or overflow. */
bool clqi_format_row_bytes(clq_format format, int64_t cols, size_t *bytes);

/* Decodes `cols` elements of one row to f32, each rounded once: code * scale, (code - zero) *
 * scale, or fma(code, scale, minimum). For W4 and W8, `scales` and `zeros` are those of the row
 * and `group` is at least 1; ignored otherwise. */
void clqi_format_decode_row(clq_format format, const void *row, int64_t cols, int64_t group,
                            const float *scales, const uint8_t *zeros, float *out);

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

#endif
