/* Rows out of the ordinary: zeros, one value, one huge element, squares that overflow, NaN, Inf;
 * and that their neighbours notice nothing. Both norms, floats and codes, in every form of the
 * device. The programs are those of the first two cases of test_layernorm and test_rmsnorm. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "norm_call.h"
#include "norm_case.h"
#include "opencl.h"

TestSuite(norm_special, .fini = opencl_none_live);

enum {
  ORDINARY,
  ZEROS,
  CONSTANT,
  TENTHS,
  HUGE_ELEMENT,
  OVERFLOWING,
  NOT_A_NUMBER,
  INFINITE,
  AGAIN,
  ROWS
};
enum { MOST_COLS = 1100, GROUP = 32, MOST_PLANES = ROWS * (MOST_COLS / GROUP + 1) };

/* 1: a column that is all of its row; 1100: wider than a block. */
static const int widths[] = {1, 48, 128, 769, MOST_COLS};
enum { WIDTHS = sizeof widths / sizeof widths[0] };

static const double EPS = 1e-5;
static const float BETA = 0.5f;

static int huge_at(int cols) { return cols / 2; }
static int odd_at(int cols) { return cols / 3; }

static void make(float *x, int cols) {
  for (int i = 0; i < cols; ++i) {
    x[ORDINARY * cols + i] = x[AGAIN * cols + i] = (float)((i * 37) % 101 - 20);
    x[ZEROS * cols + i] = 0.0f;
    x[CONSTANT * cols + i] = -3.0f;
    x[TENTHS * cols + i] = 0.1f;
    for (int r = HUGE_ELEMENT; r <= INFINITE; ++r) {
      x[r * cols + i] = (float)(i % 7) - 3.0f;
    }
  }
  x[HUGE_ELEMENT * cols + huge_at(cols)] = 1e15f;
  x[OVERFLOWING * cols + huge_at(cols)] = 1e30f;
  x[NOT_A_NUMBER * cols + odd_at(cols)] = NAN;
  x[INFINITE * cols + odd_at(cols)] = -INFINITY;
}

static test_buffer line_of(const test_device *d, float value, int cols) {
  float values[MOST_COLS];
  for (int i = 0; i < cols; ++i) {
    values[i] = value;
  }
  return test_buffer_new(d, values, (size_t)cols * sizeof *values);
}

/* ---------------------------------------------------------------- floats */

/* Every element of the row is within `error` of `value`. */
static void expect_row(const float *y, int row, int cols, float value, float error) {
  for (int i = 0; i < cols; ++i) {
    cr_assert(fabsf(y[row * cols + i] - value) <= error, "row %d of %d columns: %g, expected %g",
              row, cols, (double)y[row * cols + i], (double)value);
  }
}

/* One element stands out, and the others are alike next to it: layernorm's lie on its other side,
 * rmsnorm's are nothing. */
static void expect_one_out(const float *y, bool centered, int row, int cols, double beta) {
  const double root = sqrt((double)cols);
  const double off = centered ? 1.0 / (double)cols : 0.0;
  for (int i = 0; i < cols; ++i) {
    const double out = i == huge_at(cols) ? root * sqrt(1.0 - off) : -off * root / sqrt(1.0 - off);
    const double exact = centered && cols == 1 ? beta : beta + out;
    const double got = (double)y[row * cols + i];
    cr_assert(fabs(got - exact) <= 1e-6 * (1.0 + fabs(exact)),
              "row %d, element %d of %d: %g, expected %g", row, i, cols, got, exact);
  }
}

static void expect_layernorm(const float *y, int cols) {
  expect_row(y, ZEROS, cols, BETA, 0.0f);
  expect_row(y, CONSTANT, cols, BETA, 0.0f);
  expect_row(y, TENTHS, cols, BETA, 0x1p-20f * BETA);
  expect_one_out(y, true, HUGE_ELEMENT, cols, (double)BETA);
  for (int i = 0; i < cols; ++i) {
    cr_assert(isnan(y[NOT_A_NUMBER * cols + i]) && isnan(y[INFINITE * cols + i]));
  }
}

