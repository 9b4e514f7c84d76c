#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/graph.h>

#include "forms.h"
#include "opencl.h"
#include "ref/integer_norm.h"

TestSuite(integer_norm, .fini = opencl_none_live);

enum { WIDEST = 1 << 21 };

/* One call. */
typedef struct call {
  int64_t rows, cols;
  int64_t pad;    /* elements between the rows of x; twice as many between those of out */
  int64_t offset; /* elements before x and out */
  clq_dtype x, out;
  clq_norm_kind kind; /* as in the arguments, so 0 is LayerNorm */
  bool has_exponent, has_zero, has_bias;
  int32_t shift, eps, eps_shift;
  clq_granularity per; /* of out */
  bool out_zero_plane, in_place;
} call;

/* What it computes with, dense. */
typedef struct data {
  int32_t *codes; /* [rows, cols] */
  int8_t *exponent;
  int32_t *multiplier, *bias; /* [cols] */
  int32_t zero;
} data;

static data data_new(call c) {
  const size_t cols = (size_t)c.cols;
  return (data){.codes = calloc((size_t)c.rows * cols + 1, sizeof(int32_t)),
                .exponent = calloc(cols + 1, 1),
                .multiplier = calloc(cols + 1, sizeof(int32_t)),
                .bias = calloc(cols + 1, sizeof(int32_t))};
}

static void data_free(data *d) {
  free(d->codes);
  free(d->exponent);
  free(d->multiplier);
  free(d->bias);
}

static void code_bounds(clq_dtype dtype, int32_t *low, int32_t *high) {
  *low = dtype == CLQ_I8 ? -128 : dtype == CLQ_U8 ? 0 : -WIDEST;
  *high = dtype == CLQ_I8 ? 127 : dtype == CLQ_U8 ? 255 : WIDEST - 1;
}

/* Random codes, factors and an affine map that fills the output's range. */
static void fill(call *c, data *d, uint64_t seed) {
  test_random random = {seed * 2654435761U + (uint64_t)c->cols};
  int32_t low = 0;
  int32_t high = 0;
  code_bounds(c->x, &low, &high);
  for (int64_t i = 0; i < c->rows * c->cols; ++i) {
    d->codes[i] = test_random_int(&random, low, high);
  }
  for (int64_t i = 0; i < c->cols; ++i) {
    d->exponent[i] =
        (int8_t)test_random_int(&random, i % 50 == 48 ? -128 : 0, i % 50 == 49 ? 127 : 7);
  }
  d->zero = test_random_int(&random, -200, 300);
  float *gamma = calloc((size_t)c->cols + 1, sizeof *gamma);
  float *beta = calloc((size_t)c->cols + 1, sizeof *beta);
  for (int64_t i = 0; i < c->cols; ++i) {
    gamma[i] = i % 13 == 12 ? 0.0f : test_random_normal(&random);
    beta[i] = test_random_normal(&random);
  }
  clq_integer_norm_args args = {0};
  test_ok(clq_integer_norm_prepare(&(clq_integer_norm_desc){.cols = c->cols,
                                                            .gamma = gamma,
                                                            .beta = c->has_bias ? beta : NULL,
                                                            .x_scale = 0.03f,
                                                            .out_scale = 0.02f,
                                                            .out_zero = c->has_bias ? 3 : 0},
                                   d->multiplier, c->has_bias ? d->bias : NULL, &args));
  c->shift = args.shift;
  c->eps = args.eps;
  c->eps_shift = args.eps_shift;
  free(gamma);
  free(beta);
}

/* Rows of `cols` elements at a stride, after `offset` elements, in the device's type; what lies
 * between is 0xA5. */
static unsigned char *strided(const int32_t *dense, int64_t rows, int64_t cols, int64_t stride,
                              int64_t offset, clq_dtype dtype, size_t *bytes) {
  const size_t element = clq_dtype_bytes(dtype);
  const int64_t count = offset + (rows == 0 ? 0 : (rows - 1) * stride + cols);
  *bytes = (size_t)count * element;
  unsigned char *out = malloc(*bytes + 1);
  memset(out, 0xA5, *bytes);
  for (int64_t r = 0; dense != NULL && r < rows; ++r) {
    for (int64_t i = 0; i < cols; ++i) {
      memcpy(out + (size_t)(offset + r * stride + i) * element, &dense[r * cols + i], element);
    }
  }
  return out;
}

