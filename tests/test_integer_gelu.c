#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "forms.h"
#include "opencl.h"
#include "ref/integer_add.h"

TestSuite(integer_gelu, .fini = opencl_none_live);

enum { ROWS = 3, COLS = 531, N = ROWS * COLS, PAD = 2 };

/* One call. */
typedef struct setting {
  clq_dtype x, out;
  float x_scale;
  int32_t x_zero;
  float out_scale;
  int32_t out_zero;
  clq_granularity per; /* of out */
} setting;

/* All codes of a byte; of 32 bits what lies around the bend, beyond it, and the ends. */
static int32_t value_at(const setting *s, int i) {
  static const int32_t ends[] = {0,       1,         -1, INT32_MAX, INT32_MIN, INT32_MIN + 1,
                                 1 << 30, -(1 << 30)};
  if (s->x == CLQ_I8) {
    return (int8_t)(uint8_t)i;
  }
  if (s->x == CLQ_U8) {
    return (uint8_t)i;
  }
  return i < 8 ? ends[i] : (int32_t)((i - N / 2) * (4.0 / N / (double)s->x_scale));
}

static void check(const test_device *d, const setting *s) {
  static unsigned char x[4 * N];
  static uint8_t got[ROWS * (COLS + PAD)];
  int32_t sums[ROWS];
  float scales[ROWS];
  const size_t element = clq_dtype_bytes(s->x);
  for (int i = 0; i < N; ++i) {
    const int32_t value = value_at(s, i);
    memcpy(x + element * (size_t)i, &value, element);
  }
  const size_t bytes = (ROWS - 1) * (COLS + PAD) + COLS;
  test_buffer xb = test_buffer_new(d, x, element * N);
  test_buffer ob = test_buffer_new(d, NULL, bytes);
  test_buffer sb = test_buffer_new(d, NULL, sizeof scales);
  test_buffer zb = test_buffer_new(d, NULL, sizeof sums);
  test_buffer mb = test_buffer_new(d, NULL, sizeof sums);
  clq_integer_gelu_args args = {.x = {xb.mem, s->x, {ROWS, COLS}},
                                .out = {ob.mem, s->out, {ROWS, COLS}, {COLS + PAD, 1}}};
  if (s->per != 0) {
    args.out.quant = (clq_quant){
        .per = s->per, .scale = sb.mem, .zero = s->out_zero != 0 ? zb.mem : NULL, .sum = mb.mem};
  }
  test_ok(clq_integer_gelu_prepare(s->x_scale, s->x_zero, s->out_scale, s->out_zero, &args));
  test_ok(clq_integer_gelu(d->stream, &args));
  test_buffer_read(d, &ob, got);
  const int32_t low = s->out == CLQ_U8 ? 0 : s->per != 0 && s->out_zero == 0 ? -127 : -128;
  int32_t expected_sums[ROWS] = {0};
  for (int i = 0; i < N; ++i) {
    const int32_t code =
        clqi_ref_integer_gelu(&args, value_at(s, i), low, s->out == CLQ_U8 ? 255 : 127);
    expected_sums[i / COLS] += code;
    cr_assert_eq(got[i / COLS * (COLS + PAD) + i % COLS], (uint8_t)code, "gelu of %d, expected %d",
                 value_at(s, i), code);
  }
  if (s->per != 0) {
    test_buffer_read(d, &mb, sums);
    test_buffer_read(d, &sb, scales);
    cr_assert_arr_eq(sums, expected_sums, sizeof sums);
    cr_assert_eq(scales[ROWS - 1], s->out_scale);
  }
  test_buffer_free(&xb);
  test_buffer_free(&ob);
  test_buffer_free(&sb);
  test_buffer_free(&zb);
  test_buffer_free(&mb);
}

static const setting settings[] = {
    {CLQ_I8, CLQ_I8, 0.03f, 0, 0.03f, 0, CLQ_PER_TOKEN},
    {CLQ_I8, CLQ_I8, 0.5f, 0, 0.3f, 0, 0},
    {CLQ_I8, CLQ_I8, 1e-6f, 100, 1e-7f, 3, 0},
    {CLQ_I8, CLQ_I8, 1000.0f, -128, 0.1f, -128, 0},
    {CLQ_I32, CLQ_I8, 1e-5f, 0, 0.02f, 0, 0},
    {CLQ_I32, CLQ_I8, 3e-9f, 0, 0.01f, -100, 0},
    {CLQ_I32, CLQ_I8, 1e-20f, 0, 1e-3f, 0, 0},
    {CLQ_U8, CLQ_U8, 0.04f, 110, 0.025f, 7, CLQ_PER_TOKEN},
};
enum { SETTINGS = sizeof settings / sizeof settings[0], FEW_SETTINGS = 7 };

Test(integer_gelu, is_the_model_in_every_form) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    const bool cpu = test_has_trait(f.device.context, "cpu");
    for (size_t i = 0; i < (cpu ? SETTINGS : FEW_SETTINGS); ++i) {
      check(&f.device, &settings[i]);
    }
    test_forms_saw(&f, "integer_gelu", "integer_gelu_rows", "integer_gelu_group");
  }
}

