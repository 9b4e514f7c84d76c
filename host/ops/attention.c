#include <math.h>

#include "ops/emit.h"
#include "ops/kv_cache.h"
#include "ops/op.h"
#include "runtime/checked.h"

static const char NAME[] = "attention";

static const clqi_field fields[] = {
    CLQI_FIELD(clq_attention_args, q, CLQI_IN, false),
    CLQI_FIELD(clq_attention_args, cache.k, CLQI_IN, false),
    CLQI_FIELD(clq_attention_args, cache.v, CLQI_IN, false),
    CLQI_FIELD(clq_attention_args, position, CLQI_IN, true),
    CLQI_FIELD(clq_attention_args, starts, CLQI_IN, true),
    CLQI_FIELD(clq_attention_args, keys, CLQI_IN, true),
    CLQI_FIELD(clq_attention_args, out, CLQI_OUT, false),
};

static clq_status infer(void *args) {
  clq_attention_args *a = args;
  if (a->out.shape[0] == 0 && a->out.shape[1] == 0) {
    a->out.shape[0] = a->q.shape[0];
    CLQI_REQUIRE(clqi_mul_i64(a->q.shape[1], a->q.shape[2], &a->out.shape[1]),
                 "attention: the size of q overflows");
  }
  return CLQ_OK;
}

static clq_status check_out(const clq_attention_args *a) {
  const clq_tensor *out = &a->out;
  CLQI_TRY(clqi_check_tensor(NAME, "out", out, 2, CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_I8)));
  CLQI_TRY(clqi_check_extent(NAME, "out", out, 0, a->q.shape[0], "rows of q"));
  CLQI_TRY(
      clqi_check_extent(NAME, "out", out, 1, a->q.shape[1] * a->q.shape[2], "heads * head_dim"));
  CLQI_TRY(clqi_check_quant(NAME, "out", out, CLQI_GR(CLQ_PER_GROUP), CLQI_ACTS_GROUP));
  CLQI_REQUIRE(out->quant.zero == NULL,
               "attention: out is symmetric; its zero plane must be absent");
  CLQI_REQUIRE(out->dtype != CLQ_I8 || a->q.shape[2] % CLQI_ACTS_GROUP == 0,
               "attention: out is i8 in groups of %d; head_dim is %lld, expected a multiple",
               (int)CLQI_ACTS_GROUP, (long long)a->q.shape[2]);
  return CLQ_OK;
}

static clq_status check_offered(const clq_attention_args *a) {
  const char *what = clqi_cache_sequences(&a->cache) > 1 ? "more than one sequence"
                     : !clqi_present(&a->position)       ? "no position"
                     : clqi_present(&a->starts)          ? "starts"
                     : clqi_present(&a->keys)            ? "keys"
                     : a->bidirectional                  ? "bidirectional"
                     : a->window != 0                    ? "window"
                     : a->math != CLQ_ATTENTION_FLOAT    ? "other math than of floats"
                                                         : NULL;
  return what == NULL ? CLQ_OK
                      : clqi_fail(CLQ_UNSUPPORTED, "attention: %s: this is not offered yet", what);
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_attention_args *a = args;
  CLQI_TRY(clqi_check_tensor(NAME, "q", &a->q, 3, CLQI_DT(CLQ_F32)));
  CLQI_TRY(clqi_check_cache(NAME, &a->cache, a->q.shape[2]));
  const int64_t heads = a->q.shape[1];
  const int64_t kv_heads = clqi_cache_heads(&a->cache);
  CLQI_REQUIRE(heads == 0 || (heads <= INT32_MAX && kv_heads > 0 && heads % kv_heads == 0),
               "attention: q has %lld heads, expected a multiple of the %lld heads of cache.k",
               (long long)heads, (long long)kv_heads);
  CLQI_TRY(clqi_check_sequences(NAME, clqi_cache_sequences(&a->cache), a->q.shape[0], &a->position,
                                &a->starts));
  CLQI_REQUIRE(isfinite(a->scale),
               "attention: scale is %g, expected 0 (for 1 / sqrt(head_dim)) or a finite number",
               (double)a->scale);
  CLQI_TRY(check_offered(a));
  return check_out(a);
}

static bool empty(const void *args) {
  const clq_attention_args *a = args;
  return a->q.shape[0] == 0 || a->q.shape[1] == 0;
}

/* Query rows times query heads of one KV head: what a tile can take together. */
static int64_t lines(const clq_attention_args *a) {
  return a->q.shape[0] * (a->q.shape[1] / clqi_cache_heads(&a->cache));
}

#define CLQI_FITS_LINES(n)                                                               \
  static const char *at_most_##n##_lines(const clq_context *context, const void *args) { \
    (void)context;                                                                       \
    return lines(args) <= (n) ? NULL : "at most " #n " lines of a KV head";              \
  }
CLQI_FITS_LINES(1)
CLQI_FITS_LINES(2)
CLQI_FITS_LINES(3)
CLQI_FITS_LINES(4)
CLQI_FITS_LINES(6)