/* The model's codes [rows, cols] and sums [rows]. */
static void expect(call c, const data *d, int32_t *codes, int32_t *sums) {
  const bool is_signed = c.out == CLQ_I8;
  const bool symmetric = c.per != 0 && !c.out_zero_plane;
  const clqi_ref_integer_norm norm = {.is_layer = c.kind != CLQ_NORM_RMS,
                                      .cols = c.cols,
                                      .multiplier = d->multiplier,
                                      .bias = c.has_bias ? d->bias : NULL,
                                      .shift = c.shift,
                                      .eps = c.eps,
                                      .eps_shift = c.eps_shift,
                                      .low = !is_signed  ? 0
                                             : symmetric ? -127
                                                         : -128,
                                      .high = is_signed ? 127 : 255};
  int32_t *values = malloc((size_t)c.cols * sizeof *values + 1);
  for (int64_t r = 0; r < c.rows; ++r) {
    for (int64_t i = 0; i < c.cols; ++i) {
      values[i] =
          clqi_ref_integer_norm_value(c.x, d->codes[r * c.cols + i], c.has_zero ? d->zero : 0,
                                      c.has_exponent ? d->exponent[i] : 0);
    }
    sums[r] = clqi_ref_integer_norm_row(&norm, values, codes + r * c.cols);
  }
  free(values);
}

typedef struct result {
  int32_t *codes; /* dense */
  int32_t *sums;
} result;

static void check_planes(const test_device *device, call c, const test_buffer *scale,
                         const test_buffer *zero, const test_buffer *sum, const int32_t *sums) {
  const size_t planes = c.per == CLQ_PER_TOKEN ? (size_t)c.rows : 1;
  float *scales = malloc(planes * sizeof *scales);
  int32_t *got = malloc(planes * sizeof *got);
  test_buffer_read(device, scale, scales);
  for (size_t i = 0; i < planes; ++i) {
    cr_assert_eq(scales[i], 0.02f, "scale %zu", i);
  }
  if (c.out_zero_plane) {
    test_buffer_read(device, zero, got);
    for (size_t i = 0; i < planes; ++i) {
      cr_assert_eq(got[i], 3, "zero %zu", i);
    }
  }
  if (c.per == CLQ_PER_TOKEN) {
    test_buffer_read(device, sum, got);
    for (size_t i = 0; i < planes; ++i) {
      cr_assert_eq(got[i], sums[i], "sum of row %zu: %d, expected %d", i, got[i], sums[i]);
    }
  }
  free(scales);
  free(got);
}

/* Runs the call and demands the model's bits, and that nothing else is written. Returns the
 * model's dense codes if `keep`. */
