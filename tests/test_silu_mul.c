#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "forms.h"
#include "opencl.h"
#include "ref/ref.h"

TestSuite(silu_mul, .fini = opencl_none_live);

static const int64_t widths[] = {1, 15, 16, 17, 32, 63, 100, 1536};
enum { ROWS = 3 };

static void saw(const test_forms *f) {
  test_forms_saw(f, "silu_mul", "silu_mul_rows", "silu_mul_group");
}

/* gate and up are the halves of one buffer, as a merged GEMM leaves them. */
static void check(const test_device *d, int64_t cols, int64_t group) {
  const size_t n = (size_t)(ROWS * cols);
  float *merged = malloc(2 * n * 4);
  float *gate = malloc(n * 4);
  float *up = malloc(n * 4);
  float *expected = malloc(n * 4);
  test_random random = {(uint64_t)cols};
  for (int64_t r = 0; r < ROWS; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t i = r * cols + c;
      gate[i] = merged[2 * r * cols + c] = 5.0f * test_random_normal(&random);
      up[i] = merged[2 * r * cols + cols + c] = test_random_normal(&random);
    }
  }
  gate[0] = merged[0] = -200.0f; /* exp overflows; the answer is 0 */
  clqi_ref_silu_mul(gate, up, (int64_t)n, expected);
  const int64_t span = group > 0 ? group : cols;
  const int64_t per_row = (cols + span - 1) / span;
  test_buffer xb = test_buffer_new(d, merged, 2 * n * 4);
  test_buffer ob = test_buffer_new(d, NULL, group == 0 ? n * 4 : n);
  test_buffer sb = test_buffer_new(d, NULL, (size_t)(ROWS * per_row) * 4);
  test_buffer ub = test_buffer_new(d, NULL, (size_t)(ROWS * per_row) * 4);
  clq_silu_mul_args args = {
      .gate = {xb.mem, CLQ_F32, {ROWS, cols}, {2 * cols, 1}},
      .up = {xb.mem, CLQ_F32, {ROWS, cols}, {2 * cols, 1}, (uint64_t)cols * 4},
      .out = {ob.mem, group == 0 ? CLQ_F32 : CLQ_I8},
  };
  if (group != 0) {
    args.out.quant = (clq_quant){.per = group > 0 ? CLQ_PER_GROUP : CLQ_PER_TOKEN,
                                 .group = group > 0 ? (int32_t)group : 0,
                                 .scale = sb.mem,
                                 .sum = ub.mem};
  }
  test_ok(clq_silu_mul(d->stream, &args));
  unsigned char *got = malloc(ob.bytes);
  test_buffer_read(d, &ob, got);
  if (group == 0) {
    cr_assert_arr_eq(got, expected, n * 4, "cols %lld", (long long)cols);
  } else {
    int8_t *codes = malloc(n);
    float *scales = malloc(sb.bytes);
    int32_t *sums = malloc(ub.bytes);
    float *got_scales = malloc(sb.bytes);
    int32_t *got_sums = malloc(ub.bytes);
    clqi_ref_quantize(expected, ROWS, cols, span, codes, scales, sums);
    test_buffer_read(d, &sb, got_scales);
    test_buffer_read(d, &ub, got_sums);
    cr_assert_arr_eq(got, codes, n, "cols %lld", (long long)cols);
    cr_assert_arr_eq(got_scales, scales, sb.bytes);
    cr_assert_arr_eq(got_sums, sums, ub.bytes);
    free(codes);
    free(scales);
    free(sums);
    free(got_scales);
    free(got_sums);
  }
  test_buffer_free(&xb);
  test_buffer_free(&ob);
  test_buffer_free(&sb);
  test_buffer_free(&ub);
  free(merged);
  free(gate);
  free(up);
  free(expected);
  free(got);
}

Test(silu_mul, is_the_reference_bit_for_bit) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; ++w) {
      check(&f.device, widths[w], 0);
      check(&f.device, widths[w], -1);
      check(&f.device, widths[w], 32);
      check(&f.device, widths[w], 24);
    }
    saw(&f);
  }
}

Test(silu_mul, tiny_shapes_in_every_form) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    check(&f.device, 1100, 0);
    check(&f.device, 70, -1);
    check(&f.device, 70, 32);
    check(&f.device, 70, 24);
    saw(&f);
  }
}

Test(silu_mul, reference_agrees_with_double) {
  for (int i = -4000; i <= 4000; ++i) {
    const float gate = (float)i * 0.01f;
    const float up = 1.25f;
    float out;
    clqi_ref_silu_mul(&gate, &up, 1, &out);
    const double exact = (double)gate / (1.0 + exp(-(double)gate)) * (double)up;
    cr_assert(fabs((double)out - exact) <= 5e-7 * fabs(exact) + 1e-37, "at %g: %g, expected %g",
              (double)gate, (double)out, exact);
  }
}
