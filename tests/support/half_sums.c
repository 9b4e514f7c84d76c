#include "half_sums.h"

#include <math.h>
#include <stdlib.h>

#include "ref/math.h"

enum { MAX_LANES = 64 };

static float round_half(float x) { return clqi_ref_f32_from_f16(clqi_ref_f16_from_f32(x)); }

void test_half_scale(const uint16_t *x, int64_t n, float scale, uint16_t *out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = clqi_ref_f16_from_f32(clqi_ref_f32_from_f16(x[i]) * scale);
  }
}

float test_half_sum_of_squares(const uint16_t *x, int64_t n, int lanes) {
  float sums[MAX_LANES] = {0};
  for (int64_t i = 0; i < n; ++i) {
    const float value = clqi_ref_f32_from_f16(x[i]);
    const int64_t lane = i % lanes;
    /* Rounding the exact product, and the sum of two halves, from f32 rounds once. */
    sums[lane] = round_half(sums[lane] + round_half(value * value));
  }
  for (int half = lanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) {
      sums[i] = round_half(sums[2 * i] + sums[2 * i + 1]);
    }
  }
  return sums[0];
}

float test_float_sum_of_squares(const uint16_t *x, int64_t n) {
  float sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) {
    const float value = clqi_ref_f32_from_f16(x[i]);
    sum += value * value;
  }
  return sum;
}

double test_exact_sum_of_squares(const uint16_t *x, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double value = (double)clqi_ref_f32_from_f16(x[i]);
    sum += value * value;
  }
  return sum;
}

/* The scale at which the sum neither overflows nor is made of subnormals, if there is one near. */
static float fitting_scale(const uint16_t *x, int64_t n, float x_scale, uint16_t *scaled) {
  enum { MAX_TRIES = 3 };
  for (int i = 0; i < MAX_TRIES; ++i) {
    test_half_scale(x, n, x_scale, scaled);
    const float sum = test_half_sum_of_squares(scaled, n, MAX_LANES);
    if (isinf(sum)) {
      x_scale *= 0x1p-8f;
    } else if (sum < 0x1p-8f) {
      x_scale *= 0x1p8f;
    } else {
      break;
    }
  }
  return x_scale;
}

void test_half_rmsnorm(const uint16_t *x, int64_t n, float x_scale, float eps, test_half_mode mode,
                       uint16_t *out) {
  uint16_t *scaled = malloc((size_t)n * sizeof *scaled);
  if (mode == TEST_HALF_RESUMS) {
    x_scale = fitting_scale(x, n, x_scale, scaled);
  }
  test_half_scale(x, n, x_scale, scaled);
  float mean = test_half_sum_of_squares(scaled, n, MAX_LANES) / (float)n;
  float small = eps * x_scale * x_scale;
  if (mode == TEST_HALF_ALL) {
    mean = round_half(round_half(mean) + round_half(small));
    small = 0.0f;
  }
  const float rstd = 1.0f / sqrtf(mean + small);
  for (int64_t i = 0; i < n; ++i) {
    out[i] = clqi_ref_f16_from_f32(clqi_ref_f32_from_f16(scaled[i]) * rstd);
  }
  free(scaled);
}
