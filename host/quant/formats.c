#include "quant/formats.h"

#include <math.h>

#include "runtime/checked.h"

enum { BLOCK = 32 };

const char *clq_format_name(clq_format format) {
  switch (format) {
    case CLQ_FORMAT_F32: return "f32";
    case CLQ_FORMAT_F16: return "f16";
    case CLQ_FORMAT_Q4_0: return "q4_0";
    case CLQ_FORMAT_Q4_1: return "q4_1";
    case CLQ_FORMAT_Q8_0: return "q8_0";
    case CLQ_FORMAT_W4: return "w4";
    case CLQ_FORMAT_W8: return "w8";
  }
  return "?";
}

int64_t clqi_format_block(clq_format format) {
  switch (format) {
    case CLQ_FORMAT_Q4_0:
    case CLQ_FORMAT_Q4_1:
    case CLQ_FORMAT_Q8_0: return BLOCK;
    default: return 1;
  }
}

bool clqi_format_row_bytes(clq_format format, int64_t cols, size_t *bytes) {
  if (cols < 0) {
    return false;
  }
  const size_t n = (size_t)cols;
  switch (format) {
    case CLQ_FORMAT_F32: return clqi_mul_size(n, 4, bytes);
    case CLQ_FORMAT_F16: return clqi_mul_size(n, 2, bytes);
    case CLQ_FORMAT_Q4_0: return clqi_mul_size(n / BLOCK, 18, bytes);
    case CLQ_FORMAT_Q4_1: return clqi_mul_size(n / BLOCK, 20, bytes);
    case CLQ_FORMAT_Q8_0: return clqi_mul_size(n / BLOCK, 34, bytes);
    case CLQ_FORMAT_W4: *bytes = n / 2 + n % 2; return true;
    case CLQ_FORMAT_W8: *bytes = n; return true;
  }
  return false;
}

/* d, optionally m, then 16 bytes: element j in the low nibble of byte j, j + 16 in the high one. */
static void decode_nibble_block(const uint8_t *block, bool has_min, float *out) {
  const float d = clqi_load_f16(block);
  const float m = has_min ? clqi_load_f16(block + 2) : 0.0f;
  const uint8_t *codes = block + (has_min ? 4 : 2);
  for (int j = 0; j < BLOCK; ++j) {
    const int code = j < 16 ? codes[j] & 15 : codes[j - 16] >> 4;
    out[j] = has_min ? fmaf((float)code, d, m) : (float)(code - 8) * d;
  }
}

static void decode_byte_block(const uint8_t *block, float *out) {
  const float d = clqi_load_f16(block);
  for (int j = 0; j < BLOCK; ++j) {
    out[j] = (float)(int8_t)block[2 + j] * d;
  }
}

static void decode_blocks(clq_format format, const uint8_t *row, int64_t cols, float *out) {
  for (int64_t k = 0; k < cols; k += BLOCK) {
    switch (format) {
      case CLQ_FORMAT_Q4_0:
        decode_nibble_block(row, false, out + k);
        row += 18;
        break;
      case CLQ_FORMAT_Q4_1:
        decode_nibble_block(row, true, out + k);
        row += 20;
        break;
      default:
        decode_byte_block(row, out + k);
        row += 34;
        break;
    }
  }
}

void clqi_format_decode_row(clq_format format, const void *row, int64_t cols, int64_t group,
                            const float *scales, const uint8_t *zeros, float *out) {
  const uint8_t *bytes = row;
  switch (format) {
    case CLQ_FORMAT_F32: memcpy(out, row, (size_t)cols * sizeof *out); return;
    case CLQ_FORMAT_F16:
      for (int64_t k = 0; k < cols; ++k) {
        out[k] = clqi_load_f16(bytes + 2 * k);
      }
      return;
    case CLQ_FORMAT_Q4_0:
    case CLQ_FORMAT_Q4_1:
    case CLQ_FORMAT_Q8_0: decode_blocks(format, bytes, cols, out); return;
    case CLQ_FORMAT_W4:
      for (int64_t k = 0; k < cols; ++k) {
        const int code = (bytes[k / 2] >> (4 * (k % 2))) & 15;
        out[k] = (float)(code - (zeros == NULL ? 8 : zeros[k / group])) * scales[k / group];
      }
      return;
    case CLQ_FORMAT_W8:
      for (int64_t k = 0; k < cols; ++k) {
        out[k] = (float)(int8_t)bytes[k] * scales[k / group];
      }
      return;
  }
}
