/* What gemm can do, taken together: pairs and more of it that test_gemm and its sisters have one by
 * one, and every number of rows, columns and K that there is a rule about. Against the plain
 * reference, bit for bit. */
#include <clquant/tuning.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "opencl.h"
#include "ref/epilogue.h"
#include "ref/math.h"
#include "ref/norm.h"
#include "ref/ref.h"
#include "ref/weights.h"
#include "runtime/context.h"
#include "weights.h"

TestSuite(gemm_pairs, .fini = opencl_none_live);

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef struct acts {
  clq_dtype dtype;
  int64_t group; /* of codes: elements that share a scale; 0: the row */
  bool zeros, sums;
} acts;

typedef struct matrix {
  clq_format format;
  int64_t group; /* of plain codes */
  test_beside beside;
  clq_dtype scale_dtype;
  bool order, outliers;
} matrix;

/* Types 0: absent. Codes have a scale and a zero point a column, and give their sums. */
typedef struct ending {
  clq_dtype out, bias;
  clq_activation activation;
  clq_dtype gate, residual;
} ending;

typedef struct form {
  acts x;
  matrix w;
  ending end;
} form;

typedef struct shape {
  int64_t m, n, k;
} shape;

static bool is_codes(clq_dtype dtype) { return dtype == CLQ_I8 || dtype == CLQ_U8; }

static void *new_block(size_t bytes) {
  void *block = calloc(bytes == 0 ? 1 : bytes, 1);
  cr_assert_not_null(block);
  return block;
}

/* --- tensors: at an odd place, with a gap between their rows --- */

enum { OFFSET = 3, GAP = 2 };

/* dtype 0: absent. */
typedef struct tensor {
  clq_dtype dtype;
  int64_t rows, cols, stride;
  float *values; /* dense, as the device reads them; codes as they are */
  unsigned char *bytes;
  size_t size;
  test_buffer buffer;
} tensor;

static size_t tensor_bytes(const tensor *t, int64_t rows) {
  return (size_t)(OFFSET + (rows - 1) * t->stride + t->cols) * clq_dtype_bytes(t->dtype);
}

static void put(const tensor *t, int64_t row, int64_t col, float value) {
  unsigned char *to =
      t->bytes + (size_t)(OFFSET + row * t->stride + col) * clq_dtype_bytes(t->dtype);
  const uint16_t half =
      t->dtype == CLQ_BF16 ? clqi_ref_bf16_from_f32(value) : clqi_ref_f16_from_f32(value);
  const int32_t code = is_codes(t->dtype) ? (int32_t)value : 0;
  if (is_codes(t->dtype)) {
    to[0] = (unsigned char)code;
  } else if (t->dtype == CLQ_F32) {
    memcpy(to, &value, sizeof value);
  } else {
    memcpy(to, &half, sizeof half);
  }
}

/* Floats in [-1, 1), or any codes. */
static tensor tensor_new(const test_device *d, clq_dtype dtype, int64_t rows, int64_t cols,
                         test_random *random) {
  tensor t = {.dtype = dtype, .rows = rows, .cols = cols, .stride = cols + GAP};
  if (dtype == 0) {
    return t;
  }
  const int32_t low = dtype == CLQ_U8 ? 0 : -128;
  t.size = tensor_bytes(&t, rows);
  t.bytes = new_block(t.size);
  t.values = new_block((size_t)(rows * cols) * sizeof *t.values);
  memset(t.bytes, 0xA5, t.size);
  for (int64_t i = 0; i < rows * cols; ++i) {
    t.values[i] = is_codes(dtype) ? (float)test_random_int(random, low, low + 255)
                                  : clqi_ref_rounded(test_random_float(random), dtype);
    put(&t, i / cols, i % cols, t.values[i]);
  }
  t.buffer = test_buffer_new(d, t.bytes, t.size);
  return t;
}

static void tensor_free(tensor *t) {
  if (t->dtype != 0) {
    test_buffer_free(&t->buffer);
    free(t->bytes);
    free(t->values);
  }
}

