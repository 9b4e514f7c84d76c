#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "opencl.h"
#include "ref/epilogue.h"
#include "ref/math.h"
#include "ref/softmax.h"

TestSuite(softmax, .fini = opencl_none_live);

static const int64_t widths[] = {1,  2,  3,  15, 16, 17,  31,  32,  33,  47,  48,
                                 49, 63, 64, 65, 70, 127, 128, 129, 255, 257, 1025};
enum { WIDTHS = sizeof widths / sizeof widths[0] };

/* Without AVX-512 or its VBMI, tables are looked up in another way, nothing else. */
static const char *const forms[] = {NULL, "x86_vbmi", "x86_avx512", "cpu"};
enum { FORMS = sizeof forms / sizeof forms[0], NO_VBMI = 1, NO_AVX512 = 2, NO_CPU = 3 };

/* Ways of making exponentials that differ in more than their table. */
static const clq_exp few_exps[] = {CLQ_EXP_TWO_LEVEL, CLQ_EXP_U16, CLQ_EXP_IVIT};
enum { FEW_EXPS = sizeof few_exps / sizeof few_exps[0] };

/* --- one call and its reference --- */

typedef struct setting {
  clq_dtype x, out;
  clq_dtype mask; /* 0: none */
  float scale;    /* as in the arguments */
  clq_exp exp;
  bool log, sum, lengths, causal, in_place;
  bool per_token, zero, out_scale; /* planes of codes */
} setting;

typedef struct shape {
  int64_t rows, cols;
  int64_t pad; /* elements between rows, of x and out */
} shape;

static size_t extent(shape s) { return (size_t)((s.rows - 1) * (s.cols + s.pad) + s.cols); }

static clq_tensor view(cl_mem mem, clq_dtype dtype, shape s) {
  return (clq_tensor){mem, dtype, {s.rows, s.cols}, {s.cols + s.pad, 1}};
}

/* v as an element of `type`, at p; what it then stands for. */
static float put(clq_dtype type, float v, void *p) {
  uint16_t bits;
  int8_t code;
  switch (type) {
    case CLQ_F16:
    case CLQ_BF16:
      bits = type == CLQ_F16 ? clqi_ref_f16_from_f32(v) : clqi_ref_bf16_from_f32(v);
      memcpy(p, &bits, 2);
      return type == CLQ_F16 ? clqi_ref_f32_from_f16(bits) : clqi_ref_f32_from_bf16(bits);
    case CLQ_I8:
    case CLQ_U8:
      code = (int8_t)v;
      memcpy(p, &code, 1);
      return v;
    default: memcpy(p, &v, 4); return v;
  }
}

enum { MASK_ROWS = 2, LENGTHS = 2, OUT_ZERO = -5 };
static const float OUT_SCALE = 1.0f / 200.0f;

/* All that a call reads and writes, on the host. */
typedef struct inputs {
  setting set;
  shape shape;
  unsigned char *x;
  float *values; /* x as numbers, codes as they are */
  float *scales; /* of rows */
  unsigned char *mask_bytes;
  float *mask; /* [MASK_ROWS, cols] */
  int32_t lengths[LENGTHS];
} inputs;

static int64_t mask_rows(const inputs *in) {
  return in->shape.rows % MASK_ROWS == 0 ? MASK_ROWS : 1;
}
static int64_t length_count(const inputs *in) {
  return in->shape.rows % LENGTHS == 0 ? LENGTHS : 1;
}
static int64_t queries(const inputs *in) {
  return !in->set.causal ? 0 : in->shape.rows % 2 == 0 ? in->shape.rows / 2 : in->shape.rows;
}
static bool has_codes(const setting *s) { return s->x == CLQ_I8 || s->x == CLQ_U8; }

