/* embedding against the rows of its table, bit for bit, in every format. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forms.h"
#include "opencl.h"
#include "ref/math.h"
#include "ref/ref.h"
#include "weights.h"

TestSuite(embedding, .fini = opencl_none_live);

typedef struct table {
  clq_format format;
  int64_t rows, cols, group;
  bool zeros;
  bool mins; /* scales are bf16 then */
} table;

static const table tables[] = {
    {CLQ_FORMAT_F32, 37, 33, 0, false},   {CLQ_FORMAT_F16, 50, 64, 0, false},
    {CLQ_FORMAT_Q4_0, 37, 96, 0, false},  {CLQ_FORMAT_Q4_1, 16, 32, 0, false},
    {CLQ_FORMAT_Q8_0, 17, 64, 0, false},  {CLQ_FORMAT_W4, 37, 40, 8, true},
    {CLQ_FORMAT_W4, 3, 31, 0, false},     {CLQ_FORMAT_W4, 20, 67, 0, true},
    {CLQ_FORMAT_W8, 33, 67, 0, false},    {CLQ_FORMAT_W8, 37, 130, 64, false},
    {CLQ_FORMAT_BF16, 50, 65, 0, false},  {CLQ_FORMAT_Q5_0, 37, 96, 0, false},
    {CLQ_FORMAT_Q5_1, 18, 64, 0, false},  {CLQ_FORMAT_Q2_K, 37, 512, 0, false},
    {CLQ_FORMAT_Q3_K, 7, 256, 0, false},  {CLQ_FORMAT_Q4_K, 37, 256, 0, false},
    {CLQ_FORMAT_Q5_K, 16, 512, 0, false}, {CLQ_FORMAT_Q6_K, 37, 256, 0, false},
    {CLQ_FORMAT_IQ4_NL, 9, 96, 0, false}, {CLQ_FORMAT_MXFP4, 33, 64, 0, false},
    {CLQ_FORMAT_W2, 37, 131, 24, true},   {CLQ_FORMAT_W2, 3, 31, 0, false, true},
    {CLQ_FORMAT_W3, 20, 67, 0, false},    {CLQ_FORMAT_W3, 37, 99, 8, true},
    {CLQ_FORMAT_W8, 37, 130, 64, true},   {CLQ_FORMAT_W8, 33, 67, 0, false, true},
};
enum { TABLES = sizeof tables / sizeof tables[0], IDS = 70, GAP = 3 };

static void fill_ids(test_random *random, int32_t *ids, int64_t rows) {
  for (int i = 0; i < IDS; ++i) {
    ids[i] = test_random_int(random, 0, (int32_t)rows - 1);
  }
  ids[0] = (int32_t)rows - 1;
  ids[IDS - 1] = 0;
}

/* Runs `count` ids with rows of the output GAP elements apart, and compares every element. Where
 * an error is expected, it must name ids[1]. */
static void check(const test_device *d, const table *t, const int32_t *ids, int64_t count,
                  clq_status expected_finish) {
  test_random random = {(uint64_t)t->rows};
  test_weights w = t->mins
                       ? test_plain_weights_new(&random, t->format, t->rows, t->cols, t->group,
                                                TEST_MINS, CLQ_BF16)
                       : test_weights_new(&random, t->format, t->rows, t->cols, t->group, t->zeros);
  clq_weights *packed = test_weights_pack(d, &w);
  const int64_t stride = t->cols + GAP;
  const size_t bytes = (size_t)((count - 1) * stride + t->cols) * sizeof(float);
  float *expected = malloc((size_t)(count * t->cols) * sizeof *expected);
  float *got = malloc(bytes);
  const int64_t bad = clqi_ref_embedding(ids, count, &w.ref, expected);
  cr_assert_eq(bad == 0, expected_finish == CLQ_OK);
  test_buffer ib = test_buffer_new(d, ids, (size_t)count * sizeof *ids);
  test_buffer ob = test_buffer_new(d, NULL, bytes);
  test_ok(clq_embedding(
      d->stream, &(clq_embedding_args){.ids = {ib.mem, CLQ_I32, {count}},
                                       .weights = packed,
                                       .out = {ob.mem, CLQ_F32, {count, t->cols}, {stride, 1}}}));
  if (expected_finish != CLQ_OK) {
    char sentence[64];
    (void)snprintf(sentence, sizeof sentence, "embedding: id %d is not a row", (int)ids[1]);
    test_fails(clq_stream_finish(d->stream), expected_finish, sentence);
  }
  test_buffer_read(d, &ob, got);
  for (int64_t r = 0; r < count; ++r) {
    cr_assert_arr_eq(got + r * stride, expected + r * t->cols, (size_t)t->cols * sizeof *got,
                     "%s: row %lld", clq_format_name(t->format), (long long)r);
    for (int64_t i = t->cols; r + 1 < count && i < stride; ++i) {
      unsigned char untouched[4];
      memset(untouched, 0xA5, 4);
      cr_assert_arr_eq(got + r * stride + i, untouched, 4, "wrote between rows");
    }
  }
  clq_weights_destroy(packed);
  test_buffer_free(&ib);
  test_buffer_free(&ob);
  test_weights_free(&w);
  free(expected);
  free(got);
}

