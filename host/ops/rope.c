#include <math.h>

#include "ops/emit.h"
#include "ops/kv_cache.h"
#include "ops/op.h"
#include "ops/rope_table.h"

static const char NAME[] = "rope";

static const clqi_field fields[] = {
    CLQI_FIELD(clq_rope_args, q, CLQI_IN, false),
    CLQI_FIELD(clq_rope_args, out, CLQI_OUT, false),
    CLQI_FIELD(clq_rope_args, k, CLQI_IN, true),
    CLQI_FIELD(clq_rope_args, v, CLQI_IN, true),
    CLQI_FIELD(clq_rope_args, cache.k, CLQI_INOUT, true),
    CLQI_FIELD(clq_rope_args, cache.v, CLQI_INOUT, true),
    CLQI_FIELD(clq_rope_args, position, CLQI_IN, false),
    CLQI_FIELD(clq_rope_args, starts, CLQI_IN, true),
    CLQI_FIELD(clq_rope_args, table, CLQI_IN, false),
    CLQI_FIELD(clq_rope_args, q_gamma, CLQI_IN, true),
    CLQI_FIELD(clq_rope_args, k_gamma, CLQI_IN, true),
};

clq_status clq_rope_table(float *table, int64_t positions, int64_t dims, double base) {
  CLQI_REQUIRE(positions >= 0 && dims >= 0 && dims % 2 == 0,
               "rope_table: %lld positions of %lld dims, expected 0 or more of an even number",
               (long long)positions, (long long)dims);
  CLQI_REQUIRE(base > 0 && isfinite(base), "rope_table: base is %g, expected a number above 0",
               base);
  CLQI_REQUIRE(table != NULL || positions == 0 || dims == 0, "rope_table: table is NULL");
  clqi_rope_table_fill(table, positions, dims, base, 1.0, NULL);
  return CLQ_OK;
}

static clq_status infer(void *args) {
  clq_rope_args *a = args;
  clqi_infer_shape(&a->out, &a->q);
  return CLQ_OK;
}

static clq_status check_heads(const char *arg, const clq_tensor *t, const clq_rope_args *a) {
  CLQI_TRY(clqi_check_tensor(NAME, arg, t, 3, CLQI_DT(CLQ_F32)));
  CLQI_TRY(clqi_check_extent(NAME, arg, t, 0, a->q.shape[0], "rows of q"));
  CLQI_TRY(clqi_check_extent(NAME, arg, t, 2, a->q.shape[2], "head_dim of q"));
  CLQI_REQUIRE(t->shape[1] <= INT32_MAX, "%s: dimension 1 of %s is %lld, expected at most %d", NAME,
               arg, (long long)t->shape[1], INT32_MAX);
  return CLQ_OK;
}

static clq_status check_table(const clq_rope_args *a) {
  const clq_tensor *t = &a->table;
  CLQI_TRY(clqi_check_tensor(NAME, "table", t, 3, CLQI_DT(CLQ_F32)));
  CLQI_TRY(clqi_check_extent(NAME, "table", t, 2, 2, "cosine and sine"));
  CLQI_REQUIRE(t->shape[1] <= a->q.shape[2] / 2,
               "rope: dimension 1 of table is %lld, expected at most %lld (half of head_dim)",
               (long long)t->shape[1], (long long)(a->q.shape[2] / 2));
  CLQI_REQUIRE(clqi_stride(t, 3, 1) == 2 && clqi_stride(t, 3, 0) == 2 * t->shape[1],
               "rope: table must be dense");
  return CLQ_OK;
}

static clq_status check_append(const clq_rope_args *a) {
  CLQI_REQUIRE(clqi_present(&a->k) && clqi_present(&a->v) && clqi_present(&a->cache.k) &&
                   clqi_present(&a->cache.v),
               "rope: k, v, cache.k and cache.v come together or not at all");
  CLQI_TRY(check_heads("k", &a->k, a));
  CLQI_TRY(check_heads("v", &a->v, a));
  CLQI_TRY(clqi_check_extent(NAME, "v", &a->v, 1, a->k.shape[1], "heads of k"));
  CLQI_TRY(clqi_check_cache(NAME, &a->cache, a->q.shape[2]));
  return clqi_check_extent(NAME, "cache.k", &a->cache.k, 1, a->k.shape[1], "heads of k");
}

