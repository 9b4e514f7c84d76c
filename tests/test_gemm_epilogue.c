/* What follows a product in the launch of gemm, in every back end: against the plain reference, and
 * against the operators that it stands for, bit for bit. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/graph.h>

#include "device.h"
#include "opencl.h"
#include "ref/epilogue.h"
#include "ref/math.h"
#include "ref/norm.h"
#include "ref/ref.h"
#include "runtime/context.h"
#include "weights.h"

TestSuite(gemm_epilogue, .fini = opencl_none_live);

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- matrices of any type --- */

/* [rows, cols] in a buffer; of vectors rows is 1. dtype 0: absent. */
typedef struct matrix {
  clq_dtype dtype;
  int64_t rows, cols;
  int64_t stride, offset; /* elements */
  float *values;          /* dense, as the device reads them */
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
    case CLQ_I8:
    case CLQ_U8: m->bytes[at] = (unsigned char)(int)value; break;
    default: memcpy(m->bytes + at, &value, sizeof value); break;
  }
}

/* Random, in [-2, 2). */
static matrix matrix_new(const test_device *d, clq_dtype dtype, int64_t rows, int64_t cols,
                         int64_t gap, int64_t offset, test_random *random) {
  matrix m = {dtype, rows, cols, cols + gap, offset, NULL, NULL, 0, {0}};
  if (dtype == 0) {
    return m;
  }
  m.size = (size_t)(offset + (rows - 1) * m.stride + cols) * clq_dtype_bytes(dtype);
  m.bytes = malloc(m.size);
  m.values = malloc((size_t)(rows * cols) * sizeof *m.values);
  memset(m.bytes, 0xA5, m.size);
  for (int64_t i = 0; i < rows * cols && dtype <= CLQ_BF16; ++i) {
    m.values[i] = clqi_ref_rounded(2.0f * test_random_float(random), dtype);
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

/* --- products --- */

typedef enum input { X_F32, X_TOKEN, X_GROUPED } input;

typedef struct form {
  clq_format format;
  input x;
  int64_t group; /* of W4 */
  bool zeros;
} form;

/* What follows; types 0: absent. */
typedef struct ending {
  clq_dtype bias;
  clq_activation activation;
  clq_dtype gate, residual;
  bool in_place; /* the residual is out */
  clq_dtype out;
  clq_granularity per; /* of codes */
  bool zero, sum;
} ending;

typedef struct shape {
  int64_t m, n, k;
} shape;

/* x, W and what they give. */
typedef struct product {
  form form;
  shape s;
  test_buffer x, scales;
  test_weights weights;
  clq_weights *packed;
  float *values; /* [m, n] */
} product;

static product product_new(const test_device *d, form f, shape s, test_random *random) {
  product p = {.form = f, .s = s};
  const size_t elements = (size_t)(s.m * s.k);
  const int64_t group = f.x == X_GROUPED ? 32 : s.k;
  const size_t scales = (size_t)(s.m * ((s.k + group - 1) / group));
  float *floats = malloc(elements * sizeof *floats);
  int8_t *codes = malloc(elements);
  float *scale = malloc(scales * sizeof *scale);
  for (size_t i = 0; i < elements; ++i) {
    floats[i] = test_random_float(random);
    codes[i] = (int8_t)test_random_int(random, -127, 127);
  }
  for (size_t i = 0; i < scales; ++i) {
    scale[i] = 0x1p-5f * test_random_float(random);
  }
  p.weights = test_weights_new(random, f.format, s.n, s.k, f.group, f.zeros);
  p.packed = test_weights_pack(d, &p.weights);
  p.values = malloc((size_t)(s.m * s.n) * sizeof *p.values);
  if (f.x == X_F32) {
    clqi_ref_gemm_f32(floats, s.k, s.m, &p.weights.ref, p.values, s.n);
  } else {
    clqi_ref_gemm_q8(codes, s.k, scale, f.x == X_GROUPED ? 32 : 0, s.m, &p.weights.ref, p.values,
                     s.n);
  }
  p.x = f.x == X_F32 ? test_buffer_new(d, floats, elements * sizeof *floats)
                     : test_buffer_new(d, codes, elements);
  p.scales = test_buffer_new(d, scale, scales * sizeof *scale);
  free(floats);
  free(codes);
  free(scale);
  return p;
}

static void product_free(product *p) {
  clq_weights_destroy(p->packed);
  test_weights_free(&p->weights);
  test_buffer_free(&p->x);
  test_buffer_free(&p->scales);
  free(p->values);
}

static clq_tensor x_of(const product *p) {
  clq_tensor x = {p->x.mem, p->form.x == X_F32 ? CLQ_F32 : CLQ_I8, {p->s.m, p->s.k}};
  if (p->form.x != X_F32) {
    x.quant = (clq_quant){.per = p->form.x == X_GROUPED ? CLQ_PER_GROUP : CLQ_PER_TOKEN,
                          .group = p->form.x == X_GROUPED ? 32 : 0,
                          .scale = p->scales.mem};
  }
  return x;
}

/* Scales and zero points that are given. */
typedef struct coder {
  int64_t count;
  float *scale;
  int32_t *zero;
  test_buffer scales, zeros;
} coder;

static coder coder_new(const test_device *d, const ending *e, int64_t n, test_random *random) {
  coder c = {.count = e->per == CLQ_PER_CHANNEL ? n : 1};
  c.scale = malloc((size_t)c.count * sizeof *c.scale);
  c.zero = malloc((size_t)c.count * sizeof *c.zero);
  for (int64_t i = 0; i < c.count; ++i) {
    c.scale[i] = i % 11 == 10 ? INFINITY : 0.015f * (1.5f + test_random_float(random));
    c.zero[i] = e->zero ? test_random_int(random, -40, 90) : 0;
  }
  c.scales = test_buffer_new(d, c.scale, (size_t)c.count * sizeof *c.scale);
  c.zeros = test_buffer_new(d, c.zero, (size_t)c.count * sizeof *c.zero);
  return c;
}

static void coder_free(coder *c) {
  free(c->scale);
  free(c->zero);
  test_buffer_free(&c->scales);
  test_buffer_free(&c->zeros);
}

static bool is_codes(const ending *e) { return e->out == CLQ_I8 || e->out == CLQ_U8; }

/* What out must hold, into its host bytes; of codes, their sums. */
static void write_expected(const matrix *out, const ending *e, const coder *c, const float *v,
                           int32_t *sums) {
  for (int64_t m = 0; m < out->rows; ++m) {
    sums[m] = 0;
    for (int64_t n = 0; n < out->cols; ++n) {
      float value = v[m * out->cols + n];
      if (is_codes(e)) {
        const int64_t i = c->count == 1 ? 0 : n;
        const int32_t code =
            clqi_ref_static_code(value, c->scale[i], c->zero[i], e->out == CLQ_U8 ? 0 : -128);
        sums[m] += code;
        value = (float)code;
      }
      put(out, m, n, value);
    }
  }
}

static void expect_out(const test_device *d, const matrix *out, const form *f, const ending *e,
                       shape s) {
  unsigned char *actual = malloc(out->size);
  test_buffer_read(d, &out->buffer, actual);
  const size_t bytes = clq_dtype_bytes(out->dtype);
  for (size_t i = 0; i < out->size; i += bytes) {
    cr_assert_arr_eq(&actual[i], &out->bytes[i], bytes,
                     "%s x %d -> %s, M=%lld N=%lld K=%lld: element %zu", clq_format_name(f->format),
                     (int)f->x, clq_dtype_name(e->out), (long long)s.m, (long long)s.n,
                     (long long)s.k, i / bytes);
  }
  free(actual);
}

/* One product with one ending, all operands at odd places. */
static void check(const test_device *d, form f, const ending *e, shape s, test_random *random) {
  product p = product_new(d, f, s, random);
  matrix bias = matrix_new(d, e->bias, 1, s.n, 0, 3, random);
  matrix gate = matrix_new(d, e->gate, s.m, s.n, 5, 1, random);
  matrix residual = matrix_new(d, e->in_place ? 0 : e->residual, s.m, s.n, 2, 7, random);
  matrix out = matrix_new(d, e->out, s.m, s.n, s.m % 4, s.n % 3, random);
  coder c = coder_new(d, e, s.n, random);
  test_buffer sum = test_buffer_new(d, NULL, (size_t)s.m * sizeof(int32_t));
  int32_t *sums = malloc((size_t)s.m * sizeof *sums);
  int32_t *actual = malloc((size_t)s.m * sizeof *actual);

  clq_gemm_args a = {.x = x_of(&p),
                     .weights = p.packed,
                     .out = tensor_of(&out),
                     .bias = line_of(&bias),
                     .activation = e->activation,
                     .gate = tensor_of(&gate),
                     .residual = tensor_of(e->in_place ? &out : &residual)};
  if (is_codes(e)) {
    a.out.quant = (clq_quant){.per = e->per,
                              .scale = c.scales.mem,
                              .zero = e->zero ? c.zeros.mem : NULL,
                              .sum = e->sum ? sum.mem : NULL};
  }
  const clqi_ref_epilogue ref = {bias.values, e->activation, gate.values,
                                 e->in_place ? out.values : residual.values};
  clqi_ref_gemm_epilogue(&ref, s.m, s.n, p.values, s.n);
  write_expected(&out, e, &c, p.values, sums);
  /* Twice, where nothing of the first call is read by the second: sums begin at zero. */
  for (int i = 0; i < (e->in_place ? 1 : 2); ++i) {
    test_ok(clq_gemm(d->stream, &a));
  }
  expect_out(d, &out, &f, e, s);
  if (e->sum) {
    test_buffer_read(d, &sum, actual);
    cr_assert_arr_eq(actual, sums, (size_t)s.m * sizeof *sums, "sums, M=%lld N=%lld",
                     (long long)s.m, (long long)s.n);
  }
  free(sums);
  free(actual);
  test_buffer_free(&sum);
  coder_free(&c);
  matrix_free(&bias);
  matrix_free(&gate);
  matrix_free(&residual);
  matrix_free(&out);
  product_free(&p);
}

/* Between them every part, every type of it, and every type of out. */
static const ending codes_with_all = {CLQ_F32, CLQ_ACTIVATION_RELU, CLQ_F16, CLQ_BF16, false,
                                      CLQ_I8,  CLQ_PER_TENSOR,      true,    true};
static const ending floats_in_place = {
    CLQ_BF16, CLQ_ACTIVATION_GELU, CLQ_F32, CLQ_F32, true, CLQ_F32, 0, false, false};
static const ending codes_by_channel = {CLQ_F16, CLQ_ACTIVATION_GELU_TANH, 0,    0,   false,
                                        CLQ_U8,  CLQ_PER_CHANNEL,          true, true};
static const ending brains = {
    0, CLQ_ACTIVATION_SILU, CLQ_BF16, CLQ_F16, false, CLQ_BF16, 0, false, false};
static const ending only_brains = {0, 0, 0, 0, false, CLQ_BF16, 0, false, false};
static const ending halves_in_place = {0, 0, 0, CLQ_F16, true, CLQ_F16, 0, false, false};
static const ending only_codes = {0, 0, 0, 0, false, CLQ_I8, CLQ_PER_CHANNEL, false, false};
static const ending only_bias = {CLQ_F32, 0, 0, 0, false, CLQ_F32, 0, false, false};

static const form q4_1 = {CLQ_FORMAT_Q4_1, X_GROUPED, 0, false};
static const form q8_0 = {CLQ_FORMAT_Q8_0, X_TOKEN, 0, false};
static const form w4 = {CLQ_FORMAT_W4, X_TOKEN, 40, true};
static const form w4_floats = {CLQ_FORMAT_W4, X_F32, 24, true};
static const form f16_floats = {CLQ_FORMAT_F16, X_F32, 0, false};

typedef struct pair {
  const form *form;
  const ending *ending;
} pair;

typedef struct back_end {
  const char *disable;
  const char *needs; /* a trait, or NULL */
  const char *row, *tile;
  const char *more; /* another one, or NULL */
} back_end;

static void sweep(const back_end *b, const pair *pairs, size_t count) {
  static const shape shapes[] = {{1, 33, 96},   {1, 300, 4192}, {2, 21, 352}, {7, 18, 32},
                                 {9, 35, 4192}, {130, 20, 64},  {12, 1, 32},  {3, 500, 32}};
  test_device d = test_device_open(b->disable);
  if (b->needs != NULL && !test_has_trait(d.context, b->needs)) {
    test_device_close(&d);
    cr_skip_test("the device has no %s", b->needs);
  }
  test_random random = {31};
  test_dispatch_start();
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j < COUNT(shapes); ++j) {
      check(&d, *pairs[i].form, pairs[i].ending, shapes[j], &random);
    }
  }
  cr_assert(test_dispatch_saw("gemm", b->row), "%s did not run", b->row);
  cr_assert(test_dispatch_saw("gemm", b->tile), "%s did not run", b->tile);
  cr_assert(b->more == NULL || test_dispatch_saw("gemm", b->more), "%s did not run", b->more);
  test_dispatch_stop();
  test_device_close(&d);
}

