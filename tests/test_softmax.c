#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "opencl.h"
#include "ref/softmax.h"

TestSuite(softmax, .fini = opencl_none_live);

static const int64_t widths[] = {1,  2,  3,  15, 16, 17,  31,  32,  33,  47,  48,
                                 49, 63, 64, 65, 70, 127, 128, 129, 255, 257, 1025};
enum { WIDTHS = sizeof widths / sizeof widths[0] };

static const char *const forms[] = {NULL, "x86_avx512", "cpu"};
enum { FORMS = sizeof forms / sizeof forms[0] };

typedef struct shape {
  int64_t rows, cols;
  int64_t pad; /* elements between rows, of x and out */
  float scale; /* as in the arguments */
  bool in_place;
} shape;

static size_t extent(shape s) { return (size_t)((s.rows - 1) * (s.cols + s.pad) + s.cols); }

static clq_tensor view(cl_mem mem, clq_dtype dtype, shape s) {
  return (clq_tensor){mem, dtype, {s.rows, s.cols}, {s.cols + s.pad, 1}};
}

/* Runs f32 rows x (with their padding); returns what the output buffer then holds. */
static float *run_f32(const test_device *d, shape s, const float *x) {
  const size_t bytes = extent(s) * sizeof *x;
  test_buffer xb = test_buffer_new(d, x, bytes);
  test_buffer ob = test_buffer_new(d, s.in_place ? x : NULL, bytes);
  test_ok(clq_softmax(d->stream,
                      &(clq_softmax_args){.x = view(s.in_place ? ob.mem : xb.mem, CLQ_F32, s),
                                          .out = view(ob.mem, CLQ_F32, s),
                                          .scale = s.scale}));
  float *out = malloc(bytes);
  test_buffer_read(d, &ob, out);
  test_buffer_free(&xb);
  test_buffer_free(&ob);
  return out;
}

static void check_f32(const test_device *d, shape s, const char *form) {
  const int64_t stride = s.cols + s.pad;
  const float scale = s.scale == 0.0f ? 1.0f : s.scale;
  test_random random = {(uint64_t)(s.rows * 4096 + s.cols)};
  float *x = malloc(extent(s) * sizeof *x);
  float *expected = malloc((size_t)s.cols * sizeof *expected);
  double *exact = malloc((size_t)s.cols * sizeof *exact);
  for (size_t i = 0; i < extent(s); ++i) {
    x[i] = 4.0f * test_random_normal(&random);
  }
  float *out = run_f32(d, s, x);
  for (int64_t r = 0; r < s.rows; ++r) {
    clqi_ref_softmax_f32(x + r * stride, s.cols, scale, expected);
    cr_assert_arr_eq(out + r * stride, expected, (size_t)s.cols * sizeof *out,
                     "row %lld of %lld x %lld without %s", (long long)r, (long long)s.rows,
                     (long long)s.cols, form == NULL ? "nothing" : form);
    clqi_ref_softmax(x + r * stride, s.cols, (double)scale, exact);
    for (int64_t i = 0; i < s.cols; ++i) {
      const double error = fabs((double)expected[i] - exact[i]);
      cr_assert(error <= 4e-6 * exact[i], "element %lld of %lld: off by %g of %g", (long long)i,
                (long long)s.cols, error, exact[i]);
    }
  }
  for (int64_t r = 0; r + 1 < s.rows; ++r) {
    for (int64_t i = s.cols; i < stride; ++i) {
      unsigned char untouched[4];
      memset(untouched, 0xA5, 4);
      cr_assert_arr_eq(out + r * stride + i, s.in_place ? (void *)(x + r * stride + i) : untouched,
                       4, "wrote between rows");
    }
  }
  free(x);
  free(expected);
  free(exact);
  free(out);
}

