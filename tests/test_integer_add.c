#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "forms.h"
#include "opencl.h"
#include "ref/integer_add.h"

TestSuite(integer_add, .fini = opencl_none_live);

/* Every pair of codes: row r holds code r of a, column c code c of b. */
enum { CODES = 256, PAIRS = CODES * CODES, PAD = 3 };

/* One call on all pairs. */
typedef struct setting {
  clq_integer_add_desc desc;
  clq_dtype a, b, out;
  clq_granularity per; /* of out */
  bool zero_plane;
} setting;

static int32_t code_at(clq_dtype dtype, uint8_t byte) {
  return dtype == CLQ_I8 ? (int8_t)byte : byte;
}

static void range_of(const setting *s, int32_t *low, int32_t *high) {
  const bool symmetric = s->per != 0 && !s->zero_plane;
  *low = s->out == CLQ_U8 ? 0 : symmetric ? -127 : -128;
  *high = s->out == CLQ_U8 ? 255 : 127;
}

/* The model's bytes and sums. */
static void expect(const setting *s, const clq_integer_add_args *args, uint8_t *codes,
                   int32_t *sums) {
  int32_t low = 0;
  int32_t high = 0;
  range_of(s, &low, &high);
  for (int i = 0; i < PAIRS; ++i) {
    const int32_t code = clqi_ref_integer_add(args, code_at(s->a, (uint8_t)(i / CODES)),
                                              code_at(s->b, (uint8_t)(i % CODES)), low, high);
    codes[i] = (uint8_t)code;
    sums[i / CODES] = (i % CODES == 0 ? 0 : sums[i / CODES]) + code;
  }
}

static void check_planes(const test_device *d, const setting *s, const test_buffer planes[3],
                         const int32_t *sums) {
  float scales[CODES];
  int32_t zeros[CODES];
  int32_t got[CODES];
  test_buffer_read(d, &planes[0], scales);
  test_buffer_read(d, &planes[1], zeros);
  test_buffer_read(d, &planes[2], got);
  for (int r = 0; r < CODES; ++r) {
    const bool written = s->per == CLQ_PER_TOKEN || (s->per == CLQ_PER_TENSOR && r == 0);
    if (written) {
      cr_assert_eq(scales[r], s->desc.out_scale, "scale %d", r);
      cr_assert_eq(zeros[r], s->zero_plane ? s->desc.out_zero : (int32_t)0xA5A5A5A5, "zero %d", r);
    }
    cr_assert_eq(got[r], s->per == CLQ_PER_TOKEN ? sums[r] : (int32_t)0xA5A5A5A5, "sum %d", r);
  }
}

static void check(const test_device *d, const setting *s) {
  static uint8_t a[CODES * (CODES + PAD)];
  static uint8_t b[PAIRS];
  static uint8_t expected[PAIRS];
  static uint8_t got[PAIRS];
  static int32_t sums[CODES];
  for (int i = 0; i < PAIRS; ++i) {
    a[i / CODES * (CODES + PAD) + i % CODES] = (uint8_t)(i / CODES);
    b[i] = (uint8_t)(i % CODES);
  }
  test_buffer ab = test_buffer_new(d, a, sizeof a - PAD);
  test_buffer bb = test_buffer_new(d, b, sizeof b);
  test_buffer ob = test_buffer_new(d, NULL, sizeof got);
  test_buffer planes[3];
  for (int i = 0; i < 3; ++i) {
    planes[i] = test_buffer_new(d, NULL, sizeof(float) * CODES);
  }
  clq_integer_add_args args = {.a = {ab.mem, s->a, {CODES, CODES}, {CODES + PAD, 1}},
                               .b = {bb.mem, s->b, {CODES, CODES}},
                               .out = {ob.mem, s->out}};
  if (s->per != 0) {
    args.out.quant = (clq_quant){.per = s->per,
                                 .scale = planes[0].mem,
                                 .zero = s->zero_plane ? planes[1].mem : NULL,
                                 .sum = s->per == CLQ_PER_TOKEN ? planes[2].mem : NULL};
  }
  test_ok(clq_integer_add_prepare(&s->desc, &args));
  expect(s, &args, expected, sums);
  test_ok(clq_integer_add(d->stream, &args));
  test_buffer_read(d, &ob, got);
  for (int i = 0; i < PAIRS; ++i) {
    cr_assert_eq(got[i], expected[i], "mode %d: %d + %d is %d, expected %d", (int)s->desc.mode,
                 i / CODES, i % CODES, got[i], expected[i]);
  }
  check_planes(d, s, planes, sums);
  test_buffer_free(&ab);
  test_buffer_free(&bb);
  test_buffer_free(&ob);
  for (int i = 0; i < 3; ++i) {
    test_buffer_free(&planes[i]);
  }
}

