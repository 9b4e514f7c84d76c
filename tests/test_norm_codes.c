/* int8 codes of the norms. Against codes made in double from the same inputs: at least 99.9 % are
 * equal, none is off by more than 1; the share is printed. And of statistics that are given: the
 * same codes in every form. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "norm_call.h"
#include "norm_case.h"
#include "opencl.h"
#include "ref/math.h"
#include "ref/ref.h"

TestSuite(norm_codes, .fini = opencl_none_live);

enum { ROWS = 64, COLS = 2300, COUNT = ROWS * COLS };

typedef struct kind {
  const char *name;
  bool centered;
  clq_dtype type;
  clq_granularity per;
  int32_t group;
  bool zero;
  bool residual; /* with a residual of zeros, rmsnorm with gamma 1: the programs of
                    test_layernorm and test_rmsnorm */
} kind;

static int64_t group_of(const kind *k) { return k->per == CLQ_PER_GROUP ? k->group : COLS; }
static bool is_static(const kind *k) {
  return k->per == CLQ_PER_TENSOR || k->per == CLQ_PER_CHANNEL;
}
static int64_t planes_of(const kind *k) {
  return k->per == CLQ_PER_CHANNEL  ? COLS
         : k->per == CLQ_PER_TENSOR ? 1
                                    : ROWS * ((COLS + group_of(k) - 1) / group_of(k));
}

/* Channels of uneven ranges, an outlier here and there, rows of uneven means. */
static float *make_x(void) {
  float *x = malloc(COUNT * sizeof *x);
  test_random random = {5};
  for (int i = 0; i < COUNT; ++i) {
    const int row = i / COLS;
    const int col = i % COLS;
    const float range = ldexpf(1.0f, col % 5) * (col % 311 == 7 ? 10.0f : 1.0f);
    x[i] = range * test_random_normal(&random) + 3.0f * (float)(row % 7);
  }
  return x;
}

static void norm_in_double(const float *x, bool centered, double *y) {
  double mean = 0.0;
  double squares = 0.0;
  for (int i = 0; centered && i < COLS; ++i) {
    mean += (double)x[i] / COLS;
  }
  for (int i = 0; i < COLS; ++i) {
    squares += ((double)x[i] - mean) * ((double)x[i] - mean);
  }
  for (int i = 0; i < COLS; ++i) {
    y[i] = ((double)x[i] - mean) / sqrt(squares / COLS + (double)1e-5f);
  }
}

/* As tensor.h has found scales and zero points, in double. */
static void parameters_of(const kind *k, const double *y, int64_t n, double *scale, double *zero) {
  const double lo = k->type == CLQ_U8 ? 0.0 : -128.0;
  double least = 0.0;
  double most = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    least = fmin(least, y[i]);
    most = fmax(most, y[i]);
  }
  *scale = k->zero ? (most - least) / 255.0 : fmax(most, -least) / 127.0;
  *zero = k->zero ? rint(lo - least / *scale) : 0.0;
}

static int code_of(const kind *k, double y, double scale, double zero) {
  const double lo = k->type == CLQ_U8 ? 0.0 : -128.0;
  return (int)fmin(fmax(rint(y / scale) + zero, lo), lo + 255.0);
}

typedef struct tally {
  int equal, apart;
} tally;

static tally compare(const kind *k, const float *x, const signed char *codes, const float *scales,
                     const int32_t *zeros) {
  static double y[COLS];
  tally t = {0};
  for (int r = 0; r < ROWS; ++r) {
    norm_in_double(x + r * COLS, k->centered, y);
    for (int64_t b = 0; b < COLS; b += group_of(k)) {
      const int64_t n = b + group_of(k) < COLS ? group_of(k) : COLS - b;
      double scale = 0.0;
      double zero = 0.0;
      if (!is_static(k)) {
        parameters_of(k, y + b, n, &scale, &zero);
      }
      for (int64_t i = 0; i < n; ++i) {
        if (is_static(k)) {
          const int64_t at = k->per == CLQ_PER_CHANNEL ? i : 0;
          scale = (double)scales[at];
          zero = k->zero ? (double)zeros[at] : 0.0;
        }
        const signed char stored = codes[r * COLS + b + i];
        const int got = k->type == CLQ_U8 ? (unsigned char)stored : stored;
        const int off = abs(got - code_of(k, y[b + i], scale, zero));
        t.equal += off == 0 ? 1 : 0;
        t.apart += off > 1 ? 1 : 0;
      }
    }
  }
  return t;
}

