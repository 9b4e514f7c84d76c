/* Packing is the inverse of unpacking, and its layout is what quant/weights.h says. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counting.h"
#include "device.h"
#include "io/ggml_types.h"
#include "opencl.h"
#include "progress.h"
#include "quant/formats.h"
#include "quant/pack.h"
#include "quant/weights.h"
#include "ref/math.h"
#include "runtime/status.h"
#include "weights.h"

TestSuite(weights, .fini = opencl_none_live);

typedef struct shape {
  clq_format format;
  int64_t rows, cols, group;
  bool zeros;
} shape;

static const shape shapes[] = {
    {CLQ_FORMAT_Q4_0, 1, 32, 0, false},
    {CLQ_FORMAT_Q4_0, 33, 96, 0, false},
    {CLQ_FORMAT_Q4_1, 16, 64, 0, false},
    {CLQ_FORMAT_Q4_1, 300, 160, 0, false},
    {CLQ_FORMAT_Q8_0, 17, 32, 0, false},
    {CLQ_FORMAT_Q8_0, 15, 128, 0, false},
    {CLQ_FORMAT_W4, 1, 1, 0, false},
    {CLQ_FORMAT_W4, 33, 13, 0, true},
    {CLQ_FORMAT_W4, 18, 100, 32, true},
    {CLQ_FORMAT_W4, 18, 129, 8, false},
    {CLQ_FORMAT_W4, 5, 64, 128, false},
    {CLQ_FORMAT_W8, 1, 1, 0, false},
    {CLQ_FORMAT_W8, 40, 77, 64, false},
    {CLQ_FORMAT_W8, 16, 40, 40, false},
    {CLQ_FORMAT_F32, 17, 5, 0, false},
    {CLQ_FORMAT_F16, 31, 9, 0, false},
    {CLQ_FORMAT_BF16, 31, 9, 0, false},
    {CLQ_FORMAT_Q5_0, 33, 96, 0, false},
    {CLQ_FORMAT_Q5_1, 17, 64, 0, false},
    {CLQ_FORMAT_IQ4_NL, 33, 96, 0, false},
    {CLQ_FORMAT_MXFP4, 18, 96, 0, false},
    {CLQ_FORMAT_Q2_K, 33, 512, 0, false},
    {CLQ_FORMAT_Q3_K, 1, 256, 0, false},
    {CLQ_FORMAT_Q3_K, 33, 768, 0, false},
    {CLQ_FORMAT_Q4_K, 16, 512, 0, false},
    {CLQ_FORMAT_Q5_K, 31, 256, 0, false},
    {CLQ_FORMAT_Q6_K, 17, 768, 0, false},
    {CLQ_FORMAT_Q4_1, 3000, 1024, 0, false}, /* large enough for several threads */
};

/* Plain codes with every plane that may stand beside them. */
typedef struct plain_shape {
  clq_format format;
  int64_t rows, cols, group;
  test_beside beside;
  clq_dtype scale;
} plain_shape;

static const plain_shape plain_shapes[] = {
    {CLQ_FORMAT_W2, 1, 1, 0, TEST_SCALES, CLQ_F32},
    {CLQ_FORMAT_W2, 33, 131, 32, TEST_SCALES, CLQ_F16},
    {CLQ_FORMAT_W2, 18, 100, 8, TEST_ZEROS, CLQ_BF16},
    {CLQ_FORMAT_W2, 17, 77, 24, TEST_MINS, CLQ_F32},
    {CLQ_FORMAT_W3, 1, 1, 0, TEST_SCALES, CLQ_F32},
    {CLQ_FORMAT_W3, 33, 131, 32, TEST_SCALES, CLQ_BF16},
    {CLQ_FORMAT_W3, 18, 100, 8, TEST_ZEROS, CLQ_F16},
    {CLQ_FORMAT_W3, 17, 77, 40, TEST_MINS, CLQ_F16},
    {CLQ_FORMAT_W4, 17, 77, 32, TEST_SCALES, CLQ_F16},
    {CLQ_FORMAT_W4, 5, 200, 128, TEST_ZEROS, CLQ_F16},
    {CLQ_FORMAT_W4, 33, 99, 0, TEST_MINS, CLQ_BF16},
    {CLQ_FORMAT_W8, 17, 77, 32, TEST_SCALES, CLQ_F16},
    {CLQ_FORMAT_W8, 33, 130, 64, TEST_ZEROS, CLQ_F32},
    {CLQ_FORMAT_W8, 18, 99, 16, TEST_MINS, CLQ_F16},
    {CLQ_FORMAT_W8, 3, 33, 0, TEST_ZEROS, CLQ_BF16},
};