#define EVEN(mode) \
  { mode, 0.05f, 0, 0.05f, 0, 0.05f, 0 }
#define NARROW(mode) \
  { mode, 0.0317f, 0, 0.0071f, 0, 0.0293f, 0 }
#define SHIFTED(mode) \
  { mode, 0.0317f, 17, 0.0971f, -90, 0.1093f, 40 }
#define COARSE(mode) \
  { mode, 3.0f, 0, 1e-4f, 0, 0.2f, -5 }
#define TINY(mode) \
  { mode, 1e-12f, 0, 1.0f, 3, 1.7f, 0 }

static const setting settings[] = {
    {EVEN(CLQ_ADD_SATURATE), CLQ_I8, CLQ_I8, CLQ_I8, CLQ_PER_TOKEN, false},
    {NARROW(CLQ_ADD_GEMMLOWP), CLQ_I8, CLQ_I8, CLQ_I8, 0, false},
    {NARROW(CLQ_ADD_SINGLE_ROUNDING), CLQ_I8, CLQ_I8, CLQ_I8, CLQ_PER_TENSOR, false},
    {EVEN(CLQ_ADD_GEMMLOWP), CLQ_I8, CLQ_I8, CLQ_I8, CLQ_PER_TOKEN, true},
    {EVEN(CLQ_ADD_SINGLE_ROUNDING), CLQ_I8, CLQ_I8, CLQ_I8, 0, false},
    {COARSE(CLQ_ADD_GEMMLOWP), CLQ_I8, CLQ_I8, CLQ_I8, 0, false},
    {COARSE(CLQ_ADD_SINGLE_ROUNDING), CLQ_I8, CLQ_I8, CLQ_I8, 0, false},
    {TINY(CLQ_ADD_GEMMLOWP), CLQ_I8, CLQ_I8, CLQ_I8, 0, false},
    {TINY(CLQ_ADD_SINGLE_ROUNDING), CLQ_I8, CLQ_I8, CLQ_I8, 0, false},
    {SHIFTED(CLQ_ADD_SINGLE_ROUNDING), CLQ_U8, CLQ_I8, CLQ_U8, CLQ_PER_TOKEN, true},
};
enum { SETTINGS = sizeof settings / sizeof settings[0], FEW_SETTINGS = 9 };

Test(integer_add, every_pair_of_codes_is_the_model_in_every_form) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    const bool cpu = test_has_trait(f.device.context, "cpu");
    for (size_t i = 0; i < (cpu ? SETTINGS : FEW_SETTINGS); ++i) {
      check(&f.device, &settings[i]);
    }
    test_forms_saw(&f, "integer_add", "integer_add_rows", "integer_add_group");
  }
}

Test(integer_add, tiny_in_place) {
  enum { ROWS = 2, COLS = 50, N = ROWS * COLS };
  int8_t a[N];
  int8_t b[N];
  int8_t got[N];
  for (int i = 0; i < N; ++i) {
    a[i] = (int8_t)(5 * i);
    b[i] = (int8_t)(7 * i + 3);
  }
  for (test_forms f = {0}; test_forms_next(&f);) {
    test_buffer ab = test_buffer_new(&f.device, a, sizeof a);
    test_buffer bb = test_buffer_new(&f.device, b, sizeof b);
    const clq_tensor at = {ab.mem, CLQ_I8, {ROWS, COLS}};
    const clq_tensor bt = {bb.mem, CLQ_I8, {ROWS, COLS}};
    const clq_integer_add_args args = {.a = at, .b = bt, .out = bt, .mode = CLQ_ADD_SATURATE};
    test_ok(clq_integer_add(f.device.stream, &args));
    test_buffer_read(&f.device, &bb, got);
    for (int i = 0; i < N; ++i) {
      cr_assert_eq(got[i], clqi_ref_integer_add(&args, a[i], b[i], -128, 127), "element %d", i);
    }
    test_buffer_free(&ab);
    test_buffer_free(&bb);
  }
}