static inputs inputs_new(setting set, shape s) {
  inputs in = {.set = set, .shape = s};
  const size_t size = clq_dtype_bytes(set.x);
  const int64_t masked = MASK_ROWS * s.cols;
  in.x = malloc(extent(s) * size);
  in.values = malloc(extent(s) * sizeof *in.values);
  in.scales = malloc((size_t)s.rows * sizeof *in.scales);
  in.mask_bytes = malloc((size_t)masked * 4);
  in.mask = malloc((size_t)masked * sizeof *in.mask);
  test_random random = {(uint64_t)(s.rows * 4096 + s.cols)};
  for (size_t i = 0; i < extent(s); ++i) {
    const float v = set.x == CLQ_I8   ? (float)test_random_int(&random, -128, 127)
                    : set.x == CLQ_U8 ? (float)test_random_int(&random, 0, 255)
                                      : 4.0f * test_random_normal(&random);
    in.values[i] = put(set.x, v, in.x + i * size);
    if (set.x == CLQ_U8) {
      in.x[i] = (unsigned char)v;
    }
  }
  for (int64_t r = 0; r < s.rows; ++r) {
    in.scales[r] = 0.01f + 0.1f * (float)(r % 3);
  }
  for (int64_t i = 0; i < masked; ++i) {
    const bool hidden = test_random_int(&random, 0, 3) == 0;
    const float v = set.mask == CLQ_U8 ? (float)(hidden ? 0 : test_random_int(&random, 1, 255))
                    : hidden           ? -INFINITY
                                       : test_random_normal(&random);
    in.mask[i] = put(set.mask, v, in.mask_bytes + (size_t)i * clq_dtype_bytes(set.mask));
    if (set.mask == CLQ_U8) {
      in.mask_bytes[i] = (unsigned char)v;
    }
  }
  for (int i = 0; i < LENGTHS; ++i) {
    in.lengths[i] = test_random_int(&random, -1, (int32_t)s.cols + 2);
  }
  return in;
}

static void inputs_free(inputs *in) {
  free(in->x);
  free(in->values);
  free(in->scales);
  free(in->mask_bytes);
  free(in->mask);
}

static int64_t visible(const inputs *in, int64_t row) {
  int64_t n = in->shape.cols;
  if (in->set.lengths) {
    const int64_t length = in->lengths[row / (in->shape.rows / length_count(in))];
    n = length < n ? length : n;
  }
  if (in->set.causal) {
    const int64_t seen = in->shape.cols - queries(in) + row % queries(in) + 1;
    n = seen < n ? seen : n;
  }
  return n < 0 ? 0 : n;
}

/* Row `row` as floats, before it is stored; u8: the probability. */
static void reference(const inputs *in, int64_t row, float *out, float *sum) {
  const int64_t cols = in->shape.cols;
  const float *mask = in->mask + row % mask_rows(in) * cols;
  uint8_t *shown = malloc((size_t)cols);
  for (int64_t i = 0; i < cols; ++i) {
    shown[i] = mask[i] != 0.0f;
  }
  const clqi_ref_softmax_row r = {
      .cols = cols,
      .visible = visible(in, row),
      .mask = in->set.mask != 0 && in->set.mask != CLQ_U8 ? mask : NULL,
      .shown = in->set.mask == CLQ_U8 ? shown : NULL,
      .log = in->set.log,
      .sum = in->set.sum ? sum : NULL,
  };
  const float scale = in->set.scale == 0.0f ? 1.0f : in->set.scale;
  const int64_t at = row * (cols + in->shape.pad);
  if (has_codes(&in->set)) {
    const float step = in->scales[in->set.per_token ? row : 0] * scale;
    clqi_ref_softmax_codes(in->x + at, in->set.x, step, in->set.exp, &r, out);
  } else {
    clqi_ref_softmax_float(in->values + at, scale, &r, out);
  }
  free(shown);
}

static void store(const setting *s, float v, unsigned char *p) {
  if (s->out == CLQ_U8) {
    *p = clqi_ref_softmax_u8(v);
  } else if (s->out == CLQ_U16) {
    const uint16_t code = clqi_ref_softmax_u16(v);
    memcpy(p, &code, sizeof code);
  } else if (s->out == CLQ_I8) {
    *p = (unsigned char)(int8_t)clqi_ref_static_code(v, OUT_SCALE, s->zero ? OUT_ZERO : 0, -128);
  } else {
    (void)put(s->out, v, p);
  }
}

