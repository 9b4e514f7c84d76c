#include "quant/formats.h"

#include <math.h>

#include "runtime/checked.h"

/* name, block, bytes, group, packed bits, f32 scales, minima, plain bits */
static const clqi_format_info table[] = {
    [CLQ_FORMAT_F32] = {"f32", 1, 4, 0, 32, false, false, 0},
    [CLQ_FORMAT_F16] = {"f16", 1, 2, 0, 16, false, false, 0},
    [CLQ_FORMAT_BF16] = {"bf16", 1, 2, 0, 16, false, false, 0},
    [CLQ_FORMAT_W2] = {"w2", 4, 1, 0, 2, true, false, 2},
    [CLQ_FORMAT_W3] = {"w3", 8, 3, 0, 3, true, false, 3},
    [CLQ_FORMAT_W4] = {"w4", 2, 1, 0, 4, true, false, 4},
    [CLQ_FORMAT_W8] = {"w8", 1, 1, 0, 8, true, false, 8},
    [CLQ_FORMAT_Q4_0] = {"q4_0", 32, 18, 32, 4, false, false, 0},
    [CLQ_FORMAT_Q4_1] = {"q4_1", 32, 20, 32, 4, false, true, 0},
    [CLQ_FORMAT_Q5_0] = {"q5_0", 32, 22, 32, 5, false, false, 0},
    [CLQ_FORMAT_Q5_1] = {"q5_1", 32, 24, 32, 5, false, true, 0},
    [CLQ_FORMAT_Q8_0] = {"q8_0", 32, 34, 32, 8, false, false, 0},
    [CLQ_FORMAT_Q2_K] = {"q2_k", 256, 84, 16, 2, true, true, 0},
    [CLQ_FORMAT_Q3_K] = {"q3_k", 256, 110, 16, 3, true, false, 0},
    [CLQ_FORMAT_Q4_K] = {"q4_k", 256, 144, 32, 4, true, true, 0},
    [CLQ_FORMAT_Q5_K] = {"q5_k", 256, 176, 32, 5, true, true, 0},
    [CLQ_FORMAT_Q6_K] = {"q6_k", 256, 210, 16, 6, true, false, 0},
    [CLQ_FORMAT_IQ4_NL] = {"iq4_nl", 32, 18, 32, 8, false, false, 0},
    [CLQ_FORMAT_MXFP4] = {"mxfp4", 32, 17, 32, 5, true, false, 0},
};

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

/* `half` bytes: element j in the low nibble of byte j, j + half in the high one. */
static void split_nibbles(const uint8_t *bytes, int half, int8_t *codes) {
  for (int j = 0; j < half; ++j) {
    codes[j] = (int8_t)(bytes[j] & 15);
    codes[j + half] = (int8_t)(bytes[j] >> 4);
  }
}

/* A fifth bit for each of 32 codes. */
static void add_fifth_bits(const uint8_t *bits, int8_t *codes) {
  for (int j = 0; j < 32; ++j) {
    codes[j] = (int8_t)(codes[j] | ((bits[j / 8] >> (j % 8)) & 1) << 4);
  }
}

static void subtract(int8_t *codes, int count, int offset) {
  for (int j = 0; j < count; ++j) {
    codes[j] = (int8_t)(codes[j] - offset);
  }
}

static void look_up(const int8_t values[16], int8_t *codes) {
  for (int j = 0; j < 32; ++j) {
    codes[j] = values[codes[j]];
  }
}

static void read_q4(const uint8_t *bytes, bool has_min, clqi_block *b) {
  b->scales[0] = clqi_load_f16(bytes);
  b->mins[0] = has_min ? clqi_load_f16(bytes + 2) : 0.0f;
  split_nibbles(bytes + (has_min ? 4 : 2), 16, b->codes);
  subtract(b->codes, 32, has_min ? 0 : 8);
}

static void read_q5(const uint8_t *bytes, bool has_min, clqi_block *b) {
  const uint8_t *high = bytes + (has_min ? 4 : 2);
  b->scales[0] = clqi_load_f16(bytes);
  b->mins[0] = has_min ? clqi_load_f16(bytes + 2) : 0.0f;
  split_nibbles(high + 4, 16, b->codes);
  add_fifth_bits(high, b->codes);
  subtract(b->codes, 32, has_min ? 0 : 16);
}

static void read_q8_0(const uint8_t *bytes, clqi_block *b) {
  b->scales[0] = clqi_load_f16(bytes);
  memcpy(b->codes, bytes + 2, 32);
}

