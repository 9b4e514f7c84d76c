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
  if (clqi_ref_plain_bits(format) != 0) {
    return test_plain_weights_new(random, format, rows, cols, group,
                                  with_zeros ? TEST_ZEROS : TEST_SCALES, CLQ_F32);
  }
  w.ref.data = random_blocks(random, format, n * k / (size_t)clqi_ref_block_of(format).elements);
  return w;
}

static void store_scale(void *plane, clq_dtype dtype, size_t i, float value) {
  if (dtype == CLQ_F32) {
    ((float *)plane)[i] = value;
  } else {
    ((uint16_t *)plane)[i] =
        dtype == CLQ_F16 ? clqi_ref_f16_from_f32(value) : clqi_ref_bf16_from_f32(value);
  }
}

test_weights test_plain_weights_new(test_random *random, clq_format format, int64_t rows,
                                    int64_t cols, int64_t group, test_beside beside,
                                    clq_dtype scale_dtype) {
  test_weights w = {
      .ref = {.format = format, .rows = rows, .cols = cols, .scale_dtype = scale_dtype},
      .whole_row = group == 0};
  const int64_t bits = clqi_ref_plain_bits(format);
  w.ref.group = group == 0 ? cols : group;
  w.ref.data = random_bytes(
      random, (size_t)(rows * (bits == 3 ? (cols + 7) / 8 * 3 : (cols * bits + 7) / 8)));
  const size_t groups = (size_t)(rows * ((cols + w.ref.group - 1) / w.ref.group));
  void *scales = malloc(groups * 4);
  void *mins = beside == TEST_MINS ? malloc(groups * 4) : NULL;
  uint8_t *zeros = beside == TEST_ZEROS ? malloc(groups) : NULL;
  for (size_t i = 0; i < groups; ++i) {
    store_scale(scales, scale_dtype, i, random_scale(random));
    if (zeros != NULL) {
      zeros[i] = (uint8_t)test_random_int(random, 0, bits == 8 ? 255 : 1 << bits);
    }
    if (mins != NULL) {
      store_scale(mins, scale_dtype, i, test_random_float(random));
    }
  }
  w.ref.scales = scales;
  w.ref.mins = mins;
  w.ref.zeros = zeros;
  return w;
}

void test_weights_free(test_weights *weights) {
  free((void *)(size_t)weights->ref.data);
  free((void *)(size_t)weights->ref.scales);
  free((void *)(size_t)weights->ref.mins);
  free((void *)(size_t)weights->ref.zeros);
}

clq_weights *test_weights_pack(const test_device *device, const test_weights *weights) {
  const clqi_ref_weights *r = &weights->ref;
  const clq_weights_part part = {
      .data = r->data, .scales = r->scales, .zeros = r->zeros, .rows = r->rows, .mins = r->mins};
  clq_weights *packed = NULL;
  test_ok(clq_weights_pack(device->context,
                           &(clq_weights_desc){.format = r->format,
                                               .cols = r->cols,
                                               .group = weights->whole_row ? 0 : r->group,
                                               .parts = &part,
                                               .part_count = 1,
                                               .scale_dtype = r->scale_dtype,
                                               .order = r->order},
                           &packed));
  return packed;
}
