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

/* Codes with a zero point: found, or with the scales given. */
static void check_affine(const test_device *d, int64_t cols, clq_dtype type, clq_granularity per,
                         int64_t group_word) {
  const int32_t lo = type == CLQ_U8 ? 0 : -128;
  const bool given = per == CLQ_PER_TENSOR || per == CLQ_PER_CHANNEL;
  const int64_t group = per == CLQ_PER_GROUP ? group_word : cols;
  const int64_t per_row = (cols + group - 1) / group;
  const size_t n = (size_t)(ROWS * cols);
  const size_t planes = per == CLQ_PER_CHANNEL ? (size_t)cols
                        : given                ? 1
                                               : (size_t)(ROWS * per_row);
  const size_t sum_count = given ? ROWS : planes;
  float *x = malloc(n * 4);
  float *scales = malloc(planes * 4);
  int32_t *zeros = malloc(planes * 4);
  int32_t *sums = malloc(sum_count * 4);
  int32_t *codes = malloc(n * 4);
  test_random random = {(uint64_t)cols};
  for (size_t i = 0; i < n; ++i) {
    x[i] = test_random_normal(&random) * (i % 89 == 0 ? 40.0f : 1.0f) + 0.5f;
  }
  for (size_t i = 0; i < planes; ++i) {
    scales[i] = 0.01f * (1.5f + test_random_float(&random));
    zeros[i] = test_random_int(&random, -30, 30);
  }
  test_buffer xb = test_buffer_new(d, x, n * 4);
  test_buffer ob = test_buffer_new(d, NULL, n);
  test_buffer sb = test_buffer_new(d, scales, planes * 4);
  test_buffer zb = test_buffer_new(d, zeros, planes * 4);
  test_buffer ub = test_buffer_new(d, NULL, sum_count * 4);
  const clq_quant quant = {.per = per,
                           .group = per == CLQ_PER_GROUP ? (int32_t)group : 0,
                           .scale = sb.mem,
                           .zero = zb.mem,
                           .sum = ub.mem};
  test_ok(clq_quantize(d->stream,
                       &(clq_quantize_args){.x = {xb.mem, CLQ_F32, {ROWS, cols}},
                                            .out = {ob.mem, type, {ROWS, cols}, .quant = quant}}));
  for (int64_t r = 0; r < ROWS; ++r) {
    for (int64_t g = 0; g < per_row; ++g) {
      const int64_t begin = r * cols + g * group;
      const int64_t count = g * group + group <= cols ? group : cols - g * group;
      const int64_t plane = r * per_row + g;
      if (!given) {
        sums[plane] = clqi_ref_quantize_asymmetric(x + begin, count, lo, codes + begin,
                                                   &scales[plane], &zeros[plane]);
        continue;
      }
      sums[r] = 0;
      for (int64_t i = 0; i < cols; ++i) {
        const int64_t at = per == CLQ_PER_CHANNEL ? i : 0;
        codes[begin + i] =
            clqi_ref_affine_code(x[begin + i], clqi_ref_div(1.0f, scales[at]), zeros[at], lo);
        sums[r] += codes[begin + i];
      }
    }
  }
  unsigned char *got = malloc(n);
  float *got_scales = malloc(planes * 4);
  int32_t *got_zeros = malloc(planes * 4);
  int32_t *got_sums = malloc(sum_count * 4);
  test_buffer_read(d, &ob, got);
  test_buffer_read(d, &sb, got_scales);
  test_buffer_read(d, &zb, got_zeros);
  test_buffer_read(d, &ub, got_sums);
  for (size_t i = 0; i < n; ++i) {
    const int32_t code = type == CLQ_U8 ? got[i] : (int8_t)got[i];
    cr_assert_eq(code, codes[i], "element %zu of %lld, per %d: %d, expected %d", i, (long long)cols,
                 (int)per, (int)code, (int)codes[i]);
  }
  cr_assert_arr_eq(got_scales, scales, planes * 4);
  cr_assert_arr_eq(got_zeros, zeros, planes * 4);
  cr_assert_arr_eq(got_sums, sums, sum_count * 4);
  test_buffer *all[] = {&xb, &ob, &sb, &zb, &ub};
  for (int i = 0; i < 5; ++i) {
    test_buffer_free(all[i]);
  }
  free(x);
  free(scales);
  free(zeros);
  free(sums);
  free(codes);
  free(got);
  free(got_scales);
  free(got_zeros);
  free(got_sums);
}

static void sweep_affine(clq_dtype type, clq_granularity per, int64_t group) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; ++w) {
      check_affine(&f.device, widths[w], type, per, group);
    }
    saw(&f);
  }
}

Test(quantize, asymmetric_per_token) { sweep_affine(CLQ_I8, CLQ_PER_TOKEN, 0); }
Test(quantize, asymmetric_per_group) { sweep_affine(CLQ_U8, CLQ_PER_GROUP, 32); }
Test(quantize, asymmetric_per_odd_group) { sweep_affine(CLQ_U8, CLQ_PER_GROUP, 24); }
Test(quantize, given_per_tensor) { sweep_affine(CLQ_I8, CLQ_PER_TENSOR, 0); }
Test(quantize, given_per_channel) { sweep_affine(CLQ_U8, CLQ_PER_CHANNEL, 0); }

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
