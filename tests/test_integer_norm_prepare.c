/* What the host makes for integer_norm, and the model's square root. No device. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "device.h"
#include "ref/integer_norm.h"

Test(integer_norm_prepare, prepared_integers) {
  const float gamma[] = {1.0f, -0.5f, 0.0f};
  const float beta[] = {0.25f, -100.0f, 1e30f};
  int32_t multiplier[3];
  int32_t bias[3];
  clq_integer_norm_args args = {.kind = CLQ_NORM_RMS};
  test_ok(clq_integer_norm_prepare(&(clq_integer_norm_desc){3, gamma, beta, 0.0f, 0.5f, 0.25f, -7},
                                   multiplier, bias, &args));
  const double unit = sqrt(3.0) / 0.25;
  cr_assert_eq(args.shift, 46);
  cr_assert_eq(args.out_scale, 0.25f);
  cr_assert_eq(args.out_zero, -7);
  cr_assert_eq(args.kind, CLQ_NORM_RMS);
  cr_assert_float_eq(args.eps * exp2(-args.eps_shift), 1e-5 / 0.25, 1e-13);
  cr_assert_eq(multiplier[0], (int32_t)floor(unit * 65536.0 + 0.5));
  cr_assert_eq(multiplier[1], (int32_t)floor(-0.5 * unit * 65536.0 + 0.5));
  cr_assert_eq(multiplier[2], 0);
  cr_assert_eq(bias[0], (1 - 7) * 65536);
  cr_assert_eq(bias[1], (-400 - 7) * 65536);
  cr_assert_eq(bias[2], INT32_MAX);
  /* A large factor takes bits from the fraction, not from the multiplier's size. */
  test_ok(clq_integer_norm_prepare(
      &(clq_integer_norm_desc){3, gamma, NULL, -1.0f, 0.0f, 0x1p-40f, 0}, multiplier, NULL, &args));
  cr_assert_eq(args.shift, 61 - 41);
  cr_assert_eq(args.eps, 0);
  cr_assert_geq(multiplier[0], 1 << 30);
  cr_assert_leq(abs(multiplier[0] + 2 * multiplier[1]), 1);
  /* All channels off. */
  const float zeros[3] = {0};
  test_ok(clq_integer_norm_prepare(&(clq_integer_norm_desc){3, zeros, NULL, 0.0f, 1.0f, 1.0f, 0},
                                   multiplier, NULL, &args));
  cr_assert_eq(multiplier[0], 0);
}

Test(integer_norm_prepare, what_cannot_be_prepared_is_said) {
  const float good[] = {1.0f, 2.0f};
  const float nan_value[] = {1.0f, NAN};
  int32_t m[2];
  int32_t b[2];
  clq_integer_norm_args args = {0};
#define prepare_fails(part, ...)                                                           \
  test_fails(clq_integer_norm_prepare(&(clq_integer_norm_desc){__VA_ARGS__}, m, b, &args), \
             CLQ_INVALID_ARGUMENT, part)
  prepare_fails("gamma[1] is nan, expected a finite number", 2, nan_value, NULL, 0.0f, 1.0f, 1.0f,
                0);
  prepare_fails("beta[1] is nan", 2, good, nan_value, 0.0f, 1.0f, 1.0f, 0);
  prepare_fails("out_scale is 0", 2, good, NULL, 0.0f, 1.0f, 0.0f, 0);
  prepare_fails("x_scale is -1, expected a finite positive number", 2, good, NULL, 0.0f, -1.0f,
                1.0f, 0);
  prepare_fails("less than 2^45", 2, good, NULL, 0.0f, 1.0f, 1e-20f, 0);
  prepare_fails("cols is -1, expected 0 or more", -1, good, NULL, 0.0f, 1.0f, 1.0f, 0);
  test_fails(clq_integer_norm_prepare(&(clq_integer_norm_desc){2, good, good, 0.0f, 1.0f, 1.0f, 0},
                                      m, NULL, &args),
             CLQ_INVALID_ARGUMENT, "bias is NULL, expected an array");
}

/* The model's own root, which the device's must equal. */
Test(integer_norm_prepare, model_root_is_exact) {
  test_random random = {4};
  for (int i = 0; i < 200000; ++i) {
    const uint64_t wide =
        ((uint64_t)test_random_u32(&random) << 32 | test_random_u32(&random)) >> (2 + i % 62);
    const uint64_t root = wide >> 31 == 0 ? wide : wide >> 31;
    const uint64_t n = i % 3 == 0 ? wide : root * root - (uint64_t)(i % 3 == 1 && root > 0);
    const uint64_t got = clqi_ref_integer_sqrt(n);
    cr_assert(got * got <= n && (got + 1) * (got + 1) > n, "the root of %llu is not %llu",
              (unsigned long long)n, (unsigned long long)got);
  }
}