static void read_iq4_nl(const uint8_t *bytes, clqi_block *b) {
  static const int8_t values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                    1,    13,   25,  38,  53,  69,  89,  113};
  b->scales[0] = clqi_load_f16(bytes);
  split_nibbles(bytes + 2, 16, b->codes);
  look_up(values, b->codes);
}

/* The values of e2m1 are doubled, 2^(e - 127) is halved for it: below e = 2 that is subnormal. */
static void read_mxfp4(const uint8_t *bytes, clqi_block *b) {
  static const int8_t values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  const uint32_t e = bytes[0];
  const uint32_t bits = e < 2 ? 0x00200000U << e : (e - 1) << 23;
  memcpy(&b->scales[0], &bits, sizeof bits);
  split_nibbles(bytes + 1, 16, b->codes);
  look_up(values, b->codes);
}

/* 64 bytes of four codes of 2 bits: byte 32 h + l holds elements 128 h + 32 s + l, s ascending. */
static void split_pairs(const uint8_t *bytes, int8_t *codes) {
  for (int k = 0; k < 256; ++k) {
    codes[k] = (int8_t)((bytes[k / 128 * 32 + k % 32] >> (k % 128 / 32 * 2)) & 3);
  }
}

static void read_q2_k(const uint8_t *bytes, clqi_block *b) {
  const float d = clqi_load_f16(bytes + 80);
  const float least = clqi_load_f16(bytes + 82);
  for (int g = 0; g < 16; ++g) {
    b->scales[g] = d * (float)(bytes[g] & 15);
    b->mins[g] = -(least * (float)(bytes[g] >> 4));
  }
  split_pairs(bytes + 16, b->codes);
}

/* A third bit that is not set takes 4 off. Scales: low nibbles in eight bytes, two high bits in
 * four. */
static void read_q3_k(const uint8_t *bytes, clqi_block *b) {
  const uint8_t *scales = bytes + 96;
  const float d = clqi_load_f16(bytes + 108);
  for (int g = 0; g < 16; ++g) {
    const int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
    const int high = (scales[8 + g % 4] >> (g / 4 * 2)) & 3;
    b->scales[g] = d * (float)((low | high << 4) - 32);
  }
  split_pairs(bytes + 32, b->codes);
  for (int k = 0; k < 256; ++k) {
    const bool is_set = ((bytes[k % 32] >> (k / 32)) & 1) != 0;
    b->codes[k] = (int8_t)(b->codes[k] - (is_set ? 0 : 4));
  }
}

/* d, dmin, then eight scales and eight minima of 6 bits in 12 bytes. */
static void read_k_scales(const uint8_t *bytes, clqi_block *b) {
  const float d = clqi_load_f16(bytes);
  const float least = clqi_load_f16(bytes + 2);
  const uint8_t *s = bytes + 4;
  for (int g = 0; g < 8; ++g) {
    const int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
    const int min = g < 4 ? s[g + 4] & 63 : (s[g + 4] >> 4) | (s[g] >> 6) << 4;
    b->scales[g] = d * (float)scale;
    b->mins[g] = -(least * (float)min);
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
  for (int k = 0; k < 256; ++k) {
    b->codes[k] = (int8_t)(b->codes[k] | ((bytes[16 + k % 32] >> (k / 32)) & 1) << 4);
  }
}

static void read_q6_k(const uint8_t *bytes, clqi_block *b) {
  const float d = clqi_load_f16(bytes + 208);
  for (int g = 0; g < 16; ++g) {
    b->scales[g] = d * (float)(int8_t)bytes[192 + g];
  }
  int8_t high[256];
  split_nibbles(bytes, 64, b->codes);
  split_nibbles(bytes + 64, 64, b->codes + 128);
  split_pairs(bytes + 128, high);
  for (int k = 0; k < 256; ++k) {
    b->codes[k] = (int8_t)((b->codes[k] | high[k] << 4) - 32);
  }
}

void clqi_block_read(clq_format format, const uint8_t *bytes, clqi_block *block) {
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

static void decode_blocks(clq_format format, const uint8_t *row, int64_t cols, float *out) {
  const clqi_format_info *info = clqi_format_find(format);
  clqi_block b = {{0}, {0}, {0}};
  for (int64_t k = 0; k < cols; k += info->block, row += info->block_bytes) {
    clqi_block_read(format, row, &b);
    for (int32_t j = 0; j < info->block; ++j) {
      const int32_t g = j / info->group;
      const float code = (float)b.codes[j];
      *out++ = info->has_min ? fmaf(code, b.scales[g], b.mins[g]) : code * b.scales[g];
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