static int32_t *run(const test_device *device, call c, const data *d, bool keep) {
  const size_t cols = (size_t)c.cols;
  const size_t planes = c.per == CLQ_PER_TOKEN ? (size_t)c.rows : 1;
  const int64_t x_stride = c.cols + c.pad;
  const int64_t out_stride = c.in_place ? x_stride : c.cols + 2 * c.pad;
  int32_t *expected = calloc((size_t)c.rows * cols + 1, sizeof *expected);
  int32_t *sums = calloc((size_t)c.rows + 1, sizeof *sums);
  expect(c, d, expected, sums);
  size_t x_bytes = 0;
  size_t out_bytes = 0;
  unsigned char *x = strided(d->codes, c.rows, c.cols, x_stride, c.offset, c.x, &x_bytes);
  unsigned char *out = strided(expected, c.rows, c.cols, out_stride, c.offset, c.out, &out_bytes);
  unsigned char *got = malloc(out_bytes + 1);

  test_buffer xb = test_buffer_new(device, x, x_bytes);
  test_buffer ob = test_buffer_new(device, NULL, out_bytes);
  test_buffer eb = test_buffer_new(device, d->exponent, cols);
  test_buffer mb = test_buffer_new(device, d->multiplier, cols * 4);
  test_buffer bb = test_buffer_new(device, d->bias, cols * 4);
  test_buffer zb = test_buffer_new(device, &d->zero, 4);
  test_buffer scale = test_buffer_new(device, NULL, planes * 4);
  test_buffer zero = test_buffer_new(device, NULL, planes * 4);
  test_buffer sum = test_buffer_new(device, NULL, planes * 4);
  clq_integer_norm_args args = {
      .x = {xb.mem, c.x, {c.rows, c.cols}, {x_stride, 1}},
      .multiplier = {mb.mem, CLQ_I32, {c.cols}},
      .out = {c.in_place ? xb.mem : ob.mem, c.out, {c.rows, c.cols}, {out_stride, 1}},
      .kind = c.kind,
      .shift = c.shift,
      .eps = c.eps,
      .eps_shift = c.eps_shift,
      .out_scale = 0.02f,
      .out_zero = c.out_zero_plane ? 3 : 0};
  args.x.offset = (uint64_t)c.offset * clq_dtype_bytes(c.x);
  args.out.offset = (uint64_t)c.offset;
  if (c.has_zero) {
    args.x.quant = (clq_quant){.per = CLQ_PER_TENSOR, .zero = zb.mem};
  }
  if (c.has_exponent) {
    args.exponent = (clq_tensor){eb.mem, CLQ_I8, {c.cols}};
  }
  if (c.has_bias) {
    args.bias = (clq_tensor){bb.mem, CLQ_I32, {c.cols}};
  }
  if (c.per != 0) {
    args.out.quant = (clq_quant){.per = c.per,
                                 .scale = scale.mem,
                                 .zero = c.out_zero_plane ? zero.mem : NULL,
                                 .sum = c.per == CLQ_PER_TOKEN ? sum.mem : NULL};
  }
  test_ok(clq_integer_norm(device->stream, &args));
  test_buffer_read(device, c.in_place ? &xb : &ob, got);
  for (int64_t r = 0; r < c.rows; ++r) {
    const size_t begin = (size_t)(c.offset + r * out_stride);
    for (size_t i = 0; memcmp(got + begin, out + begin, cols) != 0 && i < cols; ++i) {
      const int32_t is = c.out == CLQ_I8 ? ((int8_t *)got)[begin + i] : got[begin + i];
      cr_assert_eq(is, expected[(size_t)r * cols + i],
                   "%s to %s, kind %d, row %lld of %lld x %lld, column %zu: %d, expected %d",
                   clq_dtype_name(c.x), clq_dtype_name(c.out), (int)c.kind, (long long)r,
                   (long long)c.rows, (long long)c.cols, i, is, expected[(size_t)r * cols + i]);
    }
  }
  cr_assert_arr_eq(got, out, out_bytes, "wrote beside the rows");
  if (c.per != 0) {
    check_planes(device, c, &scale, &zero, &sum, sums);
  }
  test_buffer *const buffers[] = {&xb, &ob, &eb, &mb, &bb, &zb, &scale, &zero, &sum};
  for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; ++i) {
    test_buffer_free(buffers[i]);
  }
  free(x);
  free(out);
  free(got);
  free(sums);
  if (!keep) {
    free(expected);
    expected = NULL;
  }
  return expected;
}

