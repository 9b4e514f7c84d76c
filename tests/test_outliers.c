/* Columns that stay f16 beside int8 (LLM.int8): quantize leaves them out and gathers them, gemm
 * adds their products; together what bitsandbytes computes. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "opencl.h"
#include "quant/weights.h"
#include "ref/epilogue.h"
#include "ref/math.h"
#include "ref/norm.h"
#include "ref/ref.h"
#include "runtime/context.h"

TestSuite(outliers, .fini = opencl_none_live);

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Ends, neighbours, and borders of words, quads and vectors of 16. */
enum { K = 77, COLUMNS = 9 };
static const int32_t columns[COLUMNS] = {0, 3, 15, 16, 17, 32, 48, 75, 76};

/* W8 with outliers, [rows, K] in one group a row or several. */
typedef struct matrix {
  int64_t rows, group;
  int8_t *codes;
  float *scales;
  uint16_t *given; /* f16 [rows, COLUMNS], or NULL */
  float *values;   /* what the outliers of W are */
  clq_weights *packed;
} matrix;

static matrix matrix_new(const test_device *d, int64_t rows, int64_t group, bool given,
                         test_random *random) {
  matrix m = {.rows = rows, .group = group == 0 ? K : group};
  const int64_t groups = (K + m.group - 1) / m.group;
  m.codes = malloc((size_t)(rows * K));
  m.scales = malloc((size_t)(rows * groups) * sizeof *m.scales);
  m.values = malloc((size_t)rows * COLUMNS * sizeof *m.values);
  m.given = given ? malloc((size_t)rows * COLUMNS * sizeof *m.given) : NULL;
  for (int64_t i = 0; i < rows * K; ++i) {
    m.codes[i] = (int8_t)test_random_int(random, -127, 127);
  }
  for (int64_t i = 0; i < rows * groups; ++i) { /* products of subnormal halves are among them */
    m.scales[i] = i % 7 == 3 ? 0x1.234p-22f : 0.02f * test_random_float(random);
  }
  for (int64_t i = 0; i < rows * COLUMNS; ++i) {
    const int64_t n = i / COLUMNS;
    const int64_t k = columns[i % COLUMNS];
    const float code = (float)m.codes[n * K + k] * m.scales[n * groups + k / m.group];
    const uint16_t half = clqi_ref_f16_from_f32(given ? test_random_float(random) : code);
    m.values[i] = clqi_ref_f32_from_f16(half);
    if (given) {
      m.given[i] = half;
    }
  }
  const int64_t first = rows / 3; /* two parts */
  const clq_weights_part parts[] = {
      {.data = m.codes, .scales = m.scales, .rows = first, .outliers = m.given},
      {.data = m.codes + first * K,
       .scales = m.scales + first * groups,
       .rows = rows - first,
       .outliers = given ? m.given + first * COLUMNS : NULL}};
  test_ok(clq_weights_pack(d->context,
                           &(clq_weights_desc){.format = CLQ_FORMAT_W8,
                                               .cols = K,
                                               .group = group,
                                               .parts = first == 0 ? parts + 1 : parts,
                                               .part_count = first == 0 ? 1 : 2,
                                               .outliers = columns,
                                               .outlier_count = COLUMNS},
                           &m.packed));
  /* for the reference, as the device has them */
  for (int64_t i = 0; i < rows * COLUMNS; ++i) {
    m.codes[i / COLUMNS * K + columns[i % COLUMNS]] = 0;
  }
  return m;
}

static void matrix_free(matrix *m) {
  clq_weights_destroy(m->packed);
  free(m->codes);
  free(m->scales);
  free(m->given);
  free(m->values);
}

static clqi_ref_weights reference_of(const matrix *m) {
  return (clqi_ref_weights){.format = CLQ_FORMAT_W8,
                            .rows = m->rows,
                            .cols = K,
                            .group = m->group,
                            .data = m->codes,
                            .scales = m->scales};
}