static void check(const test_device *d, const kind *k, const float *x, const char *form) {
  const size_t planes = (size_t)planes_of(k);
  float *zero_rows = calloc(COUNT, sizeof *zero_rows);
  float ones[COLS];
  float *scales = malloc(planes * sizeof *scales);
  int32_t *zeros = malloc(planes * sizeof *zeros);
  signed char *codes = malloc(COUNT);
  for (size_t i = 0; i < planes; ++i) {
    scales[i] = 0.01f + 0.001f * (float)(i % 23);
    zeros[i] = (int32_t)(i % 41) - 20 + (k->type == CLQ_U8 ? 128 : 0);
  }
  for (int i = 0; i < COLS; ++i) {
    ones[i] = 1.0f;
  }
  test_buffer xb = test_buffer_new(d, x, COUNT * sizeof *x);
  test_buffer ob = test_buffer_new(d, NULL, COUNT);
  test_buffer sb = test_buffer_new(d, scales, planes * sizeof *scales);
  test_buffer zb = test_buffer_new(d, zeros, planes * sizeof *zeros);
  test_buffer rb = test_buffer_new(d, zero_rows, COUNT * sizeof *zero_rows);
  test_buffer gb = test_buffer_new(d, ones, sizeof ones);
  const clq_tensor none = {0};
  const clq_tensor residual = k->residual ? (clq_tensor){rb.mem, CLQ_F32, {ROWS, COLS}} : none;
  const clq_tensor gamma = k->residual ? (clq_tensor){gb.mem, CLQ_F32, {COLS}} : none;
  const clq_tensor in = {xb.mem, CLQ_F32, {ROWS, COLS}};
  const clq_tensor out = {
      ob.mem,
      k->type,
      {ROWS, COLS},
      .quant = {
          .per = k->per, .group = k->group, .scale = sb.mem, .zero = k->zero ? zb.mem : NULL}};
  test_norm(d, k->centered, 0,
            &(clq_layernorm_args){
                .x = in, .residual = residual, .gamma = k->centered ? none : gamma, .out = out});
  test_buffer_read(d, &ob, codes);
  const tally t = compare(k, x, codes, scales, zeros);
  const double share = 100.0 * (double)t.equal / COUNT;
  (void)fprintf(stderr, "%s, %s: %.4f %% equal, %d more than 1 apart, of %d\n", k->name, form,
                share, t.apart, COUNT);
  cr_expect_geq(share, 99.9, "%s: %.4f %% equal", k->name, share);
  cr_expect_eq(t.apart, 0, "%s: %d codes are off by more than 1", k->name, t.apart);
  test_buffer *all[] = {&xb, &ob, &sb, &zb, &rb, &gb};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
    test_buffer_free(all[i]);
  }
  free(zero_rows);
  free(scales);
  free(zeros);
  free(codes);
}

Test(norm_codes, agree_with_double_in_the_form_that_the_device_chooses) {
  static const kind kinds[] = {
      {"layernorm, i8 per token", true, CLQ_I8, CLQ_PER_TOKEN, 0, false},
      {"layernorm, i8 per token, asymmetric", true, CLQ_I8, CLQ_PER_TOKEN, 0, true},
      {"layernorm, u8 per token, asymmetric", true, CLQ_U8, CLQ_PER_TOKEN, 0, true},
      {"layernorm, i8 per 32", true, CLQ_I8, CLQ_PER_GROUP, 32, false},
      {"layernorm, i8 per 64", true, CLQ_I8, CLQ_PER_GROUP, 64, false},
      {"layernorm, i8 per 128", true, CLQ_I8, CLQ_PER_GROUP, 128, false},
      {"layernorm, i8 per 128, asymmetric", true, CLQ_I8, CLQ_PER_GROUP, 128, true},
      {"layernorm, i8 per tensor", true, CLQ_I8, CLQ_PER_TENSOR, 0, false},
      {"layernorm, u8 per tensor, zero point", true, CLQ_U8, CLQ_PER_TENSOR, 0, true},
      {"layernorm, i8 per channel, zero points", true, CLQ_I8, CLQ_PER_CHANNEL, 0, true},
      {"rmsnorm, i8 per token", false, CLQ_I8, CLQ_PER_TOKEN, 0, false},
      {"rmsnorm, i8 per 32", false, CLQ_I8, CLQ_PER_GROUP, 32, false},
      {"rmsnorm, i8 per channel", false, CLQ_I8, CLQ_PER_CHANNEL, 0, false},
  };
  test_device d = test_device_open(NULL);
  float *x = make_x();
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
    check(&d, &kinds[i], x, "the device's own form");
  }
  free(x);
  test_device_close(&d);
}