/* Rows of packed weights from `first` on against those of `s`. */
static void check_unpacked_rows(const clq_weights *packed, const clqi_ref_weights *s,
                                int64_t first) {
  float *out = malloc((size_t)(s->rows * s->cols) * sizeof *out);
  test_ok(clq_weights_unpack(packed, first, s->rows, out));
  for (int64_t n = 0; n < s->rows; ++n) {
    for (int64_t k = 0; k < s->cols; ++k) {
      const float expected = clqi_ref_weight(s, n, k);
      cr_assert_eq(memcmp(&out[n * s->cols + k], &expected, sizeof expected), 0,
                   "%s %lld x %lld group %lld: [%lld, %lld] is %a, expected %a",
                   clq_format_name(s->format), (long long)s->rows, (long long)s->cols,
                   (long long)s->group, (long long)n, (long long)k, (double)out[n * s->cols + k],
                   (double)expected);
    }
  }
  free(out);
}

static void check_unpacked(const test_device *d, test_weights source) {
  const clqi_ref_weights *s = &source.ref;
  clq_weights *packed = test_weights_pack(d, &source);
  cr_assert_eq(clq_weights_rows(packed), s->rows);
  cr_assert_eq(clq_weights_cols(packed), s->cols);
  cr_assert_eq(clq_weights_format(packed), s->format);
  check_unpacked_rows(packed, s, 0);
  clq_weights_destroy(packed);
  test_weights_free(&source);
}

Test(weights, unpack_inverts_pack) {
  test_device d = test_device_open(NULL);
  test_random random = {1};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; ++i) {
    const shape *s = &shapes[i];
    check_unpacked(&d, test_weights_new(&random, s->format, s->rows, s->cols, s->group, s->zeros));
  }
  for (size_t i = 0; i < sizeof plain_shapes / sizeof plain_shapes[0]; ++i) {
    const plain_shape *s = &plain_shapes[i];
    check_unpacked(&d, test_plain_weights_new(&random, s->format, s->rows, s->cols, s->group,
                                              s->beside, s->scale));
  }
  test_device_close(&d);
}

Test(weights, rows_of_blocks_decode_like_the_reference) {
  test_random random = {2};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; ++i) {
    const shape *s = &shapes[i];
    if (clqi_format_is_plain(s->format)) {
      continue;
    }
    test_weights w = test_weights_new(&random, s->format, 1, s->cols, 0, false);
    float *out = malloc((size_t)s->cols * sizeof *out);
    clqi_format_decode_row(s->format, w.ref.data, s->cols, out);
    for (int64_t k = 0; k < s->cols; ++k) {
      const float expected = clqi_ref_weight(&w.ref, 0, k);
      cr_assert_eq(memcmp(&out[k], &expected, sizeof expected), 0, "%s element %lld",
                   clq_format_name(s->format), (long long)k);
    }
    free(out);
    test_weights_free(&w);
  }
}

