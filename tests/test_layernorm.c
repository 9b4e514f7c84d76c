#include <criterion/criterion.h>
#include <math.h>

#include "norm_case.h"
#include "opencl.h"

TestSuite(layernorm, .fini = opencl_none_live);

/* Around every boundary of the forms: chunks of 128, blocks of 1024, narrow rows. */
static const int64_t widths[] = {1,   2,   3,   4,   15,   16,   17,   31,   32,   33,   63,
                                 64,  65,  100, 127, 128,  129,  255,  256,  257,  512,  576,
                                 640, 769, 896, 897, 1023, 1024, 1025, 1152, 2048, 2051, 3000};
enum { WIDTHS = sizeof widths / sizeof widths[0] };

/* Other ways to exchange values are in the sweeps. */
enum { TWO_FORMS = 2 };
#define RUN(cases) norm_case_run(TWO_FORMS, (cases), sizeof(cases) / sizeof((cases)[0]))

Test(layernorm, f32_is_the_reference_bit_for_bit) {
  norm_case_sweep(
      (norm_case){.centered = true, .gamma = CLQ_F32, .beta = CLQ_F32, .mean = true, .rstd = true},
      widths, WIDTHS);
}

Test(layernorm, residual_and_codes_per_token_are_the_reference_bit_for_bit) {
  norm_case_sweep(
      (norm_case){
          .centered = true, .residual = CLQ_F32, .out = CLQ_I8, .per = CLQ_PER_TOKEN, .sum = true},
      widths, WIDTHS);
}

Test(layernorm, types_of_inputs) {
  static const norm_case cases[] = {
      {.centered = true,
       .rows = 3,
       .cols = 300,
       .x = CLQ_F16,
       .residual = CLQ_F16,
       .gamma = CLQ_F16,
       .beta = CLQ_F32,
       .out = CLQ_F16},
      {.centered = true,
       .rows = 3,
       .cols = 300,
       .x = CLQ_BF16,
       .residual = CLQ_F32,
       .bias = CLQ_BF16,
       .gamma = CLQ_BF16,
       .out = CLQ_BF16},
      {.centered = true,
       .rows = 3,
       .cols = 1100,
       .x = CLQ_F16,
       .residual = CLQ_BF16,
       .bias = CLQ_F32,
       .beta = CLQ_F16},
      {.centered = true,
       .rows = 3,
       .cols = 130,
       .x = CLQ_I8,
       .x_per = CLQ_PER_TENSOR,
       .x_zero = true},
      {.centered = true,
       .rows = 3,
       .cols = 130,
       .x = CLQ_U8,
       .x_per = CLQ_PER_TOKEN,
       .x_zero = true,
       .residual = CLQ_F32},
      {.centered = true,
       .rows = 3,
       .cols = 1100,
       .x = CLQ_I8,
       .x_per = CLQ_PER_CHANNEL,
       .x_zero = true,
       .exponent = true},
      {.centered = true, .rows = 3, .cols = 1100, .x = CLQ_I32},
      {.centered = true,
       .rows = 3,
       .cols = 300,
       .x = CLQ_I32,
       .x_per = CLQ_PER_TOKEN,
       .column_scale = true,
       .bias = CLQ_F32,
       .residual = CLQ_F16,
       .out = CLQ_I8,
       .per = CLQ_PER_TOKEN},
  };
  RUN(cases);
}

Test(layernorm, codes_of_every_kind) {
  static const norm_case cases[] = {
      {.centered = true,
       .rows = 3,
       .cols = 300,
       .out = CLQ_I8,
       .per = CLQ_PER_TOKEN,
       .zero = true,
       .sum = true},
      {.centered = true,
       .rows = 3,
       .cols = 300,
       .out = CLQ_U8,
       .per = CLQ_PER_TOKEN,
       .zero = true,
       .sum = true},
      {.centered = true,
       .rows = 3,
       .cols = 300,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 32,
       .sum = true},
      {.centered = true,
       .rows = 3,
       .cols = 300,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 64,
       .zero = true,
       .sum = true},
      {.centered = true,
       .rows = 3,
       .cols = 300,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 128,
       .sum = true},
      {.centered = true,
       .rows = 3,
       .cols = 300,
       .out = CLQ_U8,
       .per = CLQ_PER_GROUP,
       .group = 24,
       .zero = true,
       .sum = true},
      {.centered = true,
       .rows = 3,
       .cols = 2300,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 1000,
       .sum = true},
      {.centered = true,
       .rows = 3,
       .cols = 2300,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 64,
       .sum = true},
      {.centered = true, .rows = 3, .cols = 300, .out = CLQ_I8, .per = CLQ_PER_TENSOR, .sum = true},
      {.centered = true,
       .rows = 3,
       .cols = 300,
       .out = CLQ_U8,
       .per = CLQ_PER_TENSOR,
       .zero = true,
       .sum = true},
      {.centered = true,
       .rows = 3,
       .cols = 2300,
       .out = CLQ_I8,
       .per = CLQ_PER_CHANNEL,
       .zero = true,
       .sum = true,
       .pad = 7,
       .lead = 3},
      {.centered = true,
       .rows = 5,
       .cols = 47,
       .out = CLQ_U8,
       .per = CLQ_PER_CHANNEL,
       .zero = true,
       .sum = true},
  };
  RUN(cases);
}

