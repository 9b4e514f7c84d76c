/* The widths of all lists in test_norm_peers, and those of vLLM's test_int8_quant.py, in every form
 * of the device: as floats and as codes, in the types whose programs test_layernorm and
 * test_rmsnorm have in every form. */
#include <criterion/criterion.h>

#include "norm_case.h"
#include "opencl.h"

TestSuite(norm_widths, .fini = opencl_none_live);

Test(norm_widths, of_the_peers_in_every_form) {
  static const int64_t cols[] = {
      1,     8,     10,    17,    64,    111,   128,   256,   500,   768,   769,   1023,
      1024,  1025,  1026,  1027,  1028,  1029,  1500,  1536,  2048,  2304,  3072,  3584,
      3840,  4096,  5120,  5125,  5137,  6144,  8192,  8193,  10240, 12288, 12800, 14336,
      15360, 16384, 18432, 20480, 24576, 25600, 30720, 32768, 40960, 49152, 65536};
  static const norm_case types[] = {
      {.centered = true, .gamma = CLQ_F32, .beta = CLQ_F32, .mean = true, .rstd = true},
      {.centered = true, .residual = CLQ_F32, .out = CLQ_I8, .per = CLQ_PER_TOKEN, .sum = true},
      {.gamma = CLQ_F32, .rstd = true},
      {.residual = CLQ_F32,
       .gamma = CLQ_F32,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 32,
       .sum = true},
  };
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t t = 0; t < sizeof types / sizeof types[0]; ++t) {
      for (size_t i = 0; i < sizeof cols / sizeof cols[0]; ++i) {
        norm_case c = types[t];
        c.cols = cols[i];
        c.rows = cols[i] > 8193 ? 1 : 1 + (int64_t)i % 3;
        c.pad = i % 2 == 0 ? 0 : 3;
        norm_case_check(&f.device, &c);
      }
    }
    for (int centered = 0; centered < 2; ++centered) {
      const char *op = centered != 0 ? "layernorm" : "rmsnorm";
      norm_case_saw(&f, op, "_warp");
      norm_case_saw(&f, op, "_group");
      norm_case_saw(&f, op, "_stream");
    }
  }
}