/* The same number; of NaN any. */
static bool is_same(float a, float b) {
  return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static uint32_t read_u32(FILE *file) {
  uint32_t value = 0;
  cr_assert_eq(fread(&value, sizeof value, 1, file), 1);
  return value;
}

/* The format of this name. */
static clq_format format_named(const char *name) {
  for (int f = CLQ_FORMAT_F32; clqi_format_find((clq_format)f) != NULL; ++f) {
    if (strcmp(clq_format_name((clq_format)f), name) == 0) {
      return (clq_format)f;
    }
  }
  cr_assert_fail("no format is called %s", name);
  return CLQ_FORMAT_F32;
}

/* One row of a format's blocks in golden/weights.bin, decoded by the library, the reference, and
 * packing and unpacking. */
static void check_golden_row(const test_device *d, FILE *file) {
  char name[9] = {0};
  cr_assert_eq(fread(name, 8, 1, file), 1);
  const clq_format format = format_named(name);
  const clqi_format_info *info = clqi_format_find(format);
  const size_t blocks = read_u32(file);
  const size_t elements = read_u32(file);
  const size_t bytes = read_u32(file);
  cr_assert_eq((size_t)info->block, elements, "%s", name);
  cr_assert_eq((size_t)info->block_bytes, bytes, "%s", name);
  const size_t cols = blocks * elements;
  size_t row_bytes = 0;
  cr_assert(clqi_format_row_bytes(format, (int64_t)cols, &row_bytes));
  cr_assert_eq(row_bytes, blocks * bytes);
  uint8_t *row = malloc(row_bytes);
  float *expected = malloc(cols * sizeof *expected);
  float *decoded = malloc(cols * sizeof *decoded);
  float *unpacked = malloc(cols * sizeof *unpacked);
  cr_assert_eq(fread(row, 1, row_bytes, file), row_bytes);
  cr_assert_eq(fread(expected, sizeof *expected, cols, file), cols);
  const test_weights w = {.ref = {.format = format, .rows = 1, .cols = (int64_t)cols, .data = row}};
  clqi_format_decode_row(format, row, (int64_t)cols, decoded);
  clq_weights *packed = test_weights_pack(d, &w);
  test_ok(clq_weights_unpack(packed, 0, 1, unpacked));
  for (size_t k = 0; k < cols; ++k) {
    const float by_reference = clqi_ref_weight(&w.ref, 0, (int64_t)k);
    cr_assert(is_same(decoded[k], expected[k]), "%s element %zu is %a, expected %a", name, k,
              (double)decoded[k], (double)expected[k]);
    cr_assert(is_same(by_reference, expected[k]), "%s element %zu: the reference says %a, not %a",
              name, k, (double)by_reference, (double)expected[k]);
    cr_assert(is_same(unpacked[k], expected[k]), "%s element %zu unpacked is %a, expected %a", name,
              k, (double)unpacked[k], (double)expected[k]);
  }
  clq_weights_destroy(packed);
  free(row);
  free(expected);
  free(decoded);
  free(unpacked);
}

/* Random blocks with extreme scales, as the gguf package dequantizes them (golden/README.md). */
Test(weights, decode_to_the_bits_of_the_gguf_package) {
  test_device d = test_device_open(NULL);
  FILE *file = fopen(CLQ_TEST_DIR "/golden/weights.bin", "rb");
  cr_assert_not_null(file, "cannot open tests/golden/weights.bin");
  char magic[4];
  cr_assert_eq(fread(magic, sizeof magic, 1, file), 1);
  cr_assert_arr_eq(magic, "CLQW", sizeof magic);
  cr_assert_eq(read_u32(file), 1, "version");
  const uint32_t formats = read_u32(file);
  cr_assert_eq(formats, 14);
  for (uint32_t i = 0; i < formats; ++i) {
    check_golden_row(&d, file);
  }
  cr_assert_eq(fgetc(file), EOF);
  (void)fclose(file);
  test_device_close(&d);
}

/* The reader of files and packing agree on blocks. */
Test(weights, blocks_are_those_of_the_file_reader) {
  int found = 0;
  for (uint32_t id = 0; id < 64; ++id) {
    const clqi_ggml_type_info *type = clqi_ggml_type_find(id);
    for (int f = CLQ_FORMAT_F32; type != NULL && clqi_format_find((clq_format)f) != NULL; ++f) {
      const clqi_format_info *info = clqi_format_find((clq_format)f);
      if (strcmp(info->name, type->name) == 0) {
        ++found;
        cr_assert_eq((uint32_t)info->block, type->block_elements, "%s", info->name);
        cr_assert_eq((uint32_t)info->block_bytes, type->block_bytes, "%s", info->name);
      }
    }
  }
  cr_assert_eq(found, 15);
}

/* A single block with known bytes: d = 1, codes 0, 1, .. 15 in the low nibbles, 15 .. 0 high. */
Test(weights, layout_of_nibbles) {
  test_device d = test_device_open(NULL);
  uint8_t block[18] = {0x00, 0x3c};
  for (unsigned j = 0; j < 16; ++j) {
    block[2 + j] = (uint8_t)(j | (15 - j) << 4);
  }
  const clq_weights_part part = {.data = block, .rows = 1};
  clq_weights *w = NULL;
  test_ok(clq_weights_pack(
      d.context,
      &(clq_weights_desc){.format = CLQ_FORMAT_Q4_0, .cols = 32, .parts = &part, .part_count = 1},
      &w));
  uint8_t bytes[4 * 64 + 32];
  cr_assert_eq(w->bytes, sizeof bytes);
  cr_assert_eq(clEnqueueReadBuffer(clq_stream_queue(d.stream), w->mem, CL_TRUE, 0, sizeof bytes,
                                   bytes, 0, NULL, NULL),
               CL_SUCCESS);
  for (unsigned k = 0; k < 32; ++k) {
    const unsigned byte = bytes[k / 8 * 64 + k % 4];
    cr_assert_eq(k % 8 < 4 ? byte & 15 : byte >> 4, k < 16 ? k : 31 - k, "element %u", k);
    for (unsigned n = 1; n < 16; ++n) {
      cr_assert_eq(bytes[k / 8 * 64 + 4 * n + k % 4], 0, "padding column %u", n);
    }
  }
  cr_assert_eq(bytes[256], 0x00);
  cr_assert_eq(bytes[257], 0x3c);
  for (unsigned i = 2; i < 32; ++i) {
    cr_assert_eq(bytes[256 + i], 0);
  }
  clq_weights_destroy(w);
  test_device_close(&d);
}

/* Parts with and without zero points: what those without mean by zero is then said by the plane. */
static void check_stacked(const test_device *d, clq_format format) {
  test_random random = {3};
  test_weights parts[3];
  clq_weights_part list[3];
  const int64_t rows[3] = {20, 1, 14};
  int64_t total = 0;
  for (int i = 0; i < 3; ++i) {
    parts[i] = test_weights_new(&random, format, rows[i], 40, 8, i == 1);
    list[i] = (clq_weights_part){.data = parts[i].ref.data,
                                 .scales = parts[i].ref.scales,
                                 .zeros = parts[i].ref.zeros,
                                 .rows = rows[i]};
    total += rows[i];
  }
  clq_weights *w = NULL;
  test_ok(clq_weights_pack(
      d->context,
      &(clq_weights_desc){.format = format, .cols = 40, .group = 8, .parts = list, .part_count = 3},
      &w));
  cr_assert_eq(clq_weights_rows(w), total);
  float out[40];
  int64_t n = 0;
  for (int i = 0; i < 3; ++i) {
    for (int64_t r = 0; r < rows[i]; ++r, ++n) {
      test_ok(clq_weights_unpack(w, n, 1, out));
      for (int64_t k = 0; k < 40; ++k) {
        cr_assert_eq(out[k], clqi_ref_weight(&parts[i].ref, r, k), "%s part %d [%lld, %lld]",
                     clq_format_name(format), i, (long long)r, (long long)k);
      }
    }
    test_weights_free(&parts[i]);
  }
  clq_weights_destroy(w);
}

Test(weights, parts_are_stacked) {
  static const clq_format formats[] = {CLQ_FORMAT_W2, CLQ_FORMAT_W3, CLQ_FORMAT_W4, CLQ_FORMAT_W8};
  test_device d = test_device_open(NULL);
  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; ++i) {
    check_stacked(&d, formats[i]);
  }
  test_device_close(&d);
}