Test(layernorm, alpha_scale_and_eps) {
  static const norm_case cases[] = {
      {.centered = true,
       .rows = 3,
       .cols = 300,
       .residual = CLQ_F32,
       .alpha = 2.5f,
       .mean = true,
       .rstd = true},
      {.centered = true, .rows = 3, .cols = 300, .x_scale = 0.0078125f, .mean = true, .rstd = true},
      {.centered = true,
       .rows = 3,
       .cols = 300,
       .residual = CLQ_F16,
       .x_scale = 0.3f,
       .mean = true,
       .rstd = true},
      {.centered = true, .rows = 3, .cols = 300, .eps = -1.0f},
      {.centered = true, .rows = 3, .cols = 300, .eps = 1.0f, .offset = 1e4f},
  };
  RUN(cases);
}

/* Wider than a work-group holds in registers; a row wider than 2^16. */
/* Many rows, too: on CPUs a work-item then takes several. */
Test(layernorm, in_place) {
  static const norm_case cases[] = {
      {.centered = true, .rows = 3, .cols = 129, .in_place = true},
      {.centered = true, .rows = 301, .cols = 129, .in_place = true},
      {.centered = true, .rows = 3, .cols = 1100, .in_place = true},
      {.centered = true, .rows = 2, .cols = 17001, .in_place = true},
  };
  RUN(cases);
}

Test(layernorm, wide_rows) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    norm_case_check(&f.device, &(norm_case){.centered = true,
                                            .rows = 2,
                                            .cols = 17001,
                                            .gamma = CLQ_F32,
                                            .beta = CLQ_F32,
                                            .mean = true,
                                            .rstd = true});
    norm_case_check(&f.device, &(norm_case){.centered = true,
                                            .rows = 1,
                                            .cols = 65537,
                                            .residual = CLQ_F32,
                                            .out = CLQ_I8,
                                            .per = CLQ_PER_TOKEN,
                                            .sum = true});
    norm_case_saw(&f, "layernorm", "_stream");
  }
}

Test(layernorm, tiny_shapes_in_every_form) {
  static const norm_case cases[] = {
      {.centered = true,
       .rows = 2,
       .cols = 33,
       .x = CLQ_F16,
       .residual = CLQ_F16,
       .gamma = CLQ_F32,
       .out = CLQ_F16,
       .pad = 3,
       .lead = 5},
      {.centered = true,
       .rows = 2,
       .cols = 70,
       .out = CLQ_I8,
       .per = CLQ_PER_TOKEN,
       .zero = true,
       .sum = true},
      {.centered = true,
       .rows = 1,
       .cols = 130,
       .residual = CLQ_F32,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 32,
       .sum = true},
  };
  RUN(cases);
}

/* Statistics and values against double, for means of up to 1e7 deviations. */
static void check_precision(const test_device *d, int64_t cols, double ratio) {
  float *x = malloc((size_t)cols * sizeof *x);
  float mean = 0.0f;
  float rstd = 0.0f;
  test_random random = {(uint64_t)cols};
  const double deviation = ratio > 1e3 ? 0.01 : 1.0;
  double sum = 0.0;
  for (int64_t i = 0; i < cols; ++i) {
    x[i] = (float)(ratio * deviation + deviation * (double)test_random_normal(&random));
    sum += (double)x[i];
  }
  const double exact_mean = sum / (double)cols;
  double squares = 0.0;
  for (int64_t i = 0; i < cols; ++i) {
    squares += ((double)x[i] - exact_mean) * ((double)x[i] - exact_mean);
  }
  const double variance = squares / (double)cols;
  test_buffer xb = test_buffer_new(d, x, (size_t)cols * 4);
  test_buffer ob = test_buffer_new(d, NULL, (size_t)cols * 4);
  test_buffer mb = test_buffer_new(d, NULL, 4);
  test_buffer rb = test_buffer_new(d, NULL, 4);
  test_ok(clq_layernorm(d->stream, &(clq_layernorm_args){.x = {xb.mem, CLQ_F32, {1, cols}},
                                                         .mean = {mb.mem, CLQ_F32, {1}},
                                                         .rstd = {rb.mem, CLQ_F32, {1}},
                                                         .out = {ob.mem, CLQ_F32, {1, cols}},
                                                         .eps = -1.0f}));
  float *y = malloc((size_t)cols * sizeof *y);
  test_buffer_read(d, &ob, y);
  test_buffer_read(d, &mb, &mean);
  test_buffer_read(d, &rb, &rstd);
  if (variance > 0.0) {
    const double found = 1.0 / ((double)rstd * (double)rstd);
    cr_expect_leq(fabs(found - variance), 5e-7 * variance, "variance of %lld at %g: off by %g",
                  (long long)cols, ratio, fabs(found - variance) / variance);
    for (int64_t i = 0; i < cols; ++i) {
      const double exact = ((double)x[i] - exact_mean) / sqrt(variance);
      cr_expect_leq(fabs((double)y[i] - exact), 1e-6 * (1.0 + fabs(exact)),
                    "element %lld of %lld at %g", (long long)i, (long long)cols, ratio);
    }
  }
  cr_expect_leq(fabs((double)mean - exact_mean), 1.2e-7 * fabs(exact_mean) + 1e-6 * sqrt(variance));
  test_buffer *all[] = {&xb, &ob, &mb, &rb};
  for (int i = 0; i < 4; ++i) {
    test_buffer_free(all[i]);
  }
  free(x);
  free(y);
}

