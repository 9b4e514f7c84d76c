/* Products of floats that CLBlast computes where a tuned value asks for it. Fills are integers,
 * whose sums are exact in any order, so that equality with the plain reference is demanded. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/graph.h>
#include <clquant/tuning.h>

#include "device.h"
#include "opencl.h"
#include "ref/epilogue.h"
#include "ref/math.h"
#include "ref/weights.h"
#include "runtime/clblast.h"
#include "weights.h"

TestSuite(gemm_clblast, .fini = opencl_none_live);

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- the device, with the value set --- */

static void set_rows(const test_device *d, int32_t rows) {
  clq_tuning_value value;
  int32_t i = 0;
  do {
    test_ok(clq_tuning_get(d->context, i++, &value));
  } while (strcmp(value.name, "gemm_f32_many.clblast_rows") != 0);
  cr_assert_eq(value.standard, 0, "nobody gets it unasked");
  cr_assert(value.changes_bits && value.used);
  test_ok(clq_tuning_set(d->context, i - 1, rows));
}

static test_device open_with(int32_t rows) {
  if (clqi_clblast_missing() != NULL) {
    cr_skip_test("there is no %s", clqi_clblast_missing());
  }
  test_device d = test_device_open(NULL);
  set_rows(&d, rows);
  test_dispatch_start();
  return d;
}

static void close_after(test_device *d) {
  cr_assert(test_dispatch_saw("gemm", "gemm_f32_clblast"), "it did not run");
  test_dispatch_stop();
  test_device_close(d);
}

/* --- matrices of small integers --- */

/* [rows, cols] in a buffer of the type, from an odd place on; the rest of it is NaN. */
typedef struct matrix {
  clq_dtype dtype; /* 0: absent */
  int64_t rows, cols, stride, offset;
  float *values; /* dense */
  unsigned char *bytes;
  size_t size;
  test_buffer buffer;
} matrix;

static void put(const matrix *m, int64_t row, int64_t col, float value) {
  const size_t at = (size_t)(m->offset + row * m->stride + col) * clq_dtype_bytes(m->dtype);
  const uint16_t half = clqi_ref_f16_from_f32(value);
  const uint16_t brain = clqi_ref_bf16_from_f32(value);
  switch (m->dtype) {
    case CLQ_F16: memcpy(m->bytes + at, &half, sizeof half); break;
    case CLQ_BF16: memcpy(m->bytes + at, &brain, sizeof brain); break;
    case CLQ_I8: m->bytes[at] = (unsigned char)(int)value; break;
    default: memcpy(m->bytes + at, &value, sizeof value); break;
  }
}

static matrix matrix_new(const test_device *d, clq_dtype dtype, int64_t rows, int64_t cols,
                         int64_t gap, int64_t offset, test_random *random) {
  matrix m = {dtype, rows, cols, cols + gap, offset, NULL, NULL, 0, {0}};
  if (dtype == 0) {
    return m;
  }
  m.size = (size_t)(offset + (rows - 1) * m.stride + cols) * clq_dtype_bytes(dtype);
  m.bytes = malloc(m.size);
  m.values = malloc((size_t)(rows * cols) * sizeof *m.values);
  cr_assert(m.bytes != NULL && m.values != NULL);
  memset(m.bytes, 0xff, m.size);
  for (int64_t i = 0; i < rows * cols && random != NULL; ++i) {
    m.values[i] = (float)test_random_int(random, -3, 3);
    put(&m, i / cols, i % cols, m.values[i]);
  }
  m.buffer = test_buffer_new(d, m.bytes, m.size);
  return m;
}

static void matrix_free(matrix *m) {
  if (m->dtype != 0) {
    free(m->bytes);
    free(m->values);
    test_buffer_free(&m->buffer);
  }
}

static clq_tensor tensor_of(const matrix *m) {
  return m->dtype == 0 ? (clq_tensor){0}
                       : (clq_tensor){.mem = m->buffer.mem,
                                      .dtype = m->dtype,
                                      .shape = {m->rows, m->cols},
                                      .stride = {m->stride, 1},
                                      .offset = (uint64_t)m->offset * clq_dtype_bytes(m->dtype)};
}

