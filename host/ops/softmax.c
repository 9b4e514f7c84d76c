#include <math.h>

#include "ops/emit.h"
#include "ops/op.h"
#include "runtime/checked.h"

static const char NAME[] = "softmax";

enum {
  GROUP = 64,           /* work-items, and lanes of the sum */
  ITEM_ELEMENTS = 8192, /* on a CPU, about what pays for a work-item */
  ITEMS_PER_UNIT = 8,   /* work-items per core that even out its load */
  KEPT = 8192, /* exponentials that a CPU keeps of a row; of wider ones they are computed twice */
  /* CLQ_FINISH of lib/softmax.h: */
  PROBABILITIES = 0,
  LOGARITHMS = 1,
  EXPONENTIALS = 2
};

static const unsigned FLOATS = CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_BF16);
static const unsigned CODES = CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8);

static const clqi_field fields[] = {
    CLQI_FIELD(clq_softmax_args, x, CLQI_IN, false),
    CLQI_FIELD(clq_softmax_args, mask, CLQI_IN, true),
    CLQI_FIELD(clq_softmax_args, lengths, CLQI_IN, true),
    CLQI_FIELD(clq_softmax_args, out, CLQI_OUT, false),
    CLQI_FIELD(clq_softmax_args, sum, CLQI_OUT, true),
};

static int finish_of(const clq_softmax_args *a) {
  return clqi_present(&a->sum) ? EXPONENTIALS : a->log ? LOGARITHMS : PROBABILITIES;
}

static clq_status infer(void *args) {
  clq_softmax_args *a = args;
  clqi_infer_shape(&a->out, &a->x);
  if (clqi_present(&a->sum) && a->sum.shape[0] == 0) {
    a->sum.shape[0] = a->x.shape[0];
  }
  return CLQ_OK;
}

/* How often the rows of x hold `part` rows. */
static clq_status check_divides(const char *what, int64_t part, int64_t rows) {
  CLQI_REQUIRE(part > 0 ? rows % part == 0 : rows == 0,
               "softmax: %s %lld, expected a divisor of the %lld rows of x", what, (long long)part,
               (long long)rows);
  return CLQ_OK;
}

static clq_status check_what_counts(const clq_softmax_args *a) {
  const int64_t rows = a->x.shape[0];
  if (clqi_present(&a->mask)) {
    const unsigned types = CLQI_DT(CLQ_U8) | (clqi_is_codes(&a->x) ? 0U : FLOATS);
    CLQI_TRY(clqi_check_tensor(NAME, "mask", &a->mask, 2, types));
    CLQI_REQUIRE(a->mask.quant.per == 0, "softmax: mask is quantized, expected plain numbers");
    CLQI_TRY(clqi_check_extent(NAME, "mask", &a->mask, 1, a->x.shape[1], "cols of x"));
    CLQI_TRY(check_divides("dimension 0 of mask is", a->mask.shape[0], rows));
  }
  if (clqi_present(&a->lengths)) {
    CLQI_TRY(clqi_check_tensor(NAME, "lengths", &a->lengths, 1, CLQI_DT(CLQ_I32)));
    CLQI_TRY(check_divides("dimension 0 of lengths is", a->lengths.shape[0], rows));
  }
  CLQI_REQUIRE(a->queries >= 0, "softmax: queries is %lld, expected 0 (not causal) or more",
               (long long)a->queries);
  return a->queries > 0 ? check_divides("queries is", a->queries, rows) : CLQ_OK;
}

