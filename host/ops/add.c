#include "ops/emit.h"

static const char NAME[] = "add";

static const clqi_field fields[] = {
    CLQI_FIELD(clq_add_args, a, CLQI_IN, false),
    CLQI_FIELD(clq_add_args, b, CLQI_IN, false),
    CLQI_FIELD(clq_add_args, out, CLQI_OUT, false),
};

static clq_status infer(void *args) {
  clq_add_args *a = args;
  clqi_infer_shape(&a->out, &a->a);
  return CLQ_OK;
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_add_args *a = args;
  CLQI_TRY(clqi_check_tensor(NAME, "a", &a->a, 2, CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16)));
  CLQI_TRY(clqi_check_tensor(NAME, "b", &a->b, 2, CLQI_DT(a->a.dtype)));
  CLQI_TRY(clqi_check_extent(NAME, "b", &a->b, 0, a->a.shape[0], "rows of a"));
  CLQI_TRY(clqi_check_extent(NAME, "b", &a->b, 1, a->a.shape[1], "cols of a"));
  CLQI_TRY(clqi_check_tensor(NAME, "out", &a->out, 2, CLQI_DT(a->a.dtype)));
  return clqi_check_output(NAME, &a->out, a->a.shape[0], a->a.shape[1]);
}

static bool empty(const void *args) { return clqi_no_elements(&((const clq_add_args *)args)->a); }

static const clqi_variant variants[] = {
    {.name = "add_rows", .kernel = CLQI_KERNEL_add_rows, .needs = CLQI_BIT(CPU)},
    {.name = "add_elements", .kernel = CLQI_KERNEL_add_elements},
};

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_add_args *a = args;
  const int64_t rows = a->a.shape[0];
  const int64_t cols = a->a.shape[1];
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "%s", clqi_emit_option(&a->out));
  clqi_arg_tensor(&l, &a->a);
  clqi_arg_tensor(&l, &a->b);
  clqi_arg_tensor(&l, &a->out);
  clqi_arg_i64(&l, cols);
  clqi_arg_i64(&l, clqi_stride(&a->a, 2, 0));
  clqi_arg_i64(&l, clqi_stride(&a->b, 2, 0));
  clqi_arg_i64(&l, clqi_stride(&a->out, 2, 0));
  const double elements = (double)rows * (double)cols;
  return clqi_launch_elements(&l, v, rows, cols,
                              3.0 * elements * (double)clq_dtype_bytes(a->a.dtype), elements);
}

const clqi_op clqi_op_add = {
    .name = NAME,
    .args_bytes = sizeof(clq_add_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .in_place = "a b",
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_add(clq_stream *stream, const clq_add_args *args) {
  return clqi_op_run(stream, &clqi_op_add, args);
}