static clq_tensor line_of(const matrix *m) {
  clq_tensor t = tensor_of(m);
  t.shape[0] = t.shape[1];
  t.stride[0] = t.shape[1] = t.stride[1] = 0;
  return t;
}

static void expect_bytes(const test_device *d, const matrix *m, const char *what) {
  unsigned char *actual = malloc(m->size);
  cr_assert_not_null(actual);
  test_buffer_read(d, &m->buffer, actual);
  const size_t bytes = clq_dtype_bytes(m->dtype);
  for (size_t i = 0; i < m->size; i += bytes) {
    cr_assert_arr_eq(actual + i, m->bytes + i, bytes, "%s: element %zu", what, i / bytes);
  }
  free(actual);
}

/* --- weights that are integers --- */

typedef struct form {
  clq_format format;
  int64_t group;
  bool zeros, order;
} form;

static void put_half(uint8_t *p, float value) {
  const uint16_t half = clqi_ref_f16_from_f32(value);
  memcpy(p, &half, sizeof half);
}

/* Of what test_weights_new made, scales become powers of two that keep products whole. */
static void make_whole(test_weights *w, test_random *random) {
  clqi_ref_weights *r = &w->ref;
  uint8_t *data = (uint8_t *)(size_t)r->data;
  const size_t count = (size_t)(r->rows * r->cols);
  const clqi_ref_block block = clqi_ref_block_of(r->format);
  if (r->format == CLQ_FORMAT_F32 || r->format == CLQ_FORMAT_F16 || r->format == CLQ_FORMAT_BF16) {
    for (size_t i = 0; i < count; ++i) {
      const float value = (float)test_random_int(random, -3, 3);
      const uint16_t brain = clqi_ref_bf16_from_f32(value);
      if (r->format == CLQ_FORMAT_F32) {
        memcpy(data + 4 * i, &value, 4);
      } else if (r->format == CLQ_FORMAT_F16) {
        put_half(data + 2 * i, value);
      } else {
        memcpy(data + 2 * i, &brain, 2);
      }
    }
  } else if (block.bytes != 0) {
    for (size_t b = 0; b < count / (size_t)block.elements; ++b) {
      uint8_t *at = data + b * (size_t)block.bytes;
      put_half(at + block.scale, test_random_int(random, 0, 1) == 0 ? 1.0f : -2.0f);
      if (block.min >= 0) {
        put_half(at + block.min, (float)test_random_int(random, -4, 4));
      }
    }
  } else {
    const int64_t groups = r->rows * ((r->cols + r->group - 1) / r->group);
    for (int64_t i = 0; i < groups; ++i) {
      ((float *)(size_t)r->scales)[i] = test_random_int(random, 0, 1) == 0 ? 2.0f : -1.0f;
    }
  }
}

/* A permutation: 7 apart, which no K here is a multiple of. */
static int32_t *order_new(int64_t cols) {
  int32_t *order = malloc((size_t)cols * sizeof *order);
  cr_assert_not_null(order);
  for (int64_t k = 0; k < cols; ++k) {
    order[k] = (int32_t)(7 * k % cols);
  }
  return order;
}

typedef struct weights {
  test_weights plain;
  int32_t *order;
  clq_weights *packed;
} weights;

static weights weights_new(const test_device *d, form f, int64_t n, int64_t k,
                           test_random *random) {
  weights w = {.plain = test_weights_new(random, f.format, n, k, f.group, f.zeros)};
  make_whole(&w.plain, random);
  w.order = f.order ? order_new(k) : NULL;
  w.plain.ref.order = w.order;
  w.packed = test_weights_pack(d, &w.plain);
  return w;
}

static void weights_free(weights *w) {
  clq_weights_destroy(w->packed);
  test_weights_free(&w->plain);
  free(w->order);
}

/* --- one product --- */

typedef struct ending {
  clq_dtype bias;
  clq_activation activation;
  clq_dtype gate, residual;
  bool in_place; /* the residual is out */
} ending;