static clq_status check_out(const clq_softmax_args *a) {
  const clq_tensor *out = &a->out;
  const bool codes = finish_of(a) == PROBABILITIES;
  const unsigned fixed = finish_of(a) == EXPONENTIALS ? CLQI_DT(CLQ_U16) : 0U;
  CLQI_TRY(clqi_check_tensor(NAME, "out", out, 2, FLOATS | fixed | (codes ? CODES : 0U)));
  CLQI_TRY(clqi_check_extent(NAME, "out", out, 0, a->x.shape[0], "rows of x"));
  CLQI_TRY(clqi_check_extent(NAME, "out", out, 1, a->x.shape[1], "cols of x"));
  if (out->quant.per != 0 || out->dtype == CLQ_I8) {
    CLQI_TRY(clqi_check_quant(NAME, "out", out, CLQI_GR(CLQ_PER_TENSOR), 0));
  }
  CLQI_REQUIRE(out->quant.sum == NULL, "softmax: out has no sums");
  CLQI_REQUIRE(out->quant.zero == NULL || out->dtype == CLQ_I8,
               "softmax: out of u8 has no zero point");
  if (!clqi_present(&a->sum)) {
    return CLQ_OK;
  }
  CLQI_REQUIRE(!a->log, "softmax: log and sum are both given, expected one of them");
  CLQI_TRY(clqi_check_tensor(NAME, "sum", &a->sum, 1, CLQI_DT(CLQ_F32)));
  return clqi_check_extent(NAME, "sum", &a->sum, 0, a->x.shape[0], "rows of x");
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_softmax_args *a = args;
  CLQI_TRY(clqi_check_tensor(NAME, "x", &a->x, 2, FLOATS | CODES));
  CLQI_TRY(clqi_check_quant(NAME, "x", &a->x, CLQI_GR(CLQ_PER_TENSOR) | CLQI_GR(CLQ_PER_TOKEN), 0));
  const bool codes = clqi_is_codes(&a->x);
  CLQI_REQUIRE(isfinite(a->scale), "softmax: scale is %g, expected 0 (for 1) or a finite number",
               (double)a->scale);
  CLQI_REQUIRE(!codes || a->scale >= 0.0f,
               "softmax: scale is %g, expected 0 (for 1) or a positive number with x of %s",
               (double)a->scale, clq_dtype_name(a->x.dtype));
  CLQI_REQUIRE(a->exp >= CLQ_EXP_TWO_LEVEL && a->exp <= CLQ_EXP_IVIT,
               "softmax: exp is %d, expected one of clq_exp (0 to 6)", (int)a->exp);
  CLQI_REQUIRE(codes || a->exp == CLQ_EXP_TWO_LEVEL,
               "softmax: exp is %d, a table of codes, but x is %s", (int)a->exp,
               clq_dtype_name(a->x.dtype));
  CLQI_REQUIRE(!codes || !a->log, "softmax: log is offered with x of f32, f16, bf16, not %s",
               clq_dtype_name(a->x.dtype));
  CLQI_TRY(check_what_counts(a));
  return check_out(a);
}

static bool empty(const void *args) {
  const clq_softmax_args *a = args;
  return a->x.shape[0] == 0 || a->x.shape[1] == 0;
}

static const clqi_variant float_variants[] = {
    {.name = "softmax_float_rows",
     .kernel = CLQI_KERNEL_softmax_float_rows,
     .needs = CLQI_BIT(CPU)},
    {.name = "softmax_float_group", .kernel = CLQI_KERNEL_softmax_float_group},
};

static const clqi_variant codes_variants[] = {
    {.name = "softmax_codes_rows_vbmi",
     .kernel = CLQI_KERNEL_softmax_codes_rows,
     .options = "-DCLQ_PERMUTE_X86=1",
     .needs = CLQI_BIT(CPU) | CLQI_BIT(X86_VBMI)},
    {.name = "softmax_codes_rows",
     .kernel = CLQI_KERNEL_softmax_codes_rows,
     .needs = CLQI_BIT(CPU)},
    {.name = "softmax_codes_group", .kernel = CLQI_KERNEL_softmax_codes_group},
};

/* Rows for one work-item on a CPU: enough to pay for it, few enough to keep all cores busy. */
static int64_t rows_per_item(const clq_context *context, int64_t rows, int64_t cols) {
  const int64_t enough = clqi_div_up(ITEM_ELEMENTS, cols);
  const int64_t fair = clqi_div_up(rows, (int64_t)context->info.compute_units * ITEMS_PER_UNIT);
  return enough < fair ? enough : fair;
}

