/* Power-of-two factors of channels: FQ-ViT's rule against the same written after its own code. */
#include <criterion/criterion.h>
#include <math.h>

#include "device.h"

enum { ROWS = 61, COLS = 48, OCTAVES = 6 };

/* Channel c has the range 2^(c % OCTAVES), around a centre of its own. */
static void make_x(float *x, float centre, uint64_t seed) {
  test_random random = {seed};
  for (int i = 0; i < ROWS * COLS; ++i) {
    const int c = i % COLS;
    x[i] = ldexpf(test_random_normal(&random) + centre * (float)(c % 5 - 2), c % OCTAVES);
  }
}

/* models/ptq/observer/ptf.py with its four candidates side by side: the index of the least score,
 * for a zero point and a scale of exponent 0 that were found elsewhere. */
static int least_score(const float *x, int channel, double scale1, double zero, double qmin,
                       double qmax, int candidates) {
  double score[8] = {0};
  for (int r = 0; r < ROWS; ++r) {
    const double v = (double)x[r * COLS + channel];
    for (int j = 0; j < candidates; ++j) {
      const double s = scale1 * (double)(1 << j);
      double q = nearbyint(v / s) + zero;
      q = q < qmin ? qmin : q > qmax ? qmax : q;
      score[j] += pow(v - (q - zero) * s, 2.0);
    }
  }
  int least = 0;
  for (int j = 1; j < candidates; ++j) {
    least = score[j] < score[least] ? j : least;
  }
  return least;
}

static void check(const clq_factors_desc *d, bool symmetric) {
  const double qmin = symmetric ? -127.0 : d->codes == CLQ_I8 ? -128.0 : 0.0;
  const double qmax = d->codes == CLQ_I8 ? 127.0 : 255.0;
  const int most = d->most == 0 ? 3 : d->most;
  int8_t exponent[COLS];
  float scale = 0.0f;
  int32_t zero = 0;
  test_ok(clq_power_of_two_factors(d, exponent, &scale, symmetric ? NULL : &zero));
  float min = d->x[0];
  float max = d->x[0];
  for (int i = 0; i < ROWS * COLS; ++i) {
    min = fminf(min, d->x[i]);
    max = fmaxf(max, d->x[i]);
  }
  const double scale8 =
      symmetric ? (double)fmaxf(max, -min) / 127.0 : ((double)max - (double)min) / (qmax - qmin);
  cr_assert_float_eq((double)scale, scale8 / (double)(1 << most), 1e-7 * (double)scale);
  cr_assert_eq(zero, symmetric ? 0 : (int)(qmin - nearbyint((double)min / scale8)));
  for (int c = 0; c < COLS; ++c) {
    cr_assert_eq(exponent[c], least_score(d->x, c, (double)scale, zero, qmin, qmax, most + 1),
                 "channel %d, most %d: exponent %d", c, most, exponent[c]);
  }
}

Test(factors, are_those_of_fq_vit) {
  static float x[ROWS * COLS];
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    make_x(x, seed % 2 == 0 ? 0.5f : 0.0f, seed);
    for (int most = 0; most <= 7; ++most) {
      clq_factors_desc d = {x, ROWS, COLS, CLQ_U8, most};
      check(&d, false);
      d.codes = CLQ_I8;
      check(&d, false);
      check(&d, true);
    }
  }
}

/* Signal to noise in dB of a channel that goes through codes and back. */
static double quality(const float *x, int channel, float scale, int exponent) {
  double signal = 0.0;
  double noise = 0.0;
  for (int r = 0; r < ROWS; ++r) {
    const double v = (double)x[r * COLS + channel];
    const double s = ldexp((double)scale, exponent);
    const double q = fmin(fmax(rint(v / s), -127.0), 127.0);
    signal += v * v;
    noise += (q * s - v) * (q * s - v);
  }
  return 10.0 * log10(signal / noise);
}

/* What they are for: the narrowest channels keep their digits, the widest lose none. */
Test(factors, keep_small_channels_alive) {
  static float x[ROWS * COLS];
  int8_t exponent[COLS];
  float scale = 0.0f;
  make_x(x, 0.0f, 9);
  test_ok(clq_power_of_two_factors(&(clq_factors_desc){x, ROWS, COLS, CLQ_I8, OCTAVES - 1},
                                   exponent, &scale, NULL));
  const float coarse = ldexpf(scale, OCTAVES - 1);
  for (int c = 0; c < COLS; ++c) {
    cr_assert_leq(abs(exponent[c] - c % OCTAVES), 1, "channel %d: exponent %d", c, exponent[c]);
    cr_assert_gt(quality(x, c, scale, exponent[c]), 30.0, "channel %d", c);
    cr_assert(c % OCTAVES != 0 || quality(x, c, coarse, 0) < 15.0, "channel %d", c);
  }
}

Test(factors, edges) {
  const float x[] = {0.0f, 1.0f, 0.0f, -254.0f};
  const float bad[] = {0.0f, 1.0f, NAN, 2.0f};
  const float tiny[] = {0x1p-149f, 0.0f};
  int8_t exponent[2] = {9, 9};
  float scale = 5.0f;
  int32_t zero = 5;
  test_ok(
      clq_power_of_two_factors(&(clq_factors_desc){x, 2, 2, CLQ_I8, 1}, exponent, &scale, NULL));
  cr_assert_eq(scale, 1.0f);
  cr_assert(exponent[0] == 0 && exponent[1] == 1);
  const float zeros[4] = {0};
  test_ok(clq_power_of_two_factors(&(clq_factors_desc){zeros, 2, 2, CLQ_U8, 0}, exponent, &scale,
                                   &zero));
  cr_assert(scale == 1.0f && zero == 0 && exponent[0] == 0 && exponent[1] == 0);
  test_ok(clq_power_of_two_factors(&(clq_factors_desc){NULL, 0, 2, CLQ_I8, 0}, exponent, &scale,
                                   &zero));
  cr_assert(scale == 1.0f && zero == -128);
  test_ok(clq_power_of_two_factors(&(clq_factors_desc){tiny, 1, 2, CLQ_U8, 7}, exponent, &scale,
                                   &zero));
  cr_assert_eq(scale, 0x1p-149f);
  exponent[0] = 9;
#define factors_fail(part, zero, ...)                                                            \
  test_fails(clq_power_of_two_factors(&(clq_factors_desc){__VA_ARGS__}, exponent, &scale, zero), \
             CLQ_INVALID_ARGUMENT, part)
  factors_fail("x is nan at row 1, column 0", &zero, bad, 2, 2, CLQ_I8, 0);
  factors_fail("most is 8", &zero, x, 2, 2, CLQ_I8, 8);
  factors_fail("codes are f32", &zero, x, 2, 2, CLQ_F32, 0);
  factors_fail("u8 without a zero point", NULL, x, 2, 2, CLQ_U8, 0);
  factors_fail("x is -1 x 2", &zero, x, -1, 2, CLQ_U8, 0);
  factors_fail("x must not be NULL", &zero, NULL, 1, 2, CLQ_U8, 0);
  test_fails(clq_power_of_two_factors(NULL, exponent, &scale, &zero), CLQ_INVALID_ARGUMENT, "desc");
  cr_assert_eq(exponent[0], 9);
}
