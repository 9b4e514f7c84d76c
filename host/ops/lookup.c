#include "ops/emit.h"
#include "ops/planes.h"

static const char NAME[] = "lookup";

enum { ENTRIES = 256 };

static const clqi_field fields[] = {
    CLQI_FIELD(clq_lookup_args, x, CLQI_IN, false),
    CLQI_FIELD(clq_lookup_args, table, CLQI_IN, false),
    CLQI_FIELD(clq_lookup_args, out, CLQI_OUT, false),
};

static clq_status infer(void *args) {
  clq_lookup_args *a = args;
  clqi_infer_shape(&a->out, &a->x);
  return CLQ_OK;
}

static clq_status check_out(const clq_lookup_args *a) {
  const clq_tensor *out = &a->out;
  if (clqi_is_codes(out)) {
    return clqi_check_planes(NAME, out, &a->x, a->out_scale, a->out_zero);
  }
  return clqi_check_output(NAME, out, a->x.shape[0], a->x.shape[1]);
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_lookup_args *a = args;
  CLQI_TRY(clqi_check_codes(NAME, "x", &a->x, CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8)));
  CLQI_TRY(check_out(a));
  CLQI_TRY(clqi_check_tensor(NAME, "table", &a->table, 1, CLQI_DT(a->out.dtype)));
  return clqi_check_extent(NAME, "table", &a->table, 0, ENTRIES, "one for each code");
}

static bool empty(const void *args) {
  return clqi_no_elements(&((const clq_lookup_args *)args)->x);
}

static const char *fits_bytes(const clq_context *context, const void *args) {
  (void)context;
  return clqi_is_codes(&((const clq_lookup_args *)args)->out) ? NULL : "entries are no bytes";
}

static const clqi_variant variants[] = {
    {.name = "lookup_rows_vbmi",
     .kernel = CLQI_KERNEL_lookup_rows,
     .options = "-DCLQ_PERMUTE_X86=1",
     .needs = CLQI_BIT(CPU) | CLQI_BIT(X86_VBMI),
     .fits = fits_bytes},
    {.name = "lookup_rows", .kernel = CLQI_KERNEL_lookup_rows, .needs = CLQI_BIT(CPU)},
    {.name = "lookup_group", .kernel = CLQI_KERNEL_lookup_group},
};

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_lookup_args *a = args;
  const int64_t rows = a->x.shape[0];
  const int64_t cols = a->x.shape[1];
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "-DCLQ_OUT=%d", (int)a->out.dtype);
  clqi_arg_tensor(&l, &a->x);
  clqi_arg_tensor(&l, &a->table);
  clqi_arg_tensor(&l, &a->out);
  clqi_arg_i64(&l, cols);
  clqi_arg_i64(&l, clqi_stride(&a->x, 2, 0));
  clqi_arg_i64(&l, clqi_stride(&a->out, 2, 0));
  clqi_arg_planes(&l, &a->out, a->out_scale, a->out_zero);
  const double elements = (double)rows * (double)cols;
  return clqi_launch_rows(&l, v, rows, elements + clqi_emit_bytes(&a->out, rows, cols), elements);
}

const clqi_op clqi_op_lookup = {
    .name = NAME,
    .args_bytes = sizeof(clq_lookup_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .in_place = "x",
    .writes_planes = true,
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_lookup(clq_stream *stream, const clq_lookup_args *args) {
  return clqi_op_run(stream, &clqi_op_lookup, args);
}
