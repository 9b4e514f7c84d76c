#include "ops/emit.h"

static const char NAME[] = "silu_mul";

static const clqi_field fields[] = {
    CLQI_FIELD(clq_silu_mul_args, gate, CLQI_IN, false),
    CLQI_FIELD(clq_silu_mul_args, up, CLQI_IN, false),
    CLQI_FIELD(clq_silu_mul_args, out, CLQI_OUT, false),
};

static clq_status infer(void *args) {
  clq_silu_mul_args *a = args;
  clqi_infer_shape(&a->out, &a->gate);
  return CLQ_OK;
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_silu_mul_args *a = args;
  CLQI_TRY(clqi_check_tensor(NAME, "gate", &a->gate, 2, CLQI_DT(CLQ_F32)));
  CLQI_TRY(clqi_check_tensor(NAME, "up", &a->up, 2, CLQI_DT(CLQ_F32)));
  CLQI_TRY(clqi_check_extent(NAME, "up", &a->up, 0, a->gate.shape[0], "rows of gate"));
  CLQI_TRY(clqi_check_extent(NAME, "up", &a->up, 1, a->gate.shape[1], "cols of gate"));
  return clqi_check_output(NAME, &a->out, a->gate.shape[0], a->gate.shape[1]);
}

static bool empty(const void *args) {
  return clqi_no_elements(&((const clq_silu_mul_args *)args)->gate);
}

static const clqi_variant variants[] = {
    {.name = "silu_mul_rows", .kernel = CLQI_KERNEL_silu_mul_rows, .needs = CLQI_BIT(CPU)},
    {.name = "silu_mul_group", .kernel = CLQI_KERNEL_silu_mul_group},
};

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_silu_mul_args *a = args;
  const int64_t rows = a->gate.shape[0];
  const int64_t cols = a->gate.shape[1];
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "%s%s", clqi_emit_option(&a->out), clqi_share_option(v, &a->out));
  clqi_arg_tensor(&l, &a->gate);
  clqi_arg_tensor(&l, &a->up);
  clqi_arg_out(&l, &a->out, cols);
  clqi_arg_i64(&l, cols);
  clqi_arg_i64(&l, clqi_stride(&a->gate, 2, 0));
  clqi_arg_i64(&l, clqi_stride(&a->up, 2, 0));
  const double elements = (double)rows * (double)cols;
  const double bytes = 8.0 * elements + clqi_emit_bytes(&a->out, rows, cols);
  return clqi_launch_chunks(&l, v, &a->out, bytes, 16.0 * elements);
}

const clqi_op clqi_op_silu_mul = {
    .name = NAME,
    .args_bytes = sizeof(clq_silu_mul_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_silu_mul(clq_stream *stream, const clq_silu_mul_args *args) {
  return clqi_op_run(stream, &clqi_op_silu_mul, args);
}
