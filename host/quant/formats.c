#include "quant/formats.h"

#include <math.h>

#include "quant/words.h"
#include "runtime/checked.h"

/* name, block, bytes, group, packed bits, packed scales, minima, plain bits, values. Scales that
 * are I8: those of super-blocks, the format's own blocks. */
static const clqi_format_info table[] = {
    [CLQ_FORMAT_F32] = {"f32", 1, 4, 0, 32, 0, false, 0, 0},
    [CLQ_FORMAT_F16] = {"f16", 1, 2, 0, 16, 0, false, 0, 0},
    [CLQ_FORMAT_BF16] = {"bf16", 1, 2, 0, 16, 0, false, 0, 0},
    [CLQ_FORMAT_W2] = {"w2", 4, 1, 0, 2, CLQ_F32, false, 2, 0},
    [CLQ_FORMAT_W3] = {"w3", 8, 3, 0, 3, CLQ_F32, false, 3, 0},
    [CLQ_FORMAT_W4] = {"w4", 2, 1, 0, 4, CLQ_F32, false, 4, 0},
    [CLQ_FORMAT_W8] = {"w8", 1, 1, 0, 8, CLQ_F32, false, 8, 0},
    [CLQ_FORMAT_Q4_0] = {"q4_0", 32, 18, 32, 4, CLQ_F16, false, 0, 0},
    [CLQ_FORMAT_Q4_1] = {"q4_1", 32, 20, 32, 4, CLQ_F16, true, 0, 0},
    [CLQ_FORMAT_Q5_0] = {"q5_0", 32, 22, 32, 5, CLQ_F16, false, 0, 0},
    [CLQ_FORMAT_Q5_1] = {"q5_1", 32, 24, 32, 5, CLQ_F16, true, 0, 0},
    [CLQ_FORMAT_Q8_0] = {"q8_0", 32, 34, 32, 8, CLQ_F16, false, 0, 0},
    [CLQ_FORMAT_Q2_K] = {"q2_k", 256, 84, 16, 2, CLQ_I8, true, 0, 0},
    [CLQ_FORMAT_Q3_K] = {"q3_k", 256, 110, 16, 3, CLQ_I8, false, 0, 0},
    [CLQ_FORMAT_Q4_K] = {"q4_k", 256, 144, 32, 4, CLQ_I8, true, 0, 0},
    [CLQ_FORMAT_Q5_K] = {"q5_k", 256, 176, 32, 5, CLQ_I8, true, 0, 0},
    [CLQ_FORMAT_Q6_K] = {"q6_k", 256, 210, 16, 6, CLQ_I8, false, 0, 0},
    [CLQ_FORMAT_IQ4_NL] = {"iq4_nl", 32, 18, 32, 4, CLQ_F16, false, 0, 1},
    [CLQ_FORMAT_MXFP4] = {"mxfp4", 32, 17, 32, 4, CLQ_BF16, false, 0, 2},
};

/* By number: IQ4_NL's; those of e2m1, doubled. */
static const int8_t values[][16] = {
    [1] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113},
    [2] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12},
};

const int8_t *clqi_format_values(int32_t number) { return number == 0 ? NULL : values[number]; }

const clqi_format_info *clqi_format_find(clq_format format) {
  const size_t i = (size_t)format;
  return i < sizeof table / sizeof table[0] && table[i].name != NULL ? &table[i] : NULL;
}

const char *clq_format_name(clq_format format) {
  const clqi_format_info *info = clqi_format_find(format);
  return info == NULL ? "?" : info->name;
}

bool clqi_format_is_plain(clq_format format) {
  const clqi_format_info *info = clqi_format_find(format);
  return info != NULL && info->plain != 0;
}

int64_t clqi_format_block(clq_format format) {
  const clqi_format_info *info = clqi_format_find(format);
  return info == NULL || info->group == 0 ? 1 : info->block;
}

bool clqi_format_row_bytes(clq_format format, int64_t cols, size_t *bytes) {
  const clqi_format_info *info = clqi_format_find(format);
  if (info == NULL || cols < 0) {
    return false;
  }
  const size_t blocks = (size_t)clqi_div_up(cols, info->block);
  return clqi_mul_size(blocks, (size_t)info->block_bytes, bytes);
}

/* `half` bytes, a multiple of 8: element j in the low nibble of byte j, j + half in the high one.
 */
CLQI_INLINED void split_nibbles(const uint8_t *bytes, int half, uint8_t *codes) {
  const uint64_t low = clqi_bytes8(15);
  CLQI_UNROLLED
  for (int j = 0; j < half; j += 8) {
    const uint64_t v = clqi_load64(bytes + j);
    clqi_store64(codes + j, v & low);
    clqi_store64(codes + j + half, (v >> 4) & low);
  }
}

