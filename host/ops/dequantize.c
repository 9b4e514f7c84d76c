#include "ops/emit.h"

static const char NAME[] = "dequantize";

static const clqi_field fields[] = {
    CLQI_FIELD(clq_dequantize_args, x, CLQI_IN, false),
    CLQI_FIELD(clq_dequantize_args, out, CLQI_OUT, false),
};

static clq_status infer(void *args) {
  clq_dequantize_args *a = args;
  clqi_infer_shape(&a->out, &a->x);
  return CLQ_OK;
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_dequantize_args *a = args;
  const unsigned any = CLQI_GR(CLQ_PER_TENSOR) | CLQI_GR(CLQ_PER_CHANNEL) | CLQI_GR(CLQ_PER_TOKEN) |
                       CLQI_GR(CLQ_PER_GROUP);
  CLQI_TRY(clqi_check_tensor(NAME, "x", &a->x, 2, CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8)));
  CLQI_TRY(clqi_check_quant(NAME, "x", &a->x, any, 0));
  const unsigned floats = CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_BF16);
  CLQI_TRY(clqi_check_tensor(NAME, "out", &a->out, 2, floats));
  return clqi_check_output(NAME, &a->out, a->x.shape[0], a->x.shape[1]);
}

static bool empty(const void *args) {
  return clqi_no_elements(&((const clq_dequantize_args *)args)->x);
}

static const clqi_variant variants[] = {
    {.name = "dequantize_rows", .kernel = CLQI_KERNEL_dequantize_rows, .needs = CLQI_BIT(CPU)},
    {.name = "dequantize_elements", .kernel = CLQI_KERNEL_dequantize_elements},
};

/* Where a row's scales begin and how many columns share one. */
static void plane_walk(const clq_tensor *x, int64_t cols, int64_t *row_step, int64_t *group) {
  switch (x->quant.per) {
    case CLQ_PER_TENSOR: *row_step = 0, *group = cols; break;
    case CLQ_PER_CHANNEL: *row_step = 0, *group = 1; break;
    case CLQ_PER_TOKEN: *row_step = 1, *group = cols; break;
    case CLQ_PER_GROUP:
      *group = x->quant.group;
      *row_step = (cols + *group - 1) / *group;
      break;
  }
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_dequantize_args *a = args;
  const int64_t rows = a->x.shape[0];
  const int64_t cols = a->x.shape[1];
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  int64_t row_step = 0;
  int64_t group = cols;
  plane_walk(&a->x, cols, &row_step, &group);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "-DCLQ_X=%d %s", (int)a->x.dtype, clqi_emit_option(&a->out));
  clqi_arg_tensor(&l, &a->x);
  clqi_arg_scale(&l, &a->x);
  clqi_arg_zero(&l, &a->x);
  clqi_arg_tensor(&l, &a->out);
  clqi_arg_i64(&l, cols);
  clqi_arg_i64(&l, clqi_stride(&a->x, 2, 0));
  clqi_arg_i64(&l, clqi_stride(&a->out, 2, 0));
  clqi_arg_i64(&l, row_step);
  clqi_arg_i64(&l, group);
  const double elements = (double)rows * (double)cols;
  const double bytes = elements + 4.0 * (double)clqi_scale_count(&a->x, rows, cols) +
                       clqi_emit_bytes(&a->out, rows, cols);
  return clqi_launch_elements(&l, v, rows, cols, bytes, 2.0 * elements);
}

const clqi_op clqi_op_dequantize = {
    .name = NAME,
    .args_bytes = sizeof(clq_dequantize_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_dequantize(clq_stream *stream, const clq_dequantize_args *args) {
  return clqi_op_run(stream, &clqi_op_dequantize, args);
}