/* Its first rows. */
static clq_tensor view(const tensor *t, cl_mem mem, int64_t rows) {
  return t->dtype == 0 ? (clq_tensor){0}
                       : (clq_tensor){.mem = mem,
                                      .dtype = t->dtype,
                                      .shape = {rows, t->cols},
                                      .stride = {t->stride, 1},
                                      .offset = OFFSET * clq_dtype_bytes(t->dtype)};
}

/* --- weights --- */

enum { OUTLIERS = 3 };

typedef struct packed {
  test_weights plain;
  clq_weights *weights;
  int32_t *order;
  int32_t columns[OUTLIERS];
  float *outliers; /* [n, OUTLIERS] */
} packed;

static int32_t *order_new(test_random *random, int64_t cols) {
  int32_t *order = new_block((size_t)cols * sizeof *order);
  for (int64_t i = 0; i < cols; ++i) {
    const int64_t j = test_random_int(random, 0, (int32_t)i);
    order[i] = order[j];
    order[j] = (int32_t)i;
  }
  return order;
}

/* What the codes say of them; the codes themselves are 0 for the reference, as on the device. */
static void take_outliers(packed *p) {
  const clqi_ref_weights *w = &p->plain.ref;
  p->outliers = new_block((size_t)w->rows * OUTLIERS * sizeof *p->outliers);
  for (int64_t i = 0; i < w->rows * OUTLIERS; ++i) {
    const int64_t column = p->columns[i % OUTLIERS];
    p->outliers[i] = clqi_ref_rounded(clqi_ref_weight(w, i / OUTLIERS, column), CLQ_F16);
  }
  for (int64_t i = 0; i < w->rows * OUTLIERS; ++i) {
    ((uint8_t *)(uintptr_t)w->data)[i / OUTLIERS * w->cols + p->columns[i % OUTLIERS]] = 0;
  }
}

static packed packed_new(const test_device *d, const matrix *m, shape s, test_random *random) {
  packed p = {.columns = {0, (int32_t)(s.k / 2), (int32_t)(s.k - 1)}};
  p.plain = clqi_ref_plain_bits(m->format) == 0
                ? test_weights_new(random, m->format, s.n, s.k, 0, false)
                : test_plain_weights_new(random, m->format, s.n, s.k, m->group, m->beside,
                                         m->scale_dtype == 0 ? CLQ_F32 : m->scale_dtype);
  p.order = m->order ? order_new(random, s.k) : NULL;
  const clqi_ref_weights *w = &p.plain.ref;
  const clq_weights_part part = {
      .data = w->data, .scales = w->scales, .zeros = w->zeros, .rows = w->rows, .mins = w->mins};
  test_ok(
      clq_weights_pack(d->context,
                       &(clq_weights_desc){.format = m->format,
                                           .cols = s.k,
                                           .group = w->scales == NULL ? 0 : m->group,
                                           .parts = &part,
                                           .part_count = 1,
                                           .scale_dtype = w->scales == NULL ? 0 : w->scale_dtype,
                                           .order = p.order,
                                           .outliers = m->outliers ? p.columns : NULL,
                                           .outlier_count = m->outliers ? OUTLIERS : 0},
                       &p.weights));
  p.plain.ref.order = p.order;
  if (m->outliers) {
    take_outliers(&p);
  }
  return p;
}

static void packed_free(packed *p) {
  clq_weights_destroy(p->weights);
  test_weights_free(&p->plain);
  free(p->order);
  free(p->outliers);
}

/* --- products --- */

typedef struct product {
  const test_device *device;
  form form;
  shape s;
  packed w;
  tensor x, bias, gate, residual, x_outliers, out;
  float *scale, *out_scale;
  int32_t *zero, *sum, *out_zero, *out_sum;
  test_buffer scales, zeros, sums, out_scales, out_zeros;
} product;

