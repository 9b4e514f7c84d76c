#include "norm_case.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "norm_call.h"
#include "ref/math.h"
#include "ref/norm.h"
#include "ref/ref.h"

enum { MOST_BUFFERS = 16 };

/* A tensor on the device beside what it means in floats. */
typedef struct matrix {
  int64_t rows, cols, stride, lead;
  clq_dtype type;
  float *values; /* [rows, cols] */
  char *stored;  /* what the buffer holds, lead and gaps included */
  size_t bytes;
  test_buffer buffer;
} matrix;

typedef struct running {
  const test_device *device;
  const norm_case *c;
  test_random random;
  matrix *all[MOST_BUFFERS];
  int count;
  char what[320];
} running;

static void describe(running *t) {
  const norm_case *c = t->c;
  (void)snprintf(
      t->what, sizeof t->what,
      "%s%s %lld x %lld x %s per %d zero %d exponent %d column %d residual %s bias %s "
      "gamma %s beta %s cast %d out %s per %d group %d zero %d alpha %g scale %g pad %lld",
      test_has_trait(t->device->context, "cpu") ? "cpu " : "",
      c->centered ? "layernorm" : "rmsnorm", (long long)c->rows, (long long)c->cols,
      clq_dtype_name(c->x), (int)c->x_per, c->x_zero, c->exponent, c->column_scale,
      clq_dtype_name(c->residual), clq_dtype_name(c->bias), clq_dtype_name(c->gamma),
      clq_dtype_name(c->beta), (int)c->cast, clq_dtype_name(c->out), (int)c->per, (int)c->group,
      c->zero, (double)c->alpha, (double)c->x_scale, (long long)c->pad);
}

/* Stores v as the type; returns what a reader gets. */
static float store(char *p, clq_dtype type, float v) {
  switch (type) {
    case CLQ_F16: {
      const uint16_t h = clqi_ref_f16_from_f32(v);
      memcpy(p, &h, 2);
      return clqi_ref_f32_from_f16(h);
    }
    case CLQ_BF16: {
      const uint16_t h = clqi_ref_bf16_from_f32(v);
      memcpy(p, &h, 2);
      return clqi_ref_f32_from_bf16(h);
    }
    case CLQ_I8: {
      const int8_t q = (int8_t)v;
      memcpy(p, &q, 1);
      return (float)q;
    }
    case CLQ_U8: {
      const uint8_t q = (uint8_t)v;
      memcpy(p, &q, 1);
      return (float)q;
    }
    case CLQ_I32: {
      const int32_t q = (int32_t)v;
      memcpy(p, &q, 4);
      return (float)q;
    }
    default: memcpy(p, &v, 4); return v;
  }
}

static size_t place(const matrix *m, int64_t row, int64_t col) {
  return (size_t)(m->lead + row * m->stride + col) * clq_dtype_bytes(m->type);
}

typedef float (*maker)(test_random *random, int64_t row, int64_t col);

static float make_x(test_random *r, int64_t row, int64_t col) {
  return test_random_normal(r) * (col % 97 == row ? 30.0f : 1.0f);
}
static float make_gamma(test_random *r, int64_t row, int64_t col) {
  (void)row;
  return (col % 11 == 3 ? -1.0f : 1.0f) + 0.1f * test_random_normal(r);
}
static float make_small(test_random *r, int64_t row, int64_t col) {
  (void)row;
  (void)col;
  return 0.2f * test_random_normal(r);
}
static float make_scale(test_random *r, int64_t row, int64_t col) {
  (void)row;
  (void)col;
  return 0.01f * (1.5f + test_random_float(r));
}
static float make_signed(test_random *r, int64_t row, int64_t col) {
  (void)row;
  (void)col;
  return (float)test_random_int(r, -128, 127);
}
static float make_unsigned(test_random *r, int64_t row, int64_t col) {
  (void)row;
  (void)col;
  return (float)test_random_int(r, 0, 255);
}
static float make_accumulator(test_random *r, int64_t row, int64_t col) {
  (void)row;
  (void)col;
  return (float)test_random_int(r, -(1 << 20), 1 << 20);
}
static float make_zero_point(test_random *r, int64_t row, int64_t col) {
  (void)row;
  (void)col;
  return (float)test_random_int(r, -20, 20);
}
static float make_exponent(test_random *r, int64_t row, int64_t col) {
  (void)row;
  (void)col;
  return (float)test_random_int(r, 0, 5);
}