/* A call of this width whose other properties the seed chooses; each is met by some width. */
static call varied(int64_t cols, uint64_t seed) {
  static const clq_dtype types[] = {CLQ_I8, CLQ_U8, CLQ_I32};
  const clq_dtype x = types[seed % 3];
  const clq_granularity pers[] = {0, CLQ_PER_TENSOR, CLQ_PER_TOKEN};
  const clq_granularity per = pers[seed / 3 % 3];
  return (call){.rows = 1 + (int64_t)(seed % 4),
                .cols = cols,
                .pad = (int64_t)(seed / 2 % 3) * 5,
                .offset = (int64_t)(seed / 5 % 16),
                .x = x,
                .out = seed / 7 % 2 == 0 ? CLQ_I8 : CLQ_U8,
                .kind = seed / 4 % 2 == 0 ? (seed % 2 == 0 ? 0 : CLQ_NORM_LAYER) : CLQ_NORM_RMS,
                .has_exponent = seed / 2 % 2 == 0,
                .has_zero = x != CLQ_I32 && seed / 3 % 2 == 0,
                .has_bias = seed % 5 != 0,
                .per = per,
                .out_zero_plane = per != 0 && seed / 11 % 2 == 0};
}

static void check_varied(const test_device *device, int64_t cols, uint64_t seed) {
  call c = varied(cols, seed);
  data d = data_new(c);
  fill(&c, &d, seed);
  (void)run(device, c, &d, false);
  data_free(&d);
}

Test(integer_norm, tiny_rows_are_the_model_bit_for_bit) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (uint64_t seed = 0; seed < 24; ++seed) {
      check_varied(&f.device, (int64_t)(1 + seed * 11 % 53), seed);
    }
    test_forms_saw(&f, "integer_norm", "integer_norm_rows", "integer_norm_group");
  }
}

Test(integer_norm, every_width_is_the_model_bit_for_bit) {
  static const int64_t wide[] = {255, 256, 257, 768, 769, 1024, 1025, 4096, 4097, 5137, 65537};
  for (test_forms f = {0}; test_forms_next(&f);) {
    uint64_t seed = 1;
    for (int64_t cols = 1; cols <= 130; ++cols) {
      check_varied(&f.device, cols, ++seed);
      check_varied(&f.device, cols, seed + 331);
    }
    for (size_t w = 0; w < sizeof wide / sizeof wide[0]; ++w) {
      for (int k = 0; k < 6; ++k) {
        check_varied(&f.device, wide[w], seed += 7);
      }
    }
    test_forms_saw(&f, "integer_norm", "integer_norm_rows", "integer_norm_group");
  }
}

/* --- rows at the edges --- */

typedef enum edge { CONSTANT, ZERO, LOWEST, ALTERNATING, ONE_STEP, ONE_HUGE, HALVES, EDGES } edge;

static void fill_edge(call c, data *d, edge e, int64_t row) {
  int32_t low = 0;
  int32_t high = 0;
  code_bounds(c.x, &low, &high);
  for (int64_t i = 0; i < c.cols; ++i) {
    int32_t code = 0;
    switch (e) {
      case CONSTANT: code = high / 3; break;
      case ZERO: code = c.has_zero ? d->zero : 0; break;
      case LOWEST: code = low; break;
      case ALTERNATING: code = i % 2 == 0 ? low : high; break;
      case ONE_STEP: code = high / 2 + (i == c.cols / 2 ? 1 : 0); break;
      case ONE_HUGE: code = i == c.cols - 1 ? high : 0; break;
      default: code = i < c.cols / 2 ? low : high; break;
    }
    d->codes[row * c.cols + i] = code;
  }
}

static void check_edges(const test_device *device, call c, bool no_eps) {
  c.rows = EDGES;
  data d = data_new(c);
  fill(&c, &d, 5);
  d.zero = 7;
  c.eps = no_eps ? 0 : c.eps;
  for (int e = 0; e < EDGES; ++e) {
    fill_edge(c, &d, (edge)e, e);
  }
  if (c.cols > 64) { /* the largest q' that there are */
    memset(d.exponent, 7, (size_t)c.cols);
  }
  int32_t *codes = run(device, c, &d, true);
  /* A row without spread is beta: the bias, rounded; an RMSNorm of zeros too. */
  for (int64_t i = 0; i < c.cols; ++i) {
    const double bias = c.has_bias ? d.bias[i] / 65536.0 : 0.0;
    const double lowest = c.out == CLQ_I8 ? -128.0 : 0.0;
    const double highest = c.out == CLQ_I8 ? 127.0 : 255.0;
    const double beta = fmin(fmax(floor(bias + 0.5), lowest), highest);
    if (c.kind != CLQ_NORM_RMS && !c.has_exponent) {
      cr_assert_eq(codes[CONSTANT * c.cols + i], (int32_t)beta);
      cr_assert_eq(codes[LOWEST * c.cols + i], (int32_t)beta);
    }
    if (c.kind != CLQ_NORM_RMS || c.x == CLQ_I32 || c.has_zero) {
      cr_assert_eq(codes[ZERO * c.cols + i], (int32_t)beta);
    }
  }
  free(codes);
  data_free(&d);
}