/* Runs the call; returns the output buffer's bytes, and the sums. */
static unsigned char *run(const test_device *d, const inputs *in, float *sums) {
  const setting *set = &in->set;
  const shape s = in->shape;
  const size_t x_bytes = extent(s) * clq_dtype_bytes(set->x);
  const size_t out_bytes = extent(s) * clq_dtype_bytes(set->out);
  const int32_t zero = OUT_ZERO;
  test_buffer x = test_buffer_new(d, in->x, x_bytes);
  test_buffer scales = test_buffer_new(d, in->scales, (size_t)(set->per_token ? s.rows : 1) * 4);
  test_buffer mask = test_buffer_new(
      d, in->mask_bytes,
      (size_t)(mask_rows(in) * s.cols) * (set->mask == 0 ? 1 : clq_dtype_bytes(set->mask)));
  test_buffer lengths = test_buffer_new(d, in->lengths, (size_t)length_count(in) * 4);
  test_buffer out = test_buffer_new(d, set->in_place ? in->x : NULL, out_bytes);
  test_buffer out_scale = test_buffer_new(d, set->out == CLQ_I8 ? &OUT_SCALE : NULL, 4);
  test_buffer out_zero = test_buffer_new(d, &zero, 4);
  test_buffer sum = test_buffer_new(d, NULL, (size_t)s.rows * 4);
  clq_softmax_args args = {.x = view(set->in_place ? out.mem : x.mem, set->x, s),
                           .out = view(out.mem, set->out, s),
                           .scale = set->scale,
                           .queries = queries(in),
                           .log = set->log,
                           .exp = set->exp};
  if (has_codes(set)) {
    args.x.quant = (clq_quant){.per = set->per_token ? CLQ_PER_TOKEN : CLQ_PER_TENSOR,
                               .scale = scales.mem,
                               .zero = set->zero ? scales.mem : NULL};
  }
  if (set->mask != 0) {
    args.mask = (clq_tensor){mask.mem, set->mask, {mask_rows(in), s.cols}};
  }
  if (set->lengths) {
    args.lengths = (clq_tensor){lengths.mem, CLQ_I32, {length_count(in)}};
  }
  if (set->sum) {
    args.sum = (clq_tensor){sum.mem, CLQ_F32, {s.rows}};
  }
  if (set->out == CLQ_I8 || set->out_scale) {
    args.out.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = out_scale.mem};
    args.out.quant.zero = set->out == CLQ_I8 && set->zero ? out_zero.mem : NULL;
  }
  test_ok(clq_softmax(d->stream, &args));
  unsigned char *got = malloc(out_bytes);
  test_buffer_read(d, &out, got);
  test_buffer_read(d, &sum, sums);
  if (set->out == CLQ_U8 && set->out_scale) {
    float step;
    test_buffer_read(d, &out_scale, &step);
    cr_assert_eq(step, 1.0f / 256.0f);
  }
  test_buffer *all[] = {&x, &scales, &mask, &lengths, &out, &out_scale, &out_zero, &sum};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
    test_buffer_free(all[i]);
  }
  return got;
}

static void check(const test_device *d, setting set, shape s, const char *form) {
  inputs in = inputs_new(set, s);
  const size_t size = clq_dtype_bytes(set.out);
  const int64_t stride = s.cols + s.pad;
  float *sums = malloc((size_t)s.rows * sizeof *sums);
  float *floats = malloc((size_t)s.cols * sizeof *floats);
  unsigned char *expected = malloc((size_t)s.cols * size);
  unsigned char *got = run(d, &in, sums);
  for (int64_t r = 0; r < s.rows; ++r) {
    float sum = 0.0f;
    reference(&in, r, floats, &sum);
    for (int64_t i = 0; i < s.cols; ++i) {
      store(&set, floats[i], expected + (size_t)i * size);
    }
    cr_assert_arr_eq(got + (size_t)(r * stride) * size, expected, (size_t)s.cols * size,
                     "row %lld of %lld x %lld, %s to %s, exp %d, without %s", (long long)r,
                     (long long)s.rows, (long long)s.cols, clq_dtype_name(set.x),
                     clq_dtype_name(set.out), (int)set.exp, form == NULL ? "nothing" : form);
    if (set.out == CLQ_U16 && has_codes(&set)) { /* whose tables are of such numbers */
      uint64_t total = 0;
      for (int64_t i = 0; i < s.cols; ++i) {
        uint16_t code;
        memcpy(&code, got + (size_t)(r * stride + i) * size, sizeof code);
        total += code;
      }
      cr_assert_eq(sums[r], (float)total * 0x1p-16f, "sum of row %lld", (long long)r);
    }
    if (set.sum) {
      cr_assert_arr_eq(&sums[r], &sum, 4, "sum of row %lld", (long long)r);
    }
  }
  for (int64_t r = 0; r + 1 < s.rows; ++r) {
    for (int64_t i = s.cols; i < stride; ++i) {
      unsigned char untouched[4];
      memset(untouched, 0xA5, 4);
      const size_t at = (size_t)(r * stride + i) * size;
      cr_assert_arr_eq(got + at, set.in_place ? in.x + at : untouched, size, "wrote between rows");
    }
  }
  inputs_free(&in);
  free(sums);
  free(floats);
  free(expected);
  free(got);
}