typedef struct product {
  form w;
  clq_dtype x, out;
  int64_t x_group; /* of codes; 0: a row */
  ending end;
  int64_t m, n, k;
} product;

/* Scales of x, and zero points: powers of two, and integers. x.values become what codes stand for.
 */
typedef struct planes {
  test_buffer scale, zero;
} planes;

static planes planes_new(const test_device *d, const product *p, const matrix *x) {
  planes s = {.scale = {.mem = NULL}};
  if (x->dtype != CLQ_I8) {
    return s;
  }
  const int64_t group = p->x_group == 0 ? p->k : p->x_group;
  const int64_t groups = (p->k + group - 1) / group;
  const size_t count = (size_t)(p->m * groups);
  float *scale = malloc(count * sizeof *scale);
  int32_t *zero = malloc(count * sizeof *zero);
  cr_assert(scale != NULL && zero != NULL);
  for (size_t i = 0; i < count; ++i) {
    scale[i] = i % 3 == 0 ? 2.0f : 1.0f;
    zero[i] = (int32_t)(i % 5) - 2;
  }
  for (int64_t i = 0; i < p->m * p->k; ++i) {
    const int64_t at = i / p->k * groups + i % p->k / group;
    x->values[i] = (x->values[i] - (float)zero[at]) * scale[at];
  }
  s.scale = test_buffer_new(d, scale, count * sizeof *scale);
  s.zero = test_buffer_new(d, zero, count * sizeof *zero);
  free(scale);
  free(zero);
  return s;
}

static clq_tensor x_of(const product *p, const matrix *x, const planes *s) {
  clq_tensor t = tensor_of(x);
  if (x->dtype == CLQ_I8) {
    t.quant = (clq_quant){.per = p->x_group == 0 ? CLQ_PER_TOKEN : CLQ_PER_GROUP,
                          .group = (int32_t)p->x_group,
                          .scale = s->scale.mem,
                          .zero = s->zero.mem};
  }
  return t;
}

/* Codes per channel with scales and zero points that are given, and sums. */
typedef struct coder {
  float *scale;
  int32_t *zero, *sums;
  test_buffer scales, zeros, sum;
} coder;

static coder coder_new(const test_device *d, int64_t m, int64_t n) {
  coder c = {.scale = malloc((size_t)n * sizeof(float)),
             .zero = malloc((size_t)n * sizeof(int32_t)),
             .sums = calloc((size_t)m, sizeof(int32_t))};
  cr_assert(c.scale != NULL && c.zero != NULL && c.sums != NULL);
  for (int64_t i = 0; i < n; ++i) {
    c.scale[i] = 4.0f + (float)(i % 7);
    c.zero[i] = (int32_t)(i % 9) - 4;
  }
  c.scales = test_buffer_new(d, c.scale, (size_t)n * sizeof(float));
  c.zeros = test_buffer_new(d, c.zero, (size_t)n * sizeof(int32_t));
  c.sum = test_buffer_new(d, NULL, (size_t)m * sizeof(int32_t));
  return c;
}

static void coder_free(coder *c) {
  free(c->scale);
  free(c->zero);
  free(c->sums);
  test_buffer_free(&c->scales);
  test_buffer_free(&c->zeros);
  test_buffer_free(&c->sum);
}

/* What out must hold, into its host bytes. */
static void write_expected(const matrix *out, const coder *c, const float *v) {
  for (int64_t i = 0; i < out->rows * out->cols; ++i) {
    const int64_t n = i % out->cols;
    float value = v[i];
    if (out->dtype == CLQ_I8) {
      const int32_t code = clqi_ref_static_code(value, c->scale[n], c->zero[n], -128);
      c->sums[i / out->cols] += code;
      value = (float)code;
    }
    put(out, i / out->cols, n, value);
  }
}