static void scales_new(product *p, test_random *random) {
  const acts *x = &p->form.x;
  const int64_t group = x->group == 0 ? p->s.k : x->group;
  const int64_t groups = (p->s.k + group - 1) / group;
  const size_t count = (size_t)(p->s.m * groups);
  const int32_t low = x->dtype == CLQ_U8 ? 0 : -128;
  p->scale = new_block(count * sizeof *p->scale);
  p->zero = new_block(count * sizeof *p->zero);
  p->sum = new_block(count * sizeof *p->sum);
  for (size_t i = 0; i < count; ++i) {
    p->scale[i] = 0x1p-6f * test_random_float(random);
    p->zero[i] = x->zeros ? test_random_int(random, low, low + 255) : 0;
  }
  for (int64_t i = 0; is_codes(x->dtype) && i < p->s.m * p->s.k; ++i) {
    p->sum[i / p->s.k * groups + i % p->s.k / group] += (int32_t)p->x.values[i];
  }
  p->scales = test_buffer_new(p->device, p->scale, count * sizeof *p->scale);
  p->zeros = test_buffer_new(p->device, p->zero, count * sizeof *p->zero);
  p->sums = test_buffer_new(p->device, p->sum, count * sizeof *p->sum);
}

static void out_scales_new(product *p, test_random *random) {
  const size_t n = (size_t)p->s.n;
  p->out_scale = new_block(n * sizeof *p->out_scale);
  p->out_zero = new_block(n * sizeof *p->out_zero);
  p->out_sum = new_block((size_t)p->s.m * sizeof *p->out_sum);
  for (size_t i = 0; i < n; ++i) {
    p->out_scale[i] = 0.02f * (1.5f + test_random_float(random));
    p->out_zero[i] = test_random_int(random, -40, 90);
  }
  p->out_scales = test_buffer_new(p->device, p->out_scale, n * sizeof *p->out_scale);
  p->out_zeros = test_buffer_new(p->device, p->out_zero, n * sizeof *p->out_zero);
}

/* The product itself, [m, n]. */
static void multiply(const product *p, float *v) {
  const acts *x = &p->form.x;
  if (!is_codes(x->dtype)) {
    clqi_ref_gemm_f32(p->x.values, p->s.k, p->s.m, &p->w.plain.ref, v, p->s.n);
    return;
  }
  const clqi_ref_codes codes = {
      p->x.bytes + OFFSET,      x->dtype, p->s.m, p->x.stride, x->group, p->scale,
      x->zeros ? p->zero : NULL};
  clqi_ref_gemm_codes(&codes, &p->w.plain.ref, v, p->s.n);
}

/* What out must hold, into its host bytes, and its sums. */
static void expect(product *p) {
  float *v = new_block((size_t)(p->s.m * p->s.n) * sizeof *v);
  multiply(p, v);
  const clqi_ref_epilogue e = {.bias = p->bias.values,
                               .activation = p->form.end.activation,
                               .gate = p->gate.values,
                               .residual = p->residual.values,
                               .outliers = p->form.w.outliers ? OUTLIERS : 0,
                               .x_outliers = p->x_outliers.values,
                               .w_outliers = p->w.outliers};
  clqi_ref_gemm_epilogue(&e, p->s.m, p->s.n, v, p->s.n);
  memset(p->out.bytes, 0xA5, p->out.size);
  for (int64_t i = 0; i < p->s.m * p->s.n; ++i) {
    const int64_t n = i % p->s.n;
    float value = v[i];
    if (is_codes(p->out.dtype)) {
      const int32_t low = p->out.dtype == CLQ_U8 ? 0 : -128;
      const int32_t code = clqi_ref_static_code(value, p->out_scale[n], p->out_zero[n], low);
      p->out_sum[i / p->s.n] += code;
      value = (float)code;
    }
    put(&p->out, i / p->s.n, n, value);
  }
  free(v);
}

/* k is rounded up to whole blocks. */
static product product_new(const test_device *d, const form *f, shape s, test_random *random) {
  const int64_t block = clqi_ref_block_of(f->w.format).elements;
  s.k = (s.k + block - 1) / block * block;
  product p = {.device = d, .form = *f, .s = s, .w = packed_new(d, &f->w, s, random)};
  p.x = tensor_new(d, f->x.dtype, s.m, s.k, random);
  p.bias = tensor_new(d, f->end.bias, 1, s.n, random);
  p.gate = tensor_new(d, f->end.gate, s.m, s.n, random);
  p.residual = tensor_new(d, f->end.residual, s.m, s.n, random);
  p.x_outliers = tensor_new(d, f->w.outliers ? CLQ_F16 : 0, s.m, OUTLIERS, random);
  p.out = tensor_new(d, f->end.out == 0 ? CLQ_F32 : f->end.out, s.m, s.n, random);
  scales_new(&p, random);
  out_scales_new(&p, random);
  expect(&p);
  return p;
}

