#include "ops/emit.h"
#include "ops/planes.h"

static const char NAME[] = "integer_norm";

/* The bounds within which integer_norm.cl proves that nothing overflows. */
enum { MOST_COLS_I32 = 1 << 17, MOST_COLS = 1 << 23, LEAST_SHIFT = 16, MOST_SHIFT = 46 };
static const int64_t MOST_EPS_SUM = (int64_t)1 << 58;

static const clqi_field fields[] = {
    CLQI_FIELD(clq_integer_norm_args, x, CLQI_IN, false),
    CLQI_FIELD(clq_integer_norm_args, exponent, CLQI_IN, true),
    CLQI_FIELD(clq_integer_norm_args, multiplier, CLQI_IN, false),
    CLQI_FIELD(clq_integer_norm_args, bias, CLQI_IN, true),
    CLQI_FIELD(clq_integer_norm_args, out, CLQI_OUT, false),
};

static clq_status infer(void *args) {
  clq_integer_norm_args *a = args;
  clqi_infer_shape(&a->out, &a->x);
  return CLQ_OK;
}

static clq_status check_x(const clq_integer_norm_args *a) {
  const clq_tensor *x = &a->x;
  CLQI_TRY(
      clqi_check_tensor(NAME, "x", x, 2, CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8) | CLQI_DT(CLQ_I32)));
  if (x->quant.per != 0 && x->quant.per != CLQ_PER_TENSOR) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "integer_norm: quant.per of x is %d, offered: 0 or CLQ_PER_TENSOR (1)",
                     (int)x->quant.per);
  }
  CLQI_REQUIRE(x->quant.zero_offset % sizeof(cl_int) == 0,
               "integer_norm: quant.zero_offset of x is %llu bytes, expected a multiple of 4",
               (unsigned long long)x->quant.zero_offset);
  CLQI_REQUIRE(x->dtype != CLQ_I32 || x->quant.per == 0,
               "integer_norm: x of i32 is quantized, expected quant.per 0: zero points are offered "
               "with i8 and u8");
  const int64_t most = x->dtype == CLQ_I32 ? MOST_COLS_I32 : MOST_COLS;
  if (x->shape[1] > most) {
    return clqi_fail(CLQ_UNSUPPORTED, "integer_norm: x of %s has %lld columns, at most %lld",
                     clq_dtype_name(x->dtype), (long long)x->shape[1], (long long)most);
  }
  return CLQ_OK;
}

static clq_status check_vector(const char *arg, const clq_tensor *t, clq_dtype dtype,
                               int64_t cols) {
  CLQI_TRY(clqi_check_tensor(NAME, arg, t, 1, CLQI_DT(dtype)));
  return clqi_check_extent(NAME, arg, t, 0, cols, "cols of x");
}

/* n * eps as the kernel computes it; a number too large for it if it does not fit. */
static int64_t eps_sum_floor(const clq_integer_norm_args *a) {
  const int64_t sum = a->x.shape[1] * a->eps; /* < 2^54 */
  if (a->eps_shift >= 0) {
    return a->eps_shift > 62 ? 0 : sum >> a->eps_shift;
  }
  return sum == 0                                                        ? 0
         : a->eps_shift < -58 || sum > (MOST_EPS_SUM >> (-a->eps_shift)) ? MOST_EPS_SUM + 1
                                                                         : sum << -a->eps_shift;
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_integer_norm_args *a = args;
  CLQI_TRY(check_x(a));
  if (clqi_present(&a->exponent)) {
    CLQI_TRY(check_vector("exponent", &a->exponent, CLQ_I8, a->x.shape[1]));
  }
  CLQI_TRY(check_vector("multiplier", &a->multiplier, CLQ_I32, a->x.shape[1]));
  if (clqi_present(&a->bias)) {
    CLQI_TRY(check_vector("bias", &a->bias, CLQ_I32, a->x.shape[1]));
  }
  CLQI_TRY(clqi_check_planes(NAME, &a->out, &a->x, a->out_scale, a->out_zero));
  CLQI_REQUIRE(a->kind == 0 || a->kind == CLQ_NORM_LAYER || a->kind == CLQ_NORM_RMS,
               "integer_norm: kind is %d, expected 0 or one of clq_norm_kind (1 or 2)",
               (int)a->kind);
  CLQI_REQUIRE(a->shift >= LEAST_SHIFT && a->shift <= MOST_SHIFT,
               "integer_norm: shift is %d, expected %d to %d", (int)a->shift, LEAST_SHIFT,
               MOST_SHIFT);
  CLQI_REQUIRE(a->eps >= 0, "integer_norm: eps is %d, expected 0 or more", (int)a->eps);
  CLQI_REQUIRE(
      eps_sum_floor(a) <= MOST_EPS_SUM,
      "integer_norm: eps * 2^-eps_shift is %d * 2^%lld, expected at most 2^58 / cols squared "
      "steps of x",
      (int)a->eps, -(long long)a->eps_shift);
  return CLQ_OK;
}

