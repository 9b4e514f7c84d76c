/* How precise the variance is: that of the norms (clqi_ref_norm_row_stats, whose bits are the
 * device's) beside methods in common use, all in f32. Prints the tables of docs/normalization.md
 * (--verbose). */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "device.h"
#include "ref/norm.h"
#include "ref/welford.h"

enum { ROWS = 50, MAX_WIDTH = 65537, LANES = 32 };

typedef float (*method)(const float *x, int64_t n);

static float naive(const float *x, int64_t n) {
  float sum = 0.0f;
  float squares = 0.0f;
  for (int64_t i = 0; i < n; ++i) {
    sum += x[i];
    squares += x[i] * x[i];
  }
  const float mean = sum / (float)n;
  return squares / (float)n - mean * mean;
}

/* Element i in lane i % lanes, merged as a tree by Chan's formula. */
static float welford_lanes(const float *x, int64_t n, int64_t lanes) {
  clqi_ref_welford w[LANES] = {{0}};
  for (int64_t i = 0; i < n; ++i) {
    w[i % lanes] = clqi_ref_welford_add(w[i % lanes], x[i]);
  }
  for (int64_t width = lanes / 2; width > 0; width /= 2) {
    for (int64_t l = 0; l < width; ++l) {
      w[l] = clqi_ref_welford_merge(w[l], w[l + width]);
    }
  }
  return w[0].m2 / (float)n;
}
static float welford(const float *x, int64_t n) { return welford_lanes(x, n, 1); }
static float welford_32(const float *x, int64_t n) { return welford_lanes(x, n, LANES); }

/* Sums of both passes in 32 lanes, so that the order of adding is not what is measured. */
static float lanes_sum(const float *x, int64_t n, float centre, bool square) {
  float s[LANES] = {0};
  for (int64_t i = 0; i < n; ++i) {
    const float d = x[i] - centre;
    s[i % LANES] += square ? d * d : d;
  }
  for (int width = LANES / 2; width > 0; width /= 2) {
    for (int l = 0; l < width; ++l) {
      s[l] += s[l + width];
    }
  }
  return s[0];
}
static float two_pass(const float *x, int64_t n) {
  return lanes_sum(x, n, lanes_sum(x, n, 0.0f, false) / (float)n, true) / (float)n;
}

/* 32 lanes of Welford's method on x less its first element. */
static float first_pivot(const float *x, int64_t n) {
  static float d[MAX_WIDTH];
  for (int64_t i = 0; i < n; ++i) {
    d[i] = x[i] - x[0];
  }
  return welford_lanes(d, n, LANES);
}

static float ours(const float *x, int64_t n) {
  return clqi_ref_norm_row_stats(x, n, true, 0.0f).variance;
}

static double exact(const float *x, int64_t n) {
  double sum = 0.0;
  double squares = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    sum += (double)x[i];
  }
  for (int64_t i = 0; i < n; ++i) {
    squares += ((double)x[i] - sum / (double)n) * ((double)x[i] - sum / (double)n);
  }
  return squares / (double)n;
}

static const method methods[] = {naive, welford, welford_32, two_pass, first_pivot, ours};
enum { METHODS = sizeof methods / sizeof methods[0], OURS = METHODS - 1 };

/* Rows of deviation 1, or 0.01 where the mean's own spacing in f32 allows no more, less an
 * outlier of `outlier` deviations at `at`. */
static void fill(test_random *random, float *x, int64_t n, double ratio, double outlier,
                 int64_t at) {
  const double deviation = ratio > 1e3 ? 0.01 : 1.0;
  for (int64_t i = 0; i < n; ++i) {
    x[i] = (float)(ratio * deviation + deviation * (double)test_random_normal(random));
  }
  if (outlier != 0.0) {
    x[at] += (float)(outlier * deviation);
  }
}

/* The worst relative error of ROWS rows, for each method. */
static void measure(int64_t n, double ratio, double outlier, int64_t at, double worst[METHODS]) {
  static float x[MAX_WIDTH];
  test_random random = {(uint64_t)n + (uint64_t)ratio};
  for (int m = 0; m < METHODS; ++m) {
    worst[m] = 0.0;
  }
  for (int r = 0; r < ROWS; ++r) {
    fill(&random, x, n, ratio, outlier, at);
    const double variance = exact(x, n);
    for (int m = 0; m < METHODS && variance > 0.0; ++m) {
      worst[m] = fmax(worst[m], fabs((double)methods[m](x, n) - variance) / variance);
    }
  }
}

static void print(double number, const double e[METHODS]) {
  cr_log_info("| %.6g | %.1e | %.1e | %.1e | %.1e | %.1e | %.1e |", number, e[0], e[1], e[2], e[3],
              e[4], e[5]);
}

Test(norm_precision, variance_over_the_mean) {
  static const double ratios[] = {0.0, 1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7};
  cr_log_info("4096 columns: mean/std | naive | Welford | 32 lanes | two-pass | pivot x[0] | ours");
  for (size_t i = 0; i < sizeof ratios / sizeof ratios[0]; ++i) {
    double e[METHODS];
    measure(4096, ratios[i], 0.0, 0, e);
    print(ratios[i], e);
    cr_assert_leq(e[OURS], 5e-7, "mean/std %g: %g", ratios[i], e[OURS]);
  }
}

Test(norm_precision, variance_over_the_width) {
  static const int64_t widths[] = {2,    3,    37,   127,  128,   129,  768,
                                   1025, 4096, 5137, 8192, 16384, 65537};
  static const double ratios[] = {0.0, 1e3, 1e5, 1e7};
  for (size_t r = 0; r < sizeof ratios / sizeof ratios[0]; ++r) {
    cr_log_info("mean/std %g: width | naive | Welford | 32 lanes | two-pass | pivot x[0] | ours",
                ratios[r]);
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; ++i) {
      double e[METHODS];
      measure(widths[i], ratios[r], 0.0, 0, e);
      print((double)widths[i], e);
      cr_assert_leq(e[OURS], 5e-7, "%lld columns, mean/std %g: %g", (long long)widths[i], ratios[r],
                    e[OURS]);
    }
  }
}

/* An outlier where the pivot comes from moves the pivot by 1/128 of itself, and x[0] wholly. */
Test(norm_precision, an_outlier_in_the_first_chunk) {
  static const double outliers[] = {10.0, 1e2, 1e3, 1e4, 1e6};
  static const double ratios[] = {0.0, 1e3};
  for (size_t r = 0; r < sizeof ratios / sizeof ratios[0]; ++r) {
    cr_log_info(
        "x[0] an outlier, 4096 columns, mean/std %g: deviations | naive | Welford | 32 lanes | "
        "two-pass | pivot x[0] | ours",
        ratios[r]);
    for (size_t i = 0; i < sizeof outliers / sizeof outliers[0]; ++i) {
      double e[METHODS];
      measure(4096, ratios[r], outliers[i], 0, e);
      print(outliers[i], e);
      cr_assert_leq(e[OURS], 5e-7, "outlier %g, mean/std %g: %g", outliers[i], ratios[r], e[OURS]);
    }
  }
}
