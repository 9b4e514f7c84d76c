#include <criterion/criterion.h>

#include "forms.h"
#include "norm_case.h"

Test(layernorm, smoke) {
  static const norm_case cases[] = {
      {.centered = true, .rows = 3, .cols = 7},
      {.centered = true, .rows = 3, .cols = 33, .gamma = CLQ_F32, .out = CLQ_I8, .per = CLQ_PER_GROUP, .group = 32, .sum = true},
      {.centered = true, .rows = 2, .cols = 128, .gamma = CLQ_F16, .beta = CLQ_BF16, .mean = true, .rstd = true},
      {.centered = true, .rows = 3, .cols = 769, .x = CLQ_F16, .residual = CLQ_F16, .gamma = CLQ_F32, .beta = CLQ_F32, .out = CLQ_I8, .per = CLQ_PER_TOKEN, .zero = true, .sum = true, .pad = 3, .lead = 5},
      {.centered = true, .rows = 2, .cols = 2500, .residual = CLQ_F32, .alpha = 1.5f, .bias = CLQ_F32, .out = CLQ_U8, .per = CLQ_PER_TOKEN, .zero = true, .sum = true},
      {.centered = true, .rows = 2, .cols = 2500, .residual = CLQ_F32, .out = CLQ_I8, .per = CLQ_PER_GROUP, .group = 24, .zero = true, .sum = true},
      {.centered = true, .rows = 2, .cols = 1100, .x = CLQ_I8, .x_per = CLQ_PER_CHANNEL, .x_zero = true, .exponent = true, .out = CLQ_I8, .per = CLQ_PER_CHANNEL, .zero = true, .sum = true},
      {.centered = true, .rows = 2, .cols = 300, .x = CLQ_I32, .x_per = CLQ_PER_TOKEN, .column_scale = true, .out = CLQ_U8, .per = CLQ_PER_TENSOR, .zero = true, .sum = true},
      {.rows = 3, .cols = 33, .out = CLQ_I8, .per = CLQ_PER_GROUP, .group = 32, .sum = true},
      {.rows = 3, .cols = 769, .x = CLQ_BF16, .residual = CLQ_BF16, .gamma = CLQ_BF16, .cast = CLQ_CAST_LLAMA, .out = CLQ_BF16},
      {.rows = 3, .cols = 1025, .x = CLQ_F16, .gamma = CLQ_F16, .cast = CLQ_CAST_GEMMA, .out = CLQ_F16, .x_scale = 0.125f, .rstd = true},
  };
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
      norm_case_check(&f.device, &cases[i]);
    }
  }
}
