/* Random weight matrices by their words: f32 f16 bf16, GGUF's formats, w2, w3, w4 and w8
 * with g<n> and z. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ref/math.h"
#include "ref/weights.h"

typedef struct weights_type {
  clq_format format; /* 0: a word of the contract that is not offered */
  int64_t group;
  bool zeros;
} weights_type;

/* "" or "g<n>", then "" or "z". */
static bool parse_suffix(const char *at, weights_type *type) {
  if (at[0] == 'g') {
    char *end = NULL;
    type->group = at[1] >= '1' && at[1] <= '9' ? strtol(at + 1, &end, 10) : 0;
    if (type->group <= 0 || type->group > 1 << 20) {
      return false;
    }
    at = end;
  }
  type->zeros = at[0] == 'z';
  return at[type->zeros ? 1 : 0] == '\0';
}

static bool parse(const char *word, weights_type *type) {
  *type = (weights_type){0};
  for (int f = CLQ_FORMAT_F32; f <= CLQ_FORMAT_W3; ++f) {
    if (strcmp(word, clq_format_name((clq_format)f)) == 0) {
      type->format = (clq_format)f;
      return true;
    }
  }
  if (strcmp(word, "q8_k") == 0) {
    return true;
  }
  if (word[0] != 'w' || strchr("2348", word[1]) == NULL || word[1] == '\0') {
    return false;
  }
  type->format = word[1] == '2'   ? CLQ_FORMAT_W2
                 : word[1] == '3' ? CLQ_FORMAT_W3
                 : word[1] == '4' ? CLQ_FORMAT_W4
                                  : CLQ_FORMAT_W8;
  return parse_suffix(word + 2, type);
}

bool bench_is_weights_word(const char *word) {
  weights_type type;
  return parse(word, &type);
}

/* Of a weight as it lies on the device, where that is not its part of a block. */
static double packed_bits(clq_format format) {
  switch (format) {
    case CLQ_FORMAT_Q2_K: return 3.125;
    case CLQ_FORMAT_Q3_K: return 3.5625;
    case CLQ_FORMAT_Q4_K: return 4.625;
    case CLQ_FORMAT_Q5_K: return 5.625;
    case CLQ_FORMAT_MXFP4: return 4.5;
    default: {
      const clqi_ref_block block = clqi_ref_block_of(format);
      return 8.0 * (double)block.bytes / (double)block.elements;
    }
  }
}

static void put_half(uint8_t *at, float value) {
  const uint16_t half = clqi_ref_f16_from_f32(value);
  at[0] = (uint8_t)(half & 255U);
  at[1] = (uint8_t)(half >> 8);
}

static float random_scale(uint64_t *seed) {
  return (float)(1 + (bench_random(seed) >> 22)) * 0x1p-16f;
}

int64_t bench_plain_row_bytes(clq_format format, int64_t cols) {
  const int64_t bits = clqi_ref_plain_bits(format);
  return bits == 3 ? (cols + 7) / 8 * 3 : (cols * bits + 7) / 8;
}

static uint8_t *random_bytes(bench_case *c, int64_t count, uint64_t *seed) {
  uint8_t *data = bench_host(c, count, 1);
  for (int64_t i = 0; data != NULL && i < count; ++i) {
    data[i] = (uint8_t)(bench_random(seed) >> 9);
  }
  return data;
}

static void *random_blocks(bench_case *c, clq_format format, int64_t blocks, uint64_t *seed) {
  const clqi_ref_block layout = clqi_ref_block_of(format);
  uint8_t *data = random_bytes(c, blocks * layout.bytes, seed);
  for (int64_t b = 0; data != NULL && b < blocks; ++b) {
    uint8_t *block = data + b * layout.bytes;
    if (layout.scale >= 0) {
      put_half(block + layout.scale, random_scale(seed));
    } else { /* MXFP4: an exponent */
      block[0] = (uint8_t)(115 + bench_random(seed) % 8U);
    }
    if (layout.min >= 0) { /* the K formats subtract theirs */
      put_half(block + layout.min, (layout.elements == 32 ? -8.0f : 1.0f) * random_scale(seed));
    }
  }
  return data;
}

