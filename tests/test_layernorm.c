#include <criterion/criterion.h>

#include "norm_case.h"
#include "opencl.h"

TestSuite(layernorm, .fini = opencl_none_live);

/* Around every boundary of the forms: chunks of 128, blocks of 1024, narrow rows. */
static const int64_t widths[] = {1,   2,   3,   4,   15,   16,   17,   31,   32,   33,   63,
                                 64,  65,  100, 127, 128,  129,  255,  256,  257,  512,  576,
                                 640, 769, 896, 897, 1023, 1024, 1025, 1152, 2048, 2051, 3000};
enum { WIDTHS = sizeof widths / sizeof widths[0] };

#define RUN(cases) norm_case_spread(&base, (cases), sizeof(cases) / sizeof((cases)[0]))

/* What a case of the tables does not say. */
static const norm_case base = {.centered = true, .rows = 3, .cols = 300};

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

/* Each way for x, what is added and the parameters to come in, with a way for out to be written;
 * mean and rstd show the bits that codes hide. */
Test(layernorm, types_and_codes) {
  static const norm_case cases[] = {
      {.x = CLQ_F16, .residual = CLQ_F16, .gamma = CLQ_F16, .beta = CLQ_F32, .out = CLQ_F16},
      {.x = CLQ_BF16, .residual = CLQ_F32, .bias = CLQ_BF16, .gamma = CLQ_BF16, .out = CLQ_BF16},
      {.cols = 2300,
       .x = CLQ_F16,
       .residual = CLQ_BF16,
       .bias = CLQ_F32,
       .beta = CLQ_F16,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 1000,
       .sum = true},
      {.cols = 130,
       .x = CLQ_I8,
       .x_per = CLQ_PER_TENSOR,
       .x_zero = true,
       .out = CLQ_I8,
       .per = CLQ_PER_TOKEN,
       .zero = true,
       .sum = true,
       .mean = true,
       .rstd = true},
      {.cols = 130,
       .x = CLQ_U8,
       .x_per = CLQ_PER_TOKEN,
       .x_zero = true,
       .residual = CLQ_F32,
       .out = CLQ_U8,
       .per = CLQ_PER_TOKEN,
       .zero = true,
       .sum = true},
      {.x = CLQ_I8,
       .x_per = CLQ_PER_CHANNEL,
       .x_zero = true,
       .exponent = true,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 32,
       .sum = true,
       .mean = true,
       .rstd = true},
      {.cols = 2300,
       .x = CLQ_I32,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 64,
       .sum = true,
       .mean = true,
       .rstd = true},
      {.x = CLQ_I32,
       .x_per = CLQ_PER_TOKEN,
       .column_scale = true,
       .bias = CLQ_F32,
       .residual = CLQ_F16,
       .out = CLQ_I8,
       .per = CLQ_PER_TOKEN},
      {.residual = CLQ_F32,
       .alpha = 2.5f,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 64,
       .zero = true,
       .sum = true,
       .mean = true,
       .rstd = true},
      {.x_scale = 0.0078125f,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 128,
       .sum = true,
       .mean = true,
       .rstd = true},
      {.residual = CLQ_F16,
       .x_scale = 0.3f,
       .out = CLQ_U8,
       .per = CLQ_PER_GROUP,
       .group = 24,
       .zero = true,
       .sum = true,
       .mean = true,
       .rstd = true},
      {.eps = -1.0f, .out = CLQ_I8, .per = CLQ_PER_TENSOR, .sum = true, .rstd = true},
      {.eps = 1.0f,
       .offset = 1e4f,
       .out = CLQ_U8,
       .per = CLQ_PER_TENSOR,
       .zero = true,
       .sum = true,
       .mean = true,
       .rstd = true},
      {.cols = 2300,
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

/* Many rows, too: on CPUs a work-item then takes several. */
Test(layernorm, in_place) {
  static const int64_t shapes[][2] = {{3, 129}, {301, 129}, {3, 1100}, {2, 17001}};
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; ++i) {
      norm_case_check(&f.device, &(norm_case){.centered = true,
                                              .rows = shapes[i][0],
                                              .cols = shapes[i][1],
                                              .gamma = CLQ_F32,
                                              .beta = CLQ_F32,
                                              .in_place = true});
    }
  }
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

/* Programs of the cases above. */
Test(layernorm, tiny_shapes) {
  static const norm_case cases[] = {
      {.rows = 2,
       .cols = 70,
       .x = CLQ_F16,
       .residual = CLQ_F16,
       .gamma = CLQ_F16,
       .beta = CLQ_F32,
       .out = CLQ_F16,
       .pad = 3,
       .lead = 5},
      {.rows = 2,
       .cols = 70,
       .x = CLQ_U8,
       .x_per = CLQ_PER_TOKEN,
       .x_zero = true,
       .residual = CLQ_F32,
       .out = CLQ_U8,
       .per = CLQ_PER_TOKEN,
       .zero = true,
       .sum = true},
      {.rows = 1,
       .cols = 130,
       .residual = CLQ_F32,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 32,
       .zero = true,
       .sum = true},
  };
  RUN(cases);
}
