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
  CLQI_TRY(
      clqi_check_tensor(NAME, "out", out, 2,
                        CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_BF16) | CLQI_DT(CLQ_I8)));
  CLQI_TRY(clqi_check_extent(NAME, "out", out, 0, a->q.shape[0], "rows of q"));
  CLQI_TRY(
      clqi_check_extent(NAME, "out", out, 1, a->q.shape[1] * a->q.shape[2], "heads * head_dim"));
  CLQI_TRY(clqi_check_quant(NAME, "out", out, CLQI_GR(CLQ_PER_GROUP) | CLQI_GR(CLQ_PER_TENSOR),
                            CLQI_ACTS_GROUP));
  if (out->dtype != CLQ_I8) {
    return CLQ_OK;
  }
  CLQI_REQUIRE(out->quant.zero == NULL,
               "attention: out is symmetric; its zero plane must be absent");
  if (clqi_scales_given(out)) {
    return out->quant.sum == NULL && out->value == 0
               ? CLQ_OK
               : clqi_fail(CLQ_UNSUPPORTED, "attention: out with one scale: %s",
                           out->value != 0
                               ? "it is an edge, whose scale would be given; name buffers"
                               : "quant.sum is not offered; take groups of 32");
  }
  CLQI_REQUIRE(a->q.shape[2] % CLQI_ACTS_GROUP == 0,
               "attention: out is i8 in groups of %d; head_dim is %lld, expected a multiple",
               (int)CLQI_ACTS_GROUP, (long long)a->q.shape[2]);
  return CLQ_OK;
}

static clq_status check_seen(const clq_attention_args *a) {
  CLQI_REQUIRE(a->window >= 0, "attention: window is %lld, expected 0 (none) or more",
               (long long)a->window);
  if (!clqi_present(&a->keys)) {
    return CLQ_OK;
  }
  CLQI_REQUIRE(a->bidirectional,
               "attention: keys come with bidirectional; causal rows see up to their position");
  CLQI_TRY(clqi_check_tensor(NAME, "keys", &a->keys, 1, CLQI_DT(CLQ_I32)));
  return clqi_check_extent(NAME, "keys", &a->keys, 0, clqi_cache_sequences(&a->cache),
                           "one a sequence");
}

static clq_status check(const clq_context *context, const void *args) {
  const clq_attention_args *a = args;
  CLQI_TRY(clqi_check_tensor(NAME, "q", &a->q, 3, CLQI_DT(CLQ_F32)));
  CLQI_TRY(clqi_check_cache(context, NAME, &a->cache, a->q.shape[2]));
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
  CLQI_TRY(check_seen(a));
  if (a->math != CLQ_ATTENTION_FLOAT) {
    return clqi_fail(CLQ_UNSUPPORTED, "attention: math %d: this is not offered yet", (int)a->math);
  }
  if (clqi_is_codes(&a->cache.k) != clqi_is_codes(&a->cache.v)) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "attention: cache.k is %s and cache.v %s, offered: both floats or both codes",
                     clq_dtype_name(a->cache.k.dtype), clq_dtype_name(a->cache.v.dtype));
  }
  return check_out(a);
}

static bool empty(const void *args) {
  const clq_attention_args *a = args;
  return a->q.shape[0] == 0 || a->q.shape[1] == 0 || clqi_cache_sequences(&a->cache) == 0;
}

enum {
  CHUNK = 256,               /* CLQ_CHUNK of lib/attention.h */
  WORK_ITEMS = 64,           /* of a group in the portable form */
  GROUPS_PER_UNIT = 8,       /* so many of them keep a compute unit busy */
  MOST_PART_BYTES = 64 << 20 /* of chunks that wait to be merged */
};

/* Query heads of a KV head. */
static int64_t group_of(const clq_attention_args *a) {
  return a->q.shape[1] / clqi_cache_heads(&a->cache);
}

/* Query rows of a sequence, in the mean, times query heads of one KV head: what a tile can take
 * together. */