/* One scale, zero point or minimum for a whole part: as if each row had it. */
Test(weights, one_scale_serves_a_matrix) {
  enum { ROWS = 19, K = 40 };
  test_device d = test_device_open(NULL);
  uint8_t data[2][ROWS * K];
  float scales[2][ROWS];
  float mins[2][ROWS];
  uint8_t zeros[2][ROWS];
  for (int p = 0; p < 2; ++p) {
    for (int i = 0; i < ROWS * K; ++i) {
      data[p][i] = (uint8_t)(i * 7 + p);
    }
    for (int r = 0; r < ROWS; ++r) {
      scales[p][r] = 0.25f + (float)p;
      mins[p][r] = -3.0f - (float)p;
      zeros[p][r] = (uint8_t)(100 + p);
    }
  }
  for (int kind = 0; kind < 3; ++kind) {
    clq_weights_part parts[2];
    for (int p = 0; p < 2; ++p) {
      parts[p] = (clq_weights_part){.data = data[p],
                                    .scales = scales[p],
                                    .zeros = kind == 1 ? zeros[p] : NULL,
                                    .mins = kind == 2 ? mins[p] : NULL,
                                    .rows = ROWS};
    }
    static float out[2][2 * ROWS * K];
    clq_weights *w[2];
    for (int whole = 0; whole < 2; ++whole) {
      const clq_weights_desc desc = {.format = CLQ_FORMAT_W8,
                                     .cols = K,
                                     .group = whole ? CLQ_GROUP_TENSOR : 0,
                                     .parts = parts,
                                     .part_count = 2};
      test_ok(clq_weights_pack(d.context, &desc, &w[whole]));
      test_ok(clq_weights_unpack(w[whole], 0, 2 * ROWS, out[whole]));
      for (int p = 0; p < 2; ++p) { /* only the first counts with one for all */
        memset(&scales[p][1], 0x7f, sizeof scales[p] - sizeof scales[p][0]);
        memset(&mins[p][1], 0x7f, sizeof mins[p] - sizeof mins[p][0]);
        memset(&zeros[p][1], 0x7f, sizeof zeros[p] - sizeof zeros[p][0]);
      }
    }
    cr_assert_arr_eq(out[0], out[1], sizeof out[0]);
    for (int whole = 0; whole < 2; ++whole) {
      clq_weights_destroy(w[whole]);
    }
    for (int p = 0; p < 2; ++p) {
      for (int r = 1; r < ROWS; ++r) {
        scales[p][r] = scales[p][0];
        mins[p][r] = mins[p][0];
        zeros[p][r] = zeros[p][0];
      }
    }
  }
  test_device_close(&d);
}