/* Every type, mask, form of exponentials and way to finish, not every combination. */
static const setting settings[] = {
    {CLQ_F32, CLQ_F32, .in_place = true},
    {CLQ_F32, CLQ_F32, .scale = -0.3f},
    {CLQ_F32, CLQ_F32, .mask = CLQ_F32, .scale = 0.5f},
    {CLQ_F32, CLQ_U8, .mask = CLQ_U8, .causal = true, .out_scale = true},
    {CLQ_F16, CLQ_F16, .mask = CLQ_F16, .lengths = true, .in_place = true},
    {CLQ_BF16, CLQ_BF16, .mask = CLQ_BF16, .causal = true, .lengths = true},
    {CLQ_F32, CLQ_F32, .log = true, .lengths = true},
    {CLQ_F16, CLQ_F16, .log = true, .mask = CLQ_U8, .in_place = true},
    {CLQ_F32, CLQ_F16, .sum = true, .causal = true},
    {CLQ_F16, CLQ_I8, .zero = true},
    {CLQ_I8, CLQ_F32, .per_token = true},
    {CLQ_I8, CLQ_U8, .scale = 0.37f, .out_scale = true},
    {CLQ_I8, CLQ_U8, .per_token = true, .zero = true, .causal = true, .lengths = true},
    {CLQ_U8, CLQ_F16, .mask = CLQ_U8, .zero = true},
    {CLQ_I8, CLQ_F16, .sum = true, .lengths = true, .mask = CLQ_U8},
    {CLQ_I8, CLQ_F32, .exp = CLQ_EXP_F32},
    {CLQ_I8, CLQ_F32, .exp = CLQ_EXP_Q30, .per_token = true},
    {CLQ_I8, CLQ_U8, .exp = CLQ_EXP_U16, .mask = CLQ_U8},
    {CLQ_U8, CLQ_F32, .exp = CLQ_EXP_U16, .sum = true},
    {CLQ_I8, CLQ_I8, .exp = CLQ_EXP_U16_TWO_LEVEL},
    {CLQ_I8, CLQ_U16, .exp = CLQ_EXP_U16_TWO_LEVEL, .sum = true, .per_token = true},
    {CLQ_U8, CLQ_U16, .exp = CLQ_EXP_U16, .sum = true, .mask = CLQ_U8},
    {CLQ_F32, CLQ_U16, .sum = true, .causal = true},
    {CLQ_I8, CLQ_F32, .exp = CLQ_EXP_IBERT, .per_token = true},
    {CLQ_I8, CLQ_BF16, .exp = CLQ_EXP_IVIT, .sum = true, .per_token = true},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

/* Whether form f computes this in a way of its own. */
static bool differs(size_t f, const setting *s) {
  const bool bytes = s->out == CLQ_I8 || s->out == CLQ_U8;
  return f == NO_VBMI     ? has_codes(s) && (bytes || s->exp == CLQ_EXP_U16)
         : f == NO_AVX512 ? has_codes(s) && s->exp == CLQ_EXP_TWO_LEVEL
                          : true;
}

Test(softmax, is_the_reference_bit_for_bit) {
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    for (int i = 0; i < SETTINGS; ++i) {
      if (!differs(f, &settings[i])) {
        continue;
      }
      for (int w = 0; w < WIDTHS; ++w) {
        check(&d, settings[i], (shape){.rows = 1 + (w + i) % 4, .cols = widths[w], .pad = w % 3},
              forms[f]);
      }
    }
    if (f != NO_VBMI && f != NO_AVX512) {
      check(&d, settings[0], (shape){.rows = 700, .cols = 37}, forms[f]);
      check(&d, settings[4], (shape){.rows = 2, .cols = 9000}, forms[f]);
    }
    check(&d, settings[12], (shape){.rows = 600, .cols = 100}, forms[f]);
    test_device_close(&d);
  }
}