Test(gemm_epilogue, vnni) {
  static const back_end b = {NULL, "x86_vnni", "gemm_q8_row_vnni", "gemm_q8_tile_vnni", NULL};
  static const pair pairs[] = {{&q4_1, &codes_with_all},   {&w4, &floats_in_place},
                               {&q8_0, &codes_by_channel}, {&q4_1, &brains},
                               {&q4_1, &only_brains},      {&q8_0, &halves_in_place},
                               {&q4_1, &only_codes},       {&q4_1, &only_bias}};
  sweep(&b, pairs, COUNT(pairs));
}

Test(gemm_epilogue, avx2) {
  static const back_end b = {"x86_vnni", "x86_avx2", "gemm_q8_row_avx2", "gemm_q8_tile_avx2", NULL};
  static const pair pairs[] = {{&q8_0, &codes_with_all}, {&w4, &floats_in_place}};
  sweep(&b, pairs, COUNT(pairs));
}

Test(gemm_epilogue, plain_vectors) {
  static const back_end b = {"x86_vnni,x86_avx2,x86_avx512,x86_f16c", "cpu", "gemm_q8_row",
                             "gemm_q8_tile", NULL};
  static const pair pairs[] = {{&w4, &codes_with_all}, {&q4_1, &brains}};
  sweep(&b, pairs, COUNT(pairs));
}