Test(integer_norm, edges_constant_rows_and_extreme_codes) {
  static const int64_t widths[] = {1, 2, 3, 64, 770, 65537};
  static const clq_dtype types[] = {CLQ_I8, CLQ_U8, CLQ_I32};
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; ++w) {
      for (int k = 0; k < 24; ++k) {
        const clq_dtype x = types[k % 3];
        check_edges(&f.device,
                    (call){.cols = widths[w],
                           .x = x,
                           .out = k / 3 % 2 == 0 ? CLQ_I8 : CLQ_U8,
                           .kind = k / 6 % 2 == 0 ? CLQ_NORM_LAYER : CLQ_NORM_RMS,
                           .has_exponent = k / 12 % 2 == 0 && widths[w] != 1,
                           .has_zero = x != CLQ_I32,
                           .has_bias = k % 4 != 3},
                    k % 2 == 0);
      }
    }
  }
}

/* The widest rows that are offered, of the largest values there are, where sums come closest to
 * their bounds. */
Test(integer_norm, widest_rows_do_not_overflow) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (int kind = CLQ_NORM_LAYER; kind <= CLQ_NORM_RMS; ++kind) {
      check_edges(&f.device,
                  (call){.cols = 1 << 17,
                         .x = CLQ_I32,
                         .out = CLQ_I8,
                         .kind = (clq_norm_kind)kind,
                         .has_exponent = true},
                  true);
    }
    call c = {.rows = 1, .cols = 1 << 23, .x = CLQ_U8, .out = CLQ_U8, .has_exponent = true};
    data d = data_new(c);
    fill(&c, &d, 5);
    fill_edge(c, &d, HALVES, 0);
    memset(d.exponent, 7, (size_t)c.cols);
    c.per = CLQ_PER_TOKEN;
    (void)run(&f.device, c, &d, false);
    data_free(&d);
  }
}

/* Any multiplier, bias, shift and eps that the contract allows. */
Test(integer_norm, arguments_at_their_bounds) {
  static const struct {
    int32_t eps, shift;
  } eps[] = {{0, 0},   {1, 0},  {INT32_MAX, 0}, {INT32_MAX, 400}, {INT32_MAX, -17},
             {1, -48}, {3, 35}, {1 << 30, 90},  {INT32_MAX, 63},  {5, INT32_MAX}};
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t e = 0; e < sizeof eps / sizeof eps[0]; ++e) {
      for (int k = 0; k < 8; ++k) {
        call c = {.rows = EDGES,
                  .cols = 1 + 100 * (k % 4),
                  .x = k % 2 == 0 ? CLQ_I32 : CLQ_I8,
                  .out = k / 2 % 2 == 0 ? CLQ_I8 : CLQ_U8,
                  .kind = k / 4 % 2 == 0 ? CLQ_NORM_LAYER : CLQ_NORM_RMS,
                  .has_exponent = true,
                  .has_bias = true};
        data d = data_new(c);
        fill(&c, &d, (uint64_t)k);
        for (int row = 0; row < EDGES; row += 2) {
          fill_edge(c, &d, (edge)row, row);
        }
        static const int32_t extremes[] = {INT32_MIN, INT32_MAX, 0, -1, 1};
        for (int64_t i = 0; i < c.cols; ++i) {
          d.multiplier[i] = i % 7 < 5 ? extremes[i % 7] : d.multiplier[i];
          d.bias[i] = i % 11 < 5 ? extremes[i % 11] : d.bias[i];
        }
        c.eps = eps[e].eps;
        c.eps_shift = eps[e].shift;
        for (int shift = 16; shift <= 46; shift += 15) {
          c.shift = shift;
          (void)run(&f.device, c, &d, false);
        }
        data_free(&d);
      }
    }
  }
}

