/* What ops.h promises of the norms' precision, against double, in every form of the device: the
 * variance (rmsnorm: the mean of squares) and the outputs. The programs are those of the first
 * cases of test_layernorm and test_rmsnorm. Other methods' errors: test_norm_precision. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "norm_call.h"
#include "norm_case.h"
#include "opencl.h"

TestSuite(norm_bounds, .fini = opencl_none_live);

/* A call has a row of each ratio of mean and deviation, and each again from other numbers. */
static const double ratios[] = {0.0, 1.0, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7};

/* And rows whose beginning, from which the pivot comes, is unlike the rest. */
static const char *const uneven[] = {"a step of -10 to 10",
                                     "zeros, then 10 of deviation 0.1",
                                     "an eighth of zeros",
                                     "a ramp to 10",
                                     "zeros, then a million",
                                     "one outlier in front",
                                     "a constant, then about its negative"};
enum {
  RATIOS = sizeof ratios / sizeof ratios[0],
  UNEVEN = sizeof uneven / sizeof uneven[0],
  EVEN = 2 * RATIOS,
  ROWS = EVEN + UNEVEN,
  HEAD = 128 /* elements that the pivot is the mean of */
};

static const int64_t widths[] = {1,   2,    3,    31,   32,   33,   37,   64,    65,    128,   200,
                                 768, 1024, 1025, 1108, 4096, 5137, 8192, 16384, 65537, 262145};

static const double MOST_ERROR = 5e-7; /* relative, of the variance */

/* One call on the host's side. */
typedef struct trial {
  bool centered;
  int64_t cols;
  float *x, *y, *gamma, *beta;
  float mean[ROWS], rstd[ROWS];
} trial;

/* The worst of a form: the relative error, and the part of the bound. */
typedef struct worst {
  double variance, output;
} worst;

/* Rows of deviation 1, or 0.01 where the mean's own spacing in f32 allows no more. */
static double even_element(int row, double noise) {
  const double ratio = ratios[row % RATIOS];
  const double deviation = ratio > 1e3 ? 0.01 : 1.0;
  return deviation * (ratio + noise);
}

static double uneven_element(int kind, int64_t i, int64_t cols, double noise) {
  switch (kind) {
    case 0: return (i < HEAD ? -10.0 : 10.0) + noise;
    case 1: return i < HEAD ? 0.0 : 10.0 + 0.1 * noise;
    case 2: return i < cols / 8 ? 0.0 : 10.0 + noise;
    case 3: return 10.0 * (double)i / (double)cols + noise;
    case 4: return i < HEAD ? 0.0 : 1e6 + noise;
    case 5: return i == 0 ? 1e4 : noise;
    default: return i < HEAD ? 0.003 : -0.003 * (1.0 + 0.2 * noise);
  }
}

static void fill(trial *t) {
  test_random random = {(uint64_t)t->cols};
  for (int row = 0; row < ROWS; ++row) {
    for (int64_t i = 0; i < t->cols; ++i) {
      const double noise = (double)test_random_normal(&random);
      t->x[row * t->cols + i] = (float)(row < EVEN ? even_element(row, noise)
                                                   : uneven_element(row - EVEN, i, t->cols, noise));
    }
  }
  for (int64_t i = 0; i < t->cols; ++i) {
    t->gamma[i] = (i % 11 == 3 ? -1.0f : 1.0f) + 0.1f * test_random_normal(&random);
    t->beta[i] = 0.2f * test_random_normal(&random);
  }
}

static void run(const test_device *d, trial *t) {
  const size_t line = (size_t)t->cols * sizeof(float);
  test_buffer x = test_buffer_new(d, t->x, ROWS * line);
  test_buffer y = test_buffer_new(d, NULL, ROWS * line);
  test_buffer gamma = test_buffer_new(d, t->gamma, line);
  test_buffer beta = test_buffer_new(d, t->beta, line);
  test_buffer mean = test_buffer_new(d, NULL, sizeof t->mean);
  test_buffer rstd = test_buffer_new(d, NULL, sizeof t->rstd);
  const clq_layernorm_args a = {.x = {x.mem, CLQ_F32, {ROWS, t->cols}},
                                .gamma = {gamma.mem, CLQ_F32, {t->cols}},
                                .beta = {beta.mem, CLQ_F32, {t->cols}},
                                .mean = {mean.mem, CLQ_F32, {ROWS}},
                                .rstd = {rstd.mem, CLQ_F32, {ROWS}},
                                .out = {y.mem, CLQ_F32, {ROWS, t->cols}},
                                .eps = -1.0f};
  test_norm(d, t->centered, 0, &a);
  test_buffer_read(d, &y, t->y);
  test_buffer_read(d, &mean, t->mean);
  test_buffer_read(d, &rstd, t->rstd);
  test_buffer *all[] = {&x, &y, &gamma, &beta, &mean, &rstd};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
    test_buffer_free(all[i]);
  }
}

