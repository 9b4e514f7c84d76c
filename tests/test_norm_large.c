/* Results that are written past the caches of a CPU, as those of large tensors are, bit for bit
 * with the reference: rows that start anywhere, of any width, in place and not. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "norm_case.h"
#include "opencl.h"
#include "runtime/context.h"

TestSuite(norm_large, .fini = opencl_none_live);

Test(norm_large, rows_that_start_and_end_anywhere) {
  static const int64_t cols[] = {1, 2, 15, 16, 17, 31, 33, 130, 769};
  static const norm_case types[] = {
      {.centered = true, .gamma = CLQ_F32, .beta = CLQ_F32},
      {.centered = true, .gamma = CLQ_F32, .beta = CLQ_F32, .in_place = true},
      {.x = CLQ_F16, .gamma = CLQ_F16, .out = CLQ_F16},
      {.x = CLQ_F16, .gamma = CLQ_F16, .out = CLQ_F16, .in_place = true},
  };
  test_device d = test_device_open(NULL);
  d.context->cache_bytes = 0; /* of which nothing is small */
  for (size_t t = 0; t < sizeof types / sizeof types[0]; ++t) {
    for (size_t i = 0; i < sizeof cols / sizeof cols[0]; ++i) {
      for (int64_t lead = 0; lead < 17; lead += 3) {
        norm_case c = types[t];
        c.rows = 9;
        c.cols = cols[i];
        c.lead = lead;
        c.pad = lead % 2;
        norm_case_check(&d, &c);
      }
    }
  }
  test_device_close(&d);
}

/* ---------------------------------------------------------------- sums that fit an int32 */

enum { BORDER = INT32_MAX / 255 };

typedef struct row {
  test_buffer x, codes, planes;
} row;

/* Ones of alternating sign, or 255 all over. */
static row row_new(const test_device *d, bool alternating) {
  float *x = malloc((BORDER + 1) * sizeof *x);
  for (int64_t i = 0; i <= BORDER; ++i) {
    x[i] = !alternating ? 255.0f : i % 2 == 0 ? 1.0f : -1.0f;
  }
  const row r = {test_buffer_new(d, x, (BORDER + 1) * sizeof *x),
                 test_buffer_new(d, NULL, BORDER + 1), test_buffer_new(d, NULL, 3 * sizeof(float))};
  free(x);
  return r;
}

static void row_free(row *r) {
  test_buffer_free(&r->x);
  test_buffer_free(&r->codes);
  test_buffer_free(&r->planes);
}

static clq_tensor codes_of(const row *r, clq_dtype type, int64_t cols, bool zero, bool sum) {
  return (clq_tensor){r->codes.mem,
                      type,
                      {1, cols},
                      .quant = {.per = CLQ_PER_TOKEN,
                                .scale = r->planes.mem,
                                .zero = zero ? r->planes.mem : NULL,
                                .zero_offset = zero ? sizeof(float) : 0,
                                .sum = sum ? r->planes.mem : NULL,
                                .sum_offset = sum ? 2 * sizeof(float) : 0}};
}

/* The largest sum there is; one column more has none, but codes. */
Test(norm_large, columns_are_limited_only_where_a_sum_is_wanted) {
  static unsigned char codes[BORDER + 1];
  struct {
    float scale;
    int32_t zero, sum;
  } planes;
  int wrong = 0;
  test_device d = test_device_open(NULL);
  row r = row_new(&d, false);
  clq_quantize_args q = {.x = {r.x.mem, CLQ_F32, {1, BORDER}},
                         .out = codes_of(&r, CLQ_U8, BORDER, true, true)};
  test_ok(clq_quantize(d.stream, &q));
  test_buffer_read(&d, &r.planes, &planes);
  cr_assert(planes.scale == 1.0f && planes.zero == 0 && planes.sum == 255 * BORDER, "%g %d %d",
            planes.scale, planes.zero, planes.sum);
  q.x.shape[1] = q.out.shape[1] = BORDER + 1;
  test_fails(clq_quantize(d.stream, &q), CLQ_UNSUPPORTED,
             "quantize: quant.sum of out is of 8421505 codes, offered: up to 8421504");
  q.out.quant.sum = NULL;
  q.out.quant.sum_offset = 0;
  test_ok(clq_quantize(d.stream, &q));
  test_buffer_read(&d, &r.codes, codes);
  for (int64_t i = 0; i <= BORDER; ++i) {
    wrong += codes[i] != 255;
  }
  cr_assert_eq(wrong, 0);
  row_free(&r);

  r = row_new(&d, true);
  clq_layernorm_args n = {.x = {r.x.mem, CLQ_F32, {1, BORDER + 1}},
                          .out = codes_of(&r, CLQ_I8, BORDER + 1, false, true)};
  test_fails(clq_layernorm(d.stream, &n), CLQ_UNSUPPORTED, "layernorm: quant.sum of out is of");
  n.out.quant.per = CLQ_PER_TENSOR;
  test_fails(clq_layernorm(d.stream, &n), CLQ_UNSUPPORTED, "layernorm: quant.sum of out is of");
  n.out = codes_of(&r, CLQ_I8, BORDER + 1, false, false);
  test_ok(clq_layernorm(d.stream, &n));
  test_buffer_read(&d, &r.codes, codes);
  for (int64_t i = 0; i <= BORDER; ++i) {
    wrong += (signed char)codes[i] != (i % 2 == 0 ? 127 : -127);
  }
  cr_assert_eq(wrong, 0);
  /* A group that ends with the row. */
  q.x = (clq_tensor){r.x.mem, CLQ_F32, {1, 64}};
  q.out = codes_of(&r, CLQ_U8, 64, true, true);
  q.out.quant.per = CLQ_PER_GROUP;
  q.out.quant.group = 1 << 30;
  test_ok(clq_quantize(d.stream, &q));
  test_ok(clq_stream_finish(d.stream));
  row_free(&r);
  test_device_close(&d);
}