static void check(const test_device *d, const product *p) {
  char what[128];
  (void)snprintf(what, sizeof what, "%s x %s -> %s, M=%lld N=%lld K=%lld", clq_dtype_name(p->x),
                 clq_format_name(p->w.format), clq_dtype_name(p->out), (long long)p->m,
                 (long long)p->n, (long long)p->k);
  test_random random = {11};
  const ending *e = &p->end;
  weights w = weights_new(d, p->w, p->n, p->k, &random);
  matrix x = matrix_new(d, p->x, p->m, p->k, 3, 5, &random);
  planes s = planes_new(d, p, &x);
  matrix bias = matrix_new(d, e->bias, 1, p->n, 0, 3, &random);
  matrix gate = matrix_new(d, e->gate, p->m, p->n, 5, 1, &random);
  matrix residual = matrix_new(d, e->in_place ? 0 : e->residual, p->m, p->n, 2, 7, &random);
  matrix out = matrix_new(d, p->out, p->m, p->n, 1, 3, e->in_place ? &random : NULL);
  coder c = coder_new(d, p->m, p->n);
  clq_gemm_args a = {.x = x_of(p, &x, &s),
                     .weights = w.packed,
                     .out = tensor_of(&out),
                     .bias = line_of(&bias),
                     .activation = e->activation,
                     .gate = tensor_of(&gate),
                     .residual = tensor_of(e->in_place ? &out : &residual)};
  if (p->out == CLQ_I8) {
    a.out.quant = (clq_quant){
        .per = CLQ_PER_CHANNEL, .scale = c.scales.mem, .zero = c.zeros.mem, .sum = c.sum.mem};
  }
  float *v = malloc((size_t)(p->m * p->n) * sizeof *v);
  cr_assert_not_null(v);
  clqi_ref_gemm_f32(x.values, p->k, p->m, &w.plain.ref, v, p->n);
  const clqi_ref_epilogue ref = {bias.values, e->activation, gate.values,
                                 e->in_place ? out.values : residual.values};
  clqi_ref_gemm_epilogue(&ref, p->m, p->n, v, p->n);
  write_expected(&out, &c, v);
  free(v);
  test_ok(clq_gemm(d->stream, &a));
  expect_bytes(d, &out, what);
  if (p->out == CLQ_I8) {
    int32_t *sums = malloc((size_t)p->m * sizeof *sums);
    cr_assert_not_null(sums);
    test_buffer_read(d, &c.sum, sums);
    cr_assert_arr_eq(sums, c.sums, (size_t)p->m * sizeof *sums, "%s: sums", what);
    free(sums);
  }
  coder_free(&c);
  matrix_free(&out);
  matrix_free(&residual);
  matrix_free(&gate);
  matrix_free(&bias);
  test_buffer_free(&s.scale);
  test_buffer_free(&s.zero);
  matrix_free(&x);
  weights_free(&w);
}

/* --- every class of weights, x and out --- */

Test(gemm_clblast, weights) {
  static const form forms[] = {
      {CLQ_FORMAT_F32, 0, false, false},  {CLQ_FORMAT_BF16, 0, false, false},
      {CLQ_FORMAT_Q4_1, 0, false, false}, {CLQ_FORMAT_Q2_K, 0, false, false},
      {CLQ_FORMAT_W3, 24, true, false},   {CLQ_FORMAT_W4, 40, true, true},
      {CLQ_FORMAT_W8, 0, false, true},    {CLQ_FORMAT_IQ4_NL, 0, false, false},
  };
  test_device d = open_with(17);
  for (size_t i = 0; i < COUNT(forms); ++i) {
    const clqi_ref_block block = clqi_ref_block_of(forms[i].format);
    const int64_t k = block.bytes != 0 ? (block.elements == 256 ? 512 : 96) : 299;
    check(&d, &(product){.w = forms[i], .x = CLQ_F32, .out = CLQ_F32, .m = 23, .n = 37, .k = k});
  }
  check(&d, &(product){.w = forms[0], .x = CLQ_F32, .out = CLQ_F32, .m = 17, .n = 1, .k = 1});
  close_after(&d);
}