/* maker NULL: an output; its buffer is filled with a pattern. */
static void matrix_new(running *t, matrix *m, int64_t rows, int64_t cols, clq_dtype type,
                       bool strided, maker make, float offset) {
  *m = (matrix){.rows = rows, .cols = cols, .type = type};
  m->stride = cols + (strided ? t->c->pad : 0);
  m->lead = strided ? t->c->lead : 0;
  m->bytes = (size_t)(m->lead + (rows - 1) * m->stride + cols) * clq_dtype_bytes(type);
  m->values = calloc((size_t)(rows * cols) + 1, sizeof *m->values);
  m->stored = malloc(m->bytes + 1);
  memset(m->stored, 0x5a, m->bytes);
  for (int64_t r = 0; make != NULL && r < rows; ++r) {
    for (int64_t i = 0; i < cols; ++i) {
      m->values[r * cols + i] =
          store(m->stored + place(m, r, i), type, make(&t->random, r, i) + offset);
    }
  }
  m->buffer = test_buffer_new(t->device, m->stored, m->bytes);
  cr_assert_lt(t->count, MOST_BUFFERS);
  t->all[t->count++] = m;
}

static clq_tensor as_tensor(const matrix *m, bool line) {
  clq_tensor v = {m->buffer.mem, m->type, {m->rows, m->cols}};
  v.offset = (uint64_t)m->lead * clq_dtype_bytes(m->type);
  if (line) {
    v.shape[0] = m->rows * m->cols;
    v.shape[1] = 0;
  } else if (m->stride != m->cols) {
    v.stride[0] = m->stride;
    v.stride[1] = 1;
  }
  return v;
}

/* What the device holds now is `stored`, byte for byte, gaps included. */
static void expect_bytes(running *t, const matrix *m, const char *name) {
  char *got = malloc(m->bytes + 1);
  test_buffer_read(t->device, &m->buffer, got);
  for (size_t i = 0; i < m->bytes; ++i) {
    if (got[i] != m->stored[i]) {
      const size_t element = i / clq_dtype_bytes(m->type) - (size_t)m->lead;
      float g = 0.0f;
      float e = 0.0f;
      const size_t at = i / clq_dtype_bytes(m->type) * clq_dtype_bytes(m->type);
      if (m->type == CLQ_F32 || m->type == CLQ_I32) {
        memcpy(&g, got + at, 4);
        memcpy(&e, m->stored + at, 4);
      } else {
        g = got[at];
        e = m->stored[at];
      }
      cr_assert_fail("%s differs at element %zu: %.9g, expected %.9g; %s", name, element, (double)g,
                     (double)e, t->what);
    }
  }
  free(got);
}

/* ---------------------------------------------------------------- x in floats */

typedef struct inputs {
  matrix x, scale, zero, column, exponent, bias, residual, gamma, beta;
} inputs;

static maker x_maker(clq_dtype type) {
  return type == CLQ_I8    ? make_signed
         : type == CLQ_U8  ? make_unsigned
         : type == CLQ_I32 ? make_accumulator
                           : make_x;
}

/* Index into a plane of x for an element. */
static int64_t plane_at(clq_granularity per, int64_t row, int64_t col) {
  return per == CLQ_PER_TOKEN ? row : per == CLQ_PER_CHANNEL ? col : 0;
}

static void dequantize_x(const norm_case *c, inputs *in) {
  for (int64_t r = 0; r < c->rows; ++r) {
    for (int64_t i = 0; i < c->cols; ++i) {
      float *v = &in->x.values[r * c->cols + i];
      int32_t q = (int32_t)*v;
      q -= c->x_zero ? (int32_t)in->zero.values[plane_at(c->x_per, r, i)] : 0;
      q = c->exponent ? q * (1 << (int)in->exponent.values[i]) : q;
      const float scale = c->x_per == 0 ? 1.0f : in->scale.values[plane_at(c->x_per, r, i)];
      *v = (float)q * scale;
      *v = c->column_scale ? *v * in->column.values[i] : *v;
    }
  }
}