Test(gemm_epilogue, lanes) {
  static const back_end b = {"cpu", NULL, "gemm_q8_lane_row", "gemm_q8_lane", "gemm_q8_split"};
  static const pair pairs[] = {{&q4_1, &codes_with_all},
                               {&w4, &floats_in_place},
                               {&q8_0, &codes_by_channel},
                               {&q4_1, &brains}};
  sweep(&b, pairs, COUNT(pairs));
}

/* The kernel of tensor cores in the plain form of lib/mma.h. */
Test(gemm_epilogue, plain_matrices) {
  test_device d = test_device_open("cpu,nvidia_ptx");
  d.context->traits |= CLQI_BIT(NVIDIA_MMA);
  test_random random = {29};
  test_dispatch_start();
  check(&d, q4_1, &codes_with_all, (shape){9, 35, 96}, &random);
  check(&d, q4_1, &codes_with_all, (shape){40, 270, 64}, &random);
  cr_assert(test_dispatch_saw("gemm", "gemm_q8_mma"));
  test_dispatch_stop();
  test_device_close(&d);
}

Test(gemm_epilogue, float_tiles) {
  static const back_end b = {NULL, "cpu", "gemm_f32_row", "gemm_f32_tile", NULL};
  static const pair pairs[] = {{&w4_floats, &codes_with_all},
                               {&f16_floats, &floats_in_place},
                               {&f16_floats, &codes_by_channel},
                               {&w4_floats, &only_bias}};
  sweep(&b, pairs, COUNT(pairs));
}