Test(softmax, f32_is_the_reference_bit_for_bit) {
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    for (int w = 0; w < WIDTHS; ++w) {
      check_f32(&d,
                (shape){.rows = 1 + w % 4, .cols = widths[w], .pad = w % 3, .in_place = w % 2 == 1},
                forms[f]);
    }
    check_f32(&d, (shape){.rows = 700, .cols = 37, .scale = 0.125f}, forms[f]);
    check_f32(&d, (shape){.rows = 3, .cols = 5000, .scale = -0.3f}, forms[f]);
    test_device_close(&d);
  }
}

/* Masked entries, masked rows, and rows that cannot be computed, each between ordinary ones. */
Test(softmax, f32_special_rows) {
  enum { ROWS = 9, COLS = 75 };
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    float x[ROWS][COLS];
    for (int r = 0; r < ROWS; ++r) {
      for (int i = 0; i < COLS; ++i) {
        x[r][i] = (float)(i % 7) - 3.0f;
      }
    }
    for (int i = 0; i < COLS; ++i) {
      x[1][i] = -INFINITY;
      x[2][i] = i % 2 == 0 ? -INFINITY : x[2][i];
      x[6][i] = i == 70 ? 1e30f : -1e30f;
      x[7][i] = -INFINITY;
    }
    x[3][70] = NAN;
    x[4][5] = INFINITY;
    x[7][3] = NAN;
    float *out = run_f32(&d, (shape){.rows = ROWS, .cols = COLS}, &x[0][0]);
    for (int i = 0; i < COLS; ++i) {
      cr_assert_eq(out[i], out[5 * COLS + i]);
      cr_assert_eq(out[i], out[8 * COLS + i]);
      cr_assert_eq(out[COLS + i], 0.0f);
      cr_assert(i % 2 == 0 ? out[2 * COLS + i] == 0.0f : out[2 * COLS + i] > 0.0f);
      cr_assert(isnan(out[3 * COLS + i]));
      cr_assert(isnan(out[4 * COLS + i]));
      cr_assert_eq(out[6 * COLS + i], i == 70 ? 1.0f : 0.0f);
      cr_assert(isnan(out[7 * COLS + i]));
    }
    free(out);
    test_device_close(&d);
  }
}

typedef struct codes {
  shape shape;
  bool per_token, zero_plane, u8, scale_out;
} codes;

/* Runs int8 rows; `scales` has one number, or one a row. out: the output buffer's bytes. */
static unsigned char *run_i8(const test_device *d, codes c, const int8_t *x, const float *scales) {
  const shape s = c.shape;
  const size_t bytes = extent(s);
  const size_t scale_count = c.per_token ? (size_t)s.rows : 1;
  const size_t out_bytes = bytes * (c.u8 ? 1 : 4);
  test_buffer xb = test_buffer_new(d, x, bytes);
  test_buffer sb = test_buffer_new(d, scales, scale_count * sizeof *scales);
  test_buffer ob = test_buffer_new(d, NULL, out_bytes);
  test_buffer qb = test_buffer_new(d, NULL, 4);
  clq_softmax_args args = {.x = view(xb.mem, CLQ_I8, s),
                           .out = view(ob.mem, c.u8 ? CLQ_U8 : CLQ_F32, s),
                           .scale = s.scale};
  args.x.quant = (clq_quant){.per = c.per_token ? CLQ_PER_TOKEN : CLQ_PER_TENSOR,
                             .scale = sb.mem,
                             .zero = c.zero_plane ? sb.mem : NULL};
  if (c.scale_out) {
    args.out.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = qb.mem};
  }
  test_ok(clq_softmax(d->stream, &args));
  unsigned char *out = malloc(out_bytes);
  test_buffer_read(d, &ob, out);
  if (c.scale_out) {
    float step;
    test_buffer_read(d, &qb, &step);
    cr_assert_eq(step, 1.0f / 256.0f);
  }
  test_buffer *buffers[] = {&xb, &sb, &ob, &qb};
  for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; ++i) {
    test_buffer_free(buffers[i]);
  }
  return out;
}