Test(softmax, tiny_shapes) {
  test_device d = test_device_open("cpu");
  for (int i = 0; i < SETTINGS; i += 3) {
    check(&d, settings[i], (shape){.rows = 2, .cols = 70, .pad = 1}, "cpu");
  }
  test_device_close(&d);
}

/* --- against exact arithmetic --- */

/* Of the probabilities: the largest error relative to one, and the sum of errors of a row. */
typedef struct errors {
  double relative, row;
} errors;

static errors errors_of(const setting *set, shape s) {
  inputs in = inputs_new(*set, s);
  float *got = malloc((size_t)s.cols * sizeof *got);
  double *exact = malloc((size_t)s.cols * sizeof *exact);
  errors worst = {0};
  for (int64_t r = 0; r < s.rows; ++r) {
    float sum;
    reference(&in, r, got, &sum);
    const double step = has_codes(set) ? (double)in.scales[set->per_token ? r : 0] : 1.0;
    const double scale = set->scale == 0.0f ? 1.0 : (double)set->scale;
    clqi_ref_softmax(in.values + r * s.cols, s.cols, step * scale, exact);
    double total = 0.0;
    for (int64_t i = 0; i < s.cols; ++i) {
      const double p = set->log ? exp((double)got[i]) : (double)got[i];
      total += fabs(p - exact[i]);
      worst.relative = fmax(worst.relative, (fabs(p - exact[i]) - 1e-30) / exact[i]);
    }
    worst.row = fmax(worst.row, total);
  }
  inputs_free(&in);
  free(got);
  free(exact);
  return worst;
}

Test(softmax, reference_agrees_with_double) {
  const shape s = {.rows = 6, .cols = 700};
  /* Relative error of a float, and the error of a row at which integers are held. */
  static const struct {
    setting set;
    double relative, row;
  } cases[] = {
      {{CLQ_F32, CLQ_F32, .scale = 0.7f}, 4e-6, 1e-6},
      {{CLQ_F32, CLQ_F32, .log = true}, 6e-6, 6e-6}, /* exp of the logarithm */
      {{CLQ_I8, CLQ_F32, .per_token = true}, 4e-6, 1e-6},
      {{CLQ_I8, CLQ_F32, .exp = CLQ_EXP_F32, .per_token = true}, 4e-6, 1e-6},
      {{CLQ_I8, CLQ_F32, .exp = CLQ_EXP_Q30, .per_token = true}, INFINITY, 1e-6},
      {{CLQ_I8, CLQ_F32, .exp = CLQ_EXP_U16, .per_token = true}, INFINITY, 1e-3},
      {{CLQ_I8, CLQ_F32, .exp = CLQ_EXP_U16_TWO_LEVEL, .per_token = true}, INFINITY, 1e-3},
      {{CLQ_I8, CLQ_F32, .exp = CLQ_EXP_IBERT, .per_token = true}, INFINITY, 1e-1},
      {{CLQ_I8, CLQ_F32, .exp = CLQ_EXP_IVIT, .per_token = true}, INFINITY, 1.5e-1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    const errors e = errors_of(&cases[i].set, s);
    cr_log_info("exp %d: relative %.2g, row %.2g", (int)cases[i].set.exp, e.relative, e.row);
    cr_expect(e.relative <= cases[i].relative && e.row <= cases[i].row,
              "case %zu: relative error %g, row %g", i, e.relative, e.row);
  }
}

/* --- rows out of the ordinary --- */

/* Runs plain rows of x. */
static unsigned char *run_plain(const test_device *d, setting set, shape s, const void *x,
                                const float *scales) {
  inputs in = inputs_new(set, s);
  memcpy(in.x, x, extent(s) * clq_dtype_bytes(set.x));
  if (scales != NULL) {
    memcpy(in.scales, scales, (size_t)(set.per_token ? s.rows : 1) * sizeof *scales);
  }
  float *sums = malloc((size_t)s.rows * sizeof *sums);
  unsigned char *out = run(d, &in, sums);
  inputs_free(&in);
  free(sums);
  return out;
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
    const shape s = {.rows = ROWS, .cols = COLS};
    float *out = (float *)(void *)run_plain(&d, (setting){CLQ_F32, CLQ_F32}, s, x, NULL);
    float *log =
        (float *)(void *)run_plain(&d, (setting){CLQ_F32, CLQ_F32, .log = true}, s, x, NULL);
    unsigned char *steps = run_plain(&d, (setting){CLQ_F32, CLQ_U8}, s, x, NULL);
    for (int i = 0; i < COLS; ++i) {
      cr_assert_eq(out[i], out[5 * COLS + i]);
      cr_assert_eq(out[i], out[8 * COLS + i]);
      cr_assert_eq(out[COLS + i], 0.0f);
      cr_assert(i % 2 == 0 ? out[2 * COLS + i] == 0.0f : out[2 * COLS + i] > 0.0f);
      cr_assert(isnan(out[3 * COLS + i]));
      cr_assert(isnan(out[4 * COLS + i]));
      cr_assert_eq(out[6 * COLS + i], i == 70 ? 1.0f : 0.0f);
      cr_assert(isnan(out[7 * COLS + i]));
      cr_assert_eq(log[COLS + i], -INFINITY);
      cr_assert_float_eq(log[i], logf(out[i]), 1e-5f);
      cr_assert(isnan(log[3 * COLS + i]));
      cr_assert_eq(steps[COLS + i], 0);
      cr_assert_eq(steps[3 * COLS + i], 0);
    }
    free(out);
    free(log);
    free(steps);
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
    for (int e = 0; e < FEW_EXPS && f != NO_VBMI && f != NO_AVX512; ++e) {
      const clq_exp exp = few_exps[e];
      unsigned char *out = run_plain(&d, (setting){CLQ_I8, CLQ_U8, .exp = exp},
                                     (shape){.rows = 1, .cols = COLS}, x, &scale);
      for (int i = 0; i < COLS; ++i) {
        cr_assert_eq(out[i], i == 39 ? 255 : 0, "exp %d: %d", (int)exp, out[i]);
      }
      free(out);
    }
    test_device_close(&d);
  }
}