Test(gemm_clblast, types) {
  static const form f16 = {CLQ_FORMAT_F16, 0, false, false};
  static const struct {
    clq_dtype x, out;
    int64_t group;
  } types[] = {
      {CLQ_F16, CLQ_F32, 0}, {CLQ_BF16, CLQ_BF16, 0}, {CLQ_I8, CLQ_F32, 0}, {CLQ_I8, CLQ_F32, 24}};
  test_device d = open_with(17);
  for (size_t i = 0; i < COUNT(types); ++i) {
    check(&d, &(product){.w = f16,
                         .x = types[i].x,
                         .out = types[i].out,
                         .x_group = types[i].group,
                         .m = 19,
                         .n = 53,
                         .k = 77});
  }
  close_after(&d);
}

Test(gemm_clblast, epilogue) {
  static const form q4_0 = {CLQ_FORMAT_Q4_0, 0, false, false};
  static const ending endings[] = {
      {CLQ_F16, CLQ_ACTIVATION_GELU, 0, CLQ_F32, false},
      {CLQ_F32, CLQ_ACTIVATION_GELU, 0, CLQ_F32, true},
      {0, CLQ_ACTIVATION_SILU, CLQ_BF16, 0, false},
      {CLQ_F32, CLQ_ACTIVATION_NONE, 0, 0, false},
  };
  static const clq_dtype outs[] = {CLQ_F32, CLQ_F32, CLQ_F16, CLQ_I8};
  test_device d = open_with(17);
  for (size_t i = 0; i < COUNT(endings); ++i) {
    check(&d, &(product){.w = q4_0,
                         .x = i == 2 ? CLQ_F16 : CLQ_F32,
                         .out = outs[i],
                         .end = endings[i],
                         .m = 33,
                         .n = 45,
                         .k = 64});
  }
  close_after(&d);
}

/* The longest K: 8 rows of f16 and 16 columns are what the scratch memory takes at once. */
Test(gemm_clblast, slices) {
  static const form f16 = {CLQ_FORMAT_F16, 0, false, false};
  static const ending bias = {CLQ_F32, CLQ_ACTIVATION_NONE, 0, 0, false};
  test_device d = open_with(17);
  check(&d,
        &(product){
            .w = f16, .x = CLQ_F16, .out = CLQ_F32, .end = bias, .m = 17, .n = 17, .k = 524288});
  close_after(&d);
}

/* --- which calls --- */

Test(gemm_clblast, only_where_it_is_asked_for) {
  static const form f32 = {CLQ_FORMAT_F32, 0, false, false};
  product p = {.w = f32, .x = CLQ_F32, .out = CLQ_F32, .m = 64, .n = 20, .k = 32};
  test_device d = open_with(65);
  check(&d, &p);
  cr_assert_not(test_dispatch_saw("gemm", "gemm_f32_clblast"), "64 rows");
  p.m = 65;
  check(&d, &p);
  cr_assert(test_dispatch_saw("gemm", "gemm_f32_clblast"), "65 rows");
  test_dispatch_stop();
  set_rows(&d, 0);
  test_dispatch_start();
  check(&d, &p);
  cr_assert_not(test_dispatch_saw("gemm", "gemm_f32_clblast"), "unasked");
  test_dispatch_stop();
  test_device_close(&d);
}

/* --- several, in a call and in a graph --- */

enum { M = 21, HIDDEN = 96, WIDTH = 64 };

/* x -> out by way of hidden, an edge where there is a graph. */
typedef struct chain {
  weights up, down;
  matrix x, hidden, out;
  clq_gemm_args args[2];
} chain;