Test(gemm_epilogue, float_lanes) {
  static const back_end b = {"cpu", NULL, "gemm_f32_lane_row", "gemm_f32_lane", NULL};
  static const pair pairs[] = {{&w4_floats, &codes_by_channel}, {&f16_floats, &brains}};
  sweep(&b, pairs, COUNT(pairs));
}

/* A K beyond what a tile holds at once, where out cannot keep partial sums. */
Test(gemm_epilogue, long_rows) {
  test_device d = test_device_open(NULL);
  test_random random = {37};
  check(&d, q8_0, &floats_in_place, (shape){9, 3, 16416}, &random);
  check(&d, q8_0, &codes_with_all, (shape){1, 3, 16416}, &random);
  check(&d, q8_0, &floats_in_place, (shape){9, 3, 32800}, &random);
  check(&d, w4_floats, &floats_in_place, (shape){9, 2, 16416}, &random);
  test_device_close(&d);
}

/* Small enough for a simulated device. */
Test(gemm_epilogue, tiny_shapes) {
  test_device d = test_device_open(NULL);
  test_random random = {41};
  for (int64_t m = 1; m <= 9; m += 4) {
    check(&d, q4_1, &codes_with_all, (shape){m, 19, 64}, &random);
    check(&d, w4, &floats_in_place, (shape){m, 19, 350}, &random);
    check(&d, w4_floats, &codes_by_channel, (shape){m, 19, 77}, &random);
  }
  test_device_close(&d);
}