/* Known bytes: what a file's bit string means does not hang on our own reference. */
Test(weights, plain_codes_are_a_bit_string) {
  static const struct {
    clq_format format;
    uint8_t bytes[3];
    float codes[8];
  } known[] = {
      {CLQ_FORMAT_W2, {0xe4, 0x1b}, {0, 1, 2, 3, 3, 2, 1, 0}},
      {CLQ_FORMAT_W3, {0x88, 0xc6, 0xfa}, {0, 1, 2, 3, 4, 5, 6, 7}},
  };
  test_device d = test_device_open(NULL);
  for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i) {
    for (int kind = 0; kind < 3; ++kind) {
      const float scale = 1.0f;
      const float min = 10.0f;
      const uint8_t zero = 1;
      const clq_weights_part part = {.data = known[i].bytes,
                                     .scales = &scale,
                                     .zeros = kind == 1 ? &zero : NULL,
                                     .rows = 1,
                                     .mins = kind == 2 ? &min : NULL};
      const float middle = known[i].format == CLQ_FORMAT_W2 ? 2.0f : 4.0f;
      const float shift = kind == 0 ? -middle : kind == 1 ? -1.0f : 10.0f;
      clq_weights *w = NULL;
      test_ok(clq_weights_pack(
          d.context,
          &(clq_weights_desc){
              .format = known[i].format, .cols = 8, .parts = &part, .part_count = 1},
          &w));
      float out[8];
      test_ok(clq_weights_unpack(w, 0, 1, out));
      for (int k = 0; k < 8; ++k) {
        cr_assert_eq(out[k], known[i].codes[k] + shift, "%s element %d",
                     clq_format_name(known[i].format), k);
      }
      clq_weights_destroy(w);
    }
  }
  test_device_close(&d);
}

/* Parts in memory as a source, and at which read it fails (0: none). */
typedef struct memory_source {
  const clq_weights_part *parts;
  size_t row_bytes;
  int fail_at, reads;
} memory_source;

static clq_status read_memory(void *from, int32_t part, int64_t first_row, int64_t rows,
                              void *out) {
  memory_source *m = from;
  cr_assert(first_row >= 0 && rows > 0 && rows <= m->parts[part].rows - first_row);
  if (++m->reads == m->fail_at) {
    return clqi_fail(CLQ_IO_ERROR, "read %d fails", m->reads);
  }
  memcpy(out, (const uint8_t *)m->parts[part].data + (size_t)first_row * m->row_bytes,
         (size_t)rows * m->row_bytes);
  return CLQ_OK;
}

/* Several bands and parts whose borders are no tile's: the same bytes as from memory; a read that
 * fails leaves nothing. */