static void expect_rmsnorm(const float *y, int cols) {
  const double tenth = (double)0.1f;
  expect_row(y, ZEROS, cols, 0.0f, 0.0f);
  expect_row(y, CONSTANT, cols, (float)(-3.0 / sqrt(9.0 + EPS)), 0x1p-21f);
  expect_row(y, TENTHS, cols, (float)(tenth / sqrt(tenth * tenth + EPS)), 0x1p-21f);
  expect_one_out(y, false, HUGE_ELEMENT, cols, 0.0);
  expect_row(y, OVERFLOWING, cols, 0.0f, 0.0f);
  for (int i = 0; i < cols; ++i) {
    const float beside = y[INFINITE * cols + i];
    cr_assert(isnan(y[NOT_A_NUMBER * cols + i]));
    cr_assert(i == odd_at(cols) ? isnan(beside) : beside == 0.0f, "beside Inf: %g", beside);
  }
}

static void check_floats(const test_device *d, bool centered, int cols) {
  static float x[ROWS * MOST_COLS];
  static float y[ROWS * MOST_COLS];
  static float alone[ROWS * MOST_COLS];
  const size_t line = (size_t)cols * sizeof *x;
  make(x, cols);
  test_buffer xb = test_buffer_new(d, x, ROWS * line);
  test_buffer yb = test_buffer_new(d, NULL, ROWS * line);
  test_buffer gb = line_of(d, 1.0f, cols);
  test_buffer bb = line_of(d, BETA, cols);
  clq_layernorm_args a = {.x = {xb.mem, CLQ_F32, {ROWS, cols}},
                          .gamma = {gb.mem, CLQ_F32, {cols}},
                          .beta = {bb.mem, CLQ_F32, {cols}},
                          .out = {yb.mem, CLQ_F32, {ROWS, cols}}};
  test_norm(d, centered, 0, &a);
  test_buffer_read(d, &yb, y);
  if (centered) {
    expect_layernorm(y, cols);
  } else {
    expect_rmsnorm(y, cols);
  }
  a.x.shape[0] = a.out.shape[0] = 1;
  test_norm(d, centered, 0, &a);
  test_buffer_read(d, &yb, alone);
  cr_assert_arr_eq(y, alone, line, "a row has other bits beside rows out of the ordinary");
  cr_assert_arr_eq(y + AGAIN * cols, alone, line);
  test_buffer *all[] = {&xb, &yb, &gb, &bb};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
    test_buffer_free(all[i]);
  }
}

/* Squares that overflow do not if x_scale makes them smaller. */
static void check_scaled(const test_device *d, bool centered, int cols) {
  static float x[ROWS * MOST_COLS];
  static float y[ROWS * MOST_COLS];
  const size_t bytes = (size_t)(ROWS * cols) * sizeof *x;
  make(x, cols);
  test_buffer xb = test_buffer_new(d, x, bytes);
  test_buffer yb = test_buffer_new(d, NULL, bytes);
  test_norm(d, centered, 0,
            &(clq_layernorm_args){.x = {xb.mem, CLQ_F32, {ROWS, cols}},
                                  .x_scale = 0x1p-40f,
                                  .out = {yb.mem, CLQ_F32, {ROWS, cols}}});
  test_buffer_read(d, &yb, y);
  expect_one_out(y, centered, HUGE_ELEMENT, cols, 0.0);
  expect_one_out(y, centered, OVERFLOWING, cols, 0.0);
  test_buffer_free(&xb);
  test_buffer_free(&yb);
}

/* ---------------------------------------------------------------- codes */

/* layernorm's codes have a scale a row, rmsnorm's one for each 32 columns. */
typedef struct coded {
  int cols, group, groups;
  float residual[ROWS * MOST_COLS];
  signed char codes[ROWS * MOST_COLS];
  float scales[MOST_PLANES];
  int32_t sums[MOST_PLANES];
} coded;

static int wide(const coded *q, int group) {
  const int left = q->cols - group * q->group;
  return left < q->group ? left : q->group;
}

/* All codes of the group are `code`, and so is their sum; the scale is near `scale`, or NaN. */
static void expect_group(const coded *q, int row, int group, int code, double scale) {
  const int at = row * q->groups + group;
  const double got = (double)q->scales[at];
  cr_assert(isnan(scale) ? isnan(got) : fabs(got - scale) <= 0x1p-21 * scale,
            "row %d, group %d of %d columns: scale %g, expected %g", row, group, q->cols, got,
            scale);
  cr_assert_eq(q->sums[at], code * wide(q, group), "row %d, group %d: the sum is %d", row, group,
               (int)q->sums[at]);
  for (int i = 0; i < wide(q, group); ++i) {
    const int stored = q->codes[row * q->cols + group * q->group + i];
    cr_assert_eq(stored, code, "row %d, group %d: code %d, expected %d", row, group, stored, code);
  }
}