static bool appends(const clq_rope_args *a) {
  return clqi_present(&a->k) || clqi_present(&a->v) || clqi_present(&a->cache.k) ||
         clqi_present(&a->cache.v);
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_rope_args *a = args;
  const int64_t head_dim = a->q.shape[2];
  CLQI_TRY(check_heads("q", &a->q, a));
  CLQI_TRY(check_heads("out", &a->out, a));
  CLQI_TRY(clqi_check_extent(NAME, "out", &a->out, 1, a->q.shape[1], "heads of q"));
  if (head_dim % 2 != 0 || head_dim > CLQI_MAX_HEAD_DIM) {
    return clqi_fail(CLQ_UNSUPPORTED, "rope: head_dim is %lld, offered: even numbers up to %d",
                     (long long)head_dim, (int)CLQI_MAX_HEAD_DIM);
  }
  CLQI_REQUIRE(a->layout == 0 || a->layout == CLQ_ROPE_ADJACENT || a->layout == CLQ_ROPE_HALF,
               "rope: layout is %d, expected 0 or one of clq_rope_layout (1 or 2)", (int)a->layout);
  CLQI_TRY(check_table(a));
  if (appends(a)) {
    CLQI_TRY(check_append(a));
  }
  const int64_t sequences = appends(a) ? clqi_cache_sequences(&a->cache) : a->position.shape[0];
  CLQI_TRY(clqi_check_sequences(NAME, sequences, a->q.shape[0], &a->position, &a->starts));
  if (sequences > 1 || clqi_present(&a->starts) || clqi_present(&a->q_gamma) ||
      clqi_present(&a->k_gamma)) {
    return clqi_fail(CLQ_UNSUPPORTED, "rope: %s: this is not offered yet",
                     sequences > 1              ? "more than one sequence"
                     : clqi_present(&a->starts) ? "starts"
                                                : "a norm of q and k");
  }
  return CLQ_OK;
}

static bool empty(const void *args) {
  const clq_rope_args *a = args;
  const int64_t heads = a->q.shape[1] + (appends(a) ? a->k.shape[1] : 0);
  return a->q.shape[0] == 0 || heads == 0 || a->q.shape[2] == 0;
}

static const clqi_variant variants[] = {
    {.name = "rope_blocks", .kernel = CLQI_KERNEL_rope_blocks, .needs = CLQI_BIT(CPU)},
    {.name = "rope_pairs", .kernel = CLQI_KERNEL_rope_pairs},
};

static void arg_strides(clqi_launch *l, const clq_tensor *t) {
  clqi_arg_i64(l, clqi_stride(t, 3, 0));
  clqi_arg_i64(l, clqi_stride(t, 3, 1));
}

static void arguments(clqi_launch *l, const clq_rope_args *a) {
  clqi_arg_tensor(l, &a->q);
  clqi_arg_tensor(l, &a->out);
  clqi_arg_tensor(l, &a->k);
  clqi_arg_tensor(l, &a->v);
  clqi_arg_tensor(l, &a->cache.k);
  clqi_arg_tensor(l, &a->cache.v);
  clqi_arg_tensor(l, &a->position);
  clqi_arg_tensor(l, &a->table);
  clqi_arg_error_word(l);
  clqi_arg_i64(l, a->q.shape[0]);
  clqi_arg_i32(l, (int32_t)a->q.shape[1]);
  clqi_arg_i32(l, appends(a) ? (int32_t)a->k.shape[1] : 0);
  clqi_arg_i32(l, (int32_t)(2 * a->table.shape[1]));
  clqi_arg_i64(l, a->table.shape[0]);
  clqi_arg_i64(l, appends(a) ? clqi_cache_capacity(&a->cache) : 0);
  arg_strides(l, &a->q);
  arg_strides(l, &a->out);
  arg_strides(l, &a->k);
  arg_strides(l, &a->v);
  clqi_arg_i64(l, clqi_stride(&a->cache.k, 4, 1));
  clqi_arg_i64(l, clqi_stride(&a->cache.v, 4, 1));
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_rope_args *a = args;
  const int64_t rows = a->q.shape[0];
  const int64_t heads = a->q.shape[1];
  const int64_t kv_heads = appends(a) ? a->k.shape[1] : 0;
  const int64_t head_dim = a->q.shape[2];
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "-DCLQ_HEAD_DIM=%d -DCLQ_LAYOUT=%d -DCLQ_CACHE=%d", (int)head_dim,
             a->layout == CLQ_ROPE_HALF ? 2 : 1, clqi_cache_type(&a->cache));
  arguments(&l, a);
  const double elements = (double)rows * (double)head_dim;
  const double appended = (double)clq_dtype_bytes((clq_dtype)clqi_cache_type(&a->cache));
  const double bytes =
      elements * (8.0 * (double)heads + 2.0 * (4.0 + appended) * (double)kv_heads) +
      8.0 * (double)rows * (double)a->table.shape[1];
  const double ops = 3.0 * elements * (double)(heads + kv_heads);
  if (v->kernel == CLQI_KERNEL_rope_blocks) {
    /* Blocks of 16 positions that rows can reach from anywhere in a block. */
    const size_t blocks = (size_t)((rows + 2 * (CLQI_KEY_BLOCK - 1)) / CLQI_KEY_BLOCK);
    const size_t slots = (size_t)(kv_heads > 0 ? kv_heads : heads);
    return clqi_launch_end(&l, 2, (size_t[]){blocks, slots}, NULL, bytes, ops);
  }
  const size_t pairs = (size_t)(head_dim / 2);
  return clqi_launch_end(&l, 3, (size_t[]){pairs, (size_t)(heads + 2 * kv_heads), (size_t)rows},
                         (size_t[]){pairs, 1, 1}, bytes, ops);
}

const clqi_op clqi_op_rope = {
    .name = NAME,
    .args_bytes = sizeof(clq_rope_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .in_place = "q",
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_rope(clq_stream *stream, const clq_rope_args *args) {
  return clqi_op_run(stream, &clqi_op_rope, args);
}