Test(outliers, unpacking_finds_them) {
  test_device d = test_device_open(NULL);
  test_random random = {1};
  for (int given = 0; given < 2; ++given) {
    matrix m = matrix_new(&d, 35, given ? 0 : 16, given, &random);
    const clqi_ref_weights ref = reference_of(&m);
    float row[K];
    for (int64_t n = 0; n < m.rows; ++n) {
      test_ok(clq_weights_unpack(m.packed, n, 1, row));
      for (int64_t k = 0, j = 0; k < K; ++k) {
        const bool outlier = j < COLUMNS && columns[j] == k;
        const float expected = outlier ? m.values[n * COLUMNS + j++] : clqi_ref_weight(&ref, n, k);
        cr_assert_eq(row[k], expected, "[%lld, %lld]", (long long)n, (long long)k);
      }
    }
    matrix_free(&m);
  }
  test_device_close(&d);
}

/* --- gemm --- */

typedef struct form {
  int64_t m, n, group;
  int32_t x_group; /* 0: per token; -1: x f32 */
  clq_dtype x_outliers, bias, out;
} form;

static void round_to(float *v, size_t count, clq_dtype dtype) {
  for (size_t i = 0; i < count; ++i) {
    v[i] = clqi_ref_rounded(v[i], dtype);
  }
}

/* In a buffer as f32 or f16. */
static test_buffer floats_in(const test_device *d, const float *v, size_t count, clq_dtype dtype) {
  uint16_t *halves = malloc(count * sizeof *halves);
  for (size_t i = 0; i < count; ++i) {
    halves[i] = clqi_ref_f16_from_f32(v[i]);
  }
  const test_buffer b = dtype == CLQ_F16 ? test_buffer_new(d, halves, count * sizeof *halves)
                                         : test_buffer_new(d, v, count * sizeof *v);
  free(halves);
  return b;
}

static void check(const test_device *d, const form *f, test_random *random) {
  matrix w = matrix_new(d, f->n, f->group, f->m % 2 == 0, random);
  const clqi_ref_weights ref = reference_of(&w);
  const size_t elements = (size_t)f->m * K;
  const size_t count = (size_t)(f->m * f->n);
  const size_t gathered = (size_t)f->m * COLUMNS;
  const size_t scale_count = (size_t)f->m * (f->x_group > 0 ? (K + 31) / 32 : 1);
  float *floats = malloc(elements * sizeof *floats);
  int8_t *codes = malloc(elements);
  float *scales = malloc(scale_count * sizeof *scales);
  float *x_outliers = malloc(gathered * sizeof *x_outliers);
  float *bias = malloc((size_t)f->n * sizeof *bias);
  float *expected = malloc(count * sizeof *expected);
  void *got = malloc(count * sizeof *expected);
  for (size_t i = 0; i < elements; ++i) {
    floats[i] = test_random_float(random);
    codes[i] = (int8_t)test_random_int(random, -127, 127);
  }
  for (size_t i = 0; i < scale_count; ++i) {
    scales[i] = 0.03f * test_random_float(random);
  }
  for (size_t i = 0; i < gathered; ++i) {
    x_outliers[i] = 20.0f * test_random_float(random);
  }
  for (int64_t i = 0; i < f->n; ++i) {
    bias[i] = test_random_float(random);
  }
  round_to(x_outliers, gathered, f->x_outliers);
  if (f->x_group < 0) {
    clqi_ref_gemm_f32(floats, K, f->m, &ref, expected, f->n);
  } else {
    clqi_ref_gemm_q8(codes, K, scales, f->x_group, f->m, &ref, expected, f->n);
  }
  const clqi_ref_epilogue e = {.bias = f->bias == 0 ? NULL : bias,
                               .outliers = COLUMNS,
                               .x_outliers = x_outliers,
                               .w_outliers = w.values};
  clqi_ref_gemm_epilogue(&e, f->m, f->n, expected, f->n);
  round_to(expected, count, f->out);
  test_buffer xb = f->x_group < 0 ? test_buffer_new(d, floats, elements * sizeof *floats)
                                  : test_buffer_new(d, codes, elements);
  test_buffer sb = test_buffer_new(d, scales, scale_count * sizeof *scales);
  test_buffer gb = floats_in(d, x_outliers, gathered, f->x_outliers);
  test_buffer bb = test_buffer_new(d, bias, (size_t)f->n * sizeof *bias);
  test_buffer ob = test_buffer_new(d, NULL, count * clq_dtype_bytes(f->out));
  clq_gemm_args a = {.x = {xb.mem, f->x_group < 0 ? CLQ_F32 : CLQ_I8, {f->m, K}},
                     .weights = w.packed,
                     .out = {ob.mem, f->out, {f->m, f->n}},
                     .x_outliers = {gb.mem, f->x_outliers, {f->m, COLUMNS}}};
  if (f->x_group >= 0) {
    a.x.quant = (clq_quant){.per = f->x_group == 0 ? CLQ_PER_TOKEN : CLQ_PER_GROUP,
                            .group = f->x_group,
                            .scale = sb.mem};
  }
  if (f->bias != 0) {
    a.bias = (clq_tensor){bb.mem, CLQ_F32, {f->n}};
  }
  test_ok(clq_gemm(d->stream, &a));
  test_buffer_read(d, &ob, got);
  for (size_t i = 0; i < count; ++i) {
    const float value =
        f->out == CLQ_F16 ? clqi_ref_f32_from_f16(((uint16_t *)got)[i]) : ((float *)got)[i];
    cr_assert_eq(value, expected[i], "M=%lld N=%lld, x group %d: element %zu is %a, expected %a",
                 (long long)f->m, (long long)f->n, (int)f->x_group, i, (double)value,
                 (double)expected[i]);
  }
  test_buffer_free(&xb);
  test_buffer_free(&sb);
  test_buffer_free(&gb);
  test_buffer_free(&bb);
  test_buffer_free(&ob);
  free(floats);
  free(codes);
  free(scales);
  free(x_outliers);
  free(bias);
  free(expected);
  free(got);
  matrix_free(&w);
}