static int64_t lines(const clq_attention_args *a) {
  return clqi_div_up(a->q.shape[0], clqi_cache_sequences(&a->cache)) * group_of(a);
}

/* Tiles of one KV head of all sequences, with `starts` at most. */
static int64_t tiles(const clq_attention_args *a, int64_t tile) {
  const int64_t sequences = clqi_cache_sequences(&a->cache);
  return clqi_present(&a->starts) ? a->q.shape[0] * group_of(a) / tile + sequences
                                  : sequences * clqi_div_up(lines(a), tile);
}

static int64_t chunks(const clq_attention_args *a) {
  return clqi_div_up(clqi_cache_capacity(&a->cache), CHUNK);
}

/* What a chunk of a line leaves in scratch memory: head_dim sums, the largest score and the sum of
 * exponentials. */
static double part_bytes(const clq_attention_args *a) {
  return (double)(a->q.shape[0] * a->q.shape[1]) * (double)chunks(a) * (double)(a->q.shape[2] + 2) *
         (double)sizeof(cl_float);
}

/* NULL if the keys of a line are better shared among work-groups: `busy` is how many are wanted,
 * `there` how many there are without. */
static const char *split_refusal(const clq_attention_args *a, int64_t there, int64_t busy) {
  return chunks(a) < 2                     ? "more keys than a chunk has"
         : there >= busy                   ? "too few lines for the compute units"
         : part_bytes(a) > MOST_PART_BYTES ? "parts of at most 64 MiB"
                                           : NULL;
}

static const char *few_tiles(const clq_context *context, const clq_attention_args *a,
                             int64_t tile) {
  return split_refusal(a, tiles(a, tile) * clqi_cache_heads(&a->cache),
                       context->info.compute_units);
}

static const char *few_groups(const clq_context *context, const void *args) {
  const clq_attention_args *a = args;
  return split_refusal(a, a->q.shape[0] * a->q.shape[1],
                       (int64_t)context->info.compute_units * GROUPS_PER_UNIT);
}

#define CLQI_FITS_LINES(n)                                                                     \
  static const char *at_most_##n##_lines(const clq_context *context, const void *args) {       \
    (void)context;                                                                             \
    return lines(args) <= (n) ? NULL : "at most " #n " lines of a KV head";                    \
  }                                                                                            \
  static const char *at_most_##n##_lines_split(const clq_context *context, const void *args) { \
    const char *why = at_most_##n##_lines(context, args);                                      \
    return why != NULL ? why : few_tiles(context, args, n);                                    \
  }
#define CLQI_FITS_TILES(n)                                                            \
  static const char *few_tiles_of_##n(const clq_context *context, const void *args) { \
    return few_tiles(context, args, n);                                               \
  }
CLQI_FITS_LINES(1)
CLQI_FITS_LINES(2)
CLQI_FITS_LINES(3)
CLQI_FITS_LINES(4)
CLQI_FITS_LINES(6)
CLQI_FITS_TILES(6)
CLQI_FITS_TILES(12)

/* tile: lines, accumulators of 16 floats per line (or work-items of a line's group), 1 where chunks
 * are split. With AVX-512 24 accumulators fit the registers, without it 6. Few lines: a decode
 * step. */
#define CLQI_TILE(lines_, vectors_, traits_, fits_)                                        \
  {                                                                                        \
    .name = "attention_tile_" #lines_ "x" #vectors_, .kernel = CLQI_KERNEL_attention_tile, \
    .options = "-DCLQ_LINES=" #lines_ " -DCLQ_VECTORS=" #vectors_, .needs = (traits_),     \
    .fits = (fits_), .tile = {                                                             \
      lines_,                                                                              \
      vectors_                                                                             \
    }                                                                                      \
  }