/* --- against the operators that it stands for --- */

typedef struct pieces {
  test_device d;
  product p;
  matrix product, other, fused, unfused;
} pieces;

static pieces pieces_new(clq_dtype out, shape s) {
  pieces x = {.d = test_device_open(NULL)};
  test_random random = {43};
  x.p = product_new(&x.d, q4_1, s, &random);
  x.product = matrix_new(&x.d, CLQ_F32, s.m, s.n, 0, 0, &random);
  x.other = matrix_new(&x.d, CLQ_F32, s.m, s.n, 0, 0, &random);
  x.fused = matrix_new(&x.d, out, s.m, s.n, 0, 0, &random);
  x.unfused = matrix_new(&x.d, out, s.m, s.n, 0, 0, &random);
  test_ok(clq_gemm(x.d.stream, &(clq_gemm_args){x_of(&x.p), x.p.packed, tensor_of(&x.product)}));
  return x;
}

static void pieces_expect_same(pieces *x) {
  unsigned char *a = malloc(x->fused.size);
  unsigned char *b = malloc(x->fused.size);
  test_buffer_read(&x->d, &x->fused.buffer, a);
  test_buffer_read(&x->d, &x->unfused.buffer, b);
  cr_assert_arr_eq(a, b, x->fused.size);
  free(a);
  free(b);
}

static void pieces_free(pieces *x) {
  matrix_free(&x->product);
  matrix_free(&x->other);
  matrix_free(&x->fused);
  matrix_free(&x->unfused);
  product_free(&x->p);
  test_device_close(&x->d);
}

Test(gemm_epilogue, silu_and_gate_are_activate) {
  for (int64_t m = 1; m <= 11; m += 10) {
    pieces x = pieces_new(CLQ_F32, (shape){m, 45, 224});
    test_ok(clq_activate(x.d.stream, &(clq_activate_args){.x = tensor_of(&x.product),
                                                          .activation = CLQ_ACTIVATION_SILU,
                                                          .up = tensor_of(&x.other),
                                                          .out = tensor_of(&x.unfused)}));
    test_ok(clq_gemm(x.d.stream, &(clq_gemm_args){.x = x_of(&x.p),
                                                  .weights = x.p.packed,
                                                  .out = tensor_of(&x.fused),
                                                  .activation = CLQ_ACTIVATION_SILU,
                                                  .gate = tensor_of(&x.other)}));
    pieces_expect_same(&x);
    pieces_free(&x);
  }
}

Test(gemm_epilogue, a_residual_is_add) {
  for (int64_t m = 1; m <= 11; m += 10) {
    pieces x = pieces_new(CLQ_F32, (shape){m, 45, 224});
    test_ok(clq_add(x.d.stream, &(clq_add_args){tensor_of(&x.product), tensor_of(&x.other),
                                                tensor_of(&x.unfused)}));
    test_ok(clq_gemm(x.d.stream, &(clq_gemm_args){.x = x_of(&x.p),
                                                  .weights = x.p.packed,
                                                  .out = tensor_of(&x.fused),
                                                  .residual = tensor_of(&x.other)}));
    pieces_expect_same(&x);
    pieces_free(&x);
  }
}

