#include "ops/emit.h"
#include "ops/planes.h"

static const char NAME[] = "integer_add";

/* The bounds within which integer_add.cl proves that nothing overflows. */
enum { MOST_SHIFT = 31, LEAST_SINGLE_SHIFT = 11, MOST_SINGLE_SHIFT = 62 };

static const clqi_field fields[] = {
    CLQI_FIELD(clq_integer_add_args, a, CLQI_IN, false),
    CLQI_FIELD(clq_integer_add_args, b, CLQI_IN, false),
    CLQI_FIELD(clq_integer_add_args, out, CLQI_OUT, false),
};

static clq_status infer(void *args) {
  clq_integer_add_args *a = args;
  clqi_infer_shape(&a->out, &a->a);
  return CLQ_OK;
}

static clq_status check_number(const char *name, int32_t value, int32_t low, int32_t high) {
  CLQI_REQUIRE(value >= low && value <= high, "integer_add: %s is %d, expected %d to %d", name,
               (int)value, (int)low, (int)high);
  return CLQ_OK;
}

static clq_status check_zero(const char *name, const clq_tensor *t, int32_t zero) {
  const int32_t low = t->dtype == CLQ_I8 ? -128 : 0;
  return check_number(name, zero, low, low + 255);
}

static clq_status check_numbers(const clq_integer_add_args *a) {
  const bool gemmlowp = a->mode == CLQ_ADD_GEMMLOWP;
  const bool single = a->mode == CLQ_ADD_SINGLE_ROUNDING;
  const int32_t most = gemmlowp ? INT32_MAX : 0;
  const int32_t shift = gemmlowp ? MOST_SHIFT : 0;
  const int32_t most_factor = single ? INT32_MAX : most;
  CLQI_REQUIRE(gemmlowp || single || a->mode == CLQ_ADD_SATURATE,
               "integer_add: mode is %d, expected one of clq_integer_add_mode (1 to 3)",
               (int)a->mode);
  CLQI_TRY(check_zero("a_zero", &a->a, a->a_zero));
  CLQI_TRY(check_zero("b_zero", &a->b, a->b_zero));
  CLQI_TRY(check_zero("out_zero", &a->out, a->out_zero));
  CLQI_TRY(check_number("a_multiplier", a->a_multiplier, 0, most_factor));
  CLQI_TRY(check_number("b_multiplier", a->b_multiplier, 0, most_factor));
  CLQI_TRY(check_number("out_multiplier", a->out_multiplier, 0, most));
  CLQI_TRY(check_number("a_shift", a->a_shift, 0, shift));
  CLQI_TRY(check_number("b_shift", a->b_shift, 0, shift));
  return check_number("out_shift", a->out_shift, single ? LEAST_SINGLE_SHIFT : 0,
                      single ? MOST_SINGLE_SHIFT : shift);
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_integer_add_args *a = args;
  const unsigned codes = CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8);
  CLQI_TRY(clqi_check_codes(NAME, "a", &a->a, codes));
  CLQI_TRY(clqi_check_codes(NAME, "b", &a->b, codes));
  CLQI_TRY(clqi_check_extent(NAME, "b", &a->b, 0, a->a.shape[0], "rows of a"));
  CLQI_TRY(clqi_check_extent(NAME, "b", &a->b, 1, a->a.shape[1], "cols of a"));
  CLQI_TRY(clqi_check_planes(NAME, &a->out, &a->a, a->out_scale, a->out_zero));
  return check_numbers(a);
}

static bool empty(const void *args) {
  return clqi_no_elements(&((const clq_integer_add_args *)args)->a);
}

static const clqi_variant variants[] = {
    {.name = "integer_add_rows", .kernel = CLQI_KERNEL_integer_add_rows, .needs = CLQI_BIT(CPU)},
    {.name = "integer_add_group", .kernel = CLQI_KERNEL_integer_add_group},
};

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_integer_add_args *a = args;
  const int64_t rows = a->a.shape[0];
  const int64_t cols = a->a.shape[1];
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  int32_t low = 0;
  int32_t high = 0;
  clqi_code_range(&a->out, &low, &high);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "-DCLQ_A=%d -DCLQ_B=%d -DCLQ_OUT=%d -DCLQ_MODE=%d", (int)a->a.dtype,
             (int)a->b.dtype, (int)a->out.dtype, (int)a->mode);
  clqi_arg_tensor(&l, &a->a);
  clqi_arg_tensor(&l, &a->b);
  clqi_arg_tensor(&l, &a->out);
  clqi_arg_i64(&l, cols);
  clqi_arg_i64(&l, clqi_stride(&a->a, 2, 0));
  clqi_arg_i64(&l, clqi_stride(&a->b, 2, 0));
  clqi_arg_i64(&l, clqi_stride(&a->out, 2, 0));
  clqi_arg_i32(&l, a->a_zero);
  clqi_arg_i32(&l, a->a_multiplier);
  clqi_arg_i32(&l, a->a_shift);
  clqi_arg_i32(&l, a->b_zero);
  clqi_arg_i32(&l, a->b_multiplier);
  clqi_arg_i32(&l, a->b_shift);
  clqi_arg_i32(&l, a->out_multiplier);
  clqi_arg_i32(&l, a->out_shift);
  clqi_arg_i32(&l, low);
  clqi_arg_i32(&l, high);
  clqi_arg_planes(&l, &a->out, a->out_scale, a->out_zero);
  const double elements = (double)rows * (double)cols;
  return clqi_launch_rows(&l, v, rows, 2.0 * elements + clqi_emit_bytes(&a->out, rows, cols),
                          elements);
}

const clqi_op clqi_op_integer_add = {
    .name = NAME,
    .args_bytes = sizeof(clq_integer_add_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .in_place = "a b",
    .writes_planes = true,
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_integer_add(clq_stream *stream, const clq_integer_add_args *args) {
  return clqi_op_run(stream, &clqi_op_integer_add, args);
}
