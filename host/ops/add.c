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

static clq_status check_input(const char *arg, const clq_tensor *t) {
  const unsigned types =
      CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_BF16) | CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8);
  const unsigned per = CLQI_GR(CLQ_PER_TENSOR) | CLQI_GR(CLQ_PER_TOKEN) | CLQI_GR(CLQ_PER_CHANNEL);
  CLQI_TRY(clqi_check_tensor(NAME, arg, t, 2, types));
  return clqi_check_quant(NAME, arg, t, per, 0);
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_add_args *a = args;
  CLQI_TRY(check_input("a", &a->a));
  CLQI_TRY(check_input("b", &a->b));
  CLQI_TRY(clqi_check_extent(NAME, "b", &a->b, 0, a->a.shape[0], "rows of a"));
  CLQI_TRY(clqi_check_extent(NAME, "b", &a->b, 1, a->a.shape[1], "cols of a"));
  return clqi_check_output(NAME, &a->out, a->a.shape[0], a->a.shape[1]);
}

static bool empty(const void *args) { return clqi_no_elements(&((const clq_add_args *)args)->a); }

static const clqi_variant variants[] = {
    {.name = "add_rows", .kernel = CLQI_KERNEL_add_rows, .needs = CLQI_BIT(CPU)},
    {.name = "add_group", .kernel = CLQI_KERNEL_add_group},
};

/* The arguments ADD_INPUT of the kernel. */
static void arg_input(clqi_launch *l, const clq_tensor *t) {
  clqi_arg_tensor(l, t);
  clqi_arg_scale(l, t);
  clqi_arg_zero(l, t);
  clqi_arg_i64(l, clqi_stride(t, 2, 0));
  clqi_arg_i64(l, t->quant.per == CLQ_PER_TOKEN);
  clqi_arg_i64(l, t->quant.per == CLQ_PER_CHANNEL);
}

static double input_bytes(const clq_tensor *t) {
  const int64_t rows = t->shape[0];
  const int64_t cols = t->shape[1];
  return (double)rows * (double)cols * (double)clq_dtype_bytes(t->dtype) +
         4.0 * (double)clqi_scale_count(t, rows, cols);
}

/* What is written where it was read is in the caches. */
static const char *stream_option(const clq_context *context, const clqi_variant *v,
                                 const clq_add_args *a) {
  const bool in_place = a->out.mem == a->a.mem || a->out.mem == a->b.mem;
  return in_place ? "" : clqi_stream_option(context, v, &a->out);
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_add_args *a = args;
  const int64_t rows = a->a.shape[0];
  const int64_t cols = a->a.shape[1];
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "-DCLQ_A=%d -DCLQ_B=%d %s%s%s", (int)a->a.dtype, (int)a->b.dtype,
             clqi_emit_option(&a->out), clqi_share_option(v, &a->out),
             stream_option(emitter->context, v, a));
  arg_input(&l, &a->a);
  arg_input(&l, &a->b);
  clqi_arg_out(&l, &a->out, cols);
  clqi_arg_i64(&l, cols);
  const double bytes =
      input_bytes(&a->a) + input_bytes(&a->b) + clqi_emit_bytes(&a->out, rows, cols);
  return clqi_launch_chunks(&l, v, &a->out, bytes, (double)rows * (double)cols);
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