static void product_free(product *p) {
  packed_free(&p->w);
  tensor_free(&p->x);
  tensor_free(&p->bias);
  tensor_free(&p->gate);
  tensor_free(&p->residual);
  tensor_free(&p->x_outliers);
  tensor_free(&p->out);
  test_buffer_free(&p->scales);
  test_buffer_free(&p->zeros);
  test_buffer_free(&p->sums);
  test_buffer_free(&p->out_scales);
  test_buffer_free(&p->out_zeros);
  free(p->scale);
  free(p->zero);
  free(p->sum);
  free(p->out_scale);
  free(p->out_zero);
  free(p->out_sum);
}

static clq_gemm_args arguments(const product *p, int64_t rows, cl_mem out, cl_mem out_sum) {
  const acts *x = &p->form.x;
  clq_gemm_args a = {.x = view(&p->x, p->x.buffer.mem, rows),
                     .weights = p->w.weights,
                     .out = view(&p->out, out, rows),
                     .bias = view(&p->bias, p->bias.buffer.mem, 1),
                     .activation = p->form.end.activation,
                     .gate = view(&p->gate, p->gate.buffer.mem, rows),
                     .residual = view(&p->residual, p->residual.buffer.mem, rows),
                     .x_outliers = view(&p->x_outliers, p->x_outliers.buffer.mem, rows)};
  if (p->bias.dtype != 0) { /* one dimension */
    a.bias.shape[0] = p->s.n;
    a.bias.shape[1] = a.bias.stride[0] = a.bias.stride[1] = 0;
  }
  if (is_codes(x->dtype)) {
    a.x.quant = (clq_quant){.per = x->group == 0 ? CLQ_PER_TOKEN : CLQ_PER_GROUP,
                            .group = (int32_t)x->group,
                            .scale = p->scales.mem,
                            .zero = x->zeros ? p->zeros.mem : NULL,
                            .sum = x->sums ? p->sums.mem : NULL};
  }
  if (is_codes(p->out.dtype)) {
    a.out.quant = (clq_quant){.per = CLQ_PER_CHANNEL,
                              .scale = p->out_scales.mem,
                              .zero = p->out_zeros.mem,
                              .sum = out_sum};
  }
  return a;
}

static const char *name_of(const product *p, int64_t rows) {
  static char text[200];
  const form *f = &p->form;
  (void)snprintf(text, sizeof text,
                 "%s group %lld%s%s x %s group %lld beside %d%s%s -> %s, M=%lld N=%lld K=%lld",
                 clq_dtype_name(f->x.dtype), (long long)f->x.group, f->x.zeros ? " zeros" : "",
                 f->x.sums ? " sums" : "", clq_format_name(f->w.format), (long long)f->w.group,
                 (int)f->w.beside, f->w.order ? " order" : "", f->w.outliers ? " outliers" : "",
                 clq_dtype_name(p->out.dtype), (long long)rows, (long long)p->s.n,
                 (long long)p->s.k);
  return text;
}

