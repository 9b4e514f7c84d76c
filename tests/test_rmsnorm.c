#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forms.h"
#include "opencl.h"
#include "ref/math.h"
#include "ref/ref.h"

TestSuite(rmsnorm, .fini = opencl_none_live);

static const int64_t widths[] = {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 576, 769, 2051};
enum { WIDTHS = sizeof widths / sizeof widths[0] };

typedef struct shape {
  int64_t rows, cols, group; /* group 0: float output, -1: per token */
  bool half, residual, gamma, strided;
} shape;

static float element(test_random *random, int64_t i) {
  return test_random_normal(random) * (i % 97 == 0 ? 30.0f : 1.0f);
}

/* Packs floats as the storage type; returns what the device will read. */
static void store(float *x, void *out, size_t i, bool half) {
  if (half) {
    const uint16_t h = clqi_ref_f16_from_f32(*x);
    memcpy((char *)out + 2 * i, &h, 2);
    *x = clqi_ref_f32_from_f16(h);
  } else {
    memcpy((char *)out + 4 * i, x, 4);
  }
}

static void saw(const test_forms *f) {
  test_forms_saw(f, "rmsnorm", "rmsnorm_rows", "rmsnorm_group");
}

static void check_shape(const test_device *d, shape s) {
  char what[128];
  (void)snprintf(what, sizeof what,
                 "rows %lld cols %lld group %lld half %d residual %d gamma %d strided %d",
                 (long long)s.rows, (long long)s.cols, (long long)s.group, s.half, s.residual,
                 s.gamma, s.strided);
  const int64_t stride = s.cols + (s.strided ? 3 : 0);
  const size_t lead = s.strided ? 5 : 0;
  const size_t element_bytes = s.half ? 2 : 4;
  const size_t count = (size_t)(s.rows * s.cols);
  const size_t stored = lead + (size_t)((s.rows - 1) * stride + s.cols);
  const int64_t group = s.group > 0 ? s.group : s.cols;
  const int64_t groups = (s.cols + group - 1) / group;
  const size_t planes = (size_t)(s.rows * groups);
  test_random random = {(uint64_t)(s.rows * 1000 + s.cols)};
  float *x = malloc(count * 4);
  float *r = malloc(count * 4);
  float *gamma = malloc((size_t)s.cols * 4);
  float *expected = malloc(count * 4);
  char *xs = calloc(stored, element_bytes);
  char *rs = calloc(stored, element_bytes);
  for (int64_t i = 0; i < (int64_t)count; ++i) {
    const size_t at = lead + (size_t)(i / s.cols * stride + i % s.cols);
    x[i] = element(&random, i);
    r[i] = element(&random, i + 1);
    store(&x[i], xs, at, s.half);
    store(&r[i], rs, at, s.half);
  }
  for (int64_t i = 0; i < s.cols; ++i) {
    gamma[i] = 1.0f + 0.1f * test_random_normal(&random);
  }
  test_buffer xb = test_buffer_new(d, xs, stored * element_bytes);
  test_buffer rb = test_buffer_new(d, rs, stored * element_bytes);
  test_buffer gb = test_buffer_new(d, gamma, (size_t)s.cols * 4);
  test_buffer ob = test_buffer_new(d, NULL, s.group == 0 ? count * element_bytes : count);
  test_buffer sb = test_buffer_new(d, NULL, planes * 4);
  test_buffer ub = test_buffer_new(d, NULL, planes * 4);

  const clq_dtype dtype = s.half ? CLQ_F16 : CLQ_F32;
  clq_rmsnorm_args args = {
      .x = {xb.mem, dtype, {s.rows, s.cols}, {stride, 1}, lead * element_bytes},
      .eps = 1e-5f,
      .out = {ob.mem, s.group == 0 ? dtype : CLQ_I8, {s.rows, s.cols}},
  };
  if (s.residual) {
    args.residual =
        (clq_tensor){rb.mem, dtype, {s.rows, s.cols}, {stride, 1}, lead * element_bytes};
  }
  if (s.gamma) {
    args.gamma = (clq_tensor){gb.mem, CLQ_F32, {s.cols}};
  }
  if (s.group != 0) {
    args.out.quant = (clq_quant){.per = s.group > 0 ? CLQ_PER_GROUP : CLQ_PER_TOKEN,
                                 .group = s.group > 0 ? (int32_t)s.group : 0,
                                 .scale = sb.mem,
                                 .sum = ub.mem};
  }
  test_ok(clq_rmsnorm(d->stream, &args));

  clqi_ref_rmsnorm(x, s.residual ? r : NULL, s.gamma ? gamma : NULL, 1e-5f, s.rows, s.cols, dtype,
                   expected);
  char *out = malloc(ob.bytes);
  test_buffer_read(d, &ob, out);
  if (s.group == 0) {
    for (size_t i = 0; i < count; ++i) {
      char bytes[4];
      float e = expected[i];
      store(&e, bytes, 0, s.half);
      cr_assert_arr_eq(out + i * element_bytes, bytes, element_bytes, "element %zu of %s", i, what);
    }
  } else {
    int8_t *codes = malloc(count);
    float *scales = malloc(planes * 4);
    int32_t *sums = malloc(planes * 4);
    float *got_scales = malloc(planes * 4);
    int32_t *got_sums = malloc(planes * 4);
    clqi_ref_quantize(expected, s.rows, s.cols, group, codes, scales, sums);
    test_buffer_read(d, &sb, got_scales);
    test_buffer_read(d, &ub, got_sums);
    cr_assert_arr_eq(out, codes, count, "%s", what);
    cr_assert_arr_eq(got_scales, scales, planes * 4, "%s", what);
    cr_assert_arr_eq(got_sums, sums, planes * 4, "%s", what);
    free(codes);
    free(scales);
    free(sums);
    free(got_scales);
    free(got_sums);
  }
  if (s.residual) {
    char *written = malloc(rb.bytes);
    test_buffer_read(d, &rb, written);
    for (size_t i = 0; i < count; ++i) {
      char bytes[4];
      float e = r[i];
      const size_t at = lead + i / (size_t)s.cols * (size_t)stride + i % (size_t)s.cols;
      store(&e, bytes, 0, s.half);
      cr_assert_arr_eq(written + at * element_bytes, bytes, element_bytes, "%s", what);
    }
    for (size_t i = 0; i < lead * element_bytes; ++i) {
      cr_assert_eq(written[i], 0, "wrote before the tensor");
    }
    free(written);
  }
  test_buffer *buffers[] = {&xb, &rb, &gb, &ob, &sb, &ub};
  for (size_t i = 0; i < 6; ++i) {
    test_buffer_free(buffers[i]);
  }
  free(x);
  free(r);
  free(gamma);
  free(expected);
  free(xs);
  free(rs);
  free(out);
}