static void check_i8_row(const int8_t *x, int64_t cols, float step, bool u8, const void *got) {
  float *f32 = malloc((size_t)cols * sizeof *f32);
  float *logits = malloc((size_t)cols * sizeof *logits);
  double *exact = malloc((size_t)cols * sizeof *exact);
  uint8_t *steps = malloc((size_t)cols);
  for (int64_t i = 0; i < cols; ++i) {
    logits[i] = (float)x[i];
  }
  clqi_ref_softmax(logits, cols, (double)step, exact);
  if (u8) {
    clqi_ref_softmax_i8_u8(x, cols, step, steps);
    cr_assert_arr_eq(got, steps, (size_t)cols, "u8, %lld columns", (long long)cols);
    for (int64_t i = 0; i < cols; ++i) {
      const double p = fmin(256.0 * exact[i], 255.0);
      cr_assert(fabs(p - (double)steps[i]) <= 0.5 + 1e-3, "%g became %d", p, (int)steps[i]);
    }
  } else {
    clqi_ref_softmax_i8_f32(x, cols, step, f32);
    cr_assert_arr_eq(got, f32, (size_t)cols * sizeof *f32, "f32, %lld columns", (long long)cols);
    for (int64_t i = 0; i < cols; ++i) {
      cr_assert(fabs((double)f32[i] - exact[i]) <= 4e-6 * exact[i] + 1e-30, "%g, expected %g",
                (double)f32[i], exact[i]);
    }
  }
  free(f32);
  free(logits);
  free(exact);
  free(steps);
}

static void check_i8(const test_device *d, codes c) {
  const shape s = c.shape;
  const int64_t stride = s.cols + s.pad;
  const float scale = s.scale == 0.0f ? 1.0f : s.scale;
  test_random random = {(uint64_t)(s.rows * 4096 + s.cols)};
  int8_t *x = malloc(extent(s));
  float *scales = malloc((size_t)s.rows * sizeof *scales);
  for (size_t i = 0; i < extent(s); ++i) {
    x[i] = (int8_t)test_random_int(&random, -128, 127);
  }
  for (int64_t r = 0; r < s.rows; ++r) {
    scales[r] = 0.01f + 0.1f * (float)(r % 3);
  }
  unsigned char *out = run_i8(d, c, x, scales);
  for (int64_t r = 0; r < s.rows; ++r) {
    check_i8_row(x + r * stride, s.cols, scales[c.per_token ? r : 0] * scale, c.u8,
                 out + (size_t)(r * stride) * (c.u8 ? 1 : 4));
  }
  free(x);
  free(scales);
  free(out);
}

Test(softmax, i8_is_the_reference_bit_for_bit) {
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    for (int w = 0; w < WIDTHS; ++w) {
      for (int bits = 0; bits < 4; ++bits) {
        check_i8(&d, (codes){.shape = {.rows = 1 + w % 4,
                                       .cols = widths[w],
                                       .pad = w % 3,
                                       .scale = w % 2 == 0 ? 0.0f : 0.37f},
                             .per_token = (bits & 1) != 0,
                             .zero_plane = w % 5 == 0,
                             .u8 = (bits & 2) != 0,
                             .scale_out = bits == 2});
      }
    }
    check_i8(&d, (codes){.shape = {.rows = 600, .cols = 100}, .per_token = true, .u8 = true});
    test_device_close(&d);
  }
}

/* One code far above the rest takes all: 256 steps do not fit a byte. */
Test(softmax, u8_saturates) {
  enum { COLS = 40 };
  int8_t x[COLS];
  memset(x, -128, sizeof x);
  x[39] = 127;
  const float scale = 1.0f;
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    unsigned char *out =
        run_i8(&d, (codes){.shape = {.rows = 1, .cols = COLS}, .u8 = true}, x, &scale);
    for (int i = 0; i < COLS; ++i) {
      cr_assert_eq(out[i], i == 39 ? 255 : 0);
    }
    free(out);
    test_device_close(&d);
  }
}

