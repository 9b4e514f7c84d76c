#include <math.h>

#include "ops/emit.h"
#include "ops/kv_cache.h"
#include "ops/op.h"
#include "ops/rope_table.h"

static const char NAME[] = "rope";

static const clqi_field fields[] = {
    CLQI_FIELD(clq_rope_args, q, CLQI_IN, true),
    CLQI_FIELD(clq_rope_args, out, CLQI_OUT, true),
    CLQI_FIELD(clq_rope_args, k, CLQI_IN, true),
    CLQI_FIELD(clq_rope_args, v, CLQI_IN, true),
    CLQI_FIELD(clq_rope_args, cache.k, CLQI_INOUT, true),
    CLQI_FIELD(clq_rope_args, cache.v, CLQI_INOUT, true),
    CLQI_FIELD(clq_rope_args, position, CLQI_IN, true),
    CLQI_FIELD(clq_rope_args, starts, CLQI_IN, true),
    CLQI_FIELD(clq_rope_args, table, CLQI_IN, true),
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
  if (clqi_present(&a->q)) {
    clqi_infer_shape(&a->out, &a->q);
  }
  return CLQ_OK;
}

static bool turns(const clq_rope_args *a) { return clqi_present(&a->q) || clqi_present(&a->out); }

static bool appends(const clq_rope_args *a) {
  return clqi_present(&a->k) || clqi_present(&a->v) || clqi_present(&a->cache.k) ||
         clqi_present(&a->cache.v);
}

/* What has the rows: q, or k where nothing but keys and values is given. */
static const clq_tensor *rows_of(const clq_rope_args *a) { return turns(a) ? &a->q : &a->k; }

static int64_t rows(const clq_rope_args *a) { return rows_of(a)->shape[0]; }
static int64_t q_heads(const clq_rope_args *a) { return turns(a) ? a->q.shape[1] : 0; }
static int64_t kv_heads(const clq_rope_args *a) { return appends(a) ? a->k.shape[1] : 0; }
static int64_t head_dim(const clq_rope_args *a) { return rows_of(a)->shape[2]; }

static int64_t sequences(const clq_rope_args *a) {
  return appends(a)                   ? clqi_cache_sequences(&a->cache)
         : clqi_present(&a->position) ? a->position.shape[0]
         : clqi_present(&a->starts)   ? a->starts.shape[0] - 1
                                      : 1;
}

static clq_status check_heads(const char *arg, const clq_tensor *t, const clq_rope_args *a) {
  CLQI_TRY(clqi_check_tensor(NAME, arg, t, 3, CLQI_DT(CLQ_F32)));
  CLQI_TRY(clqi_check_extent(NAME, arg, t, 0, rows(a), turns(a) ? "rows of q" : "rows of k"));
  CLQI_TRY(clqi_check_extent(NAME, arg, t, 2, head_dim(a),
                             turns(a) ? "head_dim of q" : "head_dim of k"));
  CLQI_REQUIRE(t->shape[1] <= INT32_MAX, "%s: dimension 1 of %s is %lld, expected at most %d", NAME,
               arg, (long long)t->shape[1], INT32_MAX);
  return CLQ_OK;
}

static clq_status check_table(const clq_rope_args *a) {
  const clq_tensor *t = &a->table;
  if (!clqi_present(t)) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_check_tensor(NAME, "table", t, 3, CLQI_DT(CLQ_F32)));
  CLQI_TRY(clqi_check_extent(NAME, "table", t, 2, 2, "cosine and sine"));
  CLQI_REQUIRE(t->shape[1] <= head_dim(a) / 2,
               "rope: dimension 1 of table is %lld, expected at most %lld (half of head_dim)",
               (long long)t->shape[1], (long long)(head_dim(a) / 2));
  CLQI_REQUIRE(clqi_stride(t, 3, 1) == 2 && clqi_stride(t, 3, 0) == 2 * t->shape[1],
               "rope: table must be dense");
  return CLQ_OK;
}