/* Rows of several kernels; few programs. */
Test(outliers, gemm_adds_their_products) {
  static const form forms[] = {
      {1, 33, 0, 0, CLQ_F32, 0, CLQ_F32},        {9, 33, 0, 0, CLQ_F32, 0, CLQ_F32},
      {17, 300, 0, 0, CLQ_F32, 0, CLQ_F32},      {12, 18, 16, 32, CLQ_F16, CLQ_F32, CLQ_F16},
      {9, 17, 0, -1, CLQ_F16, CLQ_F32, CLQ_F32},
  };
  test_device d = test_device_open(NULL);
  test_random random = {2};
  for (size_t i = 0; i < COUNT(forms); ++i) {
    check(&d, &forms[i], &random);
  }
  test_device_close(&d);
}

Test(outliers, gemm_on_lanes_and_matrices) {
  test_device d = test_device_open("cpu,nvidia_ptx");
  test_random random = {3};
  check(&d, &(form){9, 33, 0, 0, CLQ_F32, 0, CLQ_F32}, &random);
  check(&d, &(form){2, 33, 8, 0, CLQ_F16, 0, CLQ_F32}, &random);
  d.context->traits |= CLQI_BIT(NVIDIA_MMA);
  test_dispatch_start();
  check(&d, &(form){17, 33, 0, 0, CLQ_F32, 0, CLQ_F32}, &random);
  cr_assert(test_dispatch_saw("gemm", "gemm_q8_mma"));
  test_dispatch_stop();
  test_device_close(&d);
}

/* --- quantize --- */

typedef struct coding {
  clq_dtype x, outliers;
  int32_t group; /* 0: per token */
  bool asymmetric;
} coding;

