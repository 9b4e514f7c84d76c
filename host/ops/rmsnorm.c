#include <math.h>

#include "ops/emit.h"
#include "ops/op.h"

static const char NAME[] = "rmsnorm";

static const clqi_field fields[] = {
    CLQI_FIELD(clq_rmsnorm_args, x, CLQI_IN, false),
    CLQI_FIELD(clq_rmsnorm_args, residual, CLQI_INOUT, true),
    CLQI_FIELD(clq_rmsnorm_args, gamma, CLQI_IN, true),
    CLQI_FIELD(clq_rmsnorm_args, out, CLQI_OUT, false),
};

static clq_status infer(void *args) {
  clq_rmsnorm_args *a = args;
  clqi_infer_shape(&a->out, &a->x);
  return CLQ_OK;
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_rmsnorm_args *a = args;
  const unsigned floats = CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16);
  CLQI_TRY(clqi_check_tensor(NAME, "x", &a->x, 2, floats));
  if (clqi_present(&a->residual)) {
    CLQI_TRY(clqi_check_tensor(NAME, "residual", &a->residual, 2, CLQI_DT(a->x.dtype)));
    CLQI_TRY(clqi_check_extent(NAME, "residual", &a->residual, 0, a->x.shape[0], "rows of x"));
    CLQI_TRY(clqi_check_extent(NAME, "residual", &a->residual, 1, a->x.shape[1], "cols of x"));
  }
  if (clqi_present(&a->gamma)) {
    CLQI_TRY(clqi_check_tensor(NAME, "gamma", &a->gamma, 1, CLQI_DT(CLQ_F32)));
    CLQI_TRY(clqi_check_extent(NAME, "gamma", &a->gamma, 0, a->x.shape[1], "cols of x"));
  }
  CLQI_REQUIRE(isfinite(a->eps), "rmsnorm: eps is %g", (double)a->eps);
  return clqi_check_output(NAME, &a->out, a->x.shape[0], a->x.shape[1]);
}

static bool empty(const void *args) {
  return clqi_no_elements(&((const clq_rmsnorm_args *)args)->x);
}

static const clqi_variant variants[] = {
    {.name = "rmsnorm_rows", .kernel = CLQI_KERNEL_rmsnorm_rows, .needs = CLQI_BIT(CPU)},
    {.name = "rmsnorm_group", .kernel = CLQI_KERNEL_rmsnorm_group},
};

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_rmsnorm_args *a = args;
  const int64_t rows = a->x.shape[0];
  const int64_t cols = a->x.shape[1];
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  char options[CLQI_OPTIONS_BYTES];
  clqi_options(options, "-DCLQ_X=%d %s", (int)a->x.dtype, clqi_emit_option(&a->out));
  clqi_launch l;
  clqi_launch_begin(&l, emitter, v->kernel, options);
  clqi_arg_tensor(&l, &a->x);
  clqi_arg_tensor(&l, &a->residual);
  clqi_arg_tensor(&l, &a->gamma);
  clqi_arg_tensor(&l, &a->out);
  clqi_arg_scale(&l, &a->out);
  clqi_arg_sum(&l, &a->out);
  clqi_arg_i64(&l, cols);
  clqi_arg_i64(&l, clqi_stride(&a->x, 2, 0));
  clqi_arg_i64(&l, clqi_stride(&a->residual, 2, 0));
  clqi_arg_i64(&l, clqi_stride(&a->out, 2, 0));
  clqi_arg_i64(&l, clqi_emit_group(&a->out, cols));
  clqi_arg_f32(&l, a->eps == 0.0f ? 1e-5f : a->eps < 0.0f ? 0.0f : a->eps);
  const double elements = (double)rows * (double)cols;
  const double x_bytes = (double)clq_dtype_bytes(a->x.dtype);
  const double bytes = elements * x_bytes * (clqi_present(&a->residual) ? 3.0 : 1.0) +
                       clqi_emit_bytes(&a->out, rows, cols);
  return clqi_launch_rows(&l, v, rows, bytes, 4.0 * elements);
}

const clqi_op clqi_op_rmsnorm = {
    .name = NAME,
    .args_bytes = sizeof(clq_rmsnorm_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .in_place = "x",
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_rmsnorm(clq_stream *stream, const clq_rmsnorm_args *args) {
  return clqi_op_run(stream, &clqi_op_rmsnorm, args);
}