static clq_status check_append(const clq_context *context, const clq_rope_args *a) {
  CLQI_REQUIRE(clqi_present(&a->k) && clqi_present(&a->v) && clqi_present(&a->cache.k) &&
                   clqi_present(&a->cache.v),
               "rope: k, v, cache.k and cache.v come together or not at all");
  CLQI_TRY(check_heads("k", &a->k, a));
  CLQI_TRY(check_heads("v", &a->v, a));
  CLQI_TRY(clqi_check_extent(NAME, "v", &a->v, 1, a->k.shape[1], "heads of k"));
  CLQI_TRY(clqi_check_cache(context, NAME, &a->cache, head_dim(a)));
  return clqi_check_extent(NAME, "cache.k", &a->cache.k, 1, a->k.shape[1], "heads of k");
}

static clq_status check_gamma(const clq_rope_args *a, const char *arg, const clq_tensor *gamma,
                              const char *of, bool there) {
  if (!clqi_present(gamma)) {
    return CLQ_OK;
  }
  CLQI_REQUIRE(there, "rope: %s is given, but no %s", arg, of);
  CLQI_TRY(clqi_check_tensor(NAME, arg, gamma, 1, CLQI_DT(CLQ_F32)));
  return clqi_check_extent(NAME, arg, gamma, 0, head_dim(a), "head_dim");
}

static clq_status check_norms(const clq_rope_args *a) {
  CLQI_TRY(check_gamma(a, "q_gamma", &a->q_gamma, "q", turns(a)));
  CLQI_TRY(check_gamma(a, "k_gamma", &a->k_gamma, "k", appends(a)));
  CLQI_REQUIRE(
      isfinite(a->eps),
      "rope: eps is %g, expected 0 (for 1e-5), a finite positive number, or a negative one (for 0)",
      (double)a->eps);
  return CLQ_OK;
}

static clq_status check(const clq_context *context, const void *args) {
  const clq_rope_args *a = args;
  CLQI_REQUIRE(turns(a) || appends(a), "rope: neither q nor k is given");
  if (turns(a)) {
    CLQI_TRY(check_heads("q", &a->q, a));
    CLQI_TRY(check_heads("out", &a->out, a));
    CLQI_TRY(clqi_check_extent(NAME, "out", &a->out, 1, a->q.shape[1], "heads of q"));
  } else {
    CLQI_TRY(check_heads("k", &a->k, a));
  }
  if (head_dim(a) % 2 != 0 || head_dim(a) > CLQI_MAX_HEAD_DIM) {
    return clqi_fail(CLQ_UNSUPPORTED, "rope: head_dim is %lld, offered: even numbers up to %d",
                     (long long)head_dim(a), (int)CLQI_MAX_HEAD_DIM);
  }
  CLQI_REQUIRE(a->layout == 0 || a->layout == CLQ_ROPE_ADJACENT || a->layout == CLQ_ROPE_HALF,
               "rope: layout is %d, expected 0 or one of clq_rope_layout (1 or 2)", (int)a->layout);
  CLQI_TRY(check_table(a));
  if (appends(a)) {
    CLQI_TRY(check_append(context, a));
  }
  CLQI_TRY(check_norms(a));
  return clqi_check_sequences(NAME, sequences(a), rows(a), &a->position, &a->starts);
}

static bool empty(const void *args) {
  const clq_rope_args *a = args;
  return rows(a) == 0 || q_heads(a) + kv_heads(a) == 0 || head_dim(a) == 0;
}

static const clqi_variant variants[] = {
    {.name = "rope_blocks", .kernel = CLQI_KERNEL_rope_blocks, .needs = CLQI_BIT(CPU)},
    {.name = "rope_pairs", .kernel = CLQI_KERNEL_rope_pairs},
};

static void arg_strides(clqi_launch *l, const clq_tensor *t) {
  clqi_arg_i64(l, clqi_stride(t, 3, 0));
  clqi_arg_i64(l, clqi_stride(t, 3, 1));
}