/* One that is found for a row and one for groups, in the forms that the device would choose as
 * another one. */
Test(norm_codes, agree_with_double_in_every_form) {
  static const kind kinds[] = {
      {"layernorm, residual, i8 per token", true, CLQ_I8, CLQ_PER_TOKEN, 0, false, true},
      {"rmsnorm, residual, i8 per 32", false, CLQ_I8, CLQ_PER_GROUP, 32, false, true},
  };
  float *x = make_x();
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
      check(&f.device, &kinds[i], x, norm_case_form(&f, "_group"));
    }
    norm_case_saw(&f, "layernorm", "_group");
    norm_case_saw(&f, "rmsnorm", "_group");
  }
  free(x);
}

/* ---------------------------------------------------------------- statistics that are given
 *
 * The operators take no statistics, so rows feed them whose statistics are exact in f32 in whatever
 * order they are taken. Row r has, 32 columns long over and over, the integers
 *     a, -a, b, -b, c, -c, ...       odd, at most 31, in another order for each row.
 * Every lane of a form whose lanes are a multiple of 32 sees one value, so running means do not
 * round; neighbours cancel, so means that are merged are 0; partial sums of squares are integers
 * below 2^24. Therefore mean = 0 and the variance is the sum of squares / cols, rounded once, on
 * every way there. The test asserts both, then makes the codes from them: whatever a form does
 * after its statistics, codes, scales and sums have these bits. */

enum { PERIOD = 32, GIVEN_ROWS = 5, MOST_GIVEN = 20032, GIVEN_GROUP = 32 };

/* Of s; run_given splits it into x and the residual. */
static int given_value(int row, int64_t col) {
  const int pair = (int)(col % PERIOD) / 2;
  const int size = 2 * ((pair * 5 + row * 3) % (PERIOD / 2)) + 1;
  return col % 2 == 0 ? size : -size;
}

typedef struct given {
  bool centered;
  int64_t cols, group, groups;
  signed char *codes; /* [GIVEN_ROWS, cols] */
  float *scales;      /* [GIVEN_ROWS, groups] */
  int32_t *sums;
  float mean[GIVEN_ROWS], rstd[GIVEN_ROWS];
} given;

static given given_new(bool centered, int64_t cols) {
  given g = {.centered = centered, .cols = cols, .group = centered ? cols : GIVEN_GROUP};
  g.groups = (cols + g.group - 1) / g.group;
  g.codes = malloc((size_t)(GIVEN_ROWS * cols));
  g.scales = malloc((size_t)(GIVEN_ROWS * g.groups) * sizeof *g.scales);
  g.sums = malloc((size_t)(GIVEN_ROWS * g.groups) * sizeof *g.sums);
  return g;
}

static void given_free(given *g) {
  free(g->codes);
  free(g->scales);
  free(g->sums);
}

static float given_gamma(int64_t col) { return 0.5f + 0.03125f * (float)(col % 29); }

/* From the statistics alone. */
static void expect_given(given *e) {
  static float y[MOST_GIVEN];
  for (int r = 0; r < GIVEN_ROWS; ++r) {
    int64_t squares = 0;
    for (int64_t i = 0; i < e->cols; ++i) {
      squares += given_value(r, i) * given_value(r, i);
    }
    cr_assert_lt(squares, 1 << 24);
    const float variance = clqi_ref_div((float)squares, (float)e->cols);
    e->mean[r] = 0.0f;
    e->rstd[r] = clqi_ref_rsqrt(variance + 1e-5f);
    for (int64_t i = 0; i < e->cols; ++i) {
      y[i] = (float)given_value(r, i) * e->rstd[r];
      y[i] = e->centered ? y[i] : y[i] * given_gamma(i);
    }
    for (int64_t g = 0; g < e->groups; ++g) {
      const int64_t begin = g * e->group;
      const int64_t n = begin + e->group < e->cols ? e->group : e->cols - begin;
      const int64_t plane = r * e->groups + g;
      e->sums[plane] = clqi_ref_quantize_group(
          y + begin, n, (int8_t *)e->codes + r * e->cols + begin, &e->scales[plane]);
    }
  }
}