Test(gemm_epilogue, codes_are_those_of_quantize) {
  static const ending endings[] = {
      {.out = CLQ_I8, .per = CLQ_PER_TENSOR, .zero = true},
      {.out = CLQ_U8, .per = CLQ_PER_CHANNEL, .zero = true},
      {.out = CLQ_I8, .per = CLQ_PER_CHANNEL},
  };
  enum { M = 11 };
  for (size_t i = 0; i < COUNT(endings); ++i) {
    pieces x = pieces_new(endings[i].out, (shape){M, 45, 224});
    test_random random = {47};
    coder c = coder_new(&x.d, &endings[i], 45, &random);
    test_buffer sums[2];
    int32_t values[2][M];
    clq_tensor outs[] = {tensor_of(&x.unfused), tensor_of(&x.fused)};
    for (int j = 0; j < 2; ++j) {
      sums[j] = test_buffer_new(&x.d, NULL, sizeof values[j]);
      outs[j].quant = (clq_quant){.per = endings[i].per,
                                  .scale = c.scales.mem,
                                  .zero = endings[i].zero ? c.zeros.mem : NULL,
                                  .sum = sums[j].mem};
    }
    test_ok(clq_quantize(x.d.stream, &(clq_quantize_args){tensor_of(&x.product), outs[0]}));
    test_ok(clq_gemm(x.d.stream, &(clq_gemm_args){x_of(&x.p), x.p.packed, outs[1]}));
    pieces_expect_same(&x);
    for (int j = 0; j < 2; ++j) {
      test_buffer_read(&x.d, &sums[j], values[j]);
      test_buffer_free(&sums[j]);
    }
    cr_assert_arr_eq(values[0], values[1], sizeof values[0]);
    coder_free(&c);
    pieces_free(&x);
  }
}

/* A plan that is run again begins its sums anew, and a residual may be an edge that out replaces.
 */
Test(gemm_epilogue, in_a_plan) {
  enum { M = 9, N = 40, K = 96 };
  test_device d = test_device_open(NULL);
  test_random random = {53};
  const ending e = {.out = CLQ_I8, .per = CLQ_PER_TENSOR};
  product p = product_new(&d, q4_1, (shape){M, N, K}, &random);
  matrix a = matrix_new(&d, CLQ_F32, M, N, 0, 0, &random);
  matrix b = matrix_new(&d, CLQ_F32, M, N, 0, 0, &random);
  matrix out = matrix_new(&d, CLQ_F32, M, N, 0, 0, &random);
  matrix codes = matrix_new(&d, CLQ_I8, M, N, 0, 0, &random);
  coder c = coder_new(&d, &e, N, &random);
  test_buffer sum = test_buffer_new(&d, NULL, M * sizeof(int32_t));

  clq_graph *graph = NULL;
  clq_plan *plan = NULL;
  test_ok(clq_graph_create(d.context, &graph));
  const clq_tensor edge = clq_graph_edge(graph, CLQ_F32, 2, (int64_t[]){M, N});
  clq_tensor coded = tensor_of(&codes);
  coded.quant = (clq_quant){.per = e.per, .scale = c.scales.mem, .sum = sum.mem};
  test_ok(clq_graph_add(graph, CLQ_OP_ADD, &(clq_add_args){tensor_of(&a), tensor_of(&b), edge}));
  test_ok(clq_graph_add(
      graph, CLQ_OP_GEMM,
      &(clq_gemm_args){.x = x_of(&p), .weights = p.packed, .out = edge, .residual = edge}));
  test_ok(clq_graph_add(graph, CLQ_OP_ADD, &(clq_add_args){edge, tensor_of(&b), tensor_of(&out)}));
  test_ok(clq_graph_add(graph, CLQ_OP_GEMM,
                        &(clq_gemm_args){.x = x_of(&p), .weights = p.packed, .out = coded}));
  test_ok(clq_plan_create(graph, &plan));
  for (int run = 0; run < 3; ++run) {
    test_ok(clq_plan_run(plan, d.stream));
  }
  float *values = malloc(M * N * sizeof *values);
  int32_t sums[M];
  int32_t actual[M];
  write_expected(&codes, &e, &c, p.values, sums);
  expect_out(&d, &codes, &q4_1, &e, p.s);
  test_buffer_read(&d, &sum, actual);
  cr_assert_arr_eq(actual, sums, sizeof sums);
  test_buffer_read(&d, &out.buffer, values);
  for (int i = 0; i < M * N; ++i) {
    cr_assert_eq(values[i], (p.values[i] + (a.values[i] + b.values[i])) + b.values[i], "%d", i);
  }
  free(values);
  clq_plan_destroy(plan);
  clq_graph_destroy(graph);
  test_buffer_free(&sum);
  coder_free(&c);
  matrix_free(&a);
  matrix_free(&b);
  matrix_free(&out);
  matrix_free(&codes);
  product_free(&p);
  test_device_close(&d);
}