static void tensors(clqi_launch *l, const clq_rope_args *a) {
  clqi_arg_tensor(l, &a->q);
  clqi_arg_tensor(l, &a->out);
  clqi_arg_tensor(l, &a->k);
  clqi_arg_tensor(l, &a->v);
  clqi_arg_tensor(l, &a->cache.k);
  clqi_arg_tensor(l, &a->cache.v);
  clqi_arg_scale(l, &a->cache.k);
  clqi_arg_zero(l, &a->cache.k);
  clqi_arg_scale(l, &a->cache.v);
  clqi_arg_zero(l, &a->cache.v);
  clqi_arg_tensor(l, &a->position);
  clqi_arg_tensor(l, &a->starts);
  clqi_arg_tensor(l, &a->table);
  clqi_arg_tensor(l, &a->q_gamma);
  clqi_arg_tensor(l, &a->k_gamma);
  clqi_arg_error_word(l);
}

static void arguments(clqi_launch *l, const clq_rope_args *a) {
  const bool rotates = clqi_present(&a->table);
  tensors(l, a);
  clqi_arg_i64(l, rows(a));
  clqi_arg_i32(l, (int32_t)sequences(a));
  clqi_arg_i32(l, (int32_t)q_heads(a));
  clqi_arg_i32(l, (int32_t)kv_heads(a));
  clqi_arg_i32(l, rotates ? (int32_t)(2 * a->table.shape[1]) : 0);
  clqi_arg_i64(l, rotates ? a->table.shape[0] : INT64_MAX);
  clqi_arg_i64(l, appends(a) ? clqi_cache_capacity(&a->cache) : 0);
  arg_strides(l, &a->q);
  arg_strides(l, &a->out);
  arg_strides(l, &a->k);
  arg_strides(l, &a->v);
  clqi_arg_i64(l, clqi_stride(&a->cache.k, 4, 0));
  clqi_arg_i64(l, clqi_stride(&a->cache.k, 4, 1));
  clqi_arg_i64(l, clqi_stride(&a->cache.v, 4, 0));
  clqi_arg_i64(l, clqi_stride(&a->cache.v, 4, 1));
  clqi_arg_f32(l, a->eps == 0.0f ? 1e-5f : a->eps < 0.0f ? 0.0f : a->eps);
}

/* Blocks of 16 positions into which rows can fall, wherever in a block a sequence begins: one for
 * its first row, and one for each further 16 rows or part of them. */
static int64_t blocks(const clq_rope_args *a) {
  const int64_t count = sequences(a) < rows(a) ? sequences(a) : rows(a);
  if (!clqi_present(&a->starts)) {
    return count * ((rows(a) / sequences(a) + 2 * (CLQI_KEY_BLOCK - 1)) / CLQI_KEY_BLOCK);
  }
  return count + (rows(a) + (CLQI_KEY_BLOCK - 2) * count) / CLQI_KEY_BLOCK;
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_rope_args *a = args;
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "-DCLQ_HEAD_DIM=%d -DCLQ_LAYOUT=%d %s", (int)head_dim(a),
             a->layout == CLQ_ROPE_HALF ? 2 : 1, clqi_cache_options_of(&a->cache).text);
  arguments(&l, a);
  const double heads = (double)rows(a) * (double)q_heads(a);
  const double appended = (double)rows(a) * (double)kv_heads(a);
  const double numbers = (double)head_dim(a) * (heads + appended);
  const double bytes = 8.0 * (double)head_dim(a) * (heads + appended) +
                       appended * clqi_cache_token_bytes(&a->cache) +
                       8.0 * (double)rows(a) * (double)a->table.shape[1];
  if (v->kernel == CLQI_KERNEL_rope_blocks) {
    const size_t slots = (size_t)(kv_heads(a) > 0 ? kv_heads(a) : q_heads(a));
    return clqi_launch_end(&l, 2, (size_t[]){(size_t)blocks(a), slots}, NULL, bytes, 3.0 * numbers);
  }
  const size_t pairs = (size_t)(head_dim(a) / 2);
  return clqi_launch_end(&l, 3,
                         (size_t[]){pairs, (size_t)(q_heads(a) + 2 * kv_heads(a)), (size_t)rows(a)},
                         (size_t[]){pairs, 1, 1}, bytes, 3.0 * numbers);
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