Test(integer_norm, in_place_and_no_rows) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    call c = {.rows = 5, .cols = 300, .pad = 3, .x = CLQ_I8, .out = CLQ_I8, .in_place = true};
    data d = data_new(c);
    fill(&c, &d, 1);
    (void)run(&f.device, c, &d, false);
    data_free(&d);
    c = (call){.rows = 0, .cols = 300, .x = CLQ_I32, .out = CLQ_U8};
    d = data_new(c);
    fill(&c, &d, 1);
    (void)run(&f.device, c, &d, false);
    data_free(&d);
  }
}

/* An edge of a graph between this operator and one that reads scales. */
Test(integer_norm, planned_codes_are_read_with_their_scale) {
  enum { ROWS = 3, COLS = 75, ALL = ROWS * COLS };
  test_device d = test_device_open(NULL);
  call c = {.rows = ROWS, .cols = COLS, .x = CLQ_I8, .out = CLQ_I8, .per = CLQ_PER_TOKEN};
  data in = data_new(c);
  fill(&c, &in, 3);
  int32_t expected[ALL];
  int32_t sums[ROWS];
  int8_t x[ALL];
  float got[ALL];
  expect(c, &in, expected, sums);
  for (int i = 0; i < ALL; ++i) {
    x[i] = (int8_t)in.codes[i];
  }
  test_buffer xb = test_buffer_new(&d, x, sizeof x);
  test_buffer mb = test_buffer_new(&d, in.multiplier, COLS * 4);
  test_buffer ob = test_buffer_new(&d, NULL, sizeof got);
  clq_graph *graph = NULL;
  clq_plan *plan = NULL;
  test_ok(clq_graph_create(d.context, &graph));
  clq_tensor codes = clq_graph_edge(graph, CLQ_I8, 0, NULL);
  codes.quant.per = CLQ_PER_TOKEN;
  test_ok(clq_graph_add(graph, CLQ_OP_INTEGER_NORM,
                        &(clq_integer_norm_args){.x = {xb.mem, CLQ_I8, {ROWS, COLS}},
                                                 .multiplier = {mb.mem, CLQ_I32, {COLS}},
                                                 .out = codes,
                                                 .shift = c.shift,
                                                 .eps = c.eps,
                                                 .eps_shift = c.eps_shift,
                                                 .out_scale = 0.02f}));
  codes.shape[0] = ROWS;
  codes.shape[1] = COLS;
  test_ok(clq_graph_add(graph, CLQ_OP_DEQUANTIZE,
                        &(clq_dequantize_args){codes, {ob.mem, CLQ_F32, {ROWS, COLS}}}));
  test_ok(clq_plan_create(graph, &plan));
  clq_graph_destroy(graph);
  test_ok(clq_plan_run(plan, d.stream));
  test_buffer_read(&d, &ob, got);
  for (int i = 0; i < ALL; ++i) {
    cr_assert_eq(got[i], 0.02f * (float)expected[i], "element %d", i);
  }
  clq_plan_destroy(plan);
  test_buffer_free(&xb);
  test_buffer_free(&mb);
  test_buffer_free(&ob);
  data_free(&in);
  test_device_close(&d);
}

/* --- against exact arithmetic --- */

typedef struct closeness {
  int64_t cols;
  clq_dtype x;
  clq_norm_kind kind;
  bool has_exponent;
  float spread; /* of the codes, in steps; 0: uniform over the type */
} closeness;

/* Rows of ordinary data: each code is within the stated bound of the norm of q' in double. Returns
 * the share of codes that are not the nearest to it. */
