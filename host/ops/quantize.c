#include <stdio.h>

#include "ops/emit.h"
#include "quant/weights.h"

static const char NAME[] = "quantize";

static const clqi_field fields[] = {
    CLQI_FIELD(clq_quantize_args, x, CLQI_IN, false),
    CLQI_FIELD(clq_quantize_args, out, CLQI_OUT, false),
    CLQI_FIELD(clq_quantize_args, outliers, CLQI_OUT, true),
};

static clq_status infer(void *args) {
  clq_quantize_args *a = args;
  clqi_infer_shape(&a->out, &a->x);
  if (a->weights != NULL && clqi_present(&a->outliers) && a->outliers.shape[0] == 0 &&
      a->outliers.shape[1] == 0) {
    a->outliers.shape[0] = a->x.shape[0];
    a->outliers.shape[1] = a->weights->outlier_count;
  }
  return CLQ_OK;
}

/* Weights and their outliers of x: both or neither. */
static clq_status check_outliers(const clq_context *context, const clq_quantize_args *a) {
  const unsigned floats = CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_BF16);
  CLQI_REQUIRE((a->weights != NULL) == clqi_present(&a->outliers),
               "quantize: weights and outliers go together, but %s missing",
               a->weights == NULL ? "weights are" : "outliers is");
  if (a->weights == NULL) {
    return CLQ_OK;
  }
  CLQI_REQUIRE(a->weights->context == context, "quantize: the weights belong to another context");
  CLQI_REQUIRE(a->weights->outlier_count > 0, "quantize: the weights have no outlier columns");
  CLQI_TRY(clqi_check_extent(NAME, "x", &a->x, 1, a->weights->cols, "K of the weights"));
  CLQI_TRY(clqi_check_tensor(NAME, "outliers", &a->outliers, 2, floats));
  CLQI_TRY(clqi_check_extent(NAME, "outliers", &a->outliers, 0, a->x.shape[0], "rows of x"));
  return clqi_check_extent(NAME, "outliers", &a->outliers, 1, a->weights->outlier_count,
                           "outlier columns of the weights");
}

static clq_status check(const clq_context *context, const void *args) {
  const clq_quantize_args *a = args;
  CLQI_TRY(clqi_check_tensor(NAME, "x", &a->x, 2,
                             CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_BF16)));
  CLQI_TRY(check_outliers(context, a));
  CLQI_TRY(clqi_check_tensor(NAME, "out", &a->out, 2, CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8)));
  return clqi_check_output(NAME, &a->out, a->x.shape[0], a->x.shape[1]);
}

static bool empty(const void *args) {
  return clqi_no_elements(&((const clq_quantize_args *)args)->x);
}

static const clqi_variant variants[] = {
    {.name = "quantize_rows", .kernel = CLQI_KERNEL_quantize_rows, .needs = CLQI_BIT(CPU)},
    {.name = "quantize_group", .kernel = CLQI_KERNEL_quantize_group},
};

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_quantize_args *a = args;
  const int64_t rows = a->x.shape[0];
  const int64_t cols = a->x.shape[1];
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  clqi_launch l;
  char outliers[24] = "";
  if (a->weights != NULL) {
    (void)snprintf(outliers, sizeof outliers, " -DCLQ_OUTLIERS=%d", (int)a->outliers.dtype);
  }
  clqi_begin(&l, emitter, v, "-DCLQ_X=%d %s%s%s", (int)a->x.dtype, clqi_emit_option(&a->out),
             clqi_share_option(v, &a->out), outliers);
  clqi_arg_tensor(&l, &a->x);
  clqi_arg_out(&l, &a->out, cols);
  clqi_arg_i64(&l, cols);
  clqi_arg_i64(&l, clqi_stride(&a->x, 2, 0));
  if (a->weights != NULL) {
    clqi_arg_buffer(&l, a->weights->mem, a->weights->outlier_column_offset, sizeof(cl_int));
    clqi_arg_tensor(&l, &a->outliers);
    clqi_arg_i64(&l, clqi_stride(&a->outliers, 2, 0));
    clqi_arg_i32(&l, a->weights->outlier_count);
  }
  const double elements = (double)rows * (double)cols;
  const double bytes =
      elements * (double)clq_dtype_bytes(a->x.dtype) + clqi_emit_bytes(&a->out, rows, cols);
  return clqi_launch_chunks(&l, v, &a->out, bytes, 3.0 * elements);
}

const clqi_op clqi_op_quantize = {
    .name = NAME,
    .args_bytes = sizeof(clq_quantize_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_quantize(clq_stream *stream, const clq_quantize_args *args) {
  return clqi_op_run(stream, &clqi_op_quantize, args);
}