/* Its first rows: they, and what lies between them, are those of all rows. */
static void run_rows(const product *p, int64_t rows) {
  const size_t size = tensor_bytes(&p->out, rows);
  const size_t bytes = clq_dtype_bytes(p->out.dtype);
  unsigned char *got = new_block(size);
  int32_t *got_sum = new_block((size_t)rows * sizeof *got_sum);
  test_buffer out = test_buffer_new(p->device, NULL, size);
  test_buffer sum = test_buffer_new(p->device, NULL, (size_t)rows * sizeof *got_sum);
  const clq_gemm_args a = arguments(p, rows, out.mem, sum.mem);
  test_ok(clq_gemm(p->device->stream, &a));
  test_buffer_read(p->device, &out, got);
  for (size_t i = 0; i < size; i += bytes) {
    cr_assert_arr_eq(&got[i], &p->out.bytes[i], bytes, "%s: element %zu", name_of(p, rows),
                     i / bytes);
  }
  if (is_codes(p->out.dtype)) {
    test_buffer_read(p->device, &sum, got_sum);
    cr_assert_arr_eq(got_sum, p->out_sum, (size_t)rows * sizeof *got_sum, "%s: sums",
                     name_of(p, rows));
  }
  test_buffer_free(&out);
  test_buffer_free(&sum);
  free(got);
  free(got_sum);
}

static void check(const test_device *d, const form *f, shape s, test_random *random) {
  product p = product_new(d, f, s, random);
  run_rows(&p, s.m);
  product_free(&p);
}

/* --- back ends --- */

typedef struct back_end {
  const char *disable;
  const char *needs;      /* a trait, or NULL */
  bool matrices;          /* tensor cores, in the plain form of lib/mma.h */
  const char *row, *tile; /* that run with one row, with many */
} back_end;

static const back_end vnni = {NULL, "x86_vnni", false, "gemm_q8_row_vnni", "gemm_q8_tile_vnni"};
static const back_end avx2 = {"x86_vnni", "x86_avx2", false, "gemm_q8_row_avx2",
                              "gemm_q8_tile_avx2"};
static const back_end vectors = {"x86_vnni,x86_avx2,x86_avx512,x86_f16c", "cpu", false,
                                 "gemm_q8_row", "gemm_q8_tile"};
static const back_end lanes = {"cpu,nvidia_ptx", NULL, false, NULL, "gemm_q8_lane"};
static const back_end matrices = {"cpu,nvidia_ptx", NULL, true, NULL, "gemm_q8_mma"};
static const back_end floats = {NULL, "cpu", false, "gemm_f32_row", "gemm_f32_tile"};
static const back_end float_lanes = {"cpu", NULL, false, "gemm_f32_lane_row", "gemm_f32_lane"};

static test_device open_back_end(const back_end *b) {
  test_device d = test_device_open(b->disable);
  if (b->needs != NULL && !test_has_trait(d.context, b->needs)) {
    test_device_close(&d);
    cr_skip_test("the device has no %s", b->needs);
  }
  if (b->matrices) {
    d.context->traits |= CLQI_BIT(NVIDIA_MMA);
  }
  test_dispatch_start();
  return d;
}

static void close_back_end(const back_end *b, test_device *d, bool row) {
  cr_assert(!row || b->row == NULL || test_dispatch_saw("gemm", b->row), "%s did not run", b->row);
  cr_assert(test_dispatch_saw("gemm", b->tile), "%s did not run", b->tile);
  test_dispatch_stop();
  test_device_close(d);
}

typedef struct pair {
  form form;
  bool row; /* with one row too: a program more */
} pair;

static void sweep(const back_end *b, const pair *pairs, size_t count, const shape *shapes,
                  size_t shape_count) {
  test_device d = open_back_end(b);
  test_random random = {43};
  bool row = false;
  for (size_t i = 0; i < count; ++i) {
    row = row || pairs[i].row;
    for (size_t j = 0; j < shape_count; ++j) {
      if (shapes[j].m > 4 || pairs[i].row) {
        check(&d, &pairs[i].form, shapes[j], &random);
      }
    }
  }
  close_back_end(b, &d, row);
}

/* --- pairs --- */

/* A program costs more than a hundred products: forms are few, and each is several pairs.
 *
 * The order of columns with zero points of both and with all that follows, out f16; outlier columns
 * with zero points, what follows and out f16; sums a token with zero points of both. */
