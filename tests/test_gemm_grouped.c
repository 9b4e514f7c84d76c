/* Several products in one call: the bits of single calls, and all of them or none. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "opencl.h"
#include "weights.h"

TestSuite(gemm_grouped, .fini = opencl_none_live);

enum { EXPERTS = 4, N = 20, K = 64, ROWS = 3 + 0 + 1 + 17 };

/* Experts of as many formats; the rows of x lie sorted by expert. */
typedef struct mixture {
  test_device device;
  test_weights plain[EXPERTS];
  clq_weights *packed[EXPERTS];
  test_buffer x, out;
  clq_gemm_args args[EXPERTS];
} mixture;

static mixture mixture_new(void) {
  static const clq_format formats[EXPERTS] = {CLQ_FORMAT_W4, CLQ_FORMAT_Q4_0, CLQ_FORMAT_W8,
                                              CLQ_FORMAT_Q4_1};
  static const int64_t rows[EXPERTS] = {3, 0, 1, 17};
  mixture m = {.device = test_device_open(NULL)};
  test_random random = {5};
  float x[ROWS * K];
  for (int i = 0; i < ROWS * K; ++i) {
    x[i] = test_random_float(&random);
  }
  m.x = test_buffer_new(&m.device, x, sizeof x);
  m.out = test_buffer_new(&m.device, NULL, sizeof(float) * ROWS * N);
  uint64_t first = 0;
  for (int e = 0; e < EXPERTS; ++e) {
    m.plain[e] = test_weights_new(&random, formats[e], N, K, 32, false);
    m.packed[e] = test_weights_pack(&m.device, &m.plain[e]);
    m.args[e] = (clq_gemm_args){
        .x = {.mem = m.x.mem, .dtype = CLQ_F32, .shape = {rows[e], K}, .offset = first * K},
        .weights = m.packed[e],
        .out = {.mem = m.out.mem, .dtype = CLQ_F32, .shape = {rows[e], N}, .offset = first * N}};
    first += (uint64_t)rows[e];
  }
  return m;
}

static void mixture_free(mixture *m) {
  for (int e = 0; e < EXPERTS; ++e) {
    clq_weights_destroy(m->packed[e]);
    test_weights_free(&m->plain[e]);
  }
  test_buffer_free(&m->x);
  test_buffer_free(&m->out);
  test_device_close(&m->device);
}

Test(gemm_grouped, gives_what_single_calls_give) {
  mixture m = mixture_new();
  float expected[ROWS * N];
  float actual[ROWS * N];
  for (int e = 0; e < EXPERTS; ++e) {
    test_ok(clq_gemm(m.device.stream, &m.args[e]));
  }
  test_buffer_read(&m.device, &m.out, expected);
  const test_buffer fresh = test_buffer_new(&m.device, NULL, sizeof expected);
  for (int e = 0; e < EXPERTS; ++e) {
    m.args[e].out.mem = fresh.mem;
  }
  test_ok(clq_gemm_grouped(m.device.stream, m.args, EXPERTS));
  test_buffer_read(&m.device, &fresh, actual);
  cr_assert_eq(memcmp(actual, expected, sizeof actual), 0);
  test_buffer copy = fresh;
  test_buffer_free(&copy);
  mixture_free(&m);
}

Test(gemm_grouped, all_or_none) {
  mixture m = mixture_new();
  float before[ROWS * N];
  float after[ROWS * N];
  test_buffer_read(&m.device, &m.out, before);
  m.args[2].x.shape[1] = K - 1;
  test_fails(clq_gemm_grouped(m.device.stream, m.args, EXPERTS), CLQ_INVALID_ARGUMENT,
             "args[2]: gemm: dimension 1 of x is 63, expected 64 (K of the weights)");
  test_buffer_read(&m.device, &m.out, after);
  cr_assert_eq(memcmp(before, after, sizeof before), 0, "a product ran");
  test_fails(clq_gemm_grouped(m.device.stream, NULL, 1), CLQ_INVALID_ARGUMENT, "gemm_grouped: 1");
  test_fails(clq_gemm_grouped(m.device.stream, m.args, -1), CLQ_INVALID_ARGUMENT,
             "gemm_grouped: -1");
  test_fails(clq_gemm_grouped(NULL, m.args, 1), CLQ_INVALID_ARGUMENT, "stream");
  test_ok(clq_gemm_grouped(m.device.stream, NULL, 0));
  mixture_free(&m);
}