/* --- what is not finite, and how exact activations are --- */

/* Columns: NaN, Inf, -Inf, a number, from the bias. */
static void check_special(const test_device *d, const form *f, int64_t m) {
  enum { N = 4, M = 9 };
  test_random random = {59};
  product p = product_new(d, *f, (shape){m, N, 64}, &random);
  const float lines[N] = {NAN, INFINITY, -INFINITY, 1.0f};
  const float scale = 0.125f;
  const int32_t zero = 7;
  test_buffer bias = test_buffer_new(d, lines, sizeof lines);
  test_buffer scales = test_buffer_new(d, &scale, sizeof scale);
  test_buffer zeros = test_buffer_new(d, &zero, sizeof zero);
  matrix codes = matrix_new(d, CLQ_I8, m, N, 0, 0, &random);
  matrix floats = matrix_new(d, CLQ_F32, m, N, 0, 0, &random);
  clq_gemm_args a = {.x = x_of(&p),
                     .weights = p.packed,
                     .out = tensor_of(&codes),
                     .bias = {bias.mem, CLQ_F32, {N}},
                     .activation = CLQ_ACTIVATION_RELU};
  a.out.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = scales.mem, .zero = zeros.mem};
  test_ok(clq_gemm(d->stream, &a));
  int8_t q[M * N];
  test_buffer_read(d, &codes.buffer, q);
  a.out = tensor_of(&floats);
  a.activation = CLQ_ACTIVATION_GELU;
  test_ok(clq_gemm(d->stream, &a));
  float v[M * N];
  test_buffer_read(d, &floats.buffer, v);
  for (int64_t i = 0; i < m; ++i) {
    const float last = p.values[i * N + 3] + 1.0f;
    cr_assert_eq(q[i * N], zero);
    cr_assert_eq(q[i * N + 1], 127);
    cr_assert_eq(q[i * N + 2], zero);
    cr_assert_eq(q[i * N + 3], clqi_ref_static_code(last > 0.0f ? last : 0.0f, scale, zero, -128));
    cr_assert(isnan(v[i * N]) && isnan(v[i * N + 2]));
    cr_assert_eq(v[i * N + 1], INFINITY);
    cr_assert_eq(v[i * N + 3], clqi_ref_activation(CLQ_ACTIVATION_GELU, last));
  }
  test_buffer_free(&bias);
  test_buffer_free(&scales);
  test_buffer_free(&zeros);
  matrix_free(&codes);
  matrix_free(&floats);
  product_free(&p);
}

Test(gemm_epilogue, not_finite) {
  static const char *const forms[] = {NULL, "cpu"};
  for (size_t i = 0; i < COUNT(forms); ++i) {
    test_device d = test_device_open(forms[i]);
    for (int64_t m = 1; m <= 9; m += 8) {
      check_special(&d, &q8_0, m);
      check_special(&d, &f16_floats, m);
    }
    test_device_close(&d);
  }
}

static double exact_activation(clq_activation activation, double v) {
  switch (activation) {
    case CLQ_ACTIVATION_RELU: return v < 0.0 ? 0.0 : v;
    case CLQ_ACTIVATION_GELU: return v * 0.5 * erfc(-v * sqrt(0.5));
    case CLQ_ACTIVATION_GELU_TANH:
      return v * 0.5 * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (v + 0.044715 * v * v * v)));
    case CLQ_ACTIVATION_SILU: return v / (1.0 + exp(-v));
    case CLQ_ACTIVATION_NONE: break;
  }
  return v;
}

/* Of the reference, whose bits the device has. */
Test(gemm_epilogue, activations_keep_their_bound) {
  test_random random = {61};
  for (int i = 0; i < 400000; ++i) {
    const float v = ldexpf(test_random_float(&random), test_random_int(&random, -20, 6));
    for (int a = CLQ_ACTIVATION_NONE; a <= CLQ_ACTIVATION_SILU; ++a) {
      const double got = (double)clqi_ref_activation((clq_activation)a, v);
      const double error = fabs(got - exact_activation((clq_activation)a, (double)v));
      cr_assert_leq(error, 0x1p-22 * fabs((double)v), "activation %d of %a", a, (double)v);
    }
  }
}

/* --- hostile arguments --- */