static void expect_codes(const coded *q, bool centered) {
  const int odd_group = odd_at(q->cols) / q->group;
  for (int g = 0; g < q->groups; ++g) {
    expect_group(q, ZEROS, g, 0, 0.0);
    expect_group(q, CONSTANT, g, centered ? 0 : -127,
                 centered ? 0.0 : 3.0 / sqrt(9.0 + EPS) / 127.0);
    expect_group(q, NOT_A_NUMBER, g, 0, (double)NAN);
    expect_group(q, INFINITE, g, 0, g == odd_group ? (double)NAN : 0.0);
  }
  cr_assert((centered && q->cols == 1) ||
            q->codes[HUGE_ELEMENT * q->cols + huge_at(q->cols)] == 127);
}

/* Rows `a` and `b` of two results have the same codes, scales and sums. */
static void expect_same(const coded *p, int a, const coded *q, int b) {
  const size_t planes = (size_t)p->groups;
  cr_assert_arr_eq(p->codes + a * p->cols, q->codes + b * q->cols, (size_t)p->cols);
  cr_assert_arr_eq(p->scales + a * p->groups, q->scales + b * q->groups, 4 * planes);
  cr_assert_arr_eq(p->sums + a * p->groups, q->sums + b * q->groups, 4 * planes);
}

static void run_codes(const test_device *d, bool centered, const float *x, int rows, coded *q) {
  static const float zeros[ROWS * MOST_COLS];
  const int count = rows * q->cols;
  const size_t planes = (size_t)(rows * q->groups) * 4;
  test_buffer xb = test_buffer_new(d, x, (size_t)count * sizeof *x);
  test_buffer rb = test_buffer_new(d, zeros, (size_t)count * sizeof *x);
  test_buffer gb = line_of(d, 1.0f, q->cols);
  test_buffer qb = test_buffer_new(d, NULL, (size_t)count);
  test_buffer sb = test_buffer_new(d, NULL, planes);
  test_buffer ub = test_buffer_new(d, NULL, planes);
  clq_layernorm_args a = {.x = {xb.mem, CLQ_F32, {rows, q->cols}},
                          .residual = {rb.mem, CLQ_F32, {rows, q->cols}},
                          .out = {qb.mem, CLQ_I8, {rows, q->cols}}};
  a.out.quant = (clq_quant){.per = centered ? CLQ_PER_TOKEN : CLQ_PER_GROUP,
                            .group = centered ? 0 : GROUP,
                            .scale = sb.mem,
                            .sum = ub.mem};
  if (!centered) {
    a.gamma = (clq_tensor){gb.mem, CLQ_F32, {q->cols}};
  }
  test_norm(d, centered, 0, &a);
  a.x.shape[0] = a.residual.shape[0] = a.out.shape[0] = 0;
  test_norm(d, centered, 0, &a);
  test_buffer_read(d, &rb, q->residual);
  test_buffer_read(d, &qb, q->codes);
  test_buffer_read(d, &sb, q->scales);
  test_buffer_read(d, &ub, q->sums);
  test_buffer *all[] = {&xb, &rb, &gb, &qb, &sb, &ub};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
    test_buffer_free(all[i]);
  }
}

static void check_codes(const test_device *d, bool centered, int cols) {
  static float x[ROWS * MOST_COLS];
  static coded all;
  static coded alone;
  make(x, cols);
  all.cols = alone.cols = cols;
  all.group = alone.group = centered ? cols : GROUP;
  all.groups = alone.groups = (cols + all.group - 1) / all.group;
  run_codes(d, centered, x, ROWS, &all);
  run_codes(d, centered, x, 1, &alone);
  expect_codes(&all, centered);
  expect_same(&all, ORDINARY, &alone, 0);
  expect_same(&all, AGAIN, &alone, 0);
  for (int i = 0; i < ROWS * cols; ++i) {
    cr_assert(isnan(x[i]) ? isnan(all.residual[i]) : all.residual[i] == x[i],
              "element %d of the sum is %g, expected %g", i, all.residual[i], x[i]);
  }
}

static void check_forms(bool centered) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (int w = 0; w < WIDTHS; ++w) {
      check_floats(&f.device, centered, widths[w]);
      check_codes(&f.device, centered, widths[w]);
    }
    check_scaled(&f.device, centered, 128);
    check_scaled(&f.device, centered, MOST_COLS);
  }
}

Test(norm_special, layernorm) { check_forms(true); }
Test(norm_special, rmsnorm) { check_forms(false); }