Test(integer_gelu, tiny_in_place) {
  int8_t x[N];
  int8_t got[N];
  clq_integer_gelu_args args = {0};
  test_ok(clq_integer_gelu_prepare(0.05f, 0, 0.04f, 0, &args));
  for (int i = 0; i < N; ++i) {
    x[i] = (int8_t)(uint8_t)i;
  }
  for (test_forms f = {0}; test_forms_next(&f);) {
    test_buffer b = test_buffer_new(&f.device, x, sizeof x);
    args.x = args.out = (clq_tensor){b.mem, CLQ_I8, {ROWS, COLS}};
    test_ok(clq_integer_gelu(f.device.stream, &args));
    test_buffer_read(&f.device, &b, got);
    for (int i = 0; i < N; ++i) {
      cr_assert_eq(got[i], clqi_ref_integer_gelu(&args, x[i], -128, 127), "element %d", i);
    }
    test_buffer_free(&b);
  }
}

static double polynomial(double x) {
  const double short_of = 1.769 - fmin(fabs(x) * sqrt(0.5), 1.769);
  return 0.5 * x * (1.0 + copysign(1.0 - 0.2888 * short_of * short_of, x));
}

/* What ops.h promises. */
Test(integer_gelu, model_is_near_the_polynomial_and_that_near_gelu) {
  static const double out_scales[] = {0.05, 1e-3, 1e-4};
  for (size_t s = 0; s < sizeof out_scales / sizeof out_scales[0]; ++s) {
    const double x_scale = (double)(float)1e-4;
    const double out_scale = (double)(float)out_scales[s];
    clq_integer_gelu_args args = {0};
    test_ok(clq_integer_gelu_prepare((float)x_scale, 0, (float)out_scale, 0, &args));
    for (int q = -60000; q <= 60000; q += 7) {
      const double x = x_scale * q;
      const double y = polynomial(x);
      const double code = clqi_ref_integer_gelu(&args, q, INT32_MIN, INT32_MAX);
      const double bound = 0.5 + 0x1p-15 + 0x1p-19 * fabs(x) / out_scale;
      cr_assert(fabs(code - y / out_scale) <= bound, "x %g: %g, expected %g", x, code,
                y / out_scale);
      cr_assert(fabs(y - clq_scalar_gelu(x, NULL)) <= 0.0182, "x %g", x);
    }
  }
}

Test(integer_gelu, bad_scales_are_named) {
  clq_integer_gelu_args args = {0};
  test_fails(clq_integer_gelu_prepare(1.0f, 0, 1.0f, 0, NULL), CLQ_INVALID_ARGUMENT, "NULL");
  test_fails(clq_integer_gelu_prepare(0.0f, 0, 1.0f, 0, &args), CLQ_INVALID_ARGUMENT,
             "x_scale is 0, expected a positive number below 1448");
  test_fails(clq_integer_gelu_prepare(1448.0f, 0, 1.0f, 0, &args), CLQ_INVALID_ARGUMENT, "1448");
  test_fails(clq_integer_gelu_prepare(1.0f, 0, INFINITY, 0, &args), CLQ_INVALID_ARGUMENT,
             "out_scale is inf");
  test_fails(clq_integer_gelu_prepare(1.0f, 0, 0x1p-15f, 0, &args), CLQ_INVALID_ARGUMENT,
             "x_scale / out_scale is 32768, expected less than 2^15");
  test_ok(clq_integer_gelu_prepare(1447.9f, 0, 1.0f, 0, &args));
  test_ok(clq_integer_gelu_prepare(0x1p-149f, 0, 0x1p+127f, 0, &args));
}

Test(integer_gelu, bad_arguments_are_named) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 1024);
  clq_integer_gelu_args good = {.x = {b.mem, CLQ_I8, {2, 30}}, .out = {b.mem, CLQ_I8, {2, 30}}};
  test_ok(clq_integer_gelu_prepare(0.1f, 0, 0.1f, 0, &good));
  clq_integer_gelu_args a = good;
  a.x_shift = 0;
  test_fails(clq_integer_gelu(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "x_shift is 0, expected 1 to 62");
  a = good;
  a.value_multiplier = -1;
  test_fails(clq_integer_gelu(d.stream, &a), CLQ_INVALID_ARGUMENT, "value_multiplier is -1");
  a = good;
  a.x_zero = -129;
  test_fails(clq_integer_gelu(d.stream, &a), CLQ_INVALID_ARGUMENT, "x_zero is -129");
  a = good;
  a.x.dtype = CLQ_F32;
  test_fails(clq_integer_gelu(d.stream, &a), CLQ_UNSUPPORTED, "dtype of x is f32");
  a = good;
  a.out.quant.per = CLQ_PER_GROUP;
  a.out.quant.group = 8;
  test_fails(clq_integer_gelu(d.stream, &a), CLQ_UNSUPPORTED, "out is quantized per group");
  test_buffer_free(&b);
  test_device_close(&d);
}
