#include "ops/emit.h"
#include "ops/planes.h"

static const char NAME[] = "integer_gelu";

/* The bounds within which integer_gelu.cl proves that nothing overflows. */
enum { LEAST_SHIFT = 1, MOST_SHIFT = 62 };

static const clqi_field fields[] = {
    CLQI_FIELD(clq_integer_gelu_args, x, CLQI_IN, false),
    CLQI_FIELD(clq_integer_gelu_args, out, CLQI_OUT, false),
};

static clq_status infer(void *args) {
  clq_integer_gelu_args *a = args;
  clqi_infer_shape(&a->out, &a->x);
  return CLQ_OK;
}

static clq_status check_number(const char *name, int32_t value, int32_t low, int32_t high) {
  CLQI_REQUIRE(value >= low && value <= high, "integer_gelu: %s is %d, expected %d to %d", name,
               (int)value, (int)low, (int)high);
  return CLQ_OK;
}

static clq_status check_zero(const char *name, const clq_tensor *t, int32_t zero) {
  const int32_t low = t->dtype == CLQ_I8 ? -128 : 0;
  return check_number(name, zero, low, t->dtype == CLQ_I32 ? 0 : low + 255);
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_integer_gelu_args *a = args;
  const unsigned types = CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8) | CLQI_DT(CLQ_I32);
  CLQI_TRY(clqi_check_codes(NAME, "x", &a->x, types));
  CLQI_TRY(clqi_check_planes(NAME, &a->out, &a->x, a->out_scale, a->out_zero));
  CLQI_TRY(check_zero("x_zero", &a->x, a->x_zero));
  CLQI_TRY(check_zero("out_zero", &a->out, a->out_zero));
  CLQI_TRY(check_number("x_multiplier", a->x_multiplier, 0, INT32_MAX));
  CLQI_TRY(check_number("value_multiplier", a->value_multiplier, 0, INT32_MAX));
  CLQI_TRY(check_number("x_shift", a->x_shift, LEAST_SHIFT, MOST_SHIFT));
  return check_number("value_shift", a->value_shift, LEAST_SHIFT, MOST_SHIFT);
}

static bool empty(const void *args) {
  return clqi_no_elements(&((const clq_integer_gelu_args *)args)->x);
}

static const clqi_variant variants[] = {
    {.name = "integer_gelu_rows", .kernel = CLQI_KERNEL_integer_gelu_rows, .needs = CLQI_BIT(CPU)},
    {.name = "integer_gelu_group", .kernel = CLQI_KERNEL_integer_gelu_group},
};

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_integer_gelu_args *a = args;
  const int64_t rows = a->x.shape[0];
  const int64_t cols = a->x.shape[1];
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  int32_t low = 0;
  int32_t high = 0;
  clqi_code_range(&a->out, &low, &high);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "-DCLQ_X=%d -DCLQ_OUT=%d", (int)a->x.dtype, (int)a->out.dtype);
  clqi_arg_tensor(&l, &a->x);
  clqi_arg_tensor(&l, &a->out);
  clqi_arg_i64(&l, cols);
  clqi_arg_i64(&l, clqi_stride(&a->x, 2, 0));
  clqi_arg_i64(&l, clqi_stride(&a->out, 2, 0));
  clqi_arg_i32(&l, a->x_zero);
  clqi_arg_i32(&l, a->x_multiplier);
  clqi_arg_i32(&l, a->x_shift);
  clqi_arg_i32(&l, a->value_multiplier);
  clqi_arg_i32(&l, a->value_shift);
  clqi_arg_i32(&l, low);
  clqi_arg_i32(&l, high);
  clqi_arg_planes(&l, &a->out, a->out_scale, a->out_zero);
  const double elements = (double)rows * (double)cols;
  const double bytes =
      elements * (double)clq_dtype_bytes(a->x.dtype) + clqi_emit_bytes(&a->out, rows, cols);
  /* Five products with their additions. */
  return clqi_launch_rows(&l, v, rows, bytes, 10.0 * elements);
}

const clqi_op clqi_op_integer_gelu = {
    .name = NAME,
    .args_bytes = sizeof(clq_integer_gelu_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .in_place = "x",
    .writes_planes = true,
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_integer_gelu(clq_stream *stream, const clq_integer_gelu_args *args) {
  return clqi_op_run(stream, &clqi_op_integer_gelu, args);
}
