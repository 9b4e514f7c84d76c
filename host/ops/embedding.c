#include <stdio.h>

#include "ops/emit.h"
#include "ops/weights_args.h"
#include "quant/rows.h"
#include "runtime/checked.h"

static const char NAME[] = "embedding";

enum { QUAD = 4 }; /* elements that the kernels take at once */

static const clqi_field fields[] = {
    CLQI_FIELD(clq_embedding_args, ids, CLQI_IN, false),
    CLQI_FIELD(clq_embedding_args, map, CLQI_IN, true),
    CLQI_FIELD(clq_embedding_args, tables[0].rows, CLQI_IN, true),
    CLQI_FIELD(clq_embedding_args, tables[1].rows, CLQI_IN, true),
    CLQI_FIELD(clq_embedding_args, tables[2].rows, CLQI_IN, true),
    CLQI_FIELD(clq_embedding_args, tables[3].rows, CLQI_IN, true),
    CLQI_FIELD(clq_embedding_args, out, CLQI_OUT, false),
};

/* Device code names them by these numbers. */
_Static_assert(CLQ_ROW_F32 == (int)CLQ_F32 && CLQ_ROW_F16 == (int)CLQ_F16 &&
                   CLQ_ROW_BF16 == (int)CLQ_BF16 && CLQ_ROW_8BIT == 4 && CLQ_ROW_4BIT == 5 &&
                   CLQ_ROW_2BIT == 6 && CLQ_MOST_TABLES == 4,
               "CLQ_TABLE0 ... of embedding_tables.cl");

static clq_row_format format_of(const clq_row_table *t) {
  const bool floats = t->rows.dtype >= CLQ_F32 && t->rows.dtype <= CLQ_BF16;
  return t->format == 0 && floats ? (clq_row_format)t->rows.dtype : t->format;
}

static int table_count(const clq_embedding_args *a) {
  int n = 0;
  while (n < CLQ_MOST_TABLES && clqi_present(&a->tables[n].rows)) {
    n++;
  }
  return n;
}

/* What the first table alone tells of K; 0: nothing. */
static int64_t cols_known(const clq_embedding_args *a) {
  if (a->weights != NULL) {
    return a->weights->cols;
  }
  const clq_row_table *t = &a->tables[0];
  switch (format_of(t)) {
    case CLQ_ROW_F32:
    case CLQ_ROW_F16:
    case CLQ_ROW_BF16: return t->rows.shape[1];
    case CLQ_ROW_8BIT: return t->rows.shape[1] - clq_row_bytes(CLQ_ROW_8BIT, 0);
    default: return 0;
  }
}

static clq_status infer(void *args) {
  clq_embedding_args *a = args;
  const int64_t cols = cols_known(a);
  if (cols > 0 && a->out.shape[0] == 0 && a->out.shape[1] == 0) {
    a->out.shape[0] = a->ids.shape[0];
    a->out.shape[1] = cols;
  }
  return CLQ_OK;
}

static clq_status check_weights(const clq_context *context, const clq_embedding_args *a) {
  CLQI_REQUIRE(a->weights->context == context, "embedding: the weights belong to another context");
  CLQI_REQUIRE(!clqi_present(&a->map), "embedding: map is given, which only tables take");
  if (a->weights->outlier_count > 0) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "embedding: the weights have outlier columns, which only gemm takes");
  }
  if (a->weights->has_order && clqi_is_codes(&a->out)) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "embedding: dtype of out is %s, offered: f32, f16, bf16 with weights that "
                     "bring an order",
                     clq_dtype_name(a->out.dtype));
  }
  return CLQ_OK;
}

static clq_status check_table(const clq_row_table *t, int index, int64_t cols) {
  char name[32];
  (void)snprintf(name, sizeof name, "tables[%d].rows", index);
  const clq_row_format format = format_of(t);
  CLQI_REQUIRE(format >= CLQ_ROW_F32 && format <= CLQ_ROW_2BIT,
               "embedding: tables[%d].format is %d, expected one of clq_row_format (1 to 6)%s",
               index, (int)format, t->rows.dtype == CLQ_U8 ? " for rows of u8" : "");
  const bool codes = clqi_row_has_codes(format);
  CLQI_TRY(clqi_check_tensor(NAME, name, &t->rows, 2, CLQI_DT(codes ? CLQ_U8 : (clq_dtype)format)));
  CLQI_REQUIRE(t->rows.quant.per == 0,
               "embedding: %s is quantized, expected plain bytes (the scales are among them)",
               name);
  return clqi_check_extent(NAME, name, &t->rows, 1, codes ? clq_row_bytes(format, cols) : cols,
                           codes ? "bytes of a row of so many cols as out" : "cols of out");
}

static int64_t rows_of_tables(const clq_embedding_args *a, int count) {
  int64_t rows = 0;
  for (int t = 0; t < count; t++) {
    rows = clqi_add_i64(rows, a->tables[t].rows.shape[0], &rows) ? rows : INT64_MAX;
  }
  return rows;
}

static clq_status check_tables(const clq_embedding_args *a) {
  const int count = table_count(a);
  CLQI_REQUIRE(count > 0, "embedding: weights are missing, and so are tables");
  for (int t = count; t < CLQ_MOST_TABLES; t++) {
    CLQI_REQUIRE(!clqi_present(&a->tables[t].rows),
                 "embedding: tables[%d] is given, but tables[%d] is not", t, count);
  }
  for (int t = 0; t < count; t++) {
    CLQI_TRY(check_table(&a->tables[t], t, a->out.shape[1]));
  }
  CLQI_REQUIRE(rows_of_tables(a, count) <= INT32_MAX,
               "embedding: the tables have more rows than an i32 counts");
  return clqi_present(&a->map) ? clqi_check_tensor(NAME, "map", &a->map, 1, CLQI_DT(CLQ_I32))
                               : CLQ_OK;
}