/* --- the models against exact arithmetic, and gemmlowp's by its own definition --- */

static double exact(const clq_integer_add_desc *d, int a, int b) {
  return ((double)d->a_scale * (a - d->a_zero) + (double)d->b_scale * (b - d->b_zero)) /
             (double)d->out_scale +
         d->out_zero;
}

static double saturated(double code) { return fmin(fmax(code, -128.0), 127.0); }

Test(integer_add, models_are_near_exact_arithmetic) {
  for (size_t i = 0; i < SETTINGS; ++i) {
    const setting *s = &settings[i];
    if (s->a != CLQ_I8) {
      continue;
    }
    clq_integer_add_args args = {0};
    test_ok(clq_integer_add_prepare(&s->desc, &args));
    /* Three roundings to 2^-20 of the larger scale and one to a code; or one. */
    const double step =
        1.5 * (double)fmaxf(s->desc.a_scale, s->desc.b_scale) / (double)s->desc.out_scale * 0x1p-19;
    const double bound = 0.5 + (s->desc.mode == CLQ_ADD_GEMMLOWP          ? step + 0x1p-22
                                : s->desc.mode == CLQ_ADD_SINGLE_ROUNDING ? 0x1p-22
                                                                          : 0.0);
    for (int a = -128; a < 128; ++a) {
      for (int b = -128; b < 128; ++b) {
        const double y = saturated(exact(&s->desc, a, b));
        const double code = clqi_ref_integer_add(&args, a, b, -128, 127);
        const double wide = s->desc.a_scale > s->desc.out_scale ? 0x1p-12 : 0.0;
        cr_assert(fabs(code - y) <= bound + wide, "setting %zu: %d + %d is %g, exactly %.9g", i, a,
                  b, code, y);
      }
    }
  }
}

Test(integer_add, gemmlowps_roundings) {
  cr_assert_eq(clqi_ref_doubling_high_mul(INT32_MIN, INT32_MIN), INT32_MAX);
  cr_assert_eq(clqi_ref_doubling_high_mul(INT32_MIN, INT32_MAX), -INT32_MAX);
  cr_assert_eq(clqi_ref_doubling_high_mul(1, 1 << 30), 1, "half up");
  cr_assert_eq(clqi_ref_doubling_high_mul(-1, 1 << 30), 0, "half up");
  cr_assert_eq(clqi_ref_doubling_high_mul(3 << 20, 1 << 30), 3 << 19);
  cr_assert_eq(clqi_ref_rounding_divide(5, 1), 3, "half away from zero");
  cr_assert_eq(clqi_ref_rounding_divide(-5, 1), -3, "half away from zero");
  cr_assert_eq(clqi_ref_rounding_divide(-4, 3), -1);
  cr_assert_eq(clqi_ref_rounding_divide(-3, 3), 0);
  cr_assert_eq(clqi_ref_rounding_divide(INT32_MIN, 31), -1);
  cr_assert_eq(clqi_ref_rounding_divide(7, 0), 7);
}

Test(integer_add, tensorflow_lites_multipliers) {
  clq_integer_add_args args = {0};
  test_ok(clq_integer_add_prepare(
      &(clq_integer_add_desc){CLQ_ADD_GEMMLOWP, 0.5f, 0, 0.125f, 0, 0.25f, 0}, &args));
  cr_assert_eq(args.a_multiplier, 1 << 30);
  cr_assert_eq(args.a_shift, 0);
  cr_assert_eq(args.b_multiplier, 1 << 30);
  cr_assert_eq(args.b_shift, 2);
  cr_assert_eq(args.out_multiplier, 1 << 30);
  cr_assert_eq(args.out_shift, 17);
  /* Below 2^-32 of it nothing is left. */
  test_ok(clq_integer_add_prepare(
      &(clq_integer_add_desc){CLQ_ADD_GEMMLOWP, 0x1p-32f, 0, 1.0f, 0, 1.0f, 0}, &args));
  cr_assert_eq(args.a_multiplier, 0);
  cr_assert_eq(args.a_shift, 0);
  test_ok(clq_integer_add_prepare(
      &(clq_integer_add_desc){CLQ_ADD_GEMMLOWP, 0x1p-31f, 0, 1.0f, 0, 1.0f, 0}, &args));
  cr_assert_eq(args.a_multiplier, 1 << 30);
  cr_assert_eq(args.a_shift, 31);
}

