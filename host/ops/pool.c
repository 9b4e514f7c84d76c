#include <math.h>

#include "ops/emit.h"

static const char NAME[] = "pool";

enum {
  GROUP = 64, /* POOL_WORK_ITEMS of the kernel */
  KEPT = 4096 /* columns whose means are kept while the length is found */
};

static const float STANDARD_EPS = 1e-12f;

static const unsigned FLOATS = CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_BF16);

static const clqi_field fields[] = {
    CLQI_FIELD(clq_pool_args, x, CLQI_IN, false),
    CLQI_FIELD(clq_pool_args, starts, CLQI_IN, false),
    CLQI_FIELD(clq_pool_args, out, CLQI_OUT, false),
};

static clq_pooling pooling_of(const clq_pool_args *a) {
  return a->pooling == 0 ? CLQ_POOL_MEAN : a->pooling;
}

static int64_t sequences_of(const clq_pool_args *a) { return a->starts.shape[0] - 1; }

static clq_status infer(void *args) {
  clq_pool_args *a = args;
  if (a->out.shape[0] == 0 && a->out.shape[1] == 0 && a->starts.shape[0] > 0) {
    a->out.shape[0] = sequences_of(a);
    a->out.shape[1] = a->x.shape[1];
  }
  return CLQ_OK;
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_pool_args *a = args;
  CLQI_TRY(clqi_check_tensor(NAME, "x", &a->x, 2, FLOATS));
  CLQI_TRY(clqi_check_tensor(NAME, "starts", &a->starts, 1, CLQI_DT(CLQ_I32)));
  CLQI_REQUIRE(a->starts.shape[0] > 0,
               "pool: dimension 0 of starts is 0, expected 1 or more (sequences and an end)");
  CLQI_REQUIRE(a->pooling >= 0 && a->pooling <= CLQ_POOL_LAST,
               "pool: pooling is %d, expected one of clq_pooling (1 to 3), or 0", (int)a->pooling);
  CLQI_REQUIRE(isfinite(a->eps) && a->eps >= 0.0f,
               "pool: eps is %g, expected 0 (for 1e-12) or a positive number", (double)a->eps);
  CLQI_TRY(clqi_check_tensor(NAME, "out", &a->out, 2, FLOATS));
  CLQI_TRY(clqi_check_extent(NAME, "out", &a->out, 0, sequences_of(a), "sequences of starts"));
  return clqi_check_extent(NAME, "out", &a->out, 1, a->x.shape[1], "cols of x");
}

static bool empty(const void *args) {
  return clqi_no_elements(&((const clq_pool_args *)args)->out);
}

static const clqi_variant variants[] = {
    {.name = "pool_rows", .kernel = CLQI_KERNEL_pool_rows, .needs = CLQI_BIT(CPU)},
    {.name = "pool_group", .kernel = CLQI_KERNEL_pool_group},
};

/* As if the sequences were all of x. */
static double rows_read(const clq_pool_args *a) {
  return pooling_of(a) == CLQ_POOL_MEAN ? (double)a->x.shape[0] : (double)sequences_of(a);
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_pool_args *a = args;
  const int64_t cols = a->x.shape[1];
  const size_t sequences = (size_t)sequences_of(a);
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "-DCLQ_X=%d -DCLQ_OUT=%d -DCLQ_NORMALIZE=%d -DCLQ_KEEP=%d",
             (int)a->x.dtype, (int)a->out.dtype, a->normalize,
             a->normalize && cols <= KEPT ? KEPT : 0);
  clqi_arg_tensor(&l, &a->x);
  clqi_arg_tensor(&l, &a->starts);
  clqi_arg_tensor(&l, &a->out);
  clqi_arg_i64(&l, a->x.shape[0]);
  clqi_arg_i64(&l, cols);
  clqi_arg_i64(&l, clqi_stride(&a->x, 2, 0));
  clqi_arg_i64(&l, clqi_stride(&a->out, 2, 0));
  clqi_arg_i32(&l, (int32_t)pooling_of(a));
  clqi_arg_f32(&l, a->eps == 0.0f ? STANDARD_EPS : a->eps);
  clqi_arg_error_word(&l);
  const double read = rows_read(a) * (double)cols;
  const double written = (double)sequences * (double)cols;
  const double bytes = read * (double)clq_dtype_bytes(a->x.dtype) +
                       written * (double)clq_dtype_bytes(a->out.dtype) + 4.0 * (double)sequences;
  const double ops = read + (a->normalize ? 3.0 * written : 0.0);
  if ((v->needs & CLQI_BIT(CPU)) != 0) {
    return clqi_launch_end(&l, 1, (size_t[]){sequences}, NULL, bytes, ops);
  }
  return clqi_launch_end(&l, 1, (size_t[]){sequences * GROUP}, (size_t[]){GROUP}, bytes, ops);
}

const clqi_op clqi_op_pool = {
    .name = NAME,
    .args_bytes = sizeof(clq_pool_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_pool(clq_stream *stream, const clq_pool_args *args) {
  return clqi_op_run(stream, &clqi_op_pool, args);
}