Test(gemm_epilogue, refusals) {
  enum { M = 3, N = 5, K = 32 };
  test_device d = test_device_open(NULL);
  test_random random = {67};
  product p = product_new(&d, q4_1, (shape){M, N, K}, &random);
  test_buffer out = test_buffer_new(&d, NULL, 4 * M * N);
  test_buffer other = test_buffer_new(&d, NULL, 4 * M * N);
  const clq_tensor whole = {other.mem, CLQ_F32, {M, N}};
  const clq_gemm_args good = {.x = x_of(&p),
                              .weights = p.packed,
                              .out = {out.mem, CLQ_F32, {M, N}},
                              .bias = {other.mem, CLQ_F32, {N}},
                              .gate = whole,
                              .residual = {out.mem, CLQ_F32, {M, N}}};
  test_ok(clq_gemm(d.stream, &good));

  clq_gemm_args a = good;
  a.bias.shape[0] = N - 1;
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "gemm: dimension 0 of bias is 4, expected 5 (N of the weights)");
  a = good;
  a.bias = whole;
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT, "gemm: bias has 1 dimensions here");
  a = good;
  a.bias.dtype = CLQ_I32;
  test_fails(clq_gemm(d.stream, &a), CLQ_UNSUPPORTED, "gemm: dtype of bias is i32");
  a = good;
  a.bias.offset = 4 * (M * N - N + 1);
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT, "gemm: the buffer of bias");
  a = good;
  a.activation = (clq_activation)5;
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "gemm: activation is 5, expected one of clq_activation (0 to 4)");
  a.activation = (clq_activation)-1;
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT, "gemm: activation is -1");
  a = good;
  a.gate.shape[0] = M - 1;
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "gemm: dimension 0 of gate is 2, expected 3 (rows of x)");
  a = good;
  a.gate.mem = out.mem;
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT, "gemm: out overlaps gate");
  a = good;
  a.residual.shape[1] = N - 1;
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "gemm: dimension 1 of residual is 4, expected 5 (N of the weights)");
  a = good;
  a.residual.dtype = CLQ_I8;
  test_fails(clq_gemm(d.stream, &a), CLQ_UNSUPPORTED, "gemm: dtype of residual is i8");
  a = good;
  a.residual.dtype = CLQ_F16; /* of other bytes */
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT, "gemm: out overlaps residual");

  a = good;
  a.out.dtype = CLQ_I32;
  test_fails(clq_gemm(d.stream, &a), CLQ_UNSUPPORTED, "gemm: dtype of out is i32");
  a.out = (clq_tensor){out.mem, CLQ_I8, {M, N}};
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "gemm: out is i8, so quant.per must say what shares a scale");
  a.out.quant = (clq_quant){.per = CLQ_PER_TOKEN, .scale = other.mem};
  test_fails(clq_gemm(d.stream, &a), CLQ_UNSUPPORTED, "gemm: out is quantized per token");
  a.out.quant = (clq_quant){.per = CLQ_PER_GROUP, .group = 32, .scale = other.mem};
  test_fails(clq_gemm(d.stream, &a), CLQ_UNSUPPORTED, "gemm: out is quantized per group");
  a.out.quant = (clq_quant){.per = CLQ_PER_CHANNEL};
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT, "the scale buffer of out is missing");
  a.out.quant.scale = other.mem;
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT, "gemm: out overlaps residual");
  a.residual = whole;
  test_ok(clq_gemm(d.stream, &a));
  a.out.quant.sum = other.mem; /* where scales are read */
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT, "gemm: out.quant.sum overlaps");

  clq_graph *graph = NULL;
  test_ok(clq_graph_create(d.context, &graph));
  clq_tensor edge = clq_graph_edge(graph, CLQ_I8, 2, (int64_t[]){M, N});
  edge.quant.per = CLQ_PER_TENSOR;
  a.out = edge;
  test_fails(clq_graph_add(graph, CLQ_OP_GEMM, &a), CLQ_UNSUPPORTED,
             "out is an edge whose scales would be given");
  clq_graph_destroy(graph);

  a = good;
  a.x.shape[0] = a.out.shape[0] = a.gate.shape[0] = a.residual.shape[0] = 0;
  test_ok(clq_gemm(d.stream, &a));
  test_ok(clq_stream_finish(d.stream));
  test_buffer_free(&out);
  test_buffer_free(&other);
  product_free(&p);
  test_device_close(&d);
}