static void *random_halves(bench_case *c, clq_format format, int64_t count, uint64_t seed) {
  uint16_t *data = bench_host(c, count, sizeof *data);
  const float *floats = bench_random_floats(c, count, seed);
  for (int64_t i = 0; data != NULL && floats != NULL && i < count; ++i) {
    data[i] = format == CLQ_FORMAT_BF16 ? clqi_ref_bf16_from_f32(floats[i])
                                        : clqi_ref_f16_from_f32(floats[i]);
  }
  return data;
}

static void add_planes(bench_case *c, clqi_ref_weights *w, bool zeros, uint64_t *seed) {
  const int64_t count = w->rows * ((w->cols + w->group - 1) / w->group);
  float *scales = bench_host(c, count, sizeof *scales);
  uint8_t *zero = zeros ? bench_host(c, count, 1) : NULL;
  for (int64_t i = 0; c->code == 0 && i < count; ++i) {
    scales[i] = random_scale(seed);
    if (zero != NULL) {
      zero[i] = (uint8_t)(bench_random(seed) % 16U);
    }
  }
  w->scales = scales;
  w->zeros = zero;
}

static void pack(bench_case *c, const clqi_ref_weights *w, int64_t group) {
  const clq_weights_part part = {
      .data = w->data, .scales = w->scales, .zeros = w->zeros, .rows = w->rows};
  const clq_weights_desc desc = {
      .format = w->format, .cols = w->cols, .group = group, .parts = &part, .part_count = 1};
  (void)bench_ok(c, clq_weights_pack(c->session->context, &desc, &c->weights));
}

clqi_ref_weights bench_weights(bench_case *c, const char *word, int64_t rows, int64_t cols) {
  weights_type type;
  uint64_t seed = 7;
  if (!parse(word, &type) || type.format == 0) {
    bench_fail(c,
               "%s: --weights %s is not offered; take f32, f16, w8, w4, w8g32, w4g32z, q8_0, q4_0, "
               "q4_k, ...",
               c->op->name, word);
    return (clqi_ref_weights){0};
  }
  const int64_t block = clqi_ref_block_of(type.format).elements;
  if (cols % block != 0) {
    bench_fail(c, "%s: --%s is %lld, --weights %s takes a multiple of %lld", c->op->name,
               c->op->op == CLQ_OP_GEMM ? "k" : "cols", (long long)cols, word, (long long)block);
    return (clqi_ref_weights){0};
  }
  clqi_ref_weights w = {.format = type.format, .rows = rows, .cols = cols};
  switch (type.format) {
    case CLQ_FORMAT_F32: w.data = bench_random_floats(c, rows * cols, seed); break;
    case CLQ_FORMAT_F16:
    case CLQ_FORMAT_BF16: w.data = random_halves(c, type.format, rows * cols, seed); break;
    case CLQ_FORMAT_W2:
    case CLQ_FORMAT_W3:
    case CLQ_FORMAT_W4:
    case CLQ_FORMAT_W8:
      w.group = type.group == 0 ? cols : type.group;
      w.data = random_bytes(c, rows * bench_plain_row_bytes(type.format, cols), &seed);
      add_planes(c, &w, type.zeros, &seed);
      break;
    default: w.data = random_blocks(c, type.format, rows * cols / block, &seed);
  }
  if (bench_count_device(c, bench_weights_bytes(&w, (double)rows))) {
    pack(c, &w, type.group);
  }
  return w;
}

double bench_weights_bytes(const clqi_ref_weights *w, double rows) {
  const double elements = rows * (double)w->cols;
  if (w->format == CLQ_FORMAT_F32 || w->format == CLQ_FORMAT_F16 || w->format == CLQ_FORMAT_BF16) {
    return elements * (w->format == CLQ_FORMAT_F32 ? 4.0 : 2.0);
  }
  if (w->group == 0) {
    return elements * packed_bits(w->format) / 8.0;
  }
  const int64_t row_groups = (w->cols + w->group - 1) / w->group;
  const double groups = rows * (double)row_groups;
  const double bits = w->format == CLQ_FORMAT_W2   ? 2.0
                      : w->format == CLQ_FORMAT_W3 ? 3.0
                      : w->format == CLQ_FORMAT_W4 ? 4.0
                                                   : 8.0;
  return elements * bits / 8.0 + groups * (w->zeros != NULL ? 5.0 : 4.0);
}