Test(weights, rows_of_a_source_are_packed_like_those_in_memory) {
  enum { PARTS = 3 };
  static const int64_t rows[PARTS] = {37, 2001, 5};
  static const clq_format formats[] = {CLQ_FORMAT_F32,  CLQ_FORMAT_F16,  CLQ_FORMAT_Q4_0,
                                       CLQ_FORMAT_Q4_1, CLQ_FORMAT_Q8_0, CLQ_FORMAT_Q4_K,
                                       CLQ_FORMAT_Q6_K};
  test_device d = test_device_open(NULL);
  test_random random = {7};
  for (size_t f = 0; f < sizeof formats / sizeof formats[0]; ++f) {
    const int64_t cols = formats[f] == CLQ_FORMAT_F32           ? 3200
                         : clqi_format_block(formats[f]) == 256 ? 9728
                                                                : 9600;
    test_weights sources[PARTS];
    clq_weights_part parts[PARTS];
    memory_source from = {.parts = parts};
    for (int i = 0; i < PARTS; ++i) {
      sources[i] = test_weights_new(&random, formats[f], rows[i], cols, 0, false);
      parts[i] = (clq_weights_part){.data = sources[i].ref.data, .rows = rows[i]};
    }
    cr_assert(clqi_format_row_bytes(formats[f], cols, &from.row_bytes));
    const clq_weights_desc desc = {
        .format = formats[f], .cols = cols, .parts = parts, .part_count = PARTS};
    const clqi_row_source source = {.read = read_memory, .from = &from};
    clq_weights *expected = NULL;
    clq_weights *got = NULL;
    test_ok(clq_weights_pack(d.context, &desc, &expected));
    test_ok(clqi_weights_pack_from(d.context, &desc, &source, &got));
    cr_assert_gt(from.reads, PARTS, "one band of %s", clq_format_name(formats[f]));
    cr_assert_eq(got->bytes, expected->bytes);
    uint8_t *a = malloc(got->bytes);
    uint8_t *b = malloc(got->bytes);
    cl_command_queue queue = clq_stream_queue(d.stream);
    cr_assert_eq(
        clEnqueueReadBuffer(queue, expected->mem, CL_TRUE, 0, got->bytes, a, 0, NULL, NULL),
        CL_SUCCESS);
    cr_assert_eq(clEnqueueReadBuffer(queue, got->mem, CL_TRUE, 0, got->bytes, b, 0, NULL, NULL),
                 CL_SUCCESS);
    cr_assert_eq(memcmp(a, b, got->bytes), 0, "%s", clq_format_name(formats[f]));
    clq_weights_destroy(got);
    for (int k = from.reads; k > 0; --k) {
      from.reads = 0;
      from.fail_at = k;
      test_fails(clqi_weights_pack_from(d.context, &desc, &source, &got), CLQ_IO_ERROR, "read");
      cr_assert_null(got);
    }
    clq_weights_destroy(expected);
    free(a);
    free(b);
    for (int i = 0; i < PARTS; ++i) {
      test_weights_free(&sources[i]);
    }
  }
  test_device_close(&d);
}

/* Every packing of parts in memory or of a source, stopped at every report of it. */
Test(weights, packing_reports_and_can_be_cancelled) {
  static const int64_t rows[] = {2001, 37};
  enum { COLS = 9600 };
  test_device d = test_device_open(NULL);
  test_random random = {11};
  test_weights sources[2];
  clq_weights_part parts[2];
  for (int i = 0; i < 2; ++i) {
    sources[i] = test_weights_new(&random, CLQ_FORMAT_Q8_0, rows[i], COLS, 0, false);
    parts[i] = (clq_weights_part){.data = sources[i].ref.data, .rows = rows[i]};
  }
  test_progress seen = {0};
  const clq_progress progress = test_progress_of(&seen);
  const clq_weights_desc desc = {.format = CLQ_FORMAT_Q8_0,
                                 .cols = COLS,
                                 .parts = parts,
                                 .part_count = 2,
                                 .progress = &progress};
  memory_source from = {.parts = parts};
  cr_assert(clqi_format_row_bytes(CLQ_FORMAT_Q8_0, COLS, &from.row_bytes));
  const clqi_row_source source = {.read = read_memory, .from = &from};
  for (int i = 0; i < 2; ++i) {
    clq_weights *w = NULL;
    test_ok(i == 0 ? clq_weights_pack(d.context, &desc, &w)
                   : clqi_weights_pack_from(d.context, &desc, &source, &w));
    const int calls = seen.calls;
    cr_assert_gt(calls, 2);
    cr_assert_lt(calls, 20);
    test_progress_end(&seen, (uint64_t)(rows[0] + rows[1]) * from.row_bytes);
    check_unpacked_rows(w, &sources[1].ref, rows[0]);
    clq_weights_destroy(w);
    const opencl_objects before = opencl_live();
    for (int stop = 1; stop <= calls; ++stop) {
      seen = (test_progress){.stop_at = stop};
      counting_start(0, 0);
      const clq_status status = i == 0 ? clq_weights_pack(d.context, &desc, &w)
                                       : clqi_weights_pack_from(d.context, &desc, &source, &w);
      const size_t left = counting_live();
      counting_stop();
      test_fails(status, CLQ_CANCELLED, "weights_pack: cancelled after ");
      cr_assert_null(w);
      cr_assert_eq(seen.calls, stop, "reported after it was told to stop");
      cr_assert_eq(left, 0);
      opencl_assert_live(&before);
    }
    seen = (test_progress){0};
  }
  test_weights_free(&sources[0]);
  test_weights_free(&sources[1]);
  test_device_close(&d);
}

