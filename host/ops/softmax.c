#include <math.h>

#include "ops/emit.h"
#include "ops/op.h"
#include "runtime/checked.h"

static const char NAME[] = "softmax";

enum {
  GROUP = 64,           /* work-items, and lanes of the sum */
  ITEM_ELEMENTS = 8192, /* on a CPU, about what pays for a work-item */
  ITEMS_PER_UNIT = 8    /* work-items per core that even out its load */
};

static const clqi_field fields[] = {
    CLQI_FIELD(clq_softmax_args, x, CLQI_IN, false),
    CLQI_FIELD(clq_softmax_args, out, CLQI_OUT, false),
};

static clq_status infer(void *args) {
  clq_softmax_args *a = args;
  clqi_infer_shape(&a->out, &a->x);
  return CLQ_OK;
}

static clq_status check_out(const clq_softmax_args *a) {
  const clq_tensor *out = &a->out;
  const unsigned types = CLQI_DT(CLQ_F32) | (a->x.dtype == CLQ_I8 ? CLQI_DT(CLQ_U8) : 0U);
  CLQI_TRY(clqi_check_tensor(NAME, "out", out, 2, types));
  CLQI_TRY(clqi_check_extent(NAME, "out", out, 0, a->x.shape[0], "rows of x"));
  CLQI_TRY(clqi_check_extent(NAME, "out", out, 1, a->x.shape[1], "cols of x"));
  if (out->quant.per != 0) {
    CLQI_TRY(clqi_check_quant(NAME, "out", out, CLQI_GR(CLQ_PER_TENSOR), 0));
  }
  CLQI_REQUIRE(out->quant.zero == NULL && out->quant.sum == NULL,
               "softmax: out has neither zero points nor sums");
  return CLQ_OK;
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_softmax_args *a = args;
  CLQI_TRY(clqi_check_tensor(NAME, "x", &a->x, 2, CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_I8)));
  CLQI_TRY(clqi_check_quant(NAME, "x", &a->x, CLQI_GR(CLQ_PER_TENSOR) | CLQI_GR(CLQ_PER_TOKEN), 0));
  CLQI_REQUIRE(isfinite(a->scale), "softmax: scale is %g, expected 0 (for 1) or a finite number",
               (double)a->scale);
  CLQI_REQUIRE(a->x.dtype != CLQ_I8 || a->scale >= 0.0f,
               "softmax: scale is %g, expected 0 (for 1) or a positive number with x of i8",
               (double)a->scale);
  return check_out(a);
}

static bool empty(const void *args) {
  const clq_softmax_args *a = args;
  return a->x.shape[0] == 0 || a->x.shape[1] == 0;
}

static const clqi_variant f32_variants[] = {
    {.name = "softmax_f32_rows", .kernel = CLQI_KERNEL_softmax_f32_rows, .needs = CLQI_BIT(CPU)},
    {.name = "softmax_f32_group", .kernel = CLQI_KERNEL_softmax_f32_group},
};

static const clqi_variant i8_variants[] = {
    {.name = "softmax_i8_rows", .kernel = CLQI_KERNEL_softmax_i8_rows, .needs = CLQI_BIT(CPU)},
    {.name = "softmax_i8_group", .kernel = CLQI_KERNEL_softmax_i8_group},
};

/* Rows for one work-item on a CPU: enough to pay for it, few enough to keep all cores busy. */
static int64_t rows_per_item(const clq_context *context, int64_t rows, int64_t cols) {
  const int64_t enough = clqi_div_up(ITEM_ELEMENTS, cols);
  const int64_t fair = clqi_div_up(rows, (int64_t)context->info.compute_units * ITEMS_PER_UNIT);
  return enough < fair ? enough : fair;
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_softmax_args *a = args;
  const int64_t rows = a->x.shape[0];
  const int64_t cols = a->x.shape[1];
  const bool codes = a->x.dtype == CLQ_I8;
  const clqi_variant *v =
      codes ? clqi_choose(emitter->context, NAME, i8_variants, CLQI_COUNT(i8_variants), args)
            : clqi_choose(emitter->context, NAME, f32_variants, CLQI_COUNT(f32_variants), args);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "-DCLQ_X=%d -DCLQ_OUT=%d", (int)a->x.dtype, (int)a->out.dtype);
  clqi_arg_tensor(&l, &a->x);
  if (codes) {
    clqi_arg_scale(&l, &a->x);
  }
  clqi_arg_tensor(&l, &a->out);
  if (codes) {
    clqi_arg_scale(&l, &a->out);
  }
  clqi_arg_i64(&l, rows);
  clqi_arg_i64(&l, cols);
  clqi_arg_i64(&l, clqi_stride(&a->x, 2, 0));
  clqi_arg_i64(&l, clqi_stride(&a->out, 2, 0));
  if (codes) {
    clqi_arg_i32(&l, a->x.quant.per == CLQ_PER_TOKEN);
  }
  clqi_arg_f32(&l, a->scale == 0.0f ? 1.0f : a->scale);
  const double elements = (double)rows * (double)cols;
  const double bytes =
      elements * (double)(clq_dtype_bytes(a->x.dtype) + clq_dtype_bytes(a->out.dtype));
  const double ops = 4.0 * elements; /* scale, subtract, add, multiply; exp not counted */
  if ((v->needs & CLQI_BIT(CPU)) != 0) {
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