/* A fifth bit for each of 32 codes. */
static void add_fifth_bits(const uint8_t *bits, uint8_t *codes) {
  CLQI_UNROLLED
  for (int j = 0; j < 32; j += 8) {
    clqi_store64(codes + j, clqi_load64(codes + j) | clqi_spread8(bits[j / 8], 1) << 4);
  }
}

static void read_q4(const uint8_t *bytes, bool has_min, clqi_block *b) {
  b->scales[0] = clqi_load_f16(bytes);
  b->mins[0] = has_min ? clqi_load_f16(bytes + 2) : 0.0f;
  split_nibbles(bytes + (has_min ? 4 : 2), 16, b->codes);
}

static void read_q5(const uint8_t *bytes, bool has_min, clqi_block *b) {
  const uint8_t *high = bytes + (has_min ? 4 : 2);
  b->scales[0] = clqi_load_f16(bytes);
  b->mins[0] = has_min ? clqi_load_f16(bytes + 2) : 0.0f;
  split_nibbles(high + 4, 16, b->codes);
  add_fifth_bits(high, b->codes);
}

static void read_q8_0(const uint8_t *bytes, clqi_block *b) {
  b->scales[0] = clqi_load_f16(bytes);
  memcpy(b->codes, bytes + 2, 32);
}

static void read_iq4_nl(const uint8_t *bytes, clqi_block *b) {
  b->scales[0] = clqi_load_f16(bytes);
  split_nibbles(bytes + 2, 16, b->codes);
}

/* Below e = 2 it is subnormal. */
uint16_t clqi_mxfp4_scale(uint8_t e) { return (uint16_t)(e < 2 ? 0x20U << e : (e - 1U) << 7); }

static void read_mxfp4(const uint8_t *bytes, clqi_block *b) {
  const uint16_t scale = clqi_mxfp4_scale(bytes[0]);
  b->scales[0] = clqi_load_bf16(&scale);
  split_nibbles(bytes + 1, 16, b->codes);
}

/* 64 bytes of four codes of 2 bits: byte 32 h + l holds elements 128 h + 32 s + l, s ascending. */
CLQI_INLINED void split_pairs(const uint8_t *bytes, uint8_t *codes) {
  for (int k = 0; k < 256; k += 32) {
    CLQI_UNROLLED
    for (int j = 0; j < 32; j += 8) {
      const uint64_t v = clqi_load64(bytes + k / 128 * 32 + j);
      clqi_store64(codes + k + j, (v >> (k % 128 / 32 * 2)) & clqi_bytes8(3));
    }
  }
}

/* Codes of 256 elements, one bit more at `at`: byte l holds those of elements 32 s + l, s
 * ascending. */
CLQI_INLINED void add_bits(const uint8_t *bytes, int at, uint8_t *codes) {
  for (int k = 0; k < 256; k += 32) {
    CLQI_UNROLLED
    for (int j = 0; j < 32; j += 8) {
      const uint64_t bit = (clqi_load64(bytes + j) >> k / 32) & clqi_bytes8(1);
      clqi_store64(codes + k + j, clqi_load64(codes + k + j) | bit << at);
    }
  }
}

/* The halves of a super-block, that of its minima negative. */
static void read_super(const uint8_t *scale, const uint8_t *min, clqi_block *b) {
  b->super[0] = clqi_load16(scale);
  b->super[1] = min == NULL ? 0 : clqi_load16(min) ^ 0x8000U;
}

/* Scales and minima from what was read of a super-block. */
static void multiply_super(const clqi_format_info *info, clqi_block *b) {
  for (int g = 0; g < info->block / info->group; ++g) {
    b->scales[g] = clqi_f32_from_f16(b->super[0]) * (float)b->parts[0][g];
    b->mins[g] = info->has_min ? clqi_f32_from_f16(b->super[1]) * (float)b->parts[1][g] : 0.0f;
  }
}

static void read_q2_k(const uint8_t *bytes, clqi_block *b) {
  read_super(bytes + 80, bytes + 82, b);
  for (int g = 0; g < 16; ++g) {
    b->parts[0][g] = (int8_t)(bytes[g] & 15);
    b->parts[1][g] = (int8_t)(bytes[g] >> 4);
  }
  split_pairs(bytes + 16, b->codes);
}

/* Scales: low nibbles in eight bytes, two high bits in four. */
static void read_q3_k(const uint8_t *bytes, clqi_block *b) {
  const uint8_t *scales = bytes + 96;
  read_super(bytes + 108, NULL, b);
  for (int g = 0; g < 16; ++g) {
    const int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
    const int high = (scales[8 + g % 4] >> (g / 4 * 2)) & 3;
    b->parts[0][g] = (int8_t)((low | high << 4) - 32);
  }
  split_pairs(bytes + 32, b->codes);
  add_bits(bytes, 2, b->codes);
}

