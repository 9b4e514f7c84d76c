/* What SLaNC scales are for: sums of squares in half precision, emulated operation by operation.
 * Without a scale they overflow, with one they do not, and neither do small rows vanish. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "device.h"
#include "half_sums.h"
#include "ref/math.h"

enum { ROWS = 20, MAX_WIDTH = 4096 };

static void fill_row(test_random *random, int64_t width, float sigma, uint16_t *x) {
  for (int64_t i = 0; i < width; ++i) {
    x[i] = clqi_ref_f16_from_f32(sigma * test_random_normal(random));
  }
}

/* Largest relative error of the sum of squares over the rows; infinite where one overflows. */
typedef struct sum_errors {
  int overflows; /* of the unscaled sum in half */
  double half_unscaled, half_serial, half_lanes, float_unscaled, float_scaled;
} sum_errors;

static double larger_error(double error, double sum, double exact) {
  return fmax(error, fabs(sum / exact - 1.0));
}

/* Rows of normal numbers of deviation sigma, divided by the length that they are expected to have,
 * s = sigma sqrt(width). */
static sum_errors errors_of(int64_t width, float sigma, uint64_t seed) {
  static uint16_t x[MAX_WIDTH];
  static uint16_t scaled[MAX_WIDTH];
  test_random random = {seed};
  const float inverse = 1.0f / (sigma * sqrtf((float)width));
  const double back = 1.0 / ((double)inverse * (double)inverse);
  sum_errors e = {0};
  for (int r = 0; r < ROWS; ++r) {
    fill_row(&random, width, sigma, x);
    test_half_scale(x, width, inverse, scaled);
    const double exact = test_exact_sum_of_squares(x, width);
    const double unscaled = (double)test_half_sum_of_squares(x, width, 1);
    e.overflows += isinf(unscaled) && isinf(test_half_sum_of_squares(x, width, 64)) ? 1 : 0;
    e.half_unscaled = larger_error(e.half_unscaled, unscaled, exact);
    e.half_serial = larger_error(e.half_serial,
                                 back * (double)test_half_sum_of_squares(scaled, width, 1), exact);
    e.half_lanes = larger_error(e.half_lanes,
                                back * (double)test_half_sum_of_squares(scaled, width, 64), exact);
    e.float_unscaled =
        larger_error(e.float_unscaled, (double)test_float_sum_of_squares(x, width), exact);
    e.float_scaled = larger_error(e.float_scaled,
                                  back * (double)test_float_sum_of_squares(scaled, width), exact);
  }
  return e;
}

Test(slanc_half, sums_overflow_without_a_scale_and_not_with_one) {
  static const struct {
    int64_t width;
    float sigma;
    int overflows;
  } cases[] = {{768, 30.0f, ROWS}, {4096, 30.0f, ROWS}, {768, 0.5f, 0}, {4096, 0.5f, 0}};
  cr_log_info(
      "width sigma | overflow | half, serial: unscaled scaled | half, 64 lanes, scaled | "
      "float: unscaled scaled");
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    const sum_errors e = errors_of(cases[i].width, cases[i].sigma, 11 + i);
    cr_log_info("%5lld %5g | %d/%d | %8.2g %8.2g | %8.2g | %8.2g %8.2g", (long long)cases[i].width,
                cases[i].sigma, e.overflows, ROWS, e.half_unscaled, e.half_serial, e.half_lanes,
                e.float_unscaled, e.float_scaled);
    cr_assert_eq(e.overflows, cases[i].overflows);
    cr_assert_lt(e.half_lanes, 2e-3);
    cr_assert_lt(e.float_scaled, 2e-4);
    cr_assert_lt(e.float_unscaled, 1e-5);
    /* One accumulator stagnates: a scale alone does not make half precision right. */
    cr_assert(isfinite(e.half_serial) && (cases[i].width < 4096 || e.half_serial > 0.02));
  }
}