static void check_quantize(const test_device *d, const clq_weights *w, const coding *c,
                           test_random *random) {
  enum { ROWS = 5 };
  const int64_t group = c->group == 0 ? K : c->group;
  const int64_t groups = (K + group - 1) / group;
  float x[ROWS * K];
  float without[ROWS * K];
  float gathered[ROWS * COLUMNS];
  for (int i = 0; i < ROWS * K; ++i) {
    x[i] = 3.0f * test_random_float(random);
  }
  for (int i = 0; i < ROWS * COLUMNS; ++i) { /* what stands there may be anything */
    float *v = &x[i / COLUMNS * K + columns[i % COLUMNS]];
    *v = i == 4 ? NAN : i == 11 ? INFINITY : 60.0f * test_random_float(random);
  }
  round_to(x, COUNT(x), c->x);
  memcpy(without, x, sizeof x);
  for (int i = 0; i < ROWS * COLUMNS; ++i) {
    float *v = &without[i / COLUMNS * K + columns[i % COLUMNS]];
    gathered[i] = *v;
    *v = 0.0f;
  }
  round_to(gathered, COUNT(gathered), c->outliers);
  test_buffer xb = floats_in(d, x, COUNT(x), c->x);
  test_buffer qb = test_buffer_new(d, NULL, ROWS * K);
  test_buffer sb = test_buffer_new(d, NULL, (size_t)(ROWS * groups) * 4);
  test_buffer zb = test_buffer_new(d, NULL, (size_t)(ROWS * groups) * 4);
  test_buffer ub = test_buffer_new(d, NULL, (size_t)(ROWS * groups) * 4);
  test_buffer gb = test_buffer_new(d, NULL, COUNT(gathered) * clq_dtype_bytes(c->outliers));
  test_ok(clq_quantize(
      d->stream,
      &(clq_quantize_args){.x = {xb.mem, c->x, {ROWS, K}},
                           .out = {qb.mem,
                                   CLQ_I8,
                                   {ROWS, K},
                                   .quant = {.per = c->group == 0 ? CLQ_PER_TOKEN : CLQ_PER_GROUP,
                                             .group = c->group,
                                             .scale = sb.mem,
                                             .zero = c->asymmetric ? zb.mem : NULL,
                                             .sum = ub.mem}},
                           .weights = w,
                           .outliers = {gb.mem, c->outliers}}));
  int8_t codes[ROWS * K];
  float scales[ROWS * K];
  int32_t sums[ROWS * K];
  unsigned char bytes[sizeof gathered];
  test_buffer_read(d, &qb, codes);
  test_buffer_read(d, &sb, scales);
  test_buffer_read(d, &ub, sums);
  test_buffer_read(d, &gb, bytes);
  for (int64_t i = 0; i < ROWS * groups; ++i) {
    const int64_t begin = i / groups * K + i % groups * group;
    const int64_t n = i % groups * group + group <= K ? group : K - i % groups * group;
    int32_t wide[K];
    int8_t narrow[K];
    float scale;
    int32_t zero = 0;
    const int32_t sum =
        c->asymmetric ? clqi_ref_quantize_asymmetric(without + begin, n, -128, wide, &scale, &zero)
                      : clqi_ref_quantize_group(without + begin, n, narrow, &scale);
    cr_assert_eq(scales[i], scale, "scale %lld", (long long)i);
    cr_assert_eq(sums[i], sum, "sum %lld", (long long)i);
    for (int64_t k = 0; k < n; ++k) {
      cr_assert_eq(codes[begin + k], c->asymmetric ? wide[k] : narrow[k], "code %lld of group %lld",
                   (long long)k, (long long)i);
    }
  }
  for (size_t i = 0; i < COUNT(gathered); ++i) {
    float value;
    uint16_t half;
    memcpy(&value, bytes + 4 * i, c->outliers == CLQ_F32 ? 4 : 0);
    memcpy(&half, bytes + 2 * i, 2);
    value = c->outliers == CLQ_F32 ? value : clqi_ref_f32_from_f16(half);
    cr_assert(value == gathered[i] || (isnan(value) && isnan(gathered[i])), "outlier %zu is %a", i,
              (double)value);
  }
  test_buffer_free(&xb);
  test_buffer_free(&qb);
  test_buffer_free(&sb);
  test_buffer_free(&zb);
  test_buffer_free(&ub);
  test_buffer_free(&gb);
}

Test(outliers, quantize_leaves_them_out) {
  static const coding codings[] = {
      {CLQ_F32, CLQ_F32, 0, false}, {CLQ_F16, CLQ_F16, 32, false}, {CLQ_F32, CLQ_F16, 8, true}};
  static const char *const disables[] = {NULL, "cpu"};
  test_random random = {4};
  for (size_t i = 0; i < COUNT(disables); ++i) {
    test_device d = test_device_open(disables[i]);
    matrix w = matrix_new(&d, 3, 0, false, &random);
    for (size_t j = 0; j < COUNT(codings) - (i == 1); ++j) {
      check_quantize(&d, w.packed, &codings[j], &random);
    }
    matrix_free(&w);
    test_device_close(&d);
  }
}

/* --- bitsandbytes --- */

/* backends/default/ops.py in double: int8_vectorwise_quant of both matrices, int8_mixed_scaled_mm.
 * threshold 6: columns with an element that large are outliers. Every element of these is, so that
 * its rule for the others' absmax is ours (ops.h). */