/* Of a row, in double; rmsnorm: around 0. */
typedef struct exact {
  double mean, variance, farthest;
} exact;

static exact exact_of(const trial *t, const float *x) {
  exact e = {0};
  for (int64_t i = 0; t->centered && i < t->cols; ++i) {
    e.mean += (double)x[i];
  }
  e.mean /= (double)t->cols;
  for (int64_t i = 0; i < t->cols; ++i) {
    const double d = (double)x[i] - e.mean;
    e.variance += d * d;
    e.farthest = fmax(e.farthest, fabs(d));
  }
  e.variance /= (double)t->cols;
  return e;
}

/* How many times what ops.h allows the outputs of a row are off, at most. */
static double output_error(const trial *t, const exact *e, int row) {
  const double rstd = 1.0 / sqrt(e->variance);
  double most = 0.0;
  for (int64_t i = 0; i < t->cols; ++i) {
    const double gamma = (double)t->gamma[i];
    const double beta = t->centered ? (double)t->beta[i] : 0.0;
    const int64_t at = row * t->cols + i;
    const double y = ((double)t->x[at] - e->mean) * rstd * gamma + beta;
    const double centring = t->centered ? fabs(gamma) * e->farthest * rstd : 0.0;
    const double bound = 0x1p-21 * (fabs(y) + fabs(beta) + centring);
    most = fmax(most, fabs((double)t->y[at] - y) / bound);
  }
  return most;
}

static void check_row(const trial *t, int row, worst *w) {
  const exact e = exact_of(t, t->x + row * t->cols);
  const double rstd = (double)t->rstd[row];
  char kind[64];
  (void)snprintf(kind, sizeof kind, "mean/deviation %g", ratios[row % RATIOS]);
  const char *name = row < EVEN ? kind : uneven[row - EVEN];
  if (t->centered) {
    const double off = fabs((double)t->mean[row] - e.mean);
    const double allowed = 0x1p-23 * fabs(e.mean) + 0x1p-19 * sqrt(e.variance);
    cr_expect_leq(off, allowed, "mean of %lld columns, %s: off by %g", (long long)t->cols, name,
                  off);
  }
  if (!(e.variance > 0.0)) {
    cr_expect(t->rstd[row] == INFINITY, "variance of %lld equal elements is not 0: rstd is %g",
              (long long)t->cols, rstd);
    return;
  }
  const double off = fabs(1.0 / (rstd * rstd) - e.variance) / e.variance;
  const double part = output_error(t, &e, row);
  w->variance = fmax(w->variance, off);
  w->output = fmax(w->output, part);
  cr_expect_leq(off, MOST_ERROR, "variance of %lld columns, %s: off by %g", (long long)t->cols,
                name, off);
  cr_expect_leq(part, 1.0, "an output of %lld columns, %s, is off by %g times the bound",
                (long long)t->cols, name, part);
}

static worst check_width(const test_device *d, bool centered, int64_t cols, worst w) {
  const size_t line = (size_t)cols * sizeof(float);
  trial t = {.centered = centered,
             .cols = cols,
             .x = malloc(ROWS * line),
             .y = malloc(ROWS * line),
             .gamma = malloc(line),
             .beta = malloc(line)};
  fill(&t);
  run(d, &t);
  for (int row = 0; row < ROWS; ++row) {
    check_row(&t, row, &w);
  }
  free(t.x);
  free(t.y);
  free(t.gamma);
  free(t.beta);
  return w;
}

static void check_forms(bool centered) {
  const char *op = centered ? "layernorm" : "rmsnorm";
  for (test_forms f = {0}; test_forms_next(&f);) {
    worst w = {0};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; ++i) {
      w = check_width(&f.device, centered, widths[i], w);
    }
    norm_case_saw(&f, op, "_warp");
    norm_case_saw(&f, op, "_group");
    norm_case_saw(&f, op, "_stream");
    (void)fprintf(stderr, "%s%s: variance off by at most %.2e, outputs by %.2f of the bound\n", op,
                  norm_case_form(&f, "_warp, _group, _stream"), w.variance, w.output);
  }
}

Test(norm_bounds, layernorm) { check_forms(true); }
Test(norm_bounds, rmsnorm) { check_forms(false); }
