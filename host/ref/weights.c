#include "ref/weights.h"

#include <math.h>
#include <stddef.h>

#include "ref/math.h"

clqi_ref_block clqi_ref_block_of(clq_format format) {
  switch (format) {
    case CLQ_FORMAT_Q4_0: return (clqi_ref_block){32, 18, 0, -1};
    case CLQ_FORMAT_Q4_1: return (clqi_ref_block){32, 20, 0, 2};
    case CLQ_FORMAT_Q5_0: return (clqi_ref_block){32, 22, 0, -1};
    case CLQ_FORMAT_Q5_1: return (clqi_ref_block){32, 24, 0, 2};
    case CLQ_FORMAT_Q8_0: return (clqi_ref_block){32, 34, 0, -1};
    case CLQ_FORMAT_IQ4_NL: return (clqi_ref_block){32, 18, 0, -1};
    case CLQ_FORMAT_MXFP4: return (clqi_ref_block){32, 17, -1, -1};
    case CLQ_FORMAT_Q2_K: return (clqi_ref_block){256, 84, 80, 82};
    case CLQ_FORMAT_Q3_K: return (clqi_ref_block){256, 110, 108, -1};
    case CLQ_FORMAT_Q4_K: return (clqi_ref_block){256, 144, 0, 2};
    case CLQ_FORMAT_Q5_K: return (clqi_ref_block){256, 176, 0, 2};
    case CLQ_FORMAT_Q6_K: return (clqi_ref_block){256, 210, 208, -1};
    default: return (clqi_ref_block){1, 0, -1, -1};
  }
}

int64_t clqi_ref_plain_bits(clq_format format) {
  switch (format) {
    case CLQ_FORMAT_W2: return 2;
    case CLQ_FORMAT_W3: return 3;
    case CLQ_FORMAT_W4: return 4;
    case CLQ_FORMAT_W8: return 8;
    default: return 0;
  }
}

bool clqi_ref_has_min(const clqi_ref_weights *w) {
  return w->mins != NULL || clqi_ref_block_of(w->format).min >= 0;
}

int64_t clqi_ref_group(const clqi_ref_weights *w) {
  switch (w->format) {
    case CLQ_FORMAT_W2:
    case CLQ_FORMAT_W3:
    case CLQ_FORMAT_W4:
    case CLQ_FORMAT_W8: return w->group;
    case CLQ_FORMAT_Q2_K:
    case CLQ_FORMAT_Q3_K:
    case CLQ_FORMAT_Q6_K: return 16;
    default: return 32;
  }
}

static uint16_t word_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static float half_at(const uint8_t *p) { return clqi_ref_f32_from_f16(word_at(p)); }
static int bit(const uint8_t *p, int64_t i) { return (p[i / 8] >> (i % 8)) & 1; }

/* The 4-bit codes of a block of 32: the low nibbles, then the high ones. */
static int nibble(const uint8_t *p, int64_t k) { return k < 16 ? p[k] & 15 : p[k - 16] >> 4; }

/* 6-bit scale j, 0 to 7, of Q4_K and Q5_K: the upper two bits of the last four are the upper two
 * of the bytes of the first four. */
static int k_scale(const uint8_t *s, int64_t j) {
  return j < 4 ? s[j] % 64 : s[j + 4] % 16 + 16 * (s[j - 4] / 64);
}
static int k_min(const uint8_t *s, int64_t j) {
  return j < 4 ? s[j + 4] % 64 : s[j + 4] / 16 + 16 * (s[j] / 64);
}

/* Codes of Q4_K and Q5_K: 64 elements in 32 bytes. */
static int k_nibble(const uint8_t *qs, int64_t k) {
  const uint8_t byte = qs[k / 64 * 32 + k % 32];
  return k % 64 < 32 ? byte % 16 : byte / 16;
}

/* Two bits of four elements 32 apart in a byte; 128 elements in 32 bytes. */
static int two_bits(const uint8_t *qs, int64_t k) {
  static const int divisor[] = {1, 4, 16, 64};
  return qs[k / 128 * 32 + k % 32] / divisor[k % 128 / 32] % 4;
}

/* Bit i of byte l belongs to element 32 i + l. */
static int strided_bit(const uint8_t *p, int64_t k) { return p[k % 32] >> (k / 32) & 1; }

static clqi_ref_element q2_k(const uint8_t *b, int64_t k) {
  const int scale = b[k / 16] % 16;
  const int min = b[k / 16] / 16;
  return (clqi_ref_element){two_bits(b + 16, k), half_at(b + 80) * (float)scale,
                            -(half_at(b + 82) * (float)min)};
}

/* 32 bytes of third bits, 64 of two bits, 12 of 6-bit scales less 32: their low halves in eight
 * bytes, the upper two bits of scales j, j + 4, j + 8 and j + 12 in byte 8 + j. */
static clqi_ref_element q3_k(const uint8_t *b, int64_t k) {
  static const int divisor[] = {1, 4, 16, 64};
  const uint8_t *s = b + 96;
  const int64_t j = k / 16;
  const int low = j < 8 ? s[j] % 16 : s[j - 8] / 16;
  const int high = s[8 + j % 4] / divisor[j / 4] % 4;
  return (clqi_ref_element){two_bits(b + 32, k) + 4 * strided_bit(b, k) - 4,
                            half_at(b + 108) * (float)(low + 16 * high - 32), 0.0f};
}

static clqi_ref_element q45_k(const uint8_t *b, int64_t k, bool fifth) {
  const int code = fifth ? k_nibble(b + 48, k) + 16 * strided_bit(b + 16, k) : k_nibble(b + 16, k);
  return (clqi_ref_element){code, half_at(b) * (float)k_scale(b + 4, k / 32),
                            -(half_at(b + 2) * (float)k_min(b + 4, k / 32))};
}