static chain chain_new(const test_device *d) {
  static const form q4_0 = {CLQ_FORMAT_Q4_0, 0, false, false};
  static const form f16 = {CLQ_FORMAT_F16, 0, false, false};
  test_random random = {3};
  chain c = {.up = weights_new(d, f16, HIDDEN, WIDTH, &random),
             .down = weights_new(d, q4_0, WIDTH, HIDDEN, &random),
             .x = matrix_new(d, CLQ_F16, M, WIDTH, 0, 0, &random),
             .hidden = matrix_new(d, CLQ_F32, M, HIDDEN, 0, 0, NULL),
             .out = matrix_new(d, CLQ_F32, M, WIDTH, 0, 0, NULL)};
  c.args[0] = (clq_gemm_args){.x = tensor_of(&c.x),
                              .weights = c.up.packed,
                              .out = tensor_of(&c.hidden),
                              .activation = CLQ_ACTIVATION_RELU};
  c.args[1] = (clq_gemm_args){
      .x = tensor_of(&c.hidden), .weights = c.down.packed, .out = tensor_of(&c.out)};
  float hidden[M * HIDDEN];
  float out[M * WIDTH];
  clqi_ref_gemm_f32(c.x.values, WIDTH, M, &c.up.plain.ref, hidden, HIDDEN);
  for (int i = 0; i < M * HIDDEN; ++i) {
    hidden[i] = fmaxf(hidden[i], 0.0f);
    put(&c.hidden, i / HIDDEN, i % HIDDEN, hidden[i]);
  }
  clqi_ref_gemm_f32(hidden, HIDDEN, M, &c.down.plain.ref, out, WIDTH);
  for (int i = 0; i < M * WIDTH; ++i) {
    put(&c.out, i / WIDTH, i % WIDTH, out[i]);
  }
  return c;
}

static void chain_free(chain *c) {
  weights_free(&c->up);
  weights_free(&c->down);
  matrix_free(&c->x);
  matrix_free(&c->hidden);
  matrix_free(&c->out);
}

Test(gemm_clblast, grouped) {
  test_device d = open_with(17);
  chain c = chain_new(&d);
  test_ok(clq_gemm_grouped(d.stream, c.args, 2));
  expect_bytes(&d, &c.hidden, "the first");
  expect_bytes(&d, &c.out, "the second");
  chain_free(&c);
  close_after(&d);
}

static clq_plan *plan_of(const test_device *d, const chain *c) {
  clq_graph *graph = NULL;
  clq_plan *plan = NULL;
  test_ok(clq_graph_create(d->context, &graph));
  for (int i = 0; i < 2; ++i) {
    test_ok(clq_graph_add(graph, CLQ_OP_GEMM, &c->args[i]));
  }
  test_ok(clq_plan_create(graph, &plan));
  clq_graph_destroy(graph);
  return plan;
}

static void forget(const test_device *d, const matrix *m) {
  const cl_uchar nan = 0xff;
  cr_assert_eq(clEnqueueFillBuffer(clq_stream_queue(d->stream), m->buffer.mem, &nan, 1, 0, m->size,
                                   0, NULL, NULL),
               CL_SUCCESS);
}

/* A plan calls CLBlast anew in every run, with scratch memory of its own. */
Test(gemm_clblast, plans) {
  test_device d = open_with(17);
  chain c = chain_new(&d);
  clq_plan *plan = plan_of(&d, &c);
  for (int run = 0; run < 2; ++run) {
    forget(&d, &c.out);
    test_ok(clq_plan_run(plan, d.stream));
    expect_bytes(&d, &c.out, "a run");
  }
  clq_trace *trace = NULL;
  clq_kernel_time times[16];
  uint64_t calls = 0;
  test_ok(clq_trace_create(&trace));
  forget(&d, &c.out);
  test_ok(clq_plan_run_traced(plan, d.stream, trace));
  expect_bytes(&d, &c.out, "a traced run");
  const int32_t count = clq_trace_kernels(trace, times, COUNT(times));
  for (int32_t i = 0; i < count; ++i) {
    calls += strcmp(times[i].name, "CLBlastSgemm") == 0 ? times[i].calls : 0U;
  }
  cr_assert_eq(calls, 2);
  clq_trace_destroy(trace);
  clq_plan_destroy(plan);
  chain_free(&c);
  close_after(&d);
}

/* --- failures --- */