static void run_given(const test_device *d, given *g) {
  static float x[GIVEN_ROWS * MOST_GIVEN];
  static float residual[GIVEN_ROWS * MOST_GIVEN];
  static float gamma[MOST_GIVEN];
  const int64_t count = GIVEN_ROWS * g->cols;
  const size_t planes = (size_t)(GIVEN_ROWS * g->groups) * 4;
  for (int64_t i = 0; i < count; ++i) {
    residual[i] = (float)((i * 7) % 1001 - 500);
    x[i] = (float)given_value((int)(i / g->cols), i % g->cols) - residual[i];
  }
  for (int64_t i = 0; i < g->cols; ++i) {
    gamma[i] = given_gamma(i);
  }
  enum { X, RESIDUAL, GAMMA, OUT, SCALE, SUM, MEAN, RSTD, BUFFERS };
  test_buffer b[BUFFERS] = {test_buffer_new(d, x, (size_t)count * 4),
                            test_buffer_new(d, residual, (size_t)count * 4),
                            test_buffer_new(d, gamma, (size_t)g->cols * 4),
                            test_buffer_new(d, NULL, (size_t)count),
                            test_buffer_new(d, NULL, planes),
                            test_buffer_new(d, NULL, planes),
                            test_buffer_new(d, g->mean, sizeof g->mean),
                            test_buffer_new(d, NULL, sizeof g->rstd)};
  clq_layernorm_args a = {.x = {b[X].mem, CLQ_F32, {GIVEN_ROWS, g->cols}},
                          .residual = {b[RESIDUAL].mem, CLQ_F32, {GIVEN_ROWS, g->cols}},
                          .mean = {b[MEAN].mem, CLQ_F32, {GIVEN_ROWS}},
                          .rstd = {b[RSTD].mem, CLQ_F32, {GIVEN_ROWS}},
                          .out = {b[OUT].mem,
                                  CLQ_I8,
                                  {GIVEN_ROWS, g->cols},
                                  .quant = {.per = g->centered ? CLQ_PER_TOKEN : CLQ_PER_GROUP,
                                            .group = g->centered ? 0 : GIVEN_GROUP,
                                            .scale = b[SCALE].mem,
                                            .sum = b[SUM].mem}}};
  if (!g->centered) {
    a.gamma = (clq_tensor){b[GAMMA].mem, CLQ_F32, {g->cols}};
  }
  test_norm(d, g->centered, 0, &a);
  test_buffer_read(d, &b[OUT], g->codes);
  test_buffer_read(d, &b[SCALE], g->scales);
  test_buffer_read(d, &b[SUM], g->sums);
  test_buffer_read(d, &b[MEAN], g->mean);
  test_buffer_read(d, &b[RSTD], g->rstd);
  for (int i = 0; i < BUFFERS; ++i) {
    test_buffer_free(&b[i]);
  }
}

static void check_given(const test_device *d, bool centered, int64_t cols) {
  given got = given_new(centered, cols);
  given expected = given_new(centered, cols);
  expect_given(&expected);
  run_given(d, &got);
  for (int r = 0; r < GIVEN_ROWS; ++r) {
    cr_assert(got.mean[r] == 0.0f && got.rstd[r] == expected.rstd[r],
              "row %d of %lld columns: mean %g, rstd %.9g, expected 0 and %.9g", r, (long long)cols,
              got.mean[r], got.rstd[r], expected.rstd[r]);
  }
  const size_t planes = (size_t)(GIVEN_ROWS * got.groups) * 4;
  cr_assert_arr_eq(got.codes, expected.codes, (size_t)(GIVEN_ROWS * cols), "codes of %lld columns",
                   (long long)cols);
  cr_assert_arr_eq(got.scales, expected.scales, planes, "scales of %lld columns", (long long)cols);
  cr_assert_arr_eq(got.sums, expected.sums, planes, "sums of %lld columns", (long long)cols);
  given_free(&got);
  given_free(&expected);
}

/* Lanes of 8, 16 and 32 work-items a row, whole chunks and rests, several blocks, several rounds.
 */
Test(norm_codes, of_given_statistics_are_the_same_in_every_form) {
  static const int64_t widths[] = {2, 32, 46, 64, 128, 352, 1024, 2080, 4126, MOST_GIVEN};
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (int centered = 0; centered <= 1; ++centered) {
      const char *op = centered != 0 ? "layernorm" : "rmsnorm";
      for (size_t w = 0; w < sizeof widths / sizeof widths[0]; ++w) {
        check_given(&f.device, centered != 0, widths[w]);
      }
      norm_case_saw(&f, op, "_warp");
      norm_case_saw(&f, op, "_group");
      norm_case_saw(&f, op, "_stream");
    }
  }
}