static void make_inputs(running *t, inputs *in) {
  const norm_case *c = t->c;
  const int64_t planes = c->x_per == CLQ_PER_TOKEN     ? c->rows
                         : c->x_per == CLQ_PER_CHANNEL ? c->cols
                                                       : 1;
  matrix_new(t, &in->x, c->rows, c->cols, c->x, true, x_maker(c->x), c->offset);
  matrix_new(t, &in->scale, 1, planes, CLQ_F32, false, make_scale, 0.0f);
  matrix_new(t, &in->zero, 1, planes, CLQ_I32, false, make_zero_point, 0.0f);
  matrix_new(t, &in->column, 1, c->cols, CLQ_F32, false, make_scale, 0.0f);
  matrix_new(t, &in->exponent, 1, c->cols, CLQ_I8, false, make_exponent, 0.0f);
  matrix_new(t, &in->bias, 1, c->cols, c->bias == 0 ? CLQ_F32 : c->bias, false, make_small, 0.0f);
  matrix_new(t, &in->residual, c->rows, c->cols, c->residual == 0 ? CLQ_F32 : c->residual, true,
             make_x, 0.0f);
  matrix_new(t, &in->gamma, 1, c->cols, c->gamma == 0 ? CLQ_F32 : c->gamma, false, make_gamma,
             0.0f);
  matrix_new(t, &in->beta, 1, c->cols, c->beta == 0 ? CLQ_F32 : c->beta, false, make_small, 0.0f);
  if (c->x >= CLQ_I8) {
    dequantize_x(c, in);
  }
}

/* ---------------------------------------------------------------- expected outputs */

typedef struct outputs {
  matrix out, scale, zero, sum, mean, rstd;
} outputs;

static bool is_codes(const norm_case *c) { return c->out == CLQ_I8 || c->out == CLQ_U8; }
static bool is_static(const norm_case *c) {
  return c->per == CLQ_PER_TENSOR || c->per == CLQ_PER_CHANNEL;
}
static int64_t group_of(const norm_case *c) { return c->per == CLQ_PER_GROUP ? c->group : c->cols; }

static void make_outputs(running *t, outputs *o) {
  const norm_case *c = t->c;
  const int64_t groups = (c->cols + group_of(c) - 1) / group_of(c);
  const bool given = is_static(c);
  const int64_t planes = c->per == CLQ_PER_CHANNEL ? c->cols : given ? 1 : c->rows * groups;
  matrix_new(t, &o->out, c->rows, c->cols, c->out, true, NULL, 0.0f);
  matrix_new(t, &o->scale, 1, planes, CLQ_F32, false, given ? make_scale : NULL, 0.0f);
  matrix_new(t, &o->zero, 1, planes, CLQ_I32, false, given ? make_zero_point : NULL, 0.0f);
  matrix_new(t, &o->sum, 1, given ? c->rows : planes, CLQ_I32, false, NULL, 0.0f);
  matrix_new(t, &o->mean, 1, c->rows, CLQ_F32, false, NULL, 0.0f);
  matrix_new(t, &o->rstd, 1, c->rows, CLQ_F32, false, NULL, 0.0f);
}

static void set(matrix *m, int64_t i, float v) {
  (void)store(m->stored + place(m, 0, i), m->type, v);
}

static void set_int(matrix *m, int64_t i, int32_t v) { memcpy(m->stored + 4 * i, &v, 4); }

/* One group of n elements from y: codes and planes as the contract has them. */
static void expect_group(const norm_case *c, outputs *o, const float *y, int64_t row, int64_t begin,
                         int64_t n, int64_t plane) {
  const int32_t lo = c->out == CLQ_U8 ? 0 : -128;
  int32_t *codes = malloc(((size_t)n + 1) * sizeof *codes);
  int32_t sum = 0;
  if (is_static(c)) {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = c->per == CLQ_PER_CHANNEL ? i : 0;
      const int32_t zero = c->zero ? (int32_t)o->zero.values[at] : 0;
      const float mult = clqi_ref_div(1.0f, o->scale.values[at]);
      codes[i] = clqi_ref_affine_code(y[i], mult, zero, lo);
      sum += codes[i];
    }
  } else if (c->zero) {
    float scale;
    int32_t zero;
    sum = clqi_ref_quantize_asymmetric(y, n, lo, codes, &scale, &zero);
    set(&o->scale, plane, scale);
    set_int(&o->zero, plane, zero);
  } else {
    int8_t *small = malloc((size_t)n + 1);
    float scale;
    sum = clqi_ref_quantize_group(y, n, small, &scale);
    for (int64_t i = 0; i < n; ++i) {
      codes[i] = small[i];
    }
    set(&o->scale, plane, scale);
    free(small);
  }
  for (int64_t i = 0; i < n; ++i) {
    (void)store(o->out.stored + place(&o->out, row, begin + i), c->out, (float)codes[i]);
  }
  if (c->sum) {
    set_int(&o->sum, is_static(c) ? row : plane, sum);
  }
  free(codes);
}

