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

/* Every width in every form of the device. */
static void sweep(norm_case c) {
  c.centered = true;
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (int w = 0; w < WIDTHS; ++w) {
      c.rows = 1 + w % 5;
      c.cols = widths[w];
      c.pad = w % 2 == 0 ? 0 : 3;
      c.lead = w % 16;
      norm_case_check(&f.device, &c);
    }
    norm_case_saw(&f, "layernorm", "_warp");
    norm_case_saw(&f, "layernorm", "_group");
  }
}

/* As the device is and as if it were no CPU; other ways to exchange values are in the sweeps. */
static void run(const norm_case *cases, size_t count) {
  test_forms f = {0};
  for (int form = 0; form < 2 && test_forms_next(&f); ++form) {
    for (size_t i = 0; i < count; ++i) {
      norm_case c = cases[i];
      c.centered = true;
      norm_case_check(&f.device, &c);
    }
  }
  test_forms_end(&f);
}
#define RUN(cases) run((cases), sizeof(cases) / sizeof((cases)[0]))

Test(layernorm, f32_is_the_reference_bit_for_bit) {
  sweep((norm_case){.gamma = CLQ_F32, .beta = CLQ_F32, .mean = true, .rstd = true});
}

Test(layernorm, residual_and_codes_per_token_are_the_reference_bit_for_bit) {
  sweep((norm_case){.residual = CLQ_F32, .out = CLQ_I8, .per = CLQ_PER_TOKEN, .sum = true});
}

Test(layernorm, types_of_inputs) {
  static const norm_case cases[] = {
      {.rows = 3,
       .cols = 300,
       .x = CLQ_F16,
       .residual = CLQ_F16,
       .gamma = CLQ_F16,
       .beta = CLQ_F32,
       .out = CLQ_F16},
      {.rows = 3,
       .cols = 300,
       .x = CLQ_BF16,
       .residual = CLQ_F32,
       .bias = CLQ_BF16,
       .gamma = CLQ_BF16,
       .out = CLQ_BF16},
      {.rows = 3,
       .cols = 1100,
       .x = CLQ_F16,
       .residual = CLQ_BF16,
       .bias = CLQ_F32,
       .beta = CLQ_F16},
      {.rows = 3, .cols = 130, .x = CLQ_I8, .x_per = CLQ_PER_TENSOR, .x_zero = true},
      {.rows = 3,
       .cols = 130,
       .x = CLQ_U8,
       .x_per = CLQ_PER_TOKEN,
       .x_zero = true,
       .residual = CLQ_F32},
      {.rows = 3,
       .cols = 1100,
       .x = CLQ_I8,
       .x_per = CLQ_PER_CHANNEL,
       .x_zero = true,
       .exponent = true},
      {.rows = 3, .cols = 1100, .x = CLQ_I32},
      {.rows = 3,
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
      {.rows = 3, .cols = 300, .out = CLQ_I8, .per = CLQ_PER_TOKEN, .zero = true, .sum = true},
      {.rows = 3, .cols = 300, .out = CLQ_U8, .per = CLQ_PER_TOKEN, .zero = true, .sum = true},
      {.rows = 3, .cols = 300, .out = CLQ_I8, .per = CLQ_PER_GROUP, .group = 32, .sum = true},
      {.rows = 3,
       .cols = 300,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 64,
       .zero = true,
       .sum = true},
      {.rows = 3, .cols = 300, .out = CLQ_I8, .per = CLQ_PER_GROUP, .group = 128, .sum = true},
      {.rows = 3,
       .cols = 300,
       .out = CLQ_U8,
       .per = CLQ_PER_GROUP,
       .group = 24,
       .zero = true,
       .sum = true},
      {.rows = 3, .cols = 2300, .out = CLQ_I8, .per = CLQ_PER_GROUP, .group = 1000, .sum = true},
      {.rows = 3, .cols = 2300, .out = CLQ_I8, .per = CLQ_PER_GROUP, .group = 64, .sum = true},
      {.rows = 3, .cols = 300, .out = CLQ_I8, .per = CLQ_PER_TENSOR, .sum = true},
      {.rows = 3, .cols = 300, .out = CLQ_U8, .per = CLQ_PER_TENSOR, .zero = true, .sum = true},
      {.rows = 3,
       .cols = 2300,
       .out = CLQ_I8,
       .per = CLQ_PER_CHANNEL,
       .zero = true,
       .sum = true,
       .pad = 7,
       .lead = 3},
      {.rows = 5, .cols = 47, .out = CLQ_U8, .per = CLQ_PER_CHANNEL, .zero = true, .sum = true},
  };
  RUN(cases);
}

Test(layernorm, alpha_scale_and_eps) {
  static const norm_case cases[] = {
      {.rows = 3, .cols = 300, .residual = CLQ_F32, .alpha = 2.5f, .mean = true, .rstd = true},
      {.rows = 3, .cols = 300, .x_scale = 0.0078125f, .mean = true, .rstd = true},
      {.rows = 3, .cols = 300, .residual = CLQ_F16, .x_scale = 0.3f, .mean = true, .rstd = true},
      {.rows = 3, .cols = 300, .eps = -1.0f},
      {.rows = 3, .cols = 300, .eps = 1.0f, .offset = 1e4f},
  };
  RUN(cases);
}

/* Wider than a work-group holds in registers; a row wider than 2^16. */
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
      {.rows = 2,
       .cols = 33,
       .x = CLQ_F16,
       .residual = CLQ_F16,
       .gamma = CLQ_F32,
       .out = CLQ_F16,
       .pad = 3,
       .lead = 5},
      {.rows = 2, .cols = 70, .out = CLQ_I8, .per = CLQ_PER_TOKEN, .zero = true, .sum = true},
      {.rows = 1,
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