Test(gemm_clblast, failures_leave_the_stream_usable) {
  test_device d = open_with(17);
  chain c = chain_new(&d);
  opencl_fail(OPENCL_CREATE_BUFFER, 0);
  test_fails(clq_gemm(d.stream, &c.args[0]), CLQ_OUT_OF_DEVICE_MEMORY,
             "gemm: floats for CLBlast: a buffer of");
  test_ok(clq_gemm(d.stream, &c.args[0]));
  expect_bytes(&d, &c.hidden, "behind a lack of memory");
  opencl_fail(OPENCL_CLBLAST, 0);
  test_fails(clq_gemm(d.stream, &c.args[1]), CLQ_DEVICE_ERROR, "CLBlastSgemm failed with -5");
  test_ok(clq_stream_finish(d.stream));
  test_ok(clq_gemm(d.stream, &c.args[1]));
  test_ok(clq_stream_finish(d.stream));
  expect_bytes(&d, &c.out, "behind a failure");

  clq_graph *graph = NULL;
  clq_plan *plan = NULL;
  test_ok(clq_graph_create(d.context, &graph));
  test_ok(clq_graph_add(graph, CLQ_OP_GEMM, &c.args[0]));
  opencl_fail(OPENCL_CREATE_BUFFER, 1); /* behind the plan's error word */
  test_fails(clq_plan_create(graph, &plan), CLQ_OUT_OF_DEVICE_MEMORY,
             "plan: node 0 (gemm): gemm: floats for CLBlast");
  clq_graph_destroy(graph);
  plan = plan_of(&d, &c);
  opencl_fail(OPENCL_CLBLAST, 0);
  test_fails(clq_plan_run(plan, d.stream), CLQ_DEVICE_ERROR, "plan: node 0 (gemm): CLBlastSgemm");
  forget(&d, &c.out);
  test_ok(clq_plan_run(plan, d.stream));
  expect_bytes(&d, &c.out, "a plan behind a failure");
  clq_plan_destroy(plan);
  chain_free(&c);
  close_after(&d);
}

/* --- the bound of the header, for what no integers are --- */

static void expect_bound(const float *x, const float *w, const float *out, int64_t m, int64_t n,
                         int64_t k) {
  double worst = 0.0;
  for (int64_t i = 0; i < m * n; ++i) {
    double sum = 0.0;
    double size = 0.0;
    for (int64_t j = 0; j < k; ++j) {
      const double term = (double)x[i / n * k + j] * (double)w[i % n * k + j];
      sum += term;
      size += fabs(term);
    }
    const double error = fabs((double)out[i] - sum);
    cr_assert_leq(error, (double)k * 0x1p-23 * size, "element %lld", (long long)i);
    worst = fmax(worst, error);
  }
  cr_assert_gt(worst, 0.0, "sums that are rounded nowhere show nothing");
}

Test(gemm_clblast, bound) {
  enum { ROWS = 33, COLS = 40, DEPTH = 3001 };
  test_device d = open_with(17);
  test_random random = {17};
  test_weights plain = test_weights_new(&random, CLQ_FORMAT_F32, COLS, DEPTH, 0, false);
  clq_weights *packed = test_weights_pack(&d, &plain);
  float *x = malloc(sizeof(float) * ROWS * DEPTH);
  float *actual = malloc(sizeof(float) * ROWS * COLS);
  cr_assert(x != NULL && actual != NULL);
  for (int i = 0; i < ROWS * DEPTH; ++i) {
    x[i] = test_random_normal(&random);
  }
  test_buffer in = test_buffer_new(&d, x, sizeof(float) * ROWS * DEPTH);
  test_buffer out = test_buffer_new(&d, NULL, sizeof(float) * ROWS * COLS);
  test_ok(clq_gemm(d.stream, &(clq_gemm_args){.x = {in.mem, CLQ_F32, {ROWS, DEPTH}},
                                              .weights = packed,
                                              .out = {out.mem, CLQ_F32, {ROWS, COLS}}}));
  test_buffer_read(&d, &out, actual);
  expect_bound(x, plain.ref.data, actual, ROWS, COLS, DEPTH);
  free(x);
  free(actual);
  test_buffer_free(&in);
  test_buffer_free(&out);
  clq_weights_destroy(packed);
  test_weights_free(&plain);
  close_after(&d);
}