static void sweep(int64_t group, bool half) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (int w = 0; w < WIDTHS; ++w) {
      for (int bits = 0; bits < 8; ++bits) {
        check_shape(&f.device, (shape){.rows = 1 + w % 5,
                                       .cols = widths[w],
                                       .group = group,
                                       .half = half,
                                       .residual = (bits & 1) != 0,
                                       .gamma = (bits & 2) != 0,
                                       .strided = (bits & 4) != 0});
      }
    }
    saw(&f);
  }
}

Test(rmsnorm, f32_is_the_reference_bit_for_bit) { sweep(0, false); }
Test(rmsnorm, f16_is_the_reference_bit_for_bit) { sweep(0, true); }
Test(rmsnorm, q8_per_token_is_the_reference_bit_for_bit) { sweep(-1, false); }
Test(rmsnorm, q8_per_group_is_the_reference_bit_for_bit) { sweep(32, false); }
Test(rmsnorm, q8_in_large_groups_is_the_reference_bit_for_bit) { sweep(1024, false); }
Test(rmsnorm, q8_in_odd_groups_is_the_reference_bit_for_bit) { sweep(24, false); }
Test(rmsnorm, f16_to_q8_per_group_is_the_reference_bit_for_bit) { sweep(32, true); }

Test(rmsnorm, tiny_shapes_in_every_form) {
  static const shape shapes[] = {
      {2, 33, 0, true, true, true, true},    {1, 2051, 0, false, true, true, false},
      {2, 70, -1, true, true, true, true},   {1, 2051, 1024, false, true, true, false},
      {2, 100, 32, false, true, true, true}, {1, 100, 24, true, true, true, false},
  };
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; ++i) {
      check_shape(&f.device, shapes[i]);
    }
    saw(&f);
  }
}

Test(rmsnorm, reference_agrees_with_double) {
  enum { COLS = 769 };
  float x[COLS];
  float out[COLS];
  test_random random = {7};
  double squares = 0.0;
  for (int i = 0; i < COLS; ++i) {
    x[i] = element(&random, i);
    squares += (double)x[i] * (double)x[i];
  }
  clqi_ref_rmsnorm(x, NULL, NULL, 1e-5f, 1, COLS, CLQ_F32, out);
  const double rstd = 1.0 / sqrt(squares / COLS + (double)1e-5f);
  for (int i = 0; i < COLS; ++i) {
    const double y = (double)x[i] * rstd;
    cr_assert(fabs((double)out[i] - y) <= 4e-7 * fabs(y), "element %d: %g, expected %g", i,
              (double)out[i], y);
  }
}