static bool empty(const void *args) {
  return clqi_no_elements(&((const clq_integer_norm_args *)args)->x);
}

static const clqi_variant variants[] = {
    {.name = "integer_norm_rows", .kernel = CLQI_KERNEL_integer_norm_rows, .needs = CLQI_BIT(CPU)},
    {.name = "integer_norm_group", .kernel = CLQI_KERNEL_integer_norm_group},
};

/* An eps_shift below 0 goes into the sum: the kernel shifts by small amounts only. */
static void arg_eps(clqi_launch *l, const clq_integer_norm_args *a) {
  const bool whole = a->eps_shift < 0;
  clqi_arg_i64(l, whole ? eps_sum_floor(a) : a->x.shape[1] * a->eps);
  clqi_arg_i32(l, whole ? 0 : a->eps_shift > 200 ? 200 : a->eps_shift);
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_integer_norm_args *a = args;
  const int64_t rows = a->x.shape[0];
  const int64_t cols = a->x.shape[1];
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  int32_t low = 0;
  int32_t high = 0;
  clqi_code_range(&a->out, &low, &high);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "-DCLQ_X=%d -DCLQ_OUT=%d", (int)a->x.dtype, (int)a->out.dtype);
  clqi_arg_tensor(&l, &a->x);
  clqi_arg_zero(&l, &a->x);
  clqi_arg_tensor(&l, &a->exponent);
  clqi_arg_tensor(&l, &a->multiplier);
  clqi_arg_tensor(&l, &a->bias);
  clqi_arg_tensor(&l, &a->out);
  clqi_arg_i64(&l, cols);
  clqi_arg_i64(&l, clqi_stride(&a->x, 2, 0));
  clqi_arg_i64(&l, clqi_stride(&a->out, 2, 0));
  arg_eps(&l, a);
  clqi_arg_i32(&l, a->kind != CLQ_NORM_RMS);
  clqi_arg_i32(&l, a->shift);
  clqi_arg_i32(&l, low);
  clqi_arg_i32(&l, high);
  clqi_arg_planes(&l, &a->out, a->out_scale, a->out_zero);
  const double elements = (double)rows * (double)cols;
  const double vectors =
      (clqi_present(&a->exponent) ? 1.0 : 0.0) + (clqi_present(&a->bias) ? 4.0 : 0.0) + 4.0;
  const double bytes = elements * (double)clq_dtype_bytes(a->x.dtype) + vectors * (double)cols +
                       clqi_emit_bytes(&a->out, rows, cols);
  /* A sum, a square and its sum; centre, two products, an addition. */
  return clqi_launch_rows(&l, v, rows, bytes, 7.0 * elements);
}

const clqi_op clqi_op_integer_norm = {
    .name = NAME,
    .args_bytes = sizeof(clq_integer_norm_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .in_place = "x",
    .writes_planes = true,
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_integer_norm(clq_stream *stream, const clq_integer_norm_args *args) {
  return clqi_op_run(stream, &clqi_op_integer_norm, args);
}