/* s is an expectation: how far may a row's length lie from it? */
Test(slanc_half, range_of_lengths) {
  static uint16_t x[MAX_WIDTH];
  static const int64_t widths[] = {768, 4096};
  for (size_t w = 0; w < 2; ++w) {
    const int64_t width = widths[w];
    for (int power = -10; power <= 9; ++power) {
      test_random random = {(uint64_t)(100 + power)};
      double worst = 0.0;
      for (int r = 0; r < ROWS; ++r) {
        fill_row(&random, width, ldexpf(1.0f / sqrtf((float)width), power), x);
        const double sum = (double)test_half_sum_of_squares(x, width, 64);
        worst = larger_error(worst, sum, test_exact_sum_of_squares(x, width));
      }
      cr_log_info("width %lld, length 2^%d s: error of the sum of squares %.2g", (long long)width,
                  power, worst);
      cr_assert(power < -4 || power > 7 || worst < 5e-3);
      cr_assert(power < -6 || power > 7 || worst < 0.1);
      cr_assert(power != -10 || worst > 0.5, "shorter rows vanish");
      cr_assert(power != 9 || isinf(worst), "longer rows overflow");
    }
  }
}

/* Of RMSNorm(x), relative to its largest element; infinite if anything is not a number. */
static double norm_error(const uint16_t *x, int64_t n, float x_scale, float eps,
                         test_half_mode mode) {
  static uint16_t out[MAX_WIDTH];
  test_half_rmsnorm(x, n, x_scale, eps, mode, out);
  const double rstd = 1.0 / sqrt(test_exact_sum_of_squares(x, n) / (double)n + (double)eps);
  double largest = 0.0;
  double error = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double expected = (double)clqi_ref_f32_from_f16(x[i]) * rstd;
    const double got = (double)clqi_ref_f32_from_f16(out[i]);
    error = isfinite(got) ? fmax(error, fabs(got - expected)) : INFINITY;
    largest = fmax(largest, fabs(expected));
  }
  return largest > 0.0 ? error / largest : error;
}

/* Norm(x / s, eps / s^2) = Norm(x, eps), for s far from the length of x and where eps / s^2 is
 * below the smallest half. */
Test(slanc_half, epsilon_and_tiny_rows_do_not_vanish) {
  enum { WIDTH = 768 };
  static const float sigmas[] = {1000.0f, 300.0f, 30.0f,  1.0f,  0.1f,  0.03f,
                                 0.01f,   0.003f, 0.001f, 3e-4f, 1e-4f, 0.0f};
  const float x_scale = 0x1p-5f;
  const float eps = 1e-5f;
  test_random random = {21};
  cr_assert_eq(clqi_ref_f16_from_f32(eps * x_scale * x_scale), 0, "eps / s^2 is no half");
  for (size_t i = 0; i < sizeof sigmas / sizeof sigmas[0]; ++i) {
    uint16_t x[WIDTH];
    fill_row(&random, WIDTH, sigmas[i], x);
    const double all = norm_error(x, WIDTH, x_scale, eps, TEST_HALF_ALL);
    const double sums = norm_error(x, WIDTH, x_scale, eps, TEST_HALF_SUMS);
    const double resums = norm_error(x, WIDTH, x_scale, eps, TEST_HALF_RESUMS);
    cr_log_info(
        "sigma %5g, length 2^%+5.1f s: error with all in half %.2g, with f32 epsilon %.2g, "
        "with sums taken again %.2g",
        sigmas[i], log2((double)sigmas[i] * sqrt((double)WIDTH) * (double)x_scale), all, sums,
        resums);
    cr_assert_lt(resums, 2e-3);
    cr_assert(sigmas[i] < 0.03f || sigmas[i] > 200.0f || sums < 2e-3);
    cr_assert(sigmas[i] > 2e-3f || isinf(all), "an epsilon that vanished goes unseen");
    cr_assert(sigmas[i] > 0.0f || (sums == 0.0 && resums == 0.0));
  }
}

/* Dividing a half by a power of two rounds only what becomes subnormal. */
Test(slanc_half, powers_of_two_are_exact) {
  int inexact = 0;
  for (int power = -14; power <= 14; ++power) {
    const float inverse = ldexpf(1.0f, -power);
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      const uint16_t x = (uint16_t)bits;
      uint16_t y = 0;
      test_half_scale(&x, 1, inverse, &y);
      const float exact = clqi_ref_f32_from_f16(x) * inverse;
      const float magnitude = fabsf(exact);
      if (isnan(exact) || magnitude > 65504.0f || (magnitude > 0.0f && magnitude < 0x1p-14f)) {
        continue;
      }
      cr_assert_eq(clqi_ref_f32_from_f16(y), exact, "%a / 2^%d", clqi_ref_f32_from_f16(x), power);
      test_half_scale(&x, 1, inverse / 1.1f, &y);
      inexact += clqi_ref_f32_from_f16(y) != exact / 1.1f ? 1 : 0;
    }
  }
  cr_assert_gt(inexact, 1000000, "other scales are not exact");
}
