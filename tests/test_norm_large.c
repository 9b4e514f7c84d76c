/* Results that are written past the caches of a CPU, as those of large tensors are, bit for bit
 * with the reference: rows that start anywhere, of any width, in place and not. */
#include <criterion/criterion.h>

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