static double check_close(const test_device *device, closeness w, uint64_t seed) {
  enum { ROWS = 20 };
  const float out_scale = 0.031f;
  const float x_scale = 0.02f;
  call c = {.rows = ROWS,
            .cols = w.cols,
            .x = w.x,
            .out = CLQ_I8,
            .kind = w.kind,
            .has_exponent = w.has_exponent,
            .has_bias = true};
  data d = data_new(c);
  fill(&c, &d, seed);
  test_random random = {seed};
  int32_t low = 0;
  int32_t high = 0;
  code_bounds(c.x, &low, &high);
  for (int64_t i = 0; w.spread != 0.0f && i < c.rows * c.cols; ++i) {
    const float code = (float)(low + high) / 2.0f + w.spread * test_random_normal(&random) + 3.0f;
    d.codes[i] = (int32_t)fminf(fmaxf(rintf(code), (float)low), (float)high);
  }
  float *gamma = calloc((size_t)c.cols, sizeof *gamma);
  float *beta = calloc((size_t)c.cols, sizeof *beta);
  double most = 0.0;
  for (int64_t i = 0; i < c.cols; ++i) {
    gamma[i] = 1.0f + 0.3f * test_random_normal(&random);
    beta[i] = 0.5f * test_random_normal(&random);
    most = fmax(most, fabs((double)gamma[i]));
    d.exponent[i] = (int8_t)test_random_int(&random, 0, 5);
  }
  clq_integer_norm_args args = {0};
  test_ok(clq_integer_norm_prepare(
      &(clq_integer_norm_desc){c.cols, gamma, beta, 1e-5f, x_scale, out_scale, 0}, d.multiplier,
      d.bias, &args));
  c.shift = args.shift;
  c.eps = args.eps;
  c.eps_shift = args.eps_shift;
  int32_t *codes = run(device, c, &d, true);
  const double factor = most * sqrt((double)c.cols) / (double)out_scale;
  int64_t off = 0;
  for (int64_t r = 0; r < c.rows; ++r) {
    double mean = 0.0;
    double square = 0.0;
    for (int64_t i = 0; i < c.cols; ++i) {
      mean += clqi_ref_integer_norm_value(c.x, d.codes[r * c.cols + i], 0,
                                          c.has_exponent ? d.exponent[i] : 0);
    }
    mean = c.kind == CLQ_NORM_RMS ? 0.0 : mean / (double)c.cols;
    for (int64_t i = 0; i < c.cols; ++i) {
      const double v = clqi_ref_integer_norm_value(c.x, d.codes[r * c.cols + i], 0,
                                                   c.has_exponent ? d.exponent[i] : 0) -
                       mean;
      square += v * v;
    }
    const double step = (double)x_scale;
    const double rstd = 1.0 / sqrt(square / (double)c.cols + (double)1e-5f / (step * step));
    for (int64_t i = 0; i < c.cols; ++i) {
      const double v = clqi_ref_integer_norm_value(c.x, d.codes[r * c.cols + i], 0,
                                                   c.has_exponent ? d.exponent[i] : 0) -
                       mean;
      const double y = (v * rstd * (double)gamma[i] + (double)beta[i]) / (double)out_scale;
      const double bound = 0.5 + 0x1p-15 + 0x1p-27 * factor;
      const double held = fmin(fmax(y, -128.0), 127.0);
      const int32_t code = codes[r * c.cols + i];
      cr_assert(fabs(code - held) <= bound, "%s, %lld columns, row %lld, column %lld: %d for %.9g",
                clq_dtype_name(c.x), (long long)c.cols, (long long)r, (long long)i, code, y);
      off += code != (int32_t)floor(held + 0.5);
    }
  }
  free(codes);
  free(gamma);
  free(beta);
  data_free(&d);
  return (double)off / (double)(c.rows * c.cols);
}