static clq_status check(const clq_context *context, const void *args) {
  const clq_embedding_args *a = args;
  CLQI_TRY(clqi_check_tensor(NAME, "ids", &a->ids, 1, CLQI_DT(CLQ_I32)));
  if (a->weights != NULL) {
    CLQI_REQUIRE(table_count(a) == 0, "embedding: weights and tables are both given");
    CLQI_TRY(check_weights(context, a));
  }
  const int64_t cols = a->weights != NULL ? a->weights->cols : a->out.shape[1];
  CLQI_TRY(clqi_check_output(NAME, &a->out, a->ids.shape[0], cols));
  const int32_t group = a->out.quant.group;
  if (a->out.quant.per == CLQ_PER_GROUP && group < cols && group % QUAD != 0) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "embedding: quant.group of out is %d, offered: multiples of %d", (int)group,
                     QUAD);
  }
  return a->weights != NULL ? CLQ_OK : check_tables(a);
}

static bool empty(const void *args) {
  return clqi_no_elements(&((const clq_embedding_args *)args)->out);
}

static const clqi_variant variants[] = {
    {.name = "embedding_rows", .kernel = CLQI_KERNEL_embedding_rows, .needs = CLQI_BIT(CPU)},
    {.name = "embedding_group", .kernel = CLQI_KERNEL_embedding_group},
};

static const clqi_variant table_variants[] = {
    {.name = "embedding_tables_rows",
     .kernel = CLQI_KERNEL_embedding_tables_rows,
     .needs = CLQI_BIT(CPU)},
    {.name = "embedding_tables_group", .kernel = CLQI_KERNEL_embedding_tables_group},
};

/* `row_bytes`: of a row of the table. */
static clq_status end(clqi_launch *l, const clqi_variant *v, const clq_embedding_args *a,
                      double row_bytes) {
  const int64_t rows = a->out.shape[0];
  const int64_t cols = a->out.shape[1];
  return clqi_launch_chunks(
      l, v, &a->out,
      (double)rows * (row_bytes + sizeof(cl_int)) + clqi_emit_bytes(&a->out, rows, cols),
      2.0 * (double)rows * (double)cols);
}

static clq_status launch_weights(clqi_emitter *emitter, const clq_embedding_args *a) {
  const clq_weights *w = a->weights;
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), a);
  char options[CLQI_WEIGHTS_OPTIONS_BYTES];
  clqi_weights_options(w, options);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "%s %s%s", options, clqi_emit_option(&a->out),
             clqi_share_option(v, &a->out));
  clqi_arg_tensor(&l, &a->ids);
  clqi_arg_weights(&l, w);
  clqi_arg_out(&l, &a->out, w->cols);
  clqi_arg_i64(&l, w->rows);
  clqi_arg_i64(&l, w->cols);
  clqi_arg_i64(&l, w->padded_cols);
  clqi_arg_i64(&l, w->groups <= 1 ? w->padded_cols : w->group);
  clqi_arg_error_word(&l);
  clqi_arg_order(&l, w);
  return end(&l, v, a, clqi_weights_row_bytes(w, 1.0));
}

/* Of a row, as if all were asked for as often. */
static double mean_row_bytes(const clq_embedding_args *a, int count, int64_t cols) {
  double bytes = 0.0;
  double rows = 0.0;
  for (int t = 0; t < count; t++) {
    const double n = (double)a->tables[t].rows.shape[0];
    bytes += n * (double)clq_row_bytes(format_of(&a->tables[t]), cols);
    rows += n;
  }
  return (rows > 0.0 ? bytes / rows : 0.0) + (clqi_present(&a->map) ? sizeof(cl_int) : 0.0);
}

static clq_status launch_tables(clqi_emitter *emitter, const clq_embedding_args *a) {
  const clqi_variant *v =
      clqi_choose(emitter->context, NAME, table_variants, CLQI_COUNT(table_variants), a);
  const int64_t cols = a->out.shape[1];
  const int count = table_count(a);
  const bool mapped = clqi_present(&a->map);
  int formats[CLQ_MOST_TABLES] = {0};
  for (int t = 0; t < count; t++) {
    formats[t] = (int)format_of(&a->tables[t]);
  }
  clqi_launch l;
  clqi_begin(&l, emitter, v,
             "-DCLQ_TABLE0=%d -DCLQ_TABLE1=%d -DCLQ_TABLE2=%d -DCLQ_TABLE3=%d -DCLQ_MAP=%d %s%s",
             formats[0], formats[1], formats[2], formats[3], mapped, clqi_emit_option(&a->out),
             clqi_share_option(v, &a->out));
  clqi_arg_tensor(&l, &a->ids);
  clqi_arg_tensor(&l, &a->map);
  int64_t rows = 0;
  for (int t = 0; t < CLQ_MOST_TABLES; t++) {
    const clq_tensor *table = &a->tables[t].rows;
    const bool there = t < count;
    rows += there ? table->shape[0] : 0;
    clqi_arg_buffer(&l, there ? table->mem : NULL, table->offset, 1);
    clqi_arg_i64(&l, there ? clqi_stride(table, 2, 0) * (int64_t)clq_dtype_bytes(table->dtype) : 0);
    clqi_arg_i64(&l, rows);
  }
  clqi_arg_out(&l, &a->out, cols);
  clqi_arg_i64(&l, mapped ? a->map.shape[0] : rows);
  clqi_arg_i64(&l, cols);
  clqi_arg_error_word(&l);
  return end(&l, v, a, mean_row_bytes(a, count, cols));
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_embedding_args *a = args;
  return a->weights != NULL ? launch_weights(emitter, a) : launch_tables(emitter, a);
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
