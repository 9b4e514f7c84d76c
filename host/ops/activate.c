#include <stdio.h>

#include "ops/emit.h"

static const char NAME[] = "activate";

/* Of a row that a CPU computes once and keeps, if its codes' scales must be found first. */
enum { KEPT = 8192 };

static const unsigned FLOATS = CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_BF16);

static const clqi_field fields[] = {
    CLQI_FIELD(clq_activate_args, x, CLQI_IN, false),
    CLQI_FIELD(clq_activate_args, up, CLQI_IN, true),
    CLQI_FIELD(clq_activate_args, out, CLQI_OUT, false),
};

static clq_status infer(void *args) {
  clq_activate_args *a = args;
  clqi_infer_shape(&a->out, &a->x);
  return CLQ_OK;
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_activate_args *a = args;
  CLQI_TRY(clqi_check_tensor(NAME, "x", &a->x, 2, FLOATS));
  CLQI_REQUIRE(a->activation >= 0 && a->activation <= CLQ_ACTIVATION_SILU,
               "activate: activation is %d, expected one of clq_activation (0 to 4)",
               (int)a->activation);
  if (clqi_present(&a->up)) {
    CLQI_TRY(clqi_check_tensor(NAME, "up", &a->up, 2, FLOATS));
    CLQI_TRY(clqi_check_extent(NAME, "up", &a->up, 0, a->x.shape[0], "rows of x"));
    CLQI_TRY(clqi_check_extent(NAME, "up", &a->up, 1, a->x.shape[1], "cols of x"));
  }
  return clqi_check_output(NAME, &a->out, a->x.shape[0], a->x.shape[1]);
}

static bool empty(const void *args) {
  return clqi_no_elements(&((const clq_activate_args *)args)->x);
}

static const clqi_variant variants[] = {
    {.name = "activate_rows", .kernel = CLQI_KERNEL_activate_rows, .needs = CLQI_BIT(CPU)},
    {.name = "activate_group", .kernel = CLQI_KERNEL_activate_group},
};

/* Groups of 32 are taken from registers, and given scales in one pass. */
static int32_t kept(const clqi_variant *v, const clq_tensor *out) {
  const bool found = clqi_is_codes(out) && !clqi_scales_given(out) && out->quant.group != 32;
  return (v->needs & CLQI_BIT(CPU)) != 0 && found && out->shape[1] <= KEPT ? KEPT : 0;
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_activate_args *a = args;
  const int64_t rows = a->x.shape[0];
  const int64_t cols = a->x.shape[1];
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  const bool gated = clqi_present(&a->up);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "-DCLQ_X=%d -DCLQ_UP=%d -DCLQ_ACTIVATION=%d -DCLQ_KEEP=%d %s%s",
             (int)a->x.dtype, gated ? (int)a->up.dtype : 0, (int)a->activation,
             (int)kept(v, &a->out), clqi_emit_option(&a->out), clqi_share_option(v, &a->out));
  clqi_arg_tensor(&l, &a->x);
  clqi_arg_tensor(&l, &a->up);
  clqi_arg_out(&l, &a->out, cols);
  clqi_arg_i64(&l, cols);
  clqi_arg_i64(&l, clqi_stride(&a->x, 2, 0));
  clqi_arg_i64(&l, gated ? clqi_stride(&a->up, 2, 0) : 0);
  const double elements = (double)rows * (double)cols;
  const double read =
      (double)clq_dtype_bytes(a->x.dtype) + (gated ? (double)clq_dtype_bytes(a->up.dtype) : 0.0);
  return clqi_launch_chunks(&l, v, &a->out, elements * read + clqi_emit_bytes(&a->out, rows, cols),
                            16.0 * elements);
}

const clqi_op clqi_op_activate = {
    .name = NAME,
    .args_bytes = sizeof(clq_activate_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .in_place = "x up",
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_activate(clq_stream *stream, const clq_activate_args *args) {
  return clqi_op_run(stream, &clqi_op_activate, args);
}