Test(outliers, together_they_are_bitsandbytes) {
  enum { M = 7, N = 24 };
  test_device d = test_device_open(NULL);
  test_random random = {5};
  float a[M * K];
  float b[N * K];
  int8_t cb[N * K];
  float scb[N];
  bool outlier[K] = {false};
  for (int j = 0; j < COLUMNS; ++j) {
    outlier[columns[j]] = true;
  }
  for (int i = 0; i < M * K; ++i) {
    const float v = test_random_float(&random);
    a[i] =
        clqi_ref_rounded(outlier[i % K] ? (v < 0 ? -6.0f : 6.0f) + 40.0f * v : 2.0f * v, CLQ_F16);
  }
  for (int n = 0; n < N; ++n) {
    float absmax = 0.0f;
    for (int k = 0; k < K; ++k) {
      b[n * K + k] = 0.1f * test_random_float(&random);
      absmax = fmaxf(absmax, fabsf(b[n * K + k]));
    }
    for (int k = 0; k < K; ++k) {
      cb[n * K + k] = (int8_t)lrintf(b[n * K + k] * (127.0f / absmax));
    }
    scb[n] = absmax / 127.0f;
  }
  double expected[M * N];
  double bound[M * N];
  for (int m = 0; m < M; ++m) {
    double absmax = 0.0;
    for (int k = 0; k < K; ++k) {
      const double v = fabs((double)a[m * K + k]);
      absmax = v >= 6.0 || v < absmax ? absmax : v;
    }
    for (int n = 0; n < N; ++n) {
      double products = 0.0;
      double rest = 0.0;
      double size = 0.0;
      for (int k = 0; k < K; ++k) {
        const double w = (double)cb[n * K + k];
        if (outlier[k]) {
          rest += (double)a[m * K + k] * (w * scb[n]);
          size += fabs((double)a[m * K + k] * w * scb[n]);
        } else {
          products += rint((double)a[m * K + k] * (127.0 / absmax)) * w;
        }
      }
      expected[m * N + n] = products * absmax / 127.0 * scb[n] + rest;
      /* f16 of the weights' columns; f32 of all else */
      bound[m * N + n] = 0x1p-11 * size + 0x1p-20 * fabs(products * absmax / 127.0 * scb[n]);
    }
  }
  const clq_weights_part part = {.data = cb, .scales = scb, .rows = N};
  clq_weights *w = NULL;
  test_ok(clq_weights_pack(d.context,
                           &(clq_weights_desc){.format = CLQ_FORMAT_W8,
                                               .cols = K,
                                               .parts = &part,
                                               .part_count = 1,
                                               .outliers = columns,
                                               .outlier_count = COLUMNS},
                           &w));
  test_buffer xb = floats_in(&d, a, M * K, CLQ_F16);
  test_buffer qb = test_buffer_new(&d, NULL, M * K);
  test_buffer sb = test_buffer_new(&d, NULL, M * 4);
  test_buffer gb = test_buffer_new(&d, NULL, sizeof(uint16_t) * M * COLUMNS);
  test_buffer ob = test_buffer_new(&d, NULL, sizeof(float) * M * N);
  const clq_tensor q = {qb.mem, CLQ_I8, {M, K}, .quant = {.per = CLQ_PER_TOKEN, .scale = sb.mem}};
  const clq_tensor gathered = {gb.mem, CLQ_F16, {M, COLUMNS}};
  test_ok(clq_quantize(
      d.stream, &(clq_quantize_args){
                    .x = {xb.mem, CLQ_F16, {M, K}}, .out = q, .weights = w, .outliers = gathered}));
  test_ok(clq_gemm(
      d.stream,
      &(clq_gemm_args){
          .x = q, .weights = w, .out = {ob.mem, CLQ_F32, {M, N}}, .x_outliers = gathered}));
  float got[M * N];
  test_buffer_read(&d, &ob, got);
  for (int i = 0; i < M * N; ++i) {
    cr_assert_leq(fabs((double)got[i] - expected[i]), bound[i], "element %d is %g, expected %g", i,
                  (double)got[i], expected[i]);
  }
  clq_weights_destroy(w);
  test_buffer_free(&xb);
  test_buffer_free(&qb);
  test_buffer_free(&sb);
  test_buffer_free(&gb);
  test_buffer_free(&ob);
  test_device_close(&d);
}