static void expect_row(const norm_case *c, outputs *o, const float *y, int64_t row) {
  if (!is_codes(c)) {
    for (int64_t i = 0; i < c->cols; ++i) {
      (void)store(o->out.stored + place(&o->out, row, i), c->out, y[i]);
    }
    return;
  }
  const int64_t group = group_of(c);
  const int64_t groups = (c->cols + group - 1) / group;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t begin = g * group;
    const int64_t n = begin + group <= c->cols ? group : c->cols - begin;
    expect_group(c, o, y + begin, row, begin, n, row * groups + g);
  }
}

static void expect(running *t, inputs *in, outputs *o) {
  const norm_case *c = t->c;
  const size_t rows = (size_t)c->rows;
  float *y = malloc(rows * (size_t)c->cols * sizeof *y);
  float *mean = malloc(rows * sizeof *mean);
  float *rstd = malloc(rows * sizeof *rstd);
  const clqi_ref_norm n = {
      .centered = c->centered,
      .x = in->x.values,
      .residual = c->residual == 0 ? NULL : in->residual.values,
      .residual_type = c->residual,
      .bias = c->bias == 0 ? NULL : in->bias.values,
      .gamma = c->gamma == 0 ? NULL : in->gamma.values,
      .beta = c->beta == 0 ? NULL : in->beta.values,
      .eps = c->eps == 0.0f  ? 1e-5f
             : c->eps < 0.0f ? 0.0f
                             : c->eps,
      .alpha = c->alpha == 0.0f ? 1.0f : c->alpha,
      .x_scale = c->x_scale == 0.0f ? 1.0f : c->x_scale,
      .cast = c->cast,
      .round = c->x >= CLQ_I8 ? CLQ_F32 : c->x,
  };
  clqi_ref_norm_rows(&n, c->rows, c->cols, y, mean, rstd);
  for (int64_t r = 0; r < c->rows; ++r) {
    if (!c->in_place) {
      expect_row(c, o, y + r * c->cols, r);
    }
    for (int64_t i = 0; c->in_place && i < c->cols; ++i) {
      (void)store(in->x.stored + place(&in->x, r, i), c->x, y[r * c->cols + i]);
    }
    for (int64_t i = 0; c->residual != 0 && !c->keep_residual && i < c->cols; ++i) {
      (void)store(in->residual.stored + place(&in->residual, r, i), c->residual,
                  in->residual.values[r * c->cols + i]);
    }
    if (c->mean) {
      set(&o->mean, r, mean[r]);
    }
    if (c->rstd) {
      set(&o->rstd, r, rstd[r]);
    }
  }
  free(y);
  free(mean);
  free(rstd);
}

/* ---------------------------------------------------------------- the call */

static clq_tensor optional(bool given, const matrix *m, bool line) {
  return given ? as_tensor(m, line) : (clq_tensor){0};
}

static void call(running *t, const inputs *in, const outputs *o) {
  const norm_case *c = t->c;
  clq_layernorm_args a = {
      .x = as_tensor(&in->x, false),
      .residual = optional(c->residual != 0, &in->residual, false),
      .bias = optional(c->bias != 0, &in->bias, true),
      .gamma = optional(c->gamma != 0, &in->gamma, true),
      .beta = optional(c->beta != 0, &in->beta, true),
      .column_scale = optional(c->column_scale, &in->column, true),
      .exponent = optional(c->exponent, &in->exponent, true),
      .mean = optional(c->mean, &o->mean, true),
      .rstd = optional(c->rstd, &o->rstd, true),
      .out = as_tensor(c->in_place ? &in->x : &o->out, false),
      .eps = c->eps,
      .alpha = c->alpha,
      .x_scale = c->x_scale,
      .keep_residual = c->keep_residual,
  };
  if (c->x_per != 0) {
    a.x.quant.per = c->x_per;
    a.x.quant.scale = in->scale.buffer.mem;
    a.x.quant.zero = c->x_zero ? in->zero.buffer.mem : NULL;
  }
  if (is_codes(c)) {
    a.out.quant = (clq_quant){.per = c->per,
                              .group = c->per == CLQ_PER_GROUP ? c->group : 0,
                              .scale = o->scale.buffer.mem,
                              .zero = c->zero ? o->zero.buffer.mem : NULL,
                              .sum = c->sum ? o->sum.buffer.mem : NULL};
  }
  test_norm(t->device, c->centered, c->cast, &a);
}