/* For each 128 elements 64 bytes of nibbles and 32 of two bits: of the four elements 32 apart, the
 * first two are low nibbles, 32 bytes apart, the others the high nibbles of the same. */
static clqi_ref_element q6_k(const uint8_t *b, int64_t k) {
  const int64_t l = k % 32;
  const int64_t quarter = k % 128 / 32;
  const uint8_t byte = b[k / 128 * 64 + l + quarter % 2 * 32];
  const int low = quarter < 2 ? byte % 16 : byte / 16;
  const float sub = (float)(int8_t)b[192 + k / 16];
  return (clqi_ref_element){low + 16 * two_bits(b + 128, k) - 32, half_at(b + 208) * sub, 0.0f};
}

static clqi_ref_element iq4_nl(const uint8_t *b, int64_t k) {
  static const int values[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                               1,    13,   25,  38,  53,  69,  89,  113};
  return (clqi_ref_element){values[nibble(b + 2, k)], half_at(b), 0.0f};
}

/* e2m1: sign, two bits of exponent, one of mantissa; twice its value is an integer. The scale
 * 2^(e - 127) is halved instead. */
static clqi_ref_element mxfp4(const uint8_t *b, int64_t k) {
  const int code = nibble(b + 1, k);
  const int exponent = code / 2 % 4;
  const int mantissa = code % 2;
  const int twice = exponent == 0 ? mantissa : (2 + mantissa) << (exponent - 1);
  return (clqi_ref_element){code < 8 ? twice : -twice, ldexpf(1.0f, b[0] - 128), 0.0f};
}

static clqi_ref_element gguf_element(const clqi_ref_weights *w, int64_t n, int64_t k) {
  const clqi_ref_block block = clqi_ref_block_of(w->format);
  const int64_t index = n * (w->cols / block.elements) + k / block.elements;
  const uint8_t *b = (const uint8_t *)w->data + index * block.bytes;
  const int64_t j = k % block.elements;
  switch (w->format) {
    case CLQ_FORMAT_Q4_0: return (clqi_ref_element){nibble(b + 2, j) - 8, half_at(b), 0.0f};
    case CLQ_FORMAT_Q4_1: return (clqi_ref_element){nibble(b + 4, j), half_at(b), half_at(b + 2)};
    case CLQ_FORMAT_Q5_0:
      return (clqi_ref_element){nibble(b + 6, j) + 16 * bit(b + 2, j) - 16, half_at(b), 0.0f};
    case CLQ_FORMAT_Q5_1:
      return (clqi_ref_element){nibble(b + 8, j) + 16 * bit(b + 4, j), half_at(b), half_at(b + 2)};
    case CLQ_FORMAT_Q8_0: return (clqi_ref_element){(int8_t)b[2 + j], half_at(b), 0.0f};
    case CLQ_FORMAT_Q2_K: return q2_k(b, j);
    case CLQ_FORMAT_Q3_K: return q3_k(b, j);
    case CLQ_FORMAT_Q4_K: return q45_k(b, j, false);
    case CLQ_FORMAT_Q5_K: return q45_k(b, j, true);
    case CLQ_FORMAT_Q6_K: return q6_k(b, j);
    case CLQ_FORMAT_IQ4_NL: return iq4_nl(b, j);
    default: return mxfp4(b, j);
  }
}

/* Element i of a plane beside plain codes. */
static float plane_at(const clqi_ref_weights *w, const void *plane, int64_t i) {
  const uint8_t *p = plane;
  switch (w->scale_dtype) {
    case CLQ_F16: return half_at(p + 2 * i);
    case CLQ_BF16: return clqi_ref_f32_from_bf16(word_at(p + 2 * i));
    default: return ((const float *)plane)[i];
  }
}

/* Code k of a row of plain codes, a bit at a time. */
static int plain_code(const uint8_t *row, int64_t bits, int64_t k) {
  int code = 0;
  for (int64_t i = 0; i < bits; ++i) {
    code |= bit(row, k * bits + i) << i;
  }
  return code;
}

clqi_ref_element clqi_ref_element_at(const clqi_ref_weights *w, int64_t n, int64_t k) {
  const int64_t bits = clqi_ref_plain_bits(w->format);
  if (bits == 0) {
    return gguf_element(w, n, k);
  }
  const int64_t groups = (w->cols + w->group - 1) / w->group;
  const int64_t g = n * groups + k / w->group;
  const int64_t row_bytes = bits == 3 ? (w->cols + 7) / 8 * 3 : (w->cols * bits + 7) / 8;
  const int code = plain_code((const uint8_t *)w->data + n * row_bytes, bits, k);
  clqi_ref_element e = {.code = code, .scale = plane_at(w, w->scales, g)};
  if (w->mins != NULL) {
    e.min = plane_at(w, w->mins, g);
  } else if (w->zeros != NULL) {
    e.code -= w->zeros[g];
  } else {
    e.code = bits == 8 ? (int8_t)code : code - (1 << (bits - 1));
  }
  return e;
}

float clqi_ref_weight(const clqi_ref_weights *w, int64_t n, int64_t k) {
  const uint8_t *bytes = w->data;
  const int64_t i = n * w->cols + k;
  switch (w->format) {
    case CLQ_FORMAT_F32: return ((const float *)w->data)[i];
    case CLQ_FORMAT_F16: return half_at(bytes + 2 * i);
    case CLQ_FORMAT_BF16: return clqi_ref_f32_from_bf16(word_at(bytes + 2 * i));
    default: break;
  }
  const clqi_ref_element e = clqi_ref_element_at(w, n, k);
  return clqi_ref_has_min(w) ? fmaf((float)e.code, e.scale, e.min) : (float)e.code * e.scale;
}