Test(layernorm, variance_holds_to_a_mean_of_1e7_deviations) {
  static const int64_t sizes[] = {2, 3, 37, 128, 200, 768, 1025, 4096, 5137, 16384, 65537};
  static const double ratios[] = {0.0, 1.0, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7};
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; ++s) {
      for (size_t r = 0; r < sizeof ratios / sizeof ratios[0]; ++r) {
        check_precision(&f.device, sizes[s], ratios[r]);
      }
    }
  }
}

/* ---------------------------------------------------------------- rows out of the ordinary */

enum {
  ORDINARY,
  ZEROS,
  CONSTANT,
  TENTHS,
  HUGE_ELEMENT,
  OVERFLOWING,
  NOT_A_NUMBER,
  INFINITE,
  AGAIN
};
enum { SPECIAL_ROWS = AGAIN + 1, MOST_COLS = 1100 };

static void make_special(float *x, int cols) {
  for (int i = 0; i < cols; ++i) {
    x[ORDINARY * cols + i] = x[AGAIN * cols + i] = (float)((i * 37) % 101 - 20);
    x[ZEROS * cols + i] = 0.0f;
    x[CONSTANT * cols + i] = -3.0f;
    x[TENTHS * cols + i] = 0.1f;
    for (int r = HUGE_ELEMENT; r <= INFINITE; ++r) {
      x[r * cols + i] = (float)(i % 7) - 3.0f;
    }
  }
  x[HUGE_ELEMENT * cols + cols / 2] = 1e15f;
  x[OVERFLOWING * cols + cols / 2] = 1e30f;
  x[NOT_A_NUMBER * cols + cols / 3] = NAN;
  x[INFINITE * cols + cols / 3] = -INFINITY;
}

/* Every element of the row is within `error` of `value`. */
static void expect_row(const float *y, int row, int cols, float value, float error) {
  for (int i = 0; i < cols; ++i) {
    cr_assert(fabsf(y[row * cols + i] - value) <= error, "row %d of %d columns: %g, expected %g",
              row, cols, (double)y[row * cols + i], (double)value);
  }
}

/* One element stands out, and the others are alike next to it. */
static void expect_one_out(const float *y, int row, int cols, double beta) {
  const double off = 1.0 / (double)cols;
  for (int i = 0; i < cols; ++i) {
    const double root = sqrt((double)cols);
    const double out = i == cols / 2 ? root * sqrt(1.0 - off) : -off * root / sqrt(1.0 - off);
    const double exact = cols == 1 ? beta : beta + out;
    const double got = (double)y[row * cols + i];
    cr_assert(fabs(got - exact) <= 1e-6 * (1.0 + fabs(exact)),
              "row %d, element %d of %d: %g, expected %g", row, i, cols, got, exact);
  }
}

static void expect_special(const float *y, int cols) {
  const float beta = 0.5f;
  cr_assert_arr_eq(y, y + AGAIN * cols, (size_t)cols * sizeof *y);
  expect_row(y, ZEROS, cols, beta, 0.0f);
  expect_row(y, CONSTANT, cols, beta, 0.0f);
  expect_row(y, TENTHS, cols, beta, 0x1p-20f * beta);
  expect_one_out(y, HUGE_ELEMENT, cols, (double)beta);
  for (int i = 0; i < cols; ++i) {
    cr_assert(isnan(y[NOT_A_NUMBER * cols + i]) && isnan(y[INFINITE * cols + i]));
  }
}