void norm_case_check(const test_device *device, const norm_case *given) {
  norm_case c = *given;
  c.x = c.x == 0 ? CLQ_F32 : c.x;
  c.out = c.out == 0 ? CLQ_F32 : c.out;
  running t = {.device = device, .c = &c, .random = {(uint64_t)(c.rows * 1000 + c.cols)}};
  inputs in;
  outputs o;
  describe(&t);
  make_inputs(&t, &in);
  make_outputs(&t, &o);
  call(&t, &in, &o);
  expect(&t, &in, &o);
  expect_bytes(&t, &o.scale, "scale");
  expect_bytes(&t, &o.zero, "zero");
  expect_bytes(&t, &o.mean, "mean");
  expect_bytes(&t, &o.rstd, "rstd");
  expect_bytes(&t, &in.x, "x");
  expect_bytes(&t, &in.residual, "residual");
  expect_bytes(&t, &o.out, "out");
  expect_bytes(&t, &o.sum, "sum");
  for (int i = 0; i < t.count; ++i) {
    test_buffer_free(&t.all[i]->buffer);
    free(t.all[i]->values);
    free(t.all[i]->stored);
  }
}

const char *norm_case_form(const test_forms *forms, const char *form) {
  static const char *const exchange[] = {"khr_subgroups", "intel_subgroups", "qcom_subgroups",
                                         "nvidia_ptx"};
  bool exchanges = false;
  for (size_t i = 0; i < sizeof exchange / sizeof exchange[0]; ++i) {
    exchanges = exchanges || test_has_trait(forms->device.context, exchange[i]);
  }
  return test_has_trait(forms->device.context, "cpu") ? "_rows" : exchanges ? form : "_stream";
}

void norm_case_saw(const test_forms *forms, const char *op, const char *form) {
  char expected[64];
  (void)snprintf(expected, sizeof expected, "%s%s", op, norm_case_form(forms, form));
  cr_assert(test_dispatch_saw(op, expected), "%s did not run as %s", op, expected);
}

static norm_case completed(norm_case c, const norm_case *base) {
  c.centered = base->centered;
  c.rows = c.rows == 0 ? base->rows : c.rows;
  c.cols = c.cols == 0 ? base->cols : c.cols;
  return c;
}

void norm_case_run(int forms, const norm_case *base, const norm_case *cases, size_t count) {
  test_forms f = {0};
  for (int form = 0; form < forms && test_forms_next(&f); ++form) {
    for (size_t i = 0; i < count; ++i) {
      const norm_case c = completed(cases[i], base);
      norm_case_check(&f.device, &c);
    }
  }
  test_forms_end(&f);
}

static size_t forms_of_the_device(void) {
  size_t count = 0;
  for (test_forms f = {0}; test_forms_next(&f);) {
    ++count;
  }
  return count;
}

void norm_case_spread(const norm_case *base, const norm_case *cases, size_t count) {
  const size_t forms = forms_of_the_device();
  if (forms <= 2) {
    norm_case_run(2, base, cases, count);
    return;
  }
  test_forms f = {0};
  for (size_t form = 0; form < forms - 1 && test_forms_next(&f); ++form) {
    for (size_t i = form; i < count; i += forms - 1) {
      const norm_case c = completed(cases[i], base);
      norm_case_check(&f.device, &c);
    }
  }
  test_forms_end(&f);
}

void norm_case_sweep(norm_case c, const int64_t *cols, size_t count) {
  const char *op = c.centered ? "layernorm" : "rmsnorm";
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t i = 0; i < count; ++i) {
      c.rows = 1 + (int64_t)(i % 5);
      c.cols = cols[i];
      c.pad = i % 2 == 0 ? 0 : 3;
      c.lead = (int64_t)(i % 16);
      norm_case_check(&f.device, &c);
    }
    norm_case_saw(&f, op, "_warp");
    norm_case_saw(&f, op, "_group");
  }
}