Test(integer_norm, is_the_exact_norm_to_the_stated_bound) {
  static const int64_t widths[] = {7, 64, 384, 768, 1000, 4096};
  static const clq_dtype types[] = {CLQ_I8, CLQ_U8, CLQ_I32};
  test_device d = test_device_open(NULL);
  double worst = 0.0;
  for (uint64_t seed = 1; seed < 73; ++seed) {
    const clq_dtype x = types[seed % 3];
    const closeness w = {widths[seed / 3 % 6], x, seed % 2 == 0 ? CLQ_NORM_LAYER : CLQ_NORM_RMS,
                         seed / 18 % 2 == 0,
                         x == CLQ_I32     ? 20000.0f
                         : seed / 36 == 0 ? 30.0f
                                          : 1.5f};
    worst = fmax(worst, check_close(&d, w, seed));
  }
  cr_log_info("codes that are not the nearest: at most %.2g of a call", worst);
  cr_assert_leq(worst, 1e-3);
  test_device_close(&d);
}

Test(integer_norm, bad_arguments_are_named) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 4096);
  test_buffer b2 = test_buffer_new(&d, NULL, 4096);
  const clq_integer_norm_args good = {.x = {b.mem, CLQ_I8, {4, 10}},
                                      .multiplier = {b2.mem, CLQ_I32, {10}},
                                      .out = {b.mem, CLQ_I8, {4, 10}, .offset = 1024},
                                      .shift = 46,
                                      .out_scale = 1.0f};
  test_ok(clq_integer_norm(d.stream, &good));
  test_ok(clq_stream_finish(d.stream));
#define call_fails(member, value, status, part)                 \
  {                                                             \
    clq_integer_norm_args bad = good;                           \
    bad.member = value;                                         \
    test_fails(clq_integer_norm(d.stream, &bad), status, part); \
  }
  call_fails(shift, 15, CLQ_INVALID_ARGUMENT, "shift is 15, expected 16 to 46");
  call_fails(shift, 47, CLQ_INVALID_ARGUMENT, "shift is 47");
  call_fails(eps, -1, CLQ_INVALID_ARGUMENT, "eps is -1");
  call_fails(kind, (clq_norm_kind)3, CLQ_INVALID_ARGUMENT, "kind is 3");
  call_fails(x.dtype, CLQ_F32, CLQ_UNSUPPORTED, "dtype of x is f32");
  call_fails(out.dtype, CLQ_F16, CLQ_UNSUPPORTED, "dtype of out is f16");
  call_fails(multiplier.shape[0], 9, CLQ_INVALID_ARGUMENT, "dimension 0 of multiplier is 9");
  call_fails(multiplier.mem, NULL, CLQ_INVALID_ARGUMENT, "multiplier has no buffer");
  call_fails(x.quant, ((clq_quant){.per = CLQ_PER_TOKEN, .zero = b2.mem}), CLQ_UNSUPPORTED,
             "quant.per of x is 3, offered: 0 or CLQ_PER_TENSOR (1)");
  clq_integer_norm_args bad = good;
  bad.out.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = b2.mem, .sum = b2.mem};
  test_fails(clq_integer_norm(d.stream, &bad), CLQ_INVALID_ARGUMENT, "sums are one a row");
  bad.out.quant.sum = NULL;
  test_fails(clq_integer_norm(d.stream, &bad), CLQ_INVALID_ARGUMENT,
             "out.quant.scale overlaps multiplier");
  bad.out.quant.zero = b2.mem;
  bad.out.quant.scale_offset = bad.out.quant.zero_offset = 1024;
  test_fails(clq_integer_norm(d.stream, &bad), CLQ_INVALID_ARGUMENT,
             "out.quant.zero overlaps out.quant.scale");
  bad.out.quant.zero = NULL;
  bad.out_zero = 3;
  test_fails(clq_integer_norm(d.stream, &bad), CLQ_INVALID_ARGUMENT, "out_zero is 3");
  bad = good;
  bad.eps = INT32_MAX;
  bad.eps_shift = -24;
  test_fails(clq_integer_norm(d.stream, &bad), CLQ_INVALID_ARGUMENT, "2^58");
  bad = good;
  bad.x = (clq_tensor){b.mem, CLQ_I32, {4, (1 << 17) + 1}};
  test_fails(clq_integer_norm(d.stream, &bad), CLQ_UNSUPPORTED, "131073 columns, at most 131072");
  test_buffer_free(&b);
  test_buffer_free(&b2);
  test_device_close(&d);
}