static void check_tables(const test_device *d) {
  for (int i = 0; i < TABLES; ++i) {
    int32_t ids[IDS];
    test_random random = {(uint64_t)i + 1};
    fill_ids(&random, ids, tables[i].rows);
    check(d, &tables[i], ids, IDS, CLQ_OK);
    check(d, &tables[i], ids + 1, 1, CLQ_OK);
  }
}

Test(embedding, rows_of_every_format) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    check_tables(&f.device);
    test_forms_saw(&f, "embedding", "embedding_rows", "embedding_group");
  }
}

Test(embedding, tiny_table) {
  const int32_t ids[] = {1, 0, 2};
  const table t = {CLQ_FORMAT_Q4_1, 3, 32, 0, false};
  for (test_forms f = {0}; test_forms_next(&f);) {
    check(&f.device, &t, ids, 3, CLQ_OK);
  }
}

/* The other rows are as ever, and the stream works on. */
static void check_wrong_ids(const test_device *d) {
  static const int32_t wrong[] = {-1, 37, INT32_MAX, INT32_MIN};
  const table t = {CLQ_FORMAT_Q8_0, 37, 64, 0, false};
  for (int i = 0; i < 4; ++i) {
    const int32_t ids[] = {5, wrong[i], 36};
    check(d, &t, ids, 3, CLQ_INVALID_ARGUMENT);
    const int32_t good[] = {5, 36};
    check(d, &t, good, 2, CLQ_OK);
  }
}

Test(embedding, tiny_ids_that_are_no_rows_give_zeros_and_an_error) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    check_wrong_ids(&f.device);
    test_forms_saw(&f, "embedding", "embedding_rows", "embedding_group");
  }
}