Test(softmax, i8_special_scales) {
  enum { ROWS = 4, COLS = 33 };
  int8_t x[ROWS][COLS];
  const float scales[ROWS] = {0.0f, NAN, INFINITY, 0.5f};
  for (int r = 0; r < ROWS; ++r) {
    for (int i = 0; i < COLS; ++i) {
      x[r][i] = (int8_t)(i - 16);
    }
  }
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    codes c = {.shape = {.rows = ROWS, .cols = COLS}, .per_token = true};
    float *p = (float *)(void *)run_i8(&d, c, &x[0][0], scales);
    c.u8 = true;
    unsigned char *steps = run_i8(&d, c, &x[0][0], scales);
    for (int i = 0; i < COLS; ++i) {
      cr_assert_float_eq(p[i], 1.0f / COLS, 1e-8f);
      cr_assert_eq(steps[i], 8);
      for (int r = 1; r < 3; ++r) {
        cr_assert(isnan(p[r * COLS + i]), "scale %g", (double)scales[r]);
        cr_assert_eq(steps[r * COLS + i], 0);
      }
    }
    cr_assert_gt(p[3 * COLS + 32], 0.3f);
    free(p);
    free(steps);
    test_device_close(&d);
  }
}

Test(softmax, forms_are_chosen_by_trait) {
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    const bool rows = test_has_trait(d.context, "cpu");
    cr_assert(f < 2 || !rows);
    test_dispatch_start();
    check_f32(&d, (shape){.rows = 1, .cols = 20}, forms[f]);
    check_i8(&d, (codes){.shape = {.rows = 1, .cols = 20}});
    cr_assert(test_dispatch_saw("softmax", rows ? "softmax_f32_rows" : "softmax_f32_group"));
    cr_assert(test_dispatch_saw("softmax", rows ? "softmax_i8_rows" : "softmax_i8_group"));
    test_dispatch_stop();
    test_device_close(&d);
  }
}

Test(softmax, bad_arguments_are_named) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 4096);
  const clq_softmax_args good = {.x = {b.mem, CLQ_F32, {4, 64}}, .out = {b.mem, CLQ_F32, {4, 64}}};
  clq_softmax_args a = good;
  a.out.shape[1] = 63;
  test_fails(clq_softmax(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "softmax: dimension 1 of out is 63, expected 64 (cols of x)");
  a = good;
  a.out.dtype = CLQ_U8;
  test_fails(clq_softmax(d.stream, &a), CLQ_UNSUPPORTED, "dtype of out is u8, offered: f32");
  a = good;
  a.x.dtype = CLQ_I8;
  test_fails(clq_softmax(d.stream, &a), CLQ_INVALID_ARGUMENT, "quant.per");
  a.x.quant = (clq_quant){.per = CLQ_PER_GROUP, .group = 32, .scale = b.mem};
  test_fails(clq_softmax(d.stream, &a), CLQ_UNSUPPORTED, "per group");
  a.x.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = b.mem};
  a.scale = -1.0f;
  test_fails(clq_softmax(d.stream, &a), CLQ_INVALID_ARGUMENT, "scale is -1");
  a.scale = NAN;
  test_fails(clq_softmax(d.stream, &a), CLQ_INVALID_ARGUMENT, "scale is");
  a = good;
  a.x.shape[0] = a.out.shape[0] = 50;
  test_fails(clq_softmax(d.stream, &a), CLQ_INVALID_ARGUMENT, "the buffer of x");
  a = good;
  a.x.dtype = CLQ_I8;
  a.x.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = b.mem};
  a.out.dtype = CLQ_U8;
  a.out.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = b.mem, .sum = b.mem};
  test_fails(clq_softmax(d.stream, &a), CLQ_INVALID_ARGUMENT, "neither zero points nor sums");
  a = good;
  a.x.shape[1] = a.out.shape[1] = 0;
  test_ok(clq_softmax(d.stream, &a));
  test_buffer_free(&b);
  test_device_close(&d);
}