#define CLQI_TILE_SPLIT(lines_, vectors_, traits_, fits_)                           \
  {                                                                                 \
    .name = "attention_tile_" #lines_ "x" #vectors_ "_split",                       \
    .kernel = CLQI_KERNEL_attention_tile,                                           \
    .options = "-DCLQ_LINES=" #lines_ " -DCLQ_VECTORS=" #vectors_ " -DCLQ_SPLIT=1", \
    .needs = (traits_), .fits = (fits_), .tile = {                                  \
      lines_,                                                                       \
      vectors_,                                                                     \
      1                                                                             \
    }                                                                               \
  }
#define CLQI_TILES(lines_, vectors_, traits_)                                 \
  CLQI_TILE_SPLIT(lines_, vectors_, traits_, at_most_##lines_##_lines_split), \
      CLQI_TILE(lines_, vectors_, traits_, at_most_##lines_##_lines)
#define CLQI_WIDE (CLQI_BIT(CPU) | CLQI_BIT(X86_AVX512))
static const clqi_variant variants[] = {
    CLQI_TILES(1, 8, CLQI_WIDE),
    CLQI_TILES(2, 8, CLQI_WIDE),
    CLQI_TILES(3, 4, CLQI_WIDE),
    CLQI_TILES(4, 4, CLQI_WIDE),
    CLQI_TILES(6, 4, CLQI_WIDE),
    CLQI_TILE_SPLIT(12, 2, CLQI_WIDE, few_tiles_of_12),
    CLQI_TILE(12, 2, CLQI_WIDE, NULL),
    CLQI_TILES(1, 4, CLQI_BIT(CPU)),
    CLQI_TILES(3, 2, CLQI_BIT(CPU)),
    CLQI_TILE_SPLIT(6, 1, CLQI_BIT(CPU), few_tiles_of_6),
    CLQI_TILE(6, 1, CLQI_BIT(CPU), NULL),
    {.name = "attention_group_split",
     .kernel = CLQI_KERNEL_attention_group,
     .options = "-DCLQ_WORK_ITEMS=64 -DCLQ_SPLIT=1",
     .fits = few_groups,
     .tile = {1, WORK_ITEMS, 1}},
    {.name = "attention_group",
     .kernel = CLQI_KERNEL_attention_group,
     .options = "-DCLQ_WORK_ITEMS=64",
     .tile = {1, WORK_ITEMS}},
};

static void tensors(clqi_launch *l, const clq_attention_args *a) {
  clqi_arg_tensor(l, &a->q);
  clqi_arg_tensor(l, &a->cache.k);
  clqi_arg_tensor(l, &a->cache.v);
  clqi_arg_scale(l, &a->cache.k);
  clqi_arg_zero(l, &a->cache.k);
  clqi_arg_scale(l, &a->cache.v);
  clqi_arg_zero(l, &a->cache.v);
  clqi_arg_tensor(l, &a->position);
  clqi_arg_tensor(l, &a->starts);
  clqi_arg_tensor(l, &a->keys);
  clqi_arg_tensor(l, &a->out);
  clqi_arg_scale(l, &a->out);
  clqi_arg_sum(l, &a->out);
  clqi_arg_error_word(l);
}

static void numbers(clqi_launch *l, const clq_attention_args *a) {
  const int64_t above_all = (int64_t)1 << 40; /* positions are of 32 bits */
  clqi_arg_i64(l, a->q.shape[0]);
  clqi_arg_i32(l, (int32_t)clqi_cache_sequences(&a->cache));
  clqi_arg_i32(l, (int32_t)a->q.shape[1]);
  clqi_arg_i32(l, (int32_t)clqi_cache_heads(&a->cache));
  clqi_arg_i64(l, clqi_cache_capacity(&a->cache));
  clqi_arg_i64(l, clqi_stride(&a->q, 3, 0));
  clqi_arg_i64(l, clqi_stride(&a->q, 3, 1));
  clqi_arg_i64(l, clqi_stride(&a->cache.k, 4, 0));
  clqi_arg_i64(l, clqi_stride(&a->cache.k, 4, 1));
  clqi_arg_i64(l, clqi_stride(&a->cache.v, 4, 0));
  clqi_arg_i64(l, clqi_stride(&a->cache.v, 4, 1));
  clqi_arg_i64(l, clqi_stride(&a->out, 2, 0));
  clqi_arg_f32(l, a->scale == 0.0f ? (float)(1.0 / sqrt((double)a->q.shape[2])) : a->scale);
  clqi_arg_i64(l, a->window == 0 || a->window > above_all ? above_all : a->window);
  clqi_arg_i32(l, a->bidirectional);
}

/* Begins the launch of the chosen form, or of the merge behind it, which is of the same program. */
static void begin(clqi_launch *l, clqi_emitter *emitter, const clqi_variant *v,
                  const clq_attention_args *a, cl_mem parts) {
  clqi_begin(l, emitter, v, "-DCLQ_HEAD_DIM=%d %s %s", (int)a->q.shape[2],
             clqi_cache_options_of(&a->cache).text, clqi_emit_option(&a->out));
  tensors(l, a);
  numbers(l, a);
  if (parts != NULL) {
    clqi_arg_buffer(l, parts, 0, sizeof(cl_float));
    clqi_arg_i64(l, chunks(a));
  }
}

/* The host knows neither positions nor lengths; this counts the keys that rows see of the rows of
 * their own sequence, which are as many in each. */
static double own_keys(const clq_attention_args *a) {
  const double rows = (double)a->q.shape[0] / (double)clqi_cache_sequences(&a->cache);
  const double all = a->bidirectional ? rows : 0.5 * (rows + 1.0);
  const double most = a->window == 0 ? all : (double)a->window * (a->bidirectional ? 2.0 : 1.0);
  return (double)a->q.shape[0] * fmin(all, most);
}

static double moved_bytes(const clq_attention_args *a) {
  const int64_t rows = a->q.shape[0];
  const int64_t width = a->q.shape[1] * a->q.shape[2];
  return 4.0 * (double)(rows * width) + clqi_emit_bytes(&a->out, rows, width) +
         (double)(rows * clqi_cache_heads(&a->cache)) * clqi_cache_token_bytes(&a->cache);
}

static clq_status merge(clqi_emitter *emitter, const clqi_variant *v, const clq_attention_args *a,
                        cl_mem parts) {
  clqi_variant merging = *v;
  merging.kernel = CLQI_KERNEL_attention_merge;
  const size_t local = v->kernel == CLQI_KERNEL_attention_tile ? 1 : WORK_ITEMS;
  clqi_launch l;
  begin(&l, emitter, &merging, a, parts);
  return clqi_launch_end(&l, 2, (size_t[]){(size_t)a->q.shape[0] * local, (size_t)a->q.shape[1]},
                         (size_t[]){local, 1},
                         part_bytes(a) + clqi_emit_bytes(&a->out, a->q.shape[0], a->out.shape[1]),
                         part_bytes(a) / 2.0);
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_attention_args *a = args;
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  const bool split = v->tile[2] != 0;
  cl_mem parts = NULL;
  if (split) {
    CLQI_TRY(emitter->scratch(emitter, (uint64_t)part_bytes(a), &parts));
  }
  const size_t ways = split ? (size_t)chunks(a) : 1;
  const double ops = 4.0 * own_keys(a) * (double)(a->q.shape[1] * a->q.shape[2]);
  clqi_launch l;
  begin(&l, emitter, v, a, parts);
  if (v->kernel == CLQI_KERNEL_attention_tile) {
    const size_t tiled = (size_t)tiles(a, v->tile[0]);
    const size_t heads = (size_t)clqi_cache_heads(&a->cache);
    CLQI_TRY(clqi_launch_end(&l, 3, (size_t[]){heads, tiled, ways}, NULL, moved_bytes(a), ops));
  } else {
    CLQI_TRY(clqi_launch_end(
        &l, 3, (size_t[]){(size_t)a->q.shape[0] * WORK_ITEMS, (size_t)a->q.shape[1], ways},
        (size_t[]){WORK_ITEMS, 1, 1}, moved_bytes(a), ops));
  }
  return split ? merge(emitter, v, a, parts) : CLQ_OK;
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