/* d, dmin, then eight scales and eight minima of 6 bits in 12 bytes. */
static void read_k_scales(const uint8_t *bytes, clqi_block *b) {
  const uint8_t *s = bytes + 4;
  read_super(bytes, bytes + 2, b);
  for (int g = 0; g < 8; ++g) {
    const int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
    const int min = g < 4 ? s[g + 4] & 63 : (s[g + 4] >> 4) | (s[g] >> 6) << 4;
    b->parts[0][g] = (int8_t)scale;
    b->parts[1][g] = (int8_t)min;
  }
}

static void read_q4_k(const uint8_t *bytes, clqi_block *b) {
  read_k_scales(bytes, b);
  for (int i = 0; i < 4; ++i) {
    split_nibbles(bytes + 16 + 32 * i, 32, b->codes + 64 * i);
  }
}

static void read_q5_k(const uint8_t *bytes, clqi_block *b) {
  read_k_scales(bytes, b);
  for (int i = 0; i < 4; ++i) {
    split_nibbles(bytes + 48 + 32 * i, 32, b->codes + 64 * i);
  }
  add_bits(bytes + 16, 4, b->codes);
}

static void read_q6_k(const uint8_t *bytes, clqi_block *b) {
  uint8_t high[256];
  read_super(bytes + 208, NULL, b);
  memcpy(b->parts[0], bytes + 192, 16);
  split_nibbles(bytes, 64, b->codes);
  split_nibbles(bytes + 64, 64, b->codes + 128);
  split_pairs(bytes + 128, high);
  for (int k = 0; k < 256; k += 8) {
    clqi_store64(b->codes + k, clqi_load64(b->codes + k) | clqi_load64(high + k) << 4);
  }
}

static void read_block(clq_format format, const uint8_t *bytes, clqi_block *block) {
  switch (format) {
    case CLQ_FORMAT_Q4_0: read_q4(bytes, false, block); return;
    case CLQ_FORMAT_Q4_1: read_q4(bytes, true, block); return;
    case CLQ_FORMAT_Q5_0: read_q5(bytes, false, block); return;
    case CLQ_FORMAT_Q5_1: read_q5(bytes, true, block); return;
    case CLQ_FORMAT_Q8_0: read_q8_0(bytes, block); return;
    case CLQ_FORMAT_Q2_K: read_q2_k(bytes, block); return;
    case CLQ_FORMAT_Q3_K: read_q3_k(bytes, block); return;
    case CLQ_FORMAT_Q4_K: read_q4_k(bytes, block); return;
    case CLQ_FORMAT_Q5_K: read_q5_k(bytes, block); return;
    case CLQ_FORMAT_Q6_K: read_q6_k(bytes, block); return;
    case CLQ_FORMAT_IQ4_NL: read_iq4_nl(bytes, block); return;
    case CLQ_FORMAT_MXFP4: read_mxfp4(bytes, block); return;
    default: return; /* no blocks */
  }
}

void clqi_block_read(clq_format format, const uint8_t *bytes, clqi_block *block) {
  const clqi_format_info *info = clqi_format_find(format);
  read_block(format, bytes, block);
  if (info->scale == CLQ_I8) {
    multiply_super(info, block);
  }
}

int clqi_format_middle(const clqi_format_info *info) {
  return info->has_min || info->bits == 8 ? 0 : 1 << (info->bits - 1);
}

static void decode_blocks(clq_format format, const uint8_t *row, int64_t cols, float *out) {
  const clqi_format_info *info = clqi_format_find(format);
  const int middle = clqi_format_middle(info);
  clqi_block b = {.codes = {0}};
  for (int64_t k = 0; k < cols; k += info->block, row += info->block_bytes) {
    clqi_block_read(format, row, &b);
    for (int32_t j = 0; j < info->block; ++j) {
      const int32_t g = j / info->group;
      const int code = b.codes[j];
      const float value = (float)(info->values != 0 ? values[info->values][code]
                                  : info->bits == 8 ? (int8_t)code
                                                    : code - middle);
      *out++ = info->has_min ? fmaf(value, b.scales[g], b.mins[g]) : value * b.scales[g];
    }
  }
}

void clqi_format_decode_row(clq_format format, const void *row, int64_t cols, float *out) {
  const uint8_t *bytes = row;
  switch (format) {
    case CLQ_FORMAT_F32: memcpy(out, row, (size_t)cols * sizeof *out); return;
    case CLQ_FORMAT_F16:
      for (int64_t k = 0; k < cols; ++k) {
        out[k] = clqi_load_f16(bytes + 2 * k);
      }
      return;
    case CLQ_FORMAT_BF16:
      for (int64_t k = 0; k < cols; ++k) {
        out[k] = clqi_load_bf16(bytes + 2 * k);
      }
      return;
    default: decode_blocks(format, bytes, cols, out); return;
  }
}