/* Rows as f16, as bf16 and as codes: what clq_quantize makes of the row in f32. */
static void check_outputs(const test_device *d) {
  enum { ROWS = 4, COLS = 70, GROUP = 4 };
  const int32_t ids[ROWS] = {5, 99, 0, 36};
  test_random random = {4};
  test_weights w = test_weights_new(&random, CLQ_FORMAT_W8, 37, COLS, 0, false);
  clq_weights *packed = test_weights_pack(d, &w);
  test_buffer ib = test_buffer_new(d, ids, sizeof ids);
  test_buffer floats = test_buffer_new(d, NULL, ROWS * COLS * 4);
  const clq_tensor it = {ib.mem, CLQ_I32, {ROWS}};
  const clq_tensor ft = {floats.mem, CLQ_F32, {ROWS, COLS}};
  float expected[ROWS * COLS];
  (void)clqi_ref_embedding(ids, ROWS, &w.ref, expected);
  test_buffer halves = test_buffer_new(d, NULL, ROWS * COLS * 2);
  test_ok(clq_embedding(
      d->stream,
      &(clq_embedding_args){.ids = it, .weights = packed, .out = {halves.mem, CLQ_F16}}));
  test_fails(clq_stream_finish(d->stream), CLQ_INVALID_ARGUMENT, "id 99");
  uint16_t got[ROWS * COLS];
  test_buffer_read(d, &halves, got);
  for (int i = 0; i < ROWS * COLS; ++i) {
    cr_assert_eq(got[i], clqi_ref_f16_from_f32(expected[i]), "%d", i);
  }
  test_ok(clq_embedding(d->stream, &(clq_embedding_args){it, packed, ft}));
  test_fails(clq_stream_finish(d->stream), CLQ_INVALID_ARGUMENT, "id 99");
  int8_t codes[2][ROWS * COLS];
  float scales[2][ROWS * (COLS / GROUP + 1)];
  const int64_t planes = (COLS + GROUP - 1) / GROUP;
  for (int fused = 0; fused < 2; ++fused) {
    test_buffer cb = test_buffer_new(d, NULL, sizeof codes[0]);
    test_buffer sb = test_buffer_new(d, NULL, (size_t)(ROWS * planes) * sizeof(float));
    const clq_tensor ct = {cb.mem,
                           CLQ_I8,
                           {ROWS, COLS},
                           .quant = {.per = CLQ_PER_GROUP, .group = GROUP, .scale = sb.mem}};
    if (fused) {
      test_ok(clq_embedding(d->stream, &(clq_embedding_args){it, packed, ct}));
      test_fails(clq_stream_finish(d->stream), CLQ_INVALID_ARGUMENT, "id 99");
    } else {
      test_ok(clq_quantize(d->stream, &(clq_quantize_args){.x = ft, .out = ct}));
    }
    test_buffer_read(d, &cb, codes[fused]);
    test_buffer_read(d, &sb, scales[fused]);
    test_buffer_free(&cb);
    test_buffer_free(&sb);
  }
  cr_assert_arr_eq(codes[0], codes[1], sizeof codes[0]);
  cr_assert_arr_eq(scales[0], scales[1], (size_t)(ROWS * planes) * sizeof(float));
  clq_weights_destroy(packed);
  test_buffer_free(&ib);
  test_buffer_free(&floats);
  test_buffer_free(&halves);
  test_weights_free(&w);
}

Test(embedding, rows_come_as_halves_and_as_codes) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    check_outputs(&f.device);
  }
}

Test(embedding, refusals) {
  test_device d = test_device_open(NULL);
  test_random random = {3};
  test_weights w = test_weights_new(&random, CLQ_FORMAT_Q8_0, 5, 32, 0, false);
  clq_weights *packed = test_weights_pack(&d, &w);
  const int32_t ids[2] = {0, 1};
  test_buffer ib = test_buffer_new(&d, ids, sizeof ids);
  test_buffer ob = test_buffer_new(&d, NULL, 64 * sizeof(float));
  const clq_embedding_args good = {
      .ids = {ib.mem, CLQ_I32, {2}}, .weights = packed, .out = {ob.mem, CLQ_F32, {2, 32}}};
  clq_embedding_args a = good;
  a.weights = NULL;
  test_fails(clq_embedding(d.stream, &a), CLQ_INVALID_ARGUMENT, "weights are missing");
  test_device other = test_device_open(NULL);
  clq_weights *foreign = test_weights_pack(&other, &w);
  a.weights = foreign;
  test_fails(clq_embedding(d.stream, &a), CLQ_INVALID_ARGUMENT, "another context");
  clq_weights_destroy(foreign);
  test_device_close(&other);
  a = good;
  a.out.dtype = CLQ_I32;
  test_fails(clq_embedding(d.stream, &a), CLQ_UNSUPPORTED, "dtype of out is i32, offered: f32");
  a = good;
  a.out.shape[1] = 31;
  test_fails(clq_embedding(d.stream, &a), CLQ_INVALID_ARGUMENT, "cols of the input");
  a = good;
  a.out.shape[0] = 3;
  test_fails(clq_embedding(d.stream, &a), CLQ_INVALID_ARGUMENT, "rows of the input");
  a = good;
  a.ids.dtype = CLQ_F32;
  test_fails(clq_embedding(d.stream, &a), CLQ_UNSUPPORTED, "ids");
  a = good;
  a.ids.shape[0] = a.out.shape[0] = 0;
  test_ok(clq_embedding(d.stream, &a));
  test_ok(clq_stream_finish(d.stream));
  clq_weights_destroy(packed);
  test_buffer_free(&ib);
  test_buffer_free(&ob);
  test_weights_free(&w);
  test_device_close(&d);
}