Test(softmax, i8_special_scales) {
  enum { ROWS = 4, COLS = 33 };
  int8_t x[ROWS][COLS];
  const float scales[ROWS] = {0.0f, NAN, INFINITY, 0.5f};
  const shape s = {.rows = ROWS, .cols = COLS};
  for (int r = 0; r < ROWS; ++r) {
    for (int i = 0; i < COLS; ++i) {
      x[r][i] = (int8_t)(i - 16);
    }
  }
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    for (int e = 0; e < FEW_EXPS && f != NO_VBMI && f != NO_AVX512; ++e) {
      const clq_exp exp = few_exps[e];
      setting set = {CLQ_I8, CLQ_F32, .per_token = true, .exp = exp};
      float *p = (float *)(void *)run_plain(&d, set, s, x, scales);
      set.out = CLQ_U8;
      unsigned char *steps = run_plain(&d, set, s, x, scales);
      for (int i = 0; i < COLS; ++i) {
        cr_assert_float_eq(p[i], 1.0f / COLS, exp >= CLQ_EXP_IBERT ? 1e-4f : 1e-8f, "exp %d: %g",
                           (int)exp, (double)p[i]);
        cr_assert_eq(steps[i], 8);
        for (int r = 1; r < 3; ++r) {
          cr_assert(isnan(p[r * COLS + i]), "scale %g", (double)scales[r]);
          cr_assert_eq(steps[r * COLS + i], 0);
        }
      }
      cr_assert_gt(p[3 * COLS + 32], 0.3f);
      free(p);
      free(steps);
    }
    test_device_close(&d);
  }
}

Test(softmax, forms_are_chosen_by_trait) {
  const shape s = {.rows = 1, .cols = 20};
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    const bool rows = test_has_trait(d.context, "cpu");
    cr_assert(f != NO_CPU || !rows);
    test_dispatch_start();
    check(&d, settings[0], s, forms[f]);
    check(&d, (setting){CLQ_I8, CLQ_F32}, s, forms[f]);
    cr_assert(test_dispatch_saw("softmax", rows ? "softmax_float_rows" : "softmax_float_group"));
    const bool permutes = rows && test_has_trait(d.context, "x86_vbmi");
    cr_assert(test_dispatch_saw("softmax", permutes ? "softmax_codes_rows_vbmi"
                                           : rows   ? "softmax_codes_rows"
                                                    : "softmax_codes_group"));
    test_dispatch_stop();
    test_device_close(&d);
  }
}