static const pair pairs[] = {
    {{{CLQ_I8, 0, true, true},
      {CLQ_FORMAT_W4, 40, TEST_ZEROS, 0, true},
      {CLQ_F16, CLQ_F32, CLQ_ACTIVATION_GELU, CLQ_BF16, CLQ_F16}},
     true},
    {{{CLQ_U8, 0, true, false},
      {CLQ_FORMAT_W8, 24, TEST_SCALES, CLQ_F16, false, true},
      {CLQ_F16, CLQ_F16, CLQ_ACTIVATION_SILU, 0, CLQ_F32}},
     false},
    {{{CLQ_I8, 0, true, true}, {CLQ_FORMAT_W4, 0, TEST_ZEROS, CLQ_BF16}, {0}}, false},
};
static const shape few_shapes[] = {{1, 33, 77}, {1, 17, 200}, {9, 35, 77}, {17, 18, 131}};

Test(gemm_pairs, pairs_vnni) { sweep(&vnni, pairs, COUNT(pairs), few_shapes, COUNT(few_shapes)); }
Test(gemm_pairs, pairs_lanes) { sweep(&lanes, pairs, 2, few_shapes + 2, 2); }
Test(gemm_pairs, pairs_matrices) { sweep(&matrices, pairs, 1, few_shapes + 2, 2); }

/* x f16: the order with what follows, into codes. */
static const pair float_pairs[] = {
    {{{CLQ_F16, 0, false, false},
      {CLQ_FORMAT_W4, 24, TEST_ZEROS, 0, true},
      {CLQ_I8, CLQ_F32, CLQ_ACTIVATION_RELU, 0, CLQ_F16}},
     false},
};

Test(gemm_pairs, pairs_floats) { sweep(&floats, float_pairs, 1, few_shapes + 2, 2); }

/* Codes of 2, 3, 5 and 6 bits: with what follows, and more row tiles than are widened at once. */
static const pair narrow[] = {
    {{{CLQ_I8, 0, true, true},
      {CLQ_FORMAT_W2, 8, TEST_ZEROS, CLQ_F16},
      {CLQ_I8, CLQ_F32, CLQ_ACTIVATION_RELU, CLQ_F16, CLQ_BF16}},
     false},
    {{{CLQ_U8, 0, true, false},
      {CLQ_FORMAT_W3, 40, TEST_MINS, CLQ_BF16},
      {CLQ_F32, 0, CLQ_ACTIVATION_GELU_TANH, 0, CLQ_F32}},
     false},
    {{{CLQ_I8, 32, false, true},
      {CLQ_FORMAT_Q5_1},
      {CLQ_F16, CLQ_BF16, CLQ_ACTIVATION_SILU, CLQ_F32}},
     false},
    {{{CLQ_I8, 64, true, false}, {CLQ_FORMAT_Q6_K}, {CLQ_BF16, CLQ_F32}}, false},
};
static const shape narrow_shapes[] = {{9, 19, 300}, {66, 33, 100}, {130, 17, 77}};

Test(gemm_pairs, narrow_vnni) {
  sweep(&vnni, narrow, COUNT(narrow), narrow_shapes, COUNT(narrow_shapes));
}
Test(gemm_pairs, narrow_lanes) { sweep(&lanes, narrow, 1, narrow_shapes, 1); }

/* --- groups and chunks of K --- */

/* A scale of x, or of the weights, for groups that begin in one chunk of K and end in the next. */
static const pair crossing[] = {
    {{{CLQ_I8, 192, true, false}, {CLQ_FORMAT_W4, 96, TEST_ZEROS}, {0}}, false},
    {{{CLQ_I8, 96, false, true}, {CLQ_FORMAT_W8, 480, TEST_SCALES}, {0}}, false},
};

Test(gemm_pairs, groups_cross_chunks) {
  static const shape shapes[] = {{9, 19, 4170}, {20, 33, 6305}};
  sweep(&vnni, crossing, COUNT(crossing), shapes, COUNT(shapes));
}

static void tune(const test_device *d, const char *name, int32_t value) {
  clq_tuning_value v;
  int32_t i = 0;
  do {
    test_ok(clq_tuning_get(d->context, i++, &v));
  } while (strcmp(v.name, name) != 0);
  test_ok(clq_tuning_set(d->context, i - 1, value));
}

