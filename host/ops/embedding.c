#include "ops/emit.h"
#include "ops/weights_args.h"

static const char NAME[] = "embedding";

static const clqi_field fields[] = {
    CLQI_FIELD(clq_embedding_args, ids, CLQI_IN, false),
    CLQI_FIELD(clq_embedding_args, out, CLQI_OUT, false),
};

static clq_status infer(void *args) {
  clq_embedding_args *a = args;
  if (a->weights != NULL && a->out.shape[0] == 0 && a->out.shape[1] == 0) {
    a->out.shape[0] = a->ids.shape[0];
    a->out.shape[1] = a->weights->cols;
  }
  return CLQ_OK;
}

static clq_status check(const clq_context *context, const void *args) {
  const clq_embedding_args *a = args;
  CLQI_REQUIRE(a->weights != NULL, "embedding: weights are missing");
  CLQI_REQUIRE(a->weights->context == context, "embedding: the weights belong to another context");
  if (a->weights->outlier_count > 0) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "embedding: the weights have outlier columns, which only gemm takes");
  }
  CLQI_TRY(clqi_check_tensor(NAME, "ids", &a->ids, 1, CLQI_DT(CLQ_I32)));
  CLQI_TRY(clqi_check_tensor(NAME, "out", &a->out, 2, CLQI_DT(CLQ_F32)));
  CLQI_TRY(clqi_check_extent(NAME, "out", &a->out, 0, a->ids.shape[0], "number of ids"));
  return clqi_check_extent(NAME, "out", &a->out, 1, a->weights->cols, "K of the weights");
}

static bool empty(const void *args) {
  const clq_embedding_args *a = args;
  return a->ids.shape[0] == 0;
}

static const clqi_variant variants[] = {
    {.name = "embedding_rows", .kernel = CLQI_KERNEL_embedding_rows, .needs = CLQI_BIT(CPU)},
    {.name = "embedding_elements", .kernel = CLQI_KERNEL_embedding_elements},
};

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_embedding_args *a = args;
  const clq_weights *w = a->weights;
  const int64_t rows = a->ids.shape[0];
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  char options[CLQI_WEIGHTS_OPTIONS_BYTES];
  clqi_weights_options(w, options);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "%s", options);
  clqi_arg_tensor(&l, &a->ids);
  clqi_arg_weights(&l, w);
  clqi_arg_tensor(&l, &a->out);
  clqi_arg_i64(&l, w->rows);
  clqi_arg_i64(&l, w->cols);
  clqi_arg_i64(&l, w->padded_cols);
  clqi_arg_i64(&l, w->groups <= 1 ? w->padded_cols : w->group);
  clqi_arg_i64(&l, clqi_stride(&a->out, 2, 0));
  clqi_arg_error_word(&l);
  clqi_arg_order(&l, w);
  const double elements = (double)rows * (double)w->cols;
  return clqi_launch_elements(
      &l, v, rows, w->cols,
      clqi_weights_row_bytes(w, (double)rows) + 4.0 * (double)rows + 4.0 * elements,
      2.0 * elements);
}

const clqi_op clqi_op_embedding = {
    .name = NAME,
    .args_bytes = sizeof(clq_embedding_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_embedding(clq_stream *stream, const clq_embedding_args *args) {
  return clqi_op_run(stream, &clqi_op_embedding, args);
}