/* --- mistakes --- */

Test(outliers, mistakes_are_named) {
  test_device d = test_device_open(NULL);
  test_random random = {6};
  matrix m = matrix_new(&d, 4, 0, false, &random);
  test_buffer b = test_buffer_new(&d, NULL, 8192);
  int32_t list[2] = {3, 3};
  int32_t order[K];
  uint8_t zeros[4] = {0};
  for (int k = 0; k < K; ++k) {
    order[k] = K - 1 - k;
  }
  clq_weights_part part = {.data = m.codes, .scales = m.scales, .rows = 4};
  clq_weights_desc desc = {.format = CLQ_FORMAT_W8,
                           .cols = K,
                           .parts = &part,
                           .part_count = 1,
                           .outliers = list,
                           .outlier_count = 2};
  clq_weights *w = NULL;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT,
             "outlier 1 is column 3, expected one above 3 and below 77");
  list[1] = K;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "is column 77");
  list[0] = -1;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "is column -1");
  desc.outlier_count = 0;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "outlier_count is 0");
  desc.outlier_count = -1;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT, "outlier_count is -1");
  list[0] = 3;
  list[1] = 4;
  desc.outlier_count = 2;
  desc.order = order;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_UNSUPPORTED, "an order of columns");
  desc.order = NULL;
  part.zeros = zeros;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_UNSUPPORTED, "without zero points");
  part.zeros = NULL;
  desc.format = CLQ_FORMAT_W4;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_UNSUPPORTED, "this is w4");
  desc.format = CLQ_FORMAT_W8;
  desc.outliers = NULL;
  desc.outlier_count = 0;
  part.outliers = (uint16_t[8]){0};
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT,
             "part 0 has outliers, but the description none");
  part.outliers = NULL;
  test_ok(clq_weights_pack(d.context, &desc, &w));
  cr_assert_eq(w->outlier_count, 0);

  clq_gemm_args g = {.x = {b.mem, CLQ_F32, {1, K}},
                     .weights = m.packed,
                     .out = {b.mem, CLQ_F32, {1, 4}, .offset = 1024},
                     .x_outliers = {b.mem, CLQ_F32, {1, COLUMNS}, .offset = 2048}};
  test_ok(clq_gemm(d.stream, &g));
  g.x_outliers.shape[1] = COLUMNS - 1;
  test_fails(clq_gemm(d.stream, &g), CLQ_INVALID_ARGUMENT, "outlier columns of the weights");
  g.weights = w;
  test_fails(clq_gemm(d.stream, &g), CLQ_INVALID_ARGUMENT, "have no outlier columns");
  g.weights = m.packed;
  g.x_outliers = (clq_tensor){0};
  test_fails(clq_gemm(d.stream, &g), CLQ_INVALID_ARGUMENT, "but x_outliers is missing");

  clq_quantize_args q = {
      .x = {b.mem, CLQ_F32, {1, K}},
      .out = {b.mem,
              CLQ_I8,
              {1, K},
              .offset = 1024,
              .quant = {.per = CLQ_PER_TOKEN, .scale = b.mem, .scale_offset = 2048}},
      .weights = m.packed,
      .outliers = {b.mem, CLQ_F32, {1, COLUMNS}, .offset = 4096}};
  test_ok(clq_quantize(d.stream, &q));
  q.weights = w;
  test_fails(clq_quantize(d.stream, &q), CLQ_INVALID_ARGUMENT, "have no outlier columns");
  q.weights = NULL;
  test_fails(clq_quantize(d.stream, &q), CLQ_INVALID_ARGUMENT, "weights are missing");
  q.weights = m.packed;
  q.outliers = (clq_tensor){0};
  test_fails(clq_quantize(d.stream, &q), CLQ_INVALID_ARGUMENT, "outliers is missing");

  test_fails(clq_embedding(d.stream,
                           &(clq_embedding_args){.ids = {b.mem, CLQ_I32, {1}},
                                                 .weights = m.packed,
                                                 .out = {b.mem, CLQ_F32, {1, K}, .offset = 1024}}),
             CLQ_UNSUPPORTED, "which only gemm takes");
  test_ok(clq_stream_finish(d.stream));
  clq_weights_destroy(w);
  matrix_free(&m);
  test_buffer_free(&b);
  test_device_close(&d);
}