/* --- what is refused --- */

static void refuses(clq_integer_add_desc desc, const char *part) {
  clq_integer_add_args args = {.a_zero = 77};
  test_fails(clq_integer_add_prepare(&desc, &args), CLQ_INVALID_ARGUMENT, part);
  cr_assert_eq(args.a_zero, 77, "written though refused");
}

Test(integer_add, bad_scales_are_named) {
  clq_integer_add_desc d = EVEN(CLQ_ADD_GEMMLOWP);
  test_fails(clq_integer_add_prepare(&d, NULL), CLQ_INVALID_ARGUMENT, "must not be NULL");
  d.a_scale = 0.0f;
  refuses(d, "a_scale is 0, expected a finite positive number");
  d.a_scale = NAN;
  refuses(d, "a_scale is nan");
  refuses((clq_integer_add_desc)NARROW(CLQ_ADD_SATURATE), "share one");
  refuses((clq_integer_add_desc)NARROW(0), "mode is 0");
  refuses((clq_integer_add_desc){CLQ_ADD_GEMMLOWP, 0x1p+19f, 0, 1.0f, 0, 1.0f, 0},
          "expected less than 2^20");
  refuses((clq_integer_add_desc){CLQ_ADD_SINGLE_ROUNDING, 0x1p+20f, 0, 1.0f, 0, 1.0f, 0},
          "expected less than 2^20");
  clq_integer_add_args args = {0};
  d = (clq_integer_add_desc){CLQ_ADD_SINGLE_ROUNDING, 0x1.ffp+19f, 0, 1.0f, 0, 1.0f, 0};
  test_ok(clq_integer_add_prepare(&d, &args));
  cr_assert_eq(args.out_shift, 11);
}

Test(integer_add, bad_arguments_are_named) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 1024);
  const clq_tensor t = {b.mem, CLQ_I8, {2, 30}};
  const clq_tensor o = {b.mem, CLQ_I8, {2, 30}, .offset = 512};
  const clq_integer_add_args good = {.a = t, .b = t, .out = o, .mode = CLQ_ADD_SATURATE};
  clq_integer_add_args a = good;
  a.mode = 0;
  test_fails(clq_integer_add(d.stream, &a), CLQ_INVALID_ARGUMENT, "mode is 0");
  a = good;
  a.a_zero = 200;
  test_fails(clq_integer_add(d.stream, &a), CLQ_INVALID_ARGUMENT, "a_zero is 200, expected -128");
  a = good;
  a.a_multiplier = 1;
  test_fails(clq_integer_add(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "a_multiplier is 1, expected 0 to 0");
  a.mode = CLQ_ADD_SINGLE_ROUNDING;
  a.out_shift = 10;
  test_fails(clq_integer_add(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "out_shift is 10, expected 11 to 62");
  a.mode = CLQ_ADD_GEMMLOWP;
  a.b_multiplier = -1;
  test_fails(clq_integer_add(d.stream, &a), CLQ_INVALID_ARGUMENT, "b_multiplier is -1");
  a = good;
  a.b.dtype = CLQ_F32;
  test_fails(clq_integer_add(d.stream, &a), CLQ_UNSUPPORTED, "dtype of b is f32, offered: i8, u8");
  a = good;
  a.b.shape[0] = 1;
  test_fails(clq_integer_add(d.stream, &a), CLQ_INVALID_ARGUMENT, "rows of a");
  test_buffer_free(&b);
  test_device_close(&d);
}