/* What clqi_begin's variant takes, up to `sum` and the numbers of lib/softmax.h. */
static void common_args(clqi_launch *l, const clq_softmax_args *a) {
  const int64_t rows = a->x.shape[0];
  const bool masked = clqi_present(&a->mask);
  clqi_arg_tensor(l, &a->x);
  clqi_arg_tensor(l, &a->mask);
  clqi_arg_tensor(l, &a->lengths);
  clqi_arg_tensor(l, &a->out);
  clqi_arg_scale(l, &a->out);
  clqi_arg_zero(l, &a->out);
  clqi_arg_tensor(l, &a->sum);
  clqi_arg_i64(l, rows);
  clqi_arg_i64(l, a->x.shape[1]);
  clqi_arg_i64(l, clqi_stride(&a->x, 2, 0));
  clqi_arg_i64(l, clqi_stride(&a->out, 2, 0));
  clqi_arg_i64(l, masked ? clqi_stride(&a->mask, 2, 0) : 0);
  clqi_arg_i64(l, masked ? a->mask.shape[0] : 1);
  clqi_arg_i64(l, clqi_present(&a->lengths) ? rows / a->lengths.shape[0] : 1);
  clqi_arg_i64(l, a->queries);
  clqi_arg_f32(l, a->scale == 0.0f ? 1.0f : a->scale);
}

/* All of x and out, though what a length or a causal row hides is not read. */
static double bytes_of(const clq_softmax_args *a) {
  const double elements = (double)a->x.shape[0] * (double)a->x.shape[1];
  const double mask = clqi_present(&a->mask) ? (double)a->mask.shape[0] * (double)a->x.shape[1] *
                                                   (double)clq_dtype_bytes(a->mask.dtype)
                                             : 0.0;
  return elements * (double)(clq_dtype_bytes(a->x.dtype) + clq_dtype_bytes(a->out.dtype)) + mask;
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_softmax_args *a = args;
  const int64_t rows = a->x.shape[0];
  const int64_t cols = a->x.shape[1];
  const bool codes = clqi_is_codes(&a->x);
  const int finish = finish_of(a);
  const clqi_variant *v =
      codes ? clqi_choose(emitter->context, NAME, codes_variants, CLQI_COUNT(codes_variants), args)
            : clqi_choose(emitter->context, NAME, float_variants, CLQI_COUNT(float_variants), args);
  const bool for_cpus = (v->needs & CLQI_BIT(CPU)) != 0;
  const bool keep =
      for_cpus && !codes && finish == PROBABILITIES && a->out.dtype != CLQ_F32 && cols <= KEPT;
  clqi_launch l;
  clqi_begin(&l, emitter, v, "-DCLQ_X=%d -DCLQ_OUT=%d -DCLQ_MASK=%d -DCLQ_FINISH=%d -DCLQ_%s=%d",
             (int)a->x.dtype, (int)a->out.dtype, clqi_present(&a->mask) ? (int)a->mask.dtype : 0,
             finish, codes ? "EXP" : "KEEP",
             codes  ? (int)a->exp
             : keep ? KEPT
                    : 0);
  common_args(&l, a);
  if (codes) {
    clqi_arg_scale(&l, &a->x);
    clqi_arg_i32(&l, a->x.quant.per == CLQ_PER_TOKEN);
  }
  const double bytes = bytes_of(a);
  const double ops = 4.0 * (double)rows * (double)cols; /* exp not counted */
  if (for_cpus) {
    const int64_t each = rows_per_item(emitter->context, rows, cols);
    clqi_arg_i64(&l, each);
    return clqi_launch_end(&l, 1, (size_t[]){(size_t)clqi_div_up(rows, each)}, NULL, bytes, ops);
  }
  return clqi_launch_end(&l, 1, (size_t[]){(size_t)rows * GROUP}, (size_t[]){GROUP}, bytes, ops);
}

const clqi_op clqi_op_softmax = {
    .name = NAME,
    .args_bytes = sizeof(clq_softmax_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .in_place = "x",
    .writes_planes = true,
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_softmax(clq_stream *stream, const clq_softmax_args *args) {
  return clqi_op_run(stream, &clqi_op_softmax, args);
}
