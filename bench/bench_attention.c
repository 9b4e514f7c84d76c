#include "bench.h"

#include <math.h>

#include "ref/attention.h"
#include "ref/math.h"

/* The queries are the last rows of each sequence of `keys`: 1 is a decode step, as many as there
 * are keys a prefill. */
typedef struct state {
  clq_attention_args args;
  float *q; /* of all sequences */
  clqi_ref_cache cache;
  int64_t sequences, rows, keys;
} state;

static const bench_word words[] = {
    {"batch", BENCH_NUMBER, "1", NULL, NULL},         {"heads", BENCH_NUMBER, "32", NULL, NULL},
    {"kv-heads", BENCH_NUMBER, "8", NULL, NULL},      {"head-dim", BENCH_NUMBER, "128", NULL, NULL},
    {"queries", BENCH_NUMBER, "1", NULL, NULL},       {"keys", BENCH_NUMBER, "1024", NULL, NULL},
    {"kv", BENCH_WORD, "f16", "f32|f16|q8|q4", NULL}, {"window", BENCH_NUMBER, "0", NULL, NULL},
    {"bidirectional", BENCH_FLAG, "", NULL, NULL},
};

/* Numbers of at most 1. */
static clqi_ref_kv random_half(bench_case *c, const clqi_ref_cache *cache, clq_dtype dtype,
                               uint64_t seed) {
  const int64_t tokens = cache->sequences * cache->heads * cache->capacity;
  const int64_t bytes = (int64_t)clqi_ref_kv_bytes(cache, dtype);
  const int64_t count = bytes / (int64_t)clq_dtype_bytes(dtype);
  float *floats = bench_random_floats(c, count, seed);
  clqi_ref_kv half = {.data = bench_host(c, bytes, 1),
                      .dtype = dtype,
                      .scale = bench_host(c, tokens, sizeof(float)),
                      .zero = bench_host(c, tokens, sizeof(int32_t))};
  for (int64_t i = 0; c->code == 0 && i < count; ++i) {
    switch (dtype) {
      case CLQ_F32: ((float *)half.data)[i] = floats[i]; break;
      case CLQ_F16: ((uint16_t *)half.data)[i] = clqi_ref_f16_from_f32(floats[i]); break;
      case CLQ_I8: ((int8_t *)half.data)[i] = (int8_t)(127.0f * floats[i]); break;
      default: ((uint8_t *)half.data)[i] = (uint8_t)(128 + (int)(127.0f * floats[i])); break;
    }
  }
  for (int64_t i = 0; c->code == 0 && i < tokens; ++i) {
    half.scale[i] = dtype == CLQ_I8 ? 1.0f / 127.0f : 1.0f / 8.0f;
    half.zero[i] = 8;
  }
  return half;
}

static clq_tensor upload(bench_case *c, const clqi_ref_cache *cache, const clqi_ref_kv *half) {
  const int64_t dims = half->dtype == CLQ_U8 ? cache->head_dim / 2 : cache->head_dim;
  const int64_t tokens = cache->sequences * cache->heads * cache->capacity;
  clq_tensor t = {bench_buffer(c, half->data, tokens * dims, clq_dtype_bytes(half->dtype)),
                  half->dtype,
                  {cache->sequences, cache->heads, cache->capacity, dims}};
  if (half->dtype == CLQ_I8 || half->dtype == CLQ_U8) {
    t.quant.per = CLQ_PER_TOKEN;
    t.quant.scale = bench_buffer(c, half->scale, tokens, sizeof(float));
  }
  if (half->dtype == CLQ_U8) {
    t.quant.zero = bench_buffer(c, half->zero, tokens, sizeof(int32_t));
  }
  return t;
}

/* Bytes of an element, a token's scale and zero point included. */
static double cache_bytes(const clqi_ref_cache *cache, clq_dtype dtype) {
  const double dims = (double)cache->head_dim;
  switch (dtype) {
    case CLQ_I8: return 1.0 + 4.0 / dims;
    case CLQ_U8: return 0.5 + 8.0 / dims;
    default: return (double)clq_dtype_bytes(dtype);
  }
}

/* Keys that a sequence's rows see together. */
static double keys_seen(const state *s) {
  double seen = 0.0;
  for (int64_t row = 0; row < s->rows; ++row) {
    const int64_t at = s->keys - s->rows + row;
    const int64_t window = s->args.window == 0 ? s->keys : s->args.window;
    const int64_t begin = at + 1 > window ? at + 1 - window : 0;
    int64_t end = at + 1;
    if (s->args.bidirectional) {
      end = s->keys - at > window ? at + window : s->keys;
    }
    seen += (double)(end - begin);
  }
  return seen;
}