/* Chunks of another length than the built-in one, of groups that do not fill them. */
Test(gemm_pairs, tuned_chunks) {
  test_device d = open_back_end(&vnni);
  test_random random = {47};
  tune(&d, "gemm_q8_few.chunk", 1024);
  tune(&d, "gemm_q8_many.chunk", 512);
  check(&d, &crossing[0].form, (shape){9, 18, 2117}, &random);
  check(&d, &crossing[0].form, (shape){33, 18, 1131}, &random);
  close_back_end(&vnni, &d, false);
}

/* --- every number of rows, columns and elements of K --- */

/* Of formats whose programs test_gemm has. */
static const form q4_0 = {{CLQ_I8, 32, false, false}, {CLQ_FORMAT_Q4_0}, {0}};
static const form w4_rows = {{CLQ_I8, 0, false, false}, {CLQ_FORMAT_W4, 0, TEST_ZEROS}, {0}};
static const form w4_groups = {{CLQ_I8, 0, false, false}, {CLQ_FORMAT_W4, 40, TEST_ZEROS}, {0}};
static const form w4_floats = {{CLQ_F32, 0, false, false}, {CLQ_FORMAT_W4, 24, TEST_ZEROS}, {0}};

static void every_row_count(const back_end *b, const form *f) {
  test_device d = open_back_end(b);
  test_random random = {53};
  product p = product_new(&d, f, (shape){512, 17, 40}, &random);
  for (int64_t m = b->matrices ? 9 : 1; m <= 130; ++m) {
    run_rows(&p, m);
  }
  run_rows(&p, 255);
  run_rows(&p, 512);
  product_free(&p);
  close_back_end(b, &d, true);
}

Test(gemm_pairs, rows_vnni) { every_row_count(&vnni, &q4_0); }
Test(gemm_pairs, rows_avx2) { every_row_count(&avx2, &q4_0); }
Test(gemm_pairs, rows_vectors) { every_row_count(&vectors, &q4_0); }
Test(gemm_pairs, rows_lanes) { every_row_count(&lanes, &q4_0); }
Test(gemm_pairs, rows_matrices) { every_row_count(&matrices, &q4_0); }
Test(gemm_pairs, rows_floats) { every_row_count(&floats, &w4_floats); }

/* N and K of 1, 3, 5, .. 299, each once, with few rows and with more. */
static void every_extent(const back_end *b, const form *f) {
  test_device d = open_back_end(b);
  test_random random = {59};
  for (int64_t i = 0; i < 150; ++i) {
    product p = product_new(&d, f, (shape){9, 2 * i + 1, 2 * ((i * 67 + 31) % 150) + 1}, &random);
    run_rows(&p, 1);
    run_rows(&p, 9);
    product_free(&p);
  }
  close_back_end(b, &d, true);
}

Test(gemm_pairs, extents_vnni) { every_extent(&vnni, &w4_rows); }
Test(gemm_pairs, extents_lanes) { every_extent(&lanes, &w4_groups); }
Test(gemm_pairs, extents_floats) { every_extent(&floats, &w4_floats); }
Test(gemm_pairs, extents_float_lanes) { every_extent(&float_lanes, &w4_floats); }

/* The extents of models, each as K and as N. */
static void long_extents(const back_end *b, const form *f) {
  static const int64_t extents[] = {4096, 5120, 11008, 14336, 49152};
  test_device d = open_back_end(b);
  test_random random = {61};
  for (size_t i = 0; i < COUNT(extents); ++i) {
    product p = product_new(&d, f, (shape){9, 3, extents[i]}, &random);
    if (extents[i] > 11008) { /* on CPUs a program for each, but where K is in chunks */
      run_rows(&p, 1);
    }
    run_rows(&p, 9);
    product_free(&p);
    p = product_new(&d, f, (shape){5, extents[i], 32}, &random);
    run_rows(&p, 1);
    run_rows(&p, 5);
    product_free(&p);
  }
  close_back_end(b, &d, true);
}

Test(gemm_pairs, long_extents_vnni) { long_extents(&vnni, &q4_0); }
Test(gemm_pairs, long_extents_lanes) { long_extents(&lanes, &q4_0); }
Test(gemm_pairs, long_extents_floats) { long_extents(&floats, &w4_floats); }