static void check_special_rows(const test_device *d, int cols) {
  static float x[SPECIAL_ROWS * MOST_COLS];
  static float y[SPECIAL_ROWS * MOST_COLS];
  static float ones[MOST_COLS];
  static float halves[MOST_COLS];
  make_special(x, cols);
  for (int i = 0; i < cols; ++i) {
    ones[i] = 1.0f;
    halves[i] = 0.5f;
  }
  const size_t bytes = (size_t)(SPECIAL_ROWS * cols) * sizeof *x;
  test_buffer xb = test_buffer_new(d, x, bytes);
  test_buffer yb = test_buffer_new(d, NULL, bytes);
  test_buffer gb = test_buffer_new(d, ones, (size_t)cols * 4);
  test_buffer bb = test_buffer_new(d, halves, (size_t)cols * 4);
  test_ok(clq_layernorm(d->stream,
                        &(clq_layernorm_args){.x = {xb.mem, CLQ_F32, {SPECIAL_ROWS, cols}},
                                              .gamma = {gb.mem, CLQ_F32, {cols}},
                                              .beta = {bb.mem, CLQ_F32, {cols}},
                                              .out = {yb.mem, CLQ_F32, {SPECIAL_ROWS, cols}}}));
  test_buffer_read(d, &yb, y);
  expect_special(y, cols);
  /* Squares that overflow do not if x_scale makes them smaller. */
  test_ok(clq_layernorm(d->stream,
                        &(clq_layernorm_args){.x = {xb.mem, CLQ_F32, {SPECIAL_ROWS, cols}},
                                              .x_scale = 0x1p-40f,
                                              .out = {yb.mem, CLQ_F32, {SPECIAL_ROWS, cols}}}));
  test_buffer_read(d, &yb, y);
  expect_one_out(y, HUGE_ELEMENT, cols, 0.0);
  expect_one_out(y, OVERFLOWING, cols, 0.0);
  test_buffer *all[] = {&xb, &yb, &gb, &bb};
  for (int i = 0; i < 4; ++i) {
    test_buffer_free(all[i]);
  }
}

/* Codes: of zeros, of NaN; neighbours as if alone. */
static void check_special_codes(const test_device *d, int cols) {
  static float x[SPECIAL_ROWS * MOST_COLS];
  static signed char codes[SPECIAL_ROWS * MOST_COLS];
  float scales[SPECIAL_ROWS];
  int32_t sums[SPECIAL_ROWS];
  make_special(x, cols);
  const size_t count = (size_t)(SPECIAL_ROWS * cols);
  test_buffer xb = test_buffer_new(d, x, count * sizeof *x);
  test_buffer qb = test_buffer_new(d, NULL, count);
  test_buffer sb = test_buffer_new(d, NULL, sizeof scales);
  test_buffer ub = test_buffer_new(d, NULL, sizeof sums);
  clq_layernorm_args a = {.x = {xb.mem, CLQ_F32, {SPECIAL_ROWS, cols}},
                          .out = {qb.mem,
                                  CLQ_I8,
                                  {SPECIAL_ROWS, cols},
                                  .quant = {.per = CLQ_PER_TOKEN, .scale = sb.mem, .sum = ub.mem}}};
  test_ok(clq_layernorm(d->stream, &a));
  a.x.shape[0] = a.out.shape[0] = 0;
  test_ok(clq_layernorm(d->stream, &a));
  test_buffer_read(d, &qb, codes);
  test_buffer_read(d, &sb, scales);
  test_buffer_read(d, &ub, sums);
  cr_assert_arr_eq(codes, codes + AGAIN * cols, (size_t)cols);
  cr_assert(scales[ORDINARY] == scales[AGAIN] && sums[ORDINARY] == sums[AGAIN]);
  cr_assert(scales[ZEROS] == 0.0f && scales[CONSTANT] == 0.0f);
  cr_assert(isnan(scales[NOT_A_NUMBER]) && isnan(scales[INFINITE]));
  cr_assert(cols == 1 || codes[HUGE_ELEMENT * cols + cols / 2] == 127);
  static const int quiet[] = {ZEROS, CONSTANT, NOT_A_NUMBER, INFINITE};
  for (size_t r = 0; r < sizeof quiet / sizeof quiet[0]; ++r) {
    cr_assert_eq(sums[quiet[r]], 0);
    for (int i = 0; i < cols; ++i) {
      cr_assert_eq(codes[quiet[r] * cols + i], 0);
    }
  }
  test_buffer *all[] = {&xb, &qb, &sb, &ub};
  for (int i = 0; i < 4; ++i) {
    test_buffer_free(all[i]);
  }
}

Test(layernorm, special_rows) {
  static const int some[] = {1, 48, 128, 769, MOST_COLS};
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t w = 0; w < sizeof some / sizeof some[0]; ++w) {
      check_special_rows(&f.device, some[w]);
      check_special_codes(&f.device, some[w]);
    }
  }
}
