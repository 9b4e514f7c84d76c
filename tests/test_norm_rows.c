/* Rows with NaN and Inf beyond test_norm_special's: inputs of f16 and bf16, codes of every kind,
 * scales, zero points, sums and statistics; and rows beside them have the bits that they have among
 * rows of numbers. The programs are those of test_layernorm and test_rmsnorm. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "forms.h"
#include "norm_call.h"
#include "opencl.h"
#include "ref/math.h"

TestSuite(norm_rows, .fini = opencl_none_live);

enum { FIRST, NOT_A_NUMBER, PLUS, MINUS, BOTH, LAST, ROWS };
enum { COLS = 300, ODD_AT = COLS / 3, FAR_AT = COLS - 1, PLANES = COLS };
enum { TWO_FORMS = 2 }; /* the device's own, and as if it were no CPU */

typedef struct kind {
  const char *name;
  bool centered;
  clq_dtype x, out;
  clq_granularity per;
  int32_t group;
  bool zero;
  clq_dtype residual, bias, gamma, beta;
  clq_norm_cast cast;
} kind;

static const kind kinds[] = {
    {"layernorm, i8 per tensor", true, CLQ_F32, CLQ_I8, CLQ_PER_TENSOR},
    {"layernorm, i8 per channel, zero points", true, CLQ_F32, CLQ_I8, CLQ_PER_CHANNEL, 0, true},
    {"layernorm, i8 per token, asymmetric", true, CLQ_F32, CLQ_I8, CLQ_PER_TOKEN, 0, true},
    {"layernorm, u8 per token", true, CLQ_F32, CLQ_U8, CLQ_PER_TOKEN, 0, true},
    {"layernorm, i8 per 32", true, CLQ_F32, CLQ_I8, CLQ_PER_GROUP, 32},
    {"layernorm, i8 per 64, asymmetric", true, CLQ_F32, CLQ_I8, CLQ_PER_GROUP, 64, true},
    {"rmsnorm, i8 per channel, zero points", false, CLQ_F32, CLQ_I8, CLQ_PER_CHANNEL, 0, true},
    {"rmsnorm, u8 per token", false, CLQ_F32, CLQ_U8, CLQ_PER_TOKEN, 0, true},
    {"rmsnorm, f16, i8 per token", false, CLQ_F16, CLQ_I8, CLQ_PER_TOKEN},
    {"rmsnorm, bf16, i8 per token", false, CLQ_BF16, CLQ_I8, CLQ_PER_TOKEN, .residual = CLQ_BF16,
     .gamma = CLQ_BF16, .cast = CLQ_CAST_LLAMA},
    {"layernorm, f16", true, CLQ_F16, CLQ_F16, .residual = CLQ_F16, .gamma = CLQ_F16,
     .beta = CLQ_F32},
    {"layernorm, bf16", true, CLQ_BF16, CLQ_BF16, .residual = CLQ_F32, .bias = CLQ_BF16,
     .gamma = CLQ_BF16},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static bool is_codes(const kind *k) { return k->per != 0; }
static bool is_given(const kind *k) {
  return k->per == CLQ_PER_TENSOR || k->per == CLQ_PER_CHANNEL;
}
static int group_of(const kind *k) { return k->per == CLQ_PER_GROUP ? k->group : COLS; }
static int groups_of(const kind *k) { return (COLS + group_of(k) - 1) / group_of(k); }

/* ---------------------------------------------------------------- one call */

/* Stores v as the type. */
static void store(char *p, clq_dtype type, float v) {
  const uint16_t half = type == CLQ_F16 ? clqi_ref_f16_from_f32(v) : clqi_ref_bf16_from_f32(v);
  if (type == CLQ_F32) {
    memcpy(p, &v, sizeof v);
  } else {
    memcpy(p, &half, sizeof half);
  }
}

/* With `odd` false all rows are of numbers. */
static void make_x(clq_dtype type, bool odd, char *x) {
  static const float at_odd[ROWS] = {0, NAN, INFINITY, -INFINITY, INFINITY, 0};
  for (int r = 0; r < ROWS; ++r) {
    for (int i = 0; i < COLS; ++i) {
      float v = (float)((i * 37 + r * 11) % 101 - 40);
      v = odd && i == ODD_AT && at_odd[r] != 0.0f ? at_odd[r] : v;
      v = odd && i == FAR_AT && r == BOTH ? -INFINITY : v;
      store(x + (size_t)(r * COLS + i) * clq_dtype_bytes(type), type, v);
    }
  }
}

/* Rows, or one line, of a value; type 0: absent. */
static clq_tensor filled(const test_device *d, clq_dtype type, int rows, float value,
                         test_buffer *buffer) {
  static char data[ROWS * COLS * sizeof(float)];
  const size_t bytes = clq_dtype_bytes(type);
  *buffer = (test_buffer){0};
  if (type == 0) {
    return (clq_tensor){0};
  }
  for (int i = 0; i < rows * COLS; ++i) {
    store(data + (size_t)i * bytes, type, value);
  }
  *buffer = test_buffer_new(d, data, (size_t)(rows * COLS) * bytes);
  return rows == 1 ? (clq_tensor){buffer->mem, type, {COLS}}
                   : (clq_tensor){buffer->mem, type, {rows, COLS}};
}

/* Outputs as they lie in memory. */
typedef struct result {
  unsigned char out[ROWS * COLS * sizeof(float)];
  float scales[PLANES]; /* given ones as well */
  int32_t zeros[PLANES];
  int32_t sums[PLANES];
  float mean[ROWS], rstd[ROWS];
} result;

static void run(const test_device *d, const kind *k, bool odd, result *r) {
  static char x[ROWS * COLS * sizeof(float)];
  enum { X, OUT, SCALE, ZERO, SUM, MEAN, RSTD, OWN, RESIDUAL = OWN, BIAS, GAMMA, BETA, BUFFERS };
  make_x(k->x, odd, x);
  for (int i = 0; i < PLANES; ++i) {
    r->scales[i] = 0.02f + 0.001f * (float)(i % 7);
    r->zeros[i] = i % 23 - 11;
  }
  const void *const in[OWN] = {x, NULL, r->scales, r->zeros, NULL, NULL, NULL};
  void *const out[OWN] = {NULL, r->out, r->scales, r->zeros, r->sums, r->mean, r->rstd};
  const size_t bytes[OWN] = {ROWS * COLS * clq_dtype_bytes(k->x),
                             ROWS * COLS * clq_dtype_bytes(k->out),
                             sizeof r->scales,
                             sizeof r->zeros,
                             sizeof r->sums,
                             sizeof r->mean,
                             sizeof r->rstd};
  test_buffer b[BUFFERS];
  for (int i = 0; i < OWN; ++i) {
    b[i] = test_buffer_new(d, in[i], bytes[i]);
  }
  clq_layernorm_args a = {.x = {b[X].mem, k->x, {ROWS, COLS}},
                          .residual = filled(d, k->residual, ROWS, 0.0f, &b[RESIDUAL]),
                          .bias = filled(d, k->bias, 1, 0.0f, &b[BIAS]),
                          .gamma = filled(d, k->gamma, 1, 1.0f, &b[GAMMA]),
                          .beta = filled(d, k->beta, 1, 0.5f, &b[BETA]),
                          .mean = {b[MEAN].mem, CLQ_F32, {ROWS}},
                          .rstd = {b[RSTD].mem, CLQ_F32, {ROWS}},
                          .out = {b[OUT].mem, k->out, {ROWS, COLS}}};
  if (is_codes(k)) {
    a.out.quant = (clq_quant){.per = k->per,
                              .group = k->group,
                              .scale = b[SCALE].mem,
                              .zero = k->zero ? b[ZERO].mem : NULL,
                              .sum = b[SUM].mem};
  }
  test_norm(d, k->centered, k->cast, &a);
  for (int i = OUT; i < OWN; ++i) {
    test_buffer_read(d, &b[i], out[i]);
  }
  for (int i = 0; i < BUFFERS; ++i) {
    test_buffer_free(&b[i]);
  }
}

/* ---------------------------------------------------------------- what is expected */

static int code_at(const kind *k, const result *r, int row, int col) {
  const unsigned char stored = r->out[row * COLS + col];
  return k->out == CLQ_U8 ? stored : (signed char)stored;
}

/* The code that means 0 in this place. */
static int zero_at(const kind *k, const result *r, int row, int col) {
  const int plane = k->per == CLQ_PER_TENSOR    ? 0
                    : k->per == CLQ_PER_CHANNEL ? col
                                                : row * groups_of(k) + col / group_of(k);
  return k->zero ? (int)r->zeros[plane] : 0;
}

/* Is there NaN in the norm's row, in this group? Under rmsnorm only where Inf stands. */
static bool has_nan(const kind *k, int row, int begin, int end) {
  return k->centered || row == NOT_A_NUMBER || (ODD_AT >= begin && ODD_AT < end) ||
         (row == BOTH && FAR_AT >= begin && FAR_AT < end);
}

/* NaN, and zeros beside it: whatever the scales, all codes mean 0. */
static void expect_codes(const kind *k, const result *r, int row) {
  for (int g = 0; g < groups_of(k); ++g) {
    const int plane = row * groups_of(k) + g;
    const int begin = g * group_of(k);
    const int end = begin + group_of(k) < COLS ? begin + group_of(k) : COLS;
    int sum = 0;
    int wrong = 0;
    for (int i = begin; i < end; ++i) {
      const int code = code_at(k, r, row, i);
      wrong += code != zero_at(k, r, row, i);
      sum += code;
    }
    cr_expect_eq(wrong, 0, "%s: row %d, %d codes from %d on do not mean 0", k->name, row, wrong,
                 begin);
    cr_expect_eq(r->sums[is_given(k) ? row : plane], sum, "%s: row %d, sum %d", k->name, row, g);
    if (!is_given(k)) {
      const bool nan = has_nan(k, row, begin, end);
      cr_expect(nan ? isnan(r->scales[plane]) : r->scales[plane] == 0.0f,
                "%s: row %d, scale %d is %g", k->name, row, g, (double)r->scales[plane]);
      const int middle = k->out == CLQ_U8 ? 128 : 0;
      cr_expect(!nan || !k->zero || r->zeros[plane] == middle, "%s: row %d, zero %d is %d", k->name,
                row, g, (int)r->zeros[plane]);
    }
  }
}

/* Of f16 or bf16, under layernorm. */
static void expect_nan(const kind *k, const result *r, int row) {
  int numbers = 0;
  for (int i = 0; i < COLS; ++i) {
    uint16_t half;
    memcpy(&half, r->out + (size_t)(row * COLS + i) * sizeof half, sizeof half);
    const float v = k->out == CLQ_F16 ? clqi_ref_f32_from_f16(half) : clqi_ref_f32_from_bf16(half);
    numbers += !isnan(v);
  }
  cr_expect_eq(numbers, 0, "%s: row %d has %d numbers", k->name, row, numbers);
}

static void expect_statistics(const kind *k, const result *r, int row) {
  const float mean = r->mean[row];
  const float rstd = r->rstd[row];
  if (k->centered) {
    cr_expect(isnan(mean) && isnan(rstd), "%s: row %d: mean %g, rstd %g", k->name, row,
              (double)mean, (double)rstd);
  } else {
    cr_expect(row == NOT_A_NUMBER ? isnan(rstd) : rstd == 0.0f, "%s: row %d: rstd %g", k->name, row,
              (double)rstd);
  }
}

static void expect_same(const kind *k, const result *a, const result *b, int row) {
  const size_t bytes = COLS * clq_dtype_bytes(k->out);
  const size_t planes = (size_t)groups_of(k) * sizeof(float);
  const int first = row * groups_of(k);
  cr_expect_arr_eq(a->out + (size_t)row * bytes, b->out + (size_t)row * bytes, bytes, "%s: row %d",
                   k->name, row);
  if (is_codes(k) && !is_given(k)) {
    cr_expect_arr_eq(a->scales + first, b->scales + first, planes, "%s: scales", k->name);
    cr_expect_arr_eq(a->zeros + first, b->zeros + first, planes, "%s: zeros", k->name);
  }
  if (is_codes(k)) {
    cr_expect_arr_eq(a->sums + first, b->sums + first, planes, "%s: sums", k->name);
  }
  cr_expect_arr_eq(&a->rstd[row], &b->rstd[row], sizeof(float), "%s: rstd", k->name);
  if (k->centered) {
    cr_expect_arr_eq(&a->mean[row], &b->mean[row], sizeof(float), "%s: mean", k->name);
  }
}

static void check(const test_device *d, const kind *k) {
  static result odd;
  static result even;
  run(d, k, true, &odd);
  run(d, k, false, &even);
  for (int row = NOT_A_NUMBER; row <= BOTH; ++row) {
    if (is_codes(k)) {
      expect_codes(k, &odd, row);
    } else {
      expect_nan(k, &odd, row);
    }
    expect_statistics(k, &odd, row);
    cr_expect(isfinite(even.rstd[row]) && even.rstd[row] > 0.0f);
  }
  expect_same(k, &odd, &even, FIRST);
  expect_same(k, &odd, &even, LAST);
}

Test(norm_rows, that_are_no_numbers_are_that_alone) {
  test_forms f = {0};
  for (int form = 0; form < TWO_FORMS && test_forms_next(&f); ++form) {
    for (int i = 0; i < KINDS; ++i) {
      check(&f.device, &kinds[i]);
    }
  }
  test_forms_end(&f);
}