/* --- arguments --- */

Test(softmax, bad_arguments_are_named) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 4096);
  const clq_softmax_args good = {.x = {b.mem, CLQ_F32, {4, 64}}, .out = {b.mem, CLQ_F32, {4, 64}}};
  const clq_status bad = CLQ_INVALID_ARGUMENT;
#define REFUSES(status, sentence) test_fails(clq_softmax(d.stream, &a), status, sentence)
  clq_softmax_args a = good;
  a.out.shape[1] = 63;
  REFUSES(bad, "softmax: dimension 1 of out is 63, expected 64 (cols of x)");
  a = good;
  a.out.dtype = CLQ_I32;
  REFUSES(CLQ_UNSUPPORTED, "dtype of out is i32, offered: f32, f16, bf16, i8, u8");
  a.out.dtype = CLQ_I8;
  REFUSES(bad, "quant.per");
  a = good;
  a.x.dtype = CLQ_I8;
  REFUSES(bad, "quant.per");
  a.x.quant = (clq_quant){.per = CLQ_PER_GROUP, .group = 32, .scale = b.mem};
  REFUSES(CLQ_UNSUPPORTED, "per group");
  a.x.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = b.mem};
  a.scale = -1.0f;
  REFUSES(bad, "scale is -1");
  a.scale = NAN;
  REFUSES(bad, "scale is");
  a.scale = 0.0f;
  a.log = true;
  REFUSES(bad, "softmax: log is offered with x of f32, f16, bf16, not i8");
  a.log = false;
  a.mask = (clq_tensor){b.mem, CLQ_F32, {4, 64}};
  REFUSES(CLQ_UNSUPPORTED, "dtype of mask is f32, offered: u8");
  a.mask.dtype = CLQ_U8;
  a.mask.shape[0] = 3;
  REFUSES(bad, "softmax: dimension 0 of mask is 3, expected a divisor of the 4 rows of x");
  a = good;
  a.exp = CLQ_EXP_Q30;
  REFUSES(bad, "softmax: exp is 2, a table of codes, but x is f32");
  a.exp = (clq_exp)9;
  REFUSES(bad, "softmax: exp is 9, expected one of clq_exp (0 to 6)");
  a = good;
  a.lengths = (clq_tensor){b.mem, CLQ_I32, {0}};
  REFUSES(bad, "softmax: dimension 0 of lengths is 0, expected a divisor of the 4 rows of x");
  a = good;
  a.queries = 3;
  REFUSES(bad, "softmax: queries is 3, expected a divisor of the 4 rows of x");
  a.queries = -1;
  REFUSES(bad, "softmax: queries is -1, expected 0 (not causal) or more");
  a = good;
  a.log = true;
  a.sum = (clq_tensor){b.mem, CLQ_F32, {4}, .offset = 2048};
  REFUSES(bad, "softmax: log and sum are both given, expected one of them");
  a.log = false;
  a.out.dtype = CLQ_U8;
  REFUSES(CLQ_UNSUPPORTED, "dtype of out is u8, offered: f32, f16, bf16, u16");
  a = good;
  a.out.dtype = CLQ_U16;
  REFUSES(CLQ_UNSUPPORTED, "dtype of out is u16, offered: f32, f16, bf16, i8, u8");
  a = good;
  a.x.shape[0] = a.out.shape[0] = 50;
  REFUSES(bad, "the buffer of x");
  a = good;
  a.out.dtype = CLQ_U8;
  a.out.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = b.mem, .sum = b.mem};
  REFUSES(bad, "softmax: out has no sums");
  a.out.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = b.mem, .zero = b.mem};
  REFUSES(bad, "softmax: out of u8 has no zero point");
  a = good;
  a.x.shape[1] = a.out.shape[1] = 0;
  test_ok(clq_softmax(d.stream, &a));
  test_buffer_free(&b);
  test_device_close(&d);
}
