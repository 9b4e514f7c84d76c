#include "weights.h"

#include <stdlib.h>

#include "ref/math.h"
#include "ref/weights.h"

static void store_half(uint8_t *p, float value) {
  const uint16_t h = clqi_ref_f16_from_f32(value);
  p[0] = (uint8_t)(h & 255U);
  p[1] = (uint8_t)(h >> 8);
}

static float random_scale(test_random *random) {
  return test_random_int(random, 0, 30) == 0 ? 0.0f : 0.125f * test_random_float(random);
}

static void *random_bytes(test_random *random, size_t bytes) {
  uint8_t *data = malloc(bytes);
  for (size_t i = 0; i < bytes; ++i) {
    data[i] = (uint8_t)test_random_u32(random);
  }
  return data;
}

static void *random_blocks(test_random *random, clq_format format, size_t blocks) {
  const clqi_ref_block layout = clqi_ref_block_of(format);
  const size_t bytes = (size_t)layout.bytes;
  uint8_t *data = random_bytes(random, blocks * bytes);
  for (size_t b = 0; b < blocks; ++b) {
    uint8_t *block = data + b * bytes;
    if (layout.scale >= 0) {
      store_half(block + layout.scale, random_scale(random));
    } else { /* MXFP4: an exponent */
      block[0] = (uint8_t)test_random_int(random, 115, 130);
    }
    if (layout.min >= 0) {
      store_half(block + layout.min, test_random_float(random));
    }
  }
  return data;
}

static void *random_floats(test_random *random, clq_format format, size_t count) {
  const size_t bytes = format == CLQ_FORMAT_F32 ? 4 : 2;
  uint8_t *data = malloc(count * bytes);
  for (size_t i = 0; i < count; ++i) {
    if (format == CLQ_FORMAT_F32) {
      ((float *)(void *)data)[i] = test_random_float(random);
    } else if (format == CLQ_FORMAT_BF16) {
      const uint16_t h = clqi_ref_bf16_from_f32(test_random_float(random));
      data[2 * i] = (uint8_t)(h & 255U);
      data[2 * i + 1] = (uint8_t)(h >> 8);
    } else {
      store_half(data + 2 * i, test_random_float(random));
    }
  }
  return data;
}

test_weights test_weights_new(test_random *random, clq_format format, int64_t rows, int64_t cols,
                              int64_t group, bool with_zeros) {
  test_weights w = {.ref = {.format = format, .rows = rows, .cols = cols}, .whole_row = group == 0};
  const size_t n = (size_t)rows;
  const size_t k = (size_t)cols;
  if (format == CLQ_FORMAT_F32 || format == CLQ_FORMAT_F16 || format == CLQ_FORMAT_BF16) {
    w.ref.data = random_floats(random, format, n * k);
    return w;
  }
  if (format != CLQ_FORMAT_W4 && format != CLQ_FORMAT_W8) {
    w.ref.data = random_blocks(random, format, n * k / (size_t)clqi_ref_block_of(format).elements);
    return w;
  }
  w.ref.group = group == 0 ? cols : group;
  w.ref.data = random_bytes(random, n * (format == CLQ_FORMAT_W4 ? (k + 1) / 2 : k));
  const size_t groups = n * (size_t)((cols + w.ref.group - 1) / w.ref.group);
  float *scales = malloc(groups * sizeof *scales);
  uint8_t *zeros = with_zeros ? malloc(groups) : NULL;
  for (size_t i = 0; i < groups; ++i) {
    scales[i] = random_scale(random);
    if (zeros != NULL) {
      zeros[i] = (uint8_t)test_random_int(random, 0, 16);
    }
  }
  w.ref.scales = scales;
  w.ref.zeros = zeros;
  return w;
}

void test_weights_free(test_weights *weights) {
  free((void *)(size_t)weights->ref.data);
  free((void *)(size_t)weights->ref.scales);
  free((void *)(size_t)weights->ref.zeros);
}

clq_weights *test_weights_pack(const test_device *device, const test_weights *weights) {
  const clqi_ref_weights *r = &weights->ref;
  const clq_weights_part part = {
      .data = r->data, .scales = r->scales, .zeros = r->zeros, .rows = r->rows};
  clq_weights *packed = NULL;
  test_ok(clq_weights_pack(device->context,
                           &(clq_weights_desc){.format = r->format,
                                               .cols = r->cols,
                                               .group = weights->whole_row ? 0 : r->group,
                                               .parts = &part,
                                               .part_count = 1},
                           &packed));
  return packed;
}
