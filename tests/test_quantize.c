#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forms.h"
#include "opencl.h"
#include "ref/math.h"
#include "ref/ref.h"

TestSuite(quantize, .fini = opencl_none_live);

static const int64_t widths[] = {1, 7, 16, 31, 32, 33, 48, 64, 100, 129, 576, 2051};
static const int64_t groups[] = {0, 32, 64, 128, 5, 24, 4, 1024, 1030}; /* 0: per token */
enum { ROWS = 3 };

/* Codes, scales and sums for one width and group, equal to the reference. */
static void check(const test_device *d, int64_t cols, int64_t group_word, bool half) {
  const int64_t group = group_word == 0 ? cols : group_word;
  const int64_t per_row = (cols + group - 1) / group;
  const size_t n = (size_t)(ROWS * cols);
  const size_t planes = (size_t)(ROWS * per_row);
  float *x = malloc(n * 4);
  uint16_t *h = malloc(n * 2);
  int8_t *codes = malloc(n);
  int8_t *got_codes = malloc(n);
  float *scales = malloc(planes * 4);
  float *got_scales = malloc(planes * 4);
  int32_t *sums = malloc(planes * 4);
  int32_t *got_sums = malloc(planes * 4);
  test_random random = {(uint64_t)cols};
  for (size_t i = 0; i < n; ++i) {
    x[i] = test_random_normal(&random) * ldexpf(1.0f, test_random_int(&random, -8, 8));
    if (half) {
      h[i] = clqi_ref_f16_from_f32(x[i]);
      x[i] = clqi_ref_f32_from_f16(h[i]);
    }
  }
  x[0] = half ? x[0] : 0.5f; /* ties: 0.5 / 127 steps below */
  clqi_ref_quantize(x, ROWS, cols, group, codes, scales, sums);
  test_buffer xb = half ? test_buffer_new(d, h, n * 2) : test_buffer_new(d, x, n * 4);
  test_buffer ob = test_buffer_new(d, NULL, n);
  test_buffer sb = test_buffer_new(d, NULL, planes * 4);
  test_buffer ub = test_buffer_new(d, NULL, planes * 4);
  test_ok(clq_quantize(
      d->stream,
      &(clq_quantize_args){.x = {xb.mem, half ? CLQ_F16 : CLQ_F32, {ROWS, cols}},
                           .out = {ob.mem,
                                   CLQ_I8,
                                   {ROWS, cols},
                                   .quant = {.per = group_word == 0 ? CLQ_PER_TOKEN : CLQ_PER_GROUP,
                                             .group = (int32_t)group_word,
                                             .scale = sb.mem,
                                             .sum = ub.mem}}}));
  test_buffer_read(d, &ob, got_codes);
  test_buffer_read(d, &sb, got_scales);
  test_buffer_read(d, &ub, got_sums);
  cr_assert_arr_eq(got_codes, codes, n, "cols %lld group %lld", (long long)cols,
                   (long long)group_word);
  cr_assert_arr_eq(got_scales, scales, planes * 4);
  cr_assert_arr_eq(got_sums, sums, planes * 4);
  test_buffer_free(&xb);
  test_buffer_free(&ob);
  test_buffer_free(&sb);
  test_buffer_free(&ub);
  free(x);
  free(h);
  free(codes);
  free(got_codes);
  free(scales);
  free(got_scales);
  free(sums);
  free(got_sums);
}

static void saw(const test_forms *f) {
  test_forms_saw(f, "quantize", "quantize_rows", "quantize_group");
}

static void sweep(bool half) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; ++w) {
      for (size_t g = 0; g < sizeof groups / sizeof groups[0]; ++g) {
        check(&f.device, widths[w], groups[g], half);
      }
    }
    saw(&f);
  }
}

Test(quantize, f32_is_the_reference_bit_for_bit) { sweep(false); }
Test(quantize, f16_is_the_reference_bit_for_bit) { sweep(true); }

Test(quantize, tiny_shapes_in_every_form) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    check(&f.device, 1100, 0, false);
    check(&f.device, 1100, 32, false);
    check(&f.device, 70, 24, false);
    saw(&f);
  }
}

/* Half a step rounds to the even code, and +-absmax is +-127. */
Test(quantize, reference_rounds_half_to_even_and_is_within_half_a_step) {
  float x[8] = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, -127.0f};
  const int8_t expected[8] = {127, 0, 2, 2, 0, -2, -2, -127};
  int8_t codes[8];
  float scale;
  int32_t sum;
  clqi_ref_quantize(x, 1, 8, 8, codes, &scale, &sum);
  cr_assert_arr_eq(codes, expected, 8);
  cr_assert(scale == 1.0f && sum == 0);
}

/* Rows of zeros, NaN and infinities, as tensor.h defines them; neighbours untouched. */
static void check_special_rows(const test_device *d) {
  enum { COLS = 40, SPECIAL_ROWS = 5 };
  float x[SPECIAL_ROWS][COLS] = {{0}};
  int8_t codes[SPECIAL_ROWS][COLS];
  float scales[SPECIAL_ROWS];
  for (int i = 0; i < COLS; ++i) {
    x[0][i] = x[4][i] = (float)i;
    x[2][i] = x[3][i] = 3.0f;
  }
  x[2][11] = NAN;
  x[3][5] = INFINITY;
  x[3][6] = -INFINITY;
  test_buffer xb = test_buffer_new(d, x, sizeof x);
  test_buffer ob = test_buffer_new(d, NULL, sizeof codes);
  test_buffer sb = test_buffer_new(d, NULL, sizeof scales);
  test_ok(clq_quantize(
      d->stream, &(clq_quantize_args){.x = {xb.mem, CLQ_F32, {SPECIAL_ROWS, COLS}},
                                      .out = {ob.mem,
                                              CLQ_I8,
                                              {SPECIAL_ROWS, COLS},
                                              .quant = {.per = CLQ_PER_TOKEN, .scale = sb.mem}}}));
  test_buffer_read(d, &ob, codes);
  test_buffer_read(d, &sb, scales);
  cr_assert_arr_eq(codes[0], codes[4], COLS);
  cr_assert_eq(codes[0][39], 127);
  cr_assert(scales[1] == 0.0f && isnan(scales[2]) && isinf(scales[3]));
  for (int i = 0; i < COLS; ++i) {
    cr_assert_eq(codes[1][i], 0);
    cr_assert_eq(codes[2][i], 0);
    cr_assert_eq(codes[3][i], i == 5 ? 127 : i == 6 ? -127 : 0);
  }
  test_buffer_free(&xb);
  test_buffer_free(&ob);
  test_buffer_free(&sb);
}

Test(quantize, special_rows) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    check_special_rows(&f.device);
    saw(&f);
  }
}
