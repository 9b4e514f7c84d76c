#include <criterion/criterion.h>
#include <math.h>

#include "norm_case.h"
#include "opencl.h"
#include "ref/ref.h"

TestSuite(rmsnorm, .fini = opencl_none_live);

static const int64_t widths[] = {1,  2,   15,  16,  17,  31,  32,   33,   63,   64,
                                 65, 100, 128, 129, 576, 769, 1000, 1024, 1025, 2051};
enum { WIDTHS = sizeof widths / sizeof widths[0] };

#define RUN(cases) norm_case_spread(&base, (cases), sizeof(cases) / sizeof((cases)[0]))

/* What a case of the tables does not say. */
static const norm_case base = {.rows = 3, .cols = 300};

Test(rmsnorm, f32_is_the_reference_bit_for_bit) {
  norm_case_sweep((norm_case){.gamma = CLQ_F32, .rstd = true}, widths, WIDTHS);
}

Test(rmsnorm, residual_and_q8_per_group_are_the_reference_bit_for_bit) {
  norm_case_sweep((norm_case){.residual = CLQ_F32,
                              .gamma = CLQ_F32,
                              .out = CLQ_I8,
                              .per = CLQ_PER_GROUP,
                              .group = 32,
                              .sum = true},
                  widths, WIDTHS);
}

Test(rmsnorm, casts_types_and_codes) {
  static const norm_case cases[] = {
      {.x = CLQ_F16, .gamma = CLQ_F16, .cast = CLQ_CAST_LLAMA, .out = CLQ_F16},
      {.x = CLQ_BF16,
       .residual = CLQ_BF16,
       .gamma = CLQ_BF16,
       .cast = CLQ_CAST_LLAMA,
       .out = CLQ_I8,
       .per = CLQ_PER_TOKEN,
       .sum = true},
      {.cols = 100,
       .x = CLQ_F16,
       .cast = CLQ_CAST_LLAMA,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 24,
       .sum = true,
       .rstd = true},
      {.x = CLQ_BF16, .gamma = CLQ_F32, .cast = CLQ_CAST_GEMMA, .out = CLQ_BF16},
      {.cols = 1100, .x = CLQ_F16, .residual = CLQ_F32, .gamma = CLQ_F16, .out = CLQ_F32},
      {.cols = 1100, .residual = CLQ_F16, .gamma = CLQ_F32, .out = CLQ_F16, .pad = 3, .lead = 1},
      {.residual = CLQ_F32,
       .alpha = 0.5f,
       .bias = CLQ_F16,
       .x_scale = 0.0625f,
       .out = CLQ_I8,
       .per = CLQ_PER_CHANNEL,
       .sum = true,
       .rstd = true},
      {.x = CLQ_I8,
       .x_per = CLQ_PER_CHANNEL,
       .exponent = true,
       .gamma = CLQ_F32,
       .out = CLQ_U8,
       .per = CLQ_PER_TOKEN,
       .zero = true,
       .rstd = true},
      {.x = CLQ_I32,
       .x_per = CLQ_PER_TENSOR,
       .column_scale = true,
       .residual = CLQ_F32,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 32,
       .sum = true},
      {.out = CLQ_I8, .per = CLQ_PER_TOKEN, .sum = true},
      {.cols = 2051, .out = CLQ_I8, .per = CLQ_PER_GROUP, .group = 1024},
  };
  RUN(cases);
}

/* Many rows, too: on CPUs a work-item then takes several. */
Test(rmsnorm, in_place) {
  static const int64_t shapes[][2] = {{3, 129}, {301, 129}, {3, 1100}, {2, 17001}};
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; ++i) {
      norm_case_check(
          &f.device,
          &(norm_case){
              .rows = shapes[i][0], .cols = shapes[i][1], .gamma = CLQ_F32, .in_place = true});
    }
  }
}

Test(rmsnorm, wide_rows) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    norm_case_check(&f.device, &(norm_case){.rows = 1,
                                            .cols = 65537,
                                            .residual = CLQ_F32,
                                            .out = CLQ_I8,
                                            .per = CLQ_PER_TOKEN,
                                            .sum = true});
    norm_case_saw(&f, "rmsnorm", "_stream");
  }
}

/* Programs of the cases above. */
Test(rmsnorm, tiny_shapes) {
  static const norm_case cases[] = {
      {.rows = 2,
       .cols = 33,
       .x = CLQ_F16,
       .residual = CLQ_F32,
       .gamma = CLQ_F16,
       .out = CLQ_F32,
       .pad = 3,
       .lead = 5},
      {.rows = 2, .cols = 70, .out = CLQ_I8, .per = CLQ_PER_TOKEN, .sum = true},
      {.rows = 2,
       .cols = 100,
       .residual = CLQ_F32,
       .gamma = CLQ_F32,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 32,
       .sum = true},
      {.rows = 1,
       .cols = 100,
       .x = CLQ_F16,
       .cast = CLQ_CAST_LLAMA,
       .out = CLQ_I8,
       .per = CLQ_PER_GROUP,
       .group = 24,
       .sum = true},
  };
  RUN(cases);
}

Test(rmsnorm, reference_agrees_with_double) {
  enum { COLS = 769 };
  float x[COLS];
  float out[COLS];
  test_random random = {7};
  double squares = 0.0;
  for (int i = 0; i < COLS; ++i) {
    x[i] = test_random_normal(&random) * (i % 97 == 0 ? 30.0f : 1.0f);
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

Test(rmsnorm, bad_arguments_are_named) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 4 * 64 * 4);
  test_buffer codes = test_buffer_new(&d, NULL, 4 * 64);
  test_buffer planes = test_buffer_new(&d, NULL, 32);
  const clq_rmsnorm_args good = {
      .x = {b.mem, CLQ_F32, {4, 64}},
      .gamma = {b.mem, CLQ_F32, {64}},
      .out = {b.mem, CLQ_F32, {4, 64}},
  };
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
  a.gamma.dtype = CLQ_I32;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_UNSUPPORTED,
             "dtype of gamma is i32, offered: f32, f16, bf16");
  a = good;
  a.exponent = (clq_tensor){codes.mem, CLQ_I8, {64}};
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "exponent is for an x of i8 or u8");
  a = good;
  a.alpha = 2.0f;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "alpha is 2, expected 0: there is no residual");
  a = good;
  a.out.dtype = CLQ_U8;
  a.out.quant = (clq_quant){.per = CLQ_PER_TOKEN, .scale = planes.mem};
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_UNSUPPORTED, "out is u8 without a zero point");
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
  a.out.quant = (clq_quant){.per = CLQ_PER_TENSOR};
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "the scale buffer of out is missing");
  a = good;
  a.eps = NAN;
  test_fails(clq_rmsnorm(d.stream, &a), CLQ_INVALID_ARGUMENT, "eps is");
  a = good;
  a.gamma.mem = NULL;
  a.gamma = (clq_tensor){0};
  a.out = (clq_tensor){
      codes.mem,
      CLQ_I8,
      {4, 64},
      .quant = {.per = CLQ_PER_TOKEN, .scale = planes.mem, .sum = planes.mem},
  };
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