static void count_work(bench_case *c, double width, double kv_width) {
  const state *s = c->state;
  const double batch = (double)s->sequences;
  const double behind =
      s->args.window == 0 ? (double)s->keys : (double)s->args.window + (double)s->rows - 1.0;
  const double read = fmin(behind, (double)s->keys);
  c->record.bytes = batch * (8.0 * (double)s->rows * width +
                             2.0 * read * kv_width * cache_bytes(&s->cache, s->cache.k.dtype));
  c->record.ops = batch * 4.0 * keys_seen(s) * width;
}

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t heads = bench_number(c, "heads");
  const int64_t kv_heads = bench_number(c, "kv-heads");
  const int64_t head_dim = bench_number(c, "head-dim");
  const clq_dtype dtype = bench_is(c, "kv", "f32")   ? CLQ_F32
                          : bench_is(c, "kv", "f16") ? CLQ_F16
                          : bench_is(c, "kv", "q8")  ? CLQ_I8
                                                     : CLQ_U8;
  s->sequences = bench_number(c, "batch");
  s->rows = bench_number(c, "queries");
  s->keys = bench_number(c, "keys");
  if (s->rows > s->keys) {
    bench_fail(c, "attention: --queries %lld are more than --keys %lld; take fewer",
               (long long)s->rows, (long long)s->keys);
  }
  s->cache = (clqi_ref_cache){.sequences = s->sequences,
                              .heads = kv_heads,
                              .capacity = (s->keys + 15) / 16 * 16,
                              .head_dim = head_dim};
  const int64_t width = heads * head_dim;
  s->q = bench_random_floats(c, s->sequences * s->rows * width, 1);
  s->cache.k = random_half(c, &s->cache, dtype, 2);
  s->cache.v = random_half(c, &s->cache, dtype, 3);
  int32_t *position = bench_host(c, s->sequences, sizeof *position);
  for (int64_t i = 0; position != NULL && i < s->sequences; ++i) {
    position[i] = (int32_t)(s->keys - s->rows);
  }
  if (c->code != 0) {
    return;
  }
  clq_attention_args *a = &s->args;
  a->q = (clq_tensor){bench_buffer(c, s->q, s->sequences * s->rows * width, sizeof *s->q),
                      CLQ_F32,
                      {s->sequences * s->rows, heads, head_dim}};
  a->cache.k = upload(c, &s->cache, &s->cache.k);
  a->cache.v = upload(c, &s->cache, &s->cache.v);
  a->position = (clq_tensor){
      bench_buffer(c, position, s->sequences, sizeof *position), CLQ_I32, {s->sequences}};
  a->out = bench_output(c, "f32", s->sequences * s->rows, width);
  a->window = bench_number(c, "window");
  a->bidirectional = bench_number(c, "bidirectional") != 0;
  c->args = a;
  c->args_bytes = sizeof *a;
  c->calls = 1;
  count_work(c, (double)width, (double)(kv_heads * head_dim));
}

/* The bound of the header: 2^-21 times 1 and the largest sum of |scale * q * k|, for |v| <= 1; here
 * |k| <= 1 as well. */
static double row_bound(const float *q, int64_t heads, int64_t head_dim) {
  double largest = 0.0;
  for (int64_t h = 0; h < heads; ++h) {
    double sum = 0.0;
    for (int64_t d = 0; d < head_dim; ++d) {
      sum += fabs((double)q[h * head_dim + d]);
    }
    largest = fmax(largest, sum / sqrt((double)head_dim));
  }
  return 0x1p-21 * (1.0 + largest);
}

/* Row `row` of sequence `sequence`; the others go along with it. */
static void check_row(bench_case *c, int64_t sequence, int64_t row, const float *out, double *exact,
                      double *scratch) {
  const state *s = c->state;
  const clq_attention_args *a = &s->args;
  const int64_t heads = a->q.shape[1];
  const int64_t head_dim = a->q.shape[2];
  const int64_t kv_heads = a->cache.k.shape[1];
  const float *q = s->q + (sequence * s->rows + row) * heads * head_dim;
  const clqi_ref_attention r = {.q = q,
                                .cache = &s->cache,
                                .sequence = sequence,
                                .out = exact,
                                .scratch = scratch,
                                .rows = 1,
                                .heads = heads,
                                .kv_heads = kv_heads,
                                .head_dim = head_dim,
                                .capacity = s->cache.capacity,
                                .position = s->keys - s->rows + row,
                                .bidirectional = a->bidirectional,
                                .keys = s->keys,
                                .window = a->window};
  if (clqi_ref_attention_run(&r) != 0) {
    bench_fail(c, "attention: the positions do not fit");
  }
  c->bound = fmax(c->bound, row_bound(q, heads, head_dim));
  for (int64_t i = 0; i < heads * head_dim; ++i) {
    bench_error(c, (double)out[i], exact[i]);
  }
}

static void check(bench_case *c) {
  const state *s = c->state;
  const int64_t rows = s->sequences * s->rows;
  const int64_t width = s->args.q.shape[1] * s->args.q.shape[2];
  double *exact = bench_host(c, width, sizeof *exact);
  double *scratch = bench_host(c, s->cache.capacity, sizeof *scratch);
  const int64_t samples = bench_sample_count(rows, 2 * s->cache.capacity * width);
  const float *out = bench_read(c, s->args.out.mem, rows * width, sizeof *out);
  for (int64_t i = 0; i < samples && !bench_over(c); ++i) {
    const int64_t row = bench_sample_row(rows, samples, i);
    check_row(c, row / s->rows, row % s->rows, out + row * width, exact, scratch);
  }
}

extern const bench_op bench_op_attention;
const bench_op bench_op_attention = {.name = "attention",
                                     .words = words,
                                     .word_count = sizeof words / sizeof words[0],
                                     .state_bytes = sizeof(state),
                                     .op = CLQ_OP_ATTENTION,
                                     .prepare = prepare,
                                     .check = check};