/* tile: lines, and accumulators of 16 floats per line; or work-items of a line's group. With
 * AVX-512 24 accumulators fit the registers, without it 6. Few lines: a decode step. */
#define CLQI_TILE(lines_, vectors_, traits_, fits_)                                        \
  {                                                                                        \
    .name = "attention_tile_" #lines_ "x" #vectors_, .kernel = CLQI_KERNEL_attention_tile, \
    .options = "-DCLQ_LINES=" #lines_ " -DCLQ_VECTORS=" #vectors_, .needs = (traits_),     \
    .fits = (fits_), .tile = {                                                             \
      lines_,                                                                              \
      vectors_                                                                             \
    }                                                                                      \
  }
#define CLQI_WIDE (CLQI_BIT(CPU) | CLQI_BIT(X86_AVX512))
static const clqi_variant variants[] = {
    CLQI_TILE(1, 8, CLQI_WIDE, at_most_1_lines),
    CLQI_TILE(2, 8, CLQI_WIDE, at_most_2_lines),
    CLQI_TILE(3, 4, CLQI_WIDE, at_most_3_lines),
    CLQI_TILE(4, 4, CLQI_WIDE, at_most_4_lines),
    CLQI_TILE(6, 4, CLQI_WIDE, at_most_6_lines),
    CLQI_TILE(12, 2, CLQI_WIDE, NULL),
    CLQI_TILE(1, 4, CLQI_BIT(CPU), at_most_1_lines),
    CLQI_TILE(3, 2, CLQI_BIT(CPU), at_most_3_lines),
    CLQI_TILE(6, 1, CLQI_BIT(CPU), NULL),
    {.name = "attention_group",
     .kernel = CLQI_KERNEL_attention_group,
     .options = "-DCLQ_WORK_ITEMS=64",
     .tile = {64}},
};

static void arguments(clqi_launch *l, const clq_attention_args *a) {
  clqi_arg_tensor(l, &a->q);
  clqi_arg_tensor(l, &a->cache.k);
  clqi_arg_tensor(l, &a->cache.v);
  clqi_arg_tensor(l, &a->position);
  clqi_arg_tensor(l, &a->out);
  clqi_arg_scale(l, &a->out);
  clqi_arg_sum(l, &a->out);
  clqi_arg_error_word(l);
  clqi_arg_i64(l, a->q.shape[0]);
  clqi_arg_i32(l, (int32_t)a->q.shape[1]);
  clqi_arg_i32(l, (int32_t)clqi_cache_heads(&a->cache));
  clqi_arg_i64(l, clqi_cache_capacity(&a->cache));
  clqi_arg_i64(l, clqi_stride(&a->q, 3, 0));
  clqi_arg_i64(l, clqi_stride(&a->q, 3, 1));
  clqi_arg_i64(l, clqi_stride(&a->cache.k, 4, 1));
  clqi_arg_i64(l, clqi_stride(&a->cache.v, 4, 1));
  clqi_arg_i64(l, clqi_stride(&a->out, 2, 0));
  clqi_arg_f32(l, a->scale == 0.0f ? (float)(1.0 / sqrt((double)a->q.shape[2])) : a->scale);
}

/* The host does not know the position; this counts the rows' own keys, as from position 0. */
static double own_keys(const clq_attention_args *a) {
  const double rows = (double)a->q.shape[0];
  return 0.5 * rows * (rows + 1.0);
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_attention_args *a = args;
  const int64_t rows = a->q.shape[0];
  const int64_t heads = a->q.shape[1];
  const int64_t head_dim = a->q.shape[2];
  const int64_t kv_heads = clqi_cache_heads(&a->cache);
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  const bool tiled = v->kernel == CLQI_KERNEL_attention_tile;
  clqi_launch l;
  clqi_begin(&l, emitter, v, "-DCLQ_HEAD_DIM=%d -DCLQ_CACHE=%d %s", (int)head_dim,
             clqi_cache_type(&a->cache), clqi_emit_option(&a->out));
  arguments(&l, a);
  const double cache_bytes =
      2.0 * (double)(rows * kv_heads * head_dim) * (double)clq_dtype_bytes(a->cache.k.dtype);
  const double bytes = 4.0 * (double)(rows * heads * head_dim) + cache_bytes +
                       clqi_emit_bytes(&a->out, rows, heads * head_dim);
  const double ops = 4.0 * own_keys(a) * (double)(heads * head_dim);
  if (tiled) {
    const size_t tiles = (size_t)clqi_div_up(lines(a), v->tile[0]);
    return clqi_launch_end(&l, 2, (size_t[]){(size_t)kv_heads, tiles}, NULL, bytes, ops);
  }
  const size_t group = (size_t)v->tile[0];
  return clqi_launch_end(&l, 2, (size_t[]){(size_t)heads * group, (size_t)rows},
                         (size_t[]){group, 1}, bytes, ops);
}

const clqi_op clqi_op_attention = {
    .name = NAME,
    .args_bytes = sizeof(clq_attention_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_attention(clq_stream *stream, const clq_attention_args *args) {
  return clqi_op_run(stream, &clqi_op_attention, args);
}