/* Zero, NaN and Inf rows are as the quantization contract says; their neighbours are untouched. */
static void check_special_rows(const test_device *d) {
  enum { ROWS = 5, COLS = 48 };
  float x[ROWS][COLS];
  int8_t codes[ROWS][COLS];
  float scales[ROWS];
  int32_t sums[ROWS];
  for (int i = 0; i < COLS; ++i) {
    x[0][i] = x[4][i] = (float)(i - 20);
    x[1][i] = 0.0f;
    x[2][i] = 1.0f;
    x[3][i] = 1.0f;
  }
  x[2][7] = NAN;
  x[3][9] = INFINITY;
  test_buffer xb = test_buffer_new(d, x, sizeof x);
  test_buffer ob = test_buffer_new(d, NULL, sizeof codes);
  test_buffer sb = test_buffer_new(d, NULL, sizeof scales);
  test_buffer ub = test_buffer_new(d, NULL, sizeof sums);
  test_ok(clq_rmsnorm(d->stream,
                      &(clq_rmsnorm_args){
                          .x = {xb.mem, CLQ_F32, {ROWS, COLS}},
                          .out = {ob.mem,
                                  CLQ_I8,
                                  {ROWS, COLS},
                                  .quant = {.per = CLQ_PER_TOKEN, .scale = sb.mem, .sum = ub.mem}},
                      }));
  test_buffer_read(d, &ob, codes);
  test_buffer_read(d, &sb, scales);
  test_buffer_read(d, &ub, sums);
  cr_assert_arr_eq(codes[0], codes[4], COLS);
  cr_assert_eq(codes[0][COLS - 1], 127);
  cr_assert(scales[1] == 0.0f && sums[1] == 0);
  cr_assert(isnan(scales[2]) && sums[2] == 0);
  for (int i = 0; i < COLS; ++i) {
    cr_assert_eq(codes[1][i], 0);
    cr_assert_eq(codes[2][i], 0);
  }
  /* An infinity makes rstd 0 and inf * 0 = NaN, as in every RMSNorm. */
  cr_assert(isnan(scales[3]));
  test_buffer_free(&xb);
  test_buffer_free(&ob);
  test_buffer_free(&sb);
  test_buffer_free(&ub);
}

Test(rmsnorm, special_rows) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    check_special_rows(&f.device);
    saw(&f);
  }
}

Test(rmsnorm, bad_arguments_are_named) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 4 * 64 * 4);
  test_buffer codes = test_buffer_new(&d, NULL, 4 * 64);
  test_buffer planes = test_buffer_new(&d, NULL, 32);
  const clq_rmsnorm_args good = {.x = {b.mem, CLQ_F32, {4, 64}},
                                 .gamma = {b.mem, CLQ_F32, {64}},
                                 .out = {b.mem, CLQ_F32, {4, 64}}};
  clq_rmsnorm_args a = good;
  a.gamma.shape[0] = 63;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "rmsnorm: dimension 0 of gamma is 63, expected 64 (cols of x)");
  a = good;
  a.x.mem = NULL;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "x has no buffer");
  a = good;
  a.x = (clq_tensor){0};
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "x is missing");
  a = good;
  a.x.dtype = CLQ_I32;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_UNSUPPORTED, "dtype of x is i32, offered: f32, f16");
  a = good;
  a.x.shape[0] = 5;
  a.out.shape[0] = 5;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "the buffer of x has 1024 bytes");
  a = good;
  a.x.shape[0] = INT64_MAX / 8;
  a.out.shape[0] = INT64_MAX / 8;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "overflows");
  a = good;
  a.x.stride[0] = 10;
  a.x.stride[1] = 1;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "stride 0 of x is 10");
  a = good;
  a.x.offset = 2;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "offset of x is 2 bytes");
  a = good;
  a.out.dtype = CLQ_I8;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "quant.per");
  a.out.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = b.mem};
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_UNSUPPORTED, "per tensor");
  a = good;
  a.eps = NAN;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "eps is");
  a = good;
  a.gamma.mem = NULL;
  a.gamma = (clq_tensor){0};
  a.out = (clq_tensor){codes.mem,
                       CLQ_I8,
                       {4, 64},
                       .quant = {.per = CLQ_PER_TOKEN, .scale = planes.mem, .sum = planes.mem}};
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "out.quant.sum overlaps out.quant.scale");
  a.out.quant.sum_offset = 16;
  test_ok(clq_rmsnorm(d.stream, &a));
  test_ok(clq_stream_finish(d.stream));
  a.out.quant.scale = codes.mem;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "out.quant.scale overlaps out");
  cl_mem read_only = clCreateBuffer(clq_context_cl(d.context), CL_MEM_READ_ONLY, 1024, NULL, NULL);
  a = good;
  a.out.mem = read_only;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "created read-only");
  (void)clReleaseMemObject(read_only);
  clq_context *other = NULL;
  test_ok(clq_context_create(NULL, &other));
  cl_mem foreign = clCreateBuffer(clq_context_cl(other), CL_MEM_READ_WRITE, 1024, NULL, NULL);
  a = good;
  a.x.mem = foreign;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "another OpenCL context");
  (void)clReleaseMemObject(foreign);
  clq_context_destroy(other);
  a = good;
  a.x.quant = (clq_quant){.per = CLQ_PER_GROUP};
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "quant.per must be 0");
  a = good;
  a.x.shape[0] = a.out.shape[0] = 0;
  test_ok(clq_rmsnorm(d.stream, &a));
  test_fails(clq_rmsnorm(NULL, &good), CLQ_INVALID_ARGUMENT, "must not be NULL");
  test_buffer_free(&b);
  test_buffer_free(&codes);
  test_buffer_free(&planes);
  test_device_close(&d);
}