Test(weights, halves_convert_exactly) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const float ours = clqi_f32_from_f16((uint16_t)h);
    const float theirs = clqi_ref_f32_from_f16((uint16_t)h);
    cr_assert(ours == theirs || (ours != ours && theirs != theirs), "half %04x", h);
    cr_assert(ours != ours || memcmp(&ours, &theirs, sizeof ours) == 0, "half %04x", h);
  }
}

Test(weights, mistakes_are_named) {
  test_device d = test_device_open(NULL);
  uint8_t data[256] = {0};
  float scales[8] = {0};
  clq_weights_part part = {.data = data, .rows = 1};
  clq_weights *w = NULL;
  clq_weights_desc desc = {.format = CLQ_FORMAT_Q4_0, .cols = 33, .parts = &part, .part_count = 1};
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "multiple of 32");
  cr_assert_null(w);
  desc.cols = 0;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "cols is 0");
  desc.cols = 32;
  desc.group = 32;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "group is 32");
  desc.group = 0;
  part.scales = scales;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "brings its own");
  part.scales = NULL;
  part.zeros = data;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "has zero points");
  part.zeros = NULL;
  part.mins = scales;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "has minima");
  part.mins = NULL;
  desc.scale_dtype = CLQ_F16;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "scales are f16");
  desc.scale_dtype = 0;
  part.scales = scales;
  desc.format = CLQ_FORMAT_W4;
  desc.group = 12;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "multiple of 8");
  desc.group = 8;
  part.scales = NULL;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "no scales");
  part.scales = scales;
  part.zeros = data;
  part.mins = scales;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "one of them");
  part.zeros = NULL;
  clq_weights_part differing[2] = {part, part};
  differing[1].mins = NULL;
  desc.parts = differing;
  desc.part_count = 2;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "part 1 has no minima");
  desc.parts = &part;
  desc.part_count = 1;
  part.mins = NULL;
  desc.scale_dtype = CLQ_I8;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "scales are i8");
  desc.scale_dtype = 0;
  part.rows = 0;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "rows");
  part.rows = INT64_MAX;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "rows");
  part.rows = 1;
  desc.format = (clq_format)99;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "format is 99");
  desc.format = CLQ_FORMAT_W4;
  desc.part_count = 0;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "no parts");
  desc.part_count = 1;
  test_ok(clq_weights_pack(d.context, &desc, &w));
  float out[32];
  test_fails(clq_weights_unpack(w, 1, 1, out), CLQ_INVALID_ARGUMENT,
             "1 rows from row 1 on are wanted, there are 1");
  test_fails(clq_weights_unpack(w, INT64_MAX, 2, out), CLQ_INVALID_ARGUMENT,
             "2 rows from row 9223372036854775807 on are wanted");
  test_fails(clq_weights_unpack(w, 1, INT64_MAX, out), CLQ_INVALID_ARGUMENT,
             "9223372036854775807 rows from row 1 on");
  test_ok(clq_weights_unpack(w, 1, 0, out));
  clq_weights_destroy(w);
  clq_weights_destroy(NULL);
  test_device_close(&d);
}
