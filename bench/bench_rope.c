#include "bench.h"

#include "ref/rope.h"

enum { POSITION = 100 }; /* of the first row; not at the start of a block of keys */

typedef struct state {
  clq_rope_args args;
  float *q, *k, *v, *table;
  clqi_ref_cache cache; /* its shape; in check() what it should hold */
} state;

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "512", NULL, NULL},        {"heads", BENCH_NUMBER, "32", NULL, NULL},
    {"kv-heads", BENCH_NUMBER, "8", NULL, NULL},      {"head-dim", BENCH_NUMBER, "128", NULL, NULL},
    {"kv", BENCH_WORD, "f16", "f32|f16|q8|q4", NULL},
};

static clq_tensor floats(bench_case *c, const float *data, int64_t rows, int64_t heads,
                         int64_t head_dim) {
  return (clq_tensor){bench_buffer(c, data, rows * heads * head_dim, sizeof *data),
                      CLQ_F32,
                      {rows, heads, head_dim}};
}

/* Room for keys or values. */
static clq_tensor half_of(bench_case *c, const clqi_ref_cache *cache, clq_dtype type) {
  const int64_t dims = type == CLQ_U8 ? cache->head_dim / 2 : cache->head_dim;
  const int64_t tokens = cache->heads * cache->capacity;
  clq_tensor t = {bench_buffer(c, NULL, tokens * dims, clq_dtype_bytes(type)),
                  type,
                  {1, cache->heads, cache->capacity, dims}};
  if (type == CLQ_I8 || type == CLQ_U8) {
    t.quant.per = CLQ_PER_TOKEN;
    t.quant.scale = bench_buffer(c, NULL, tokens, sizeof(float));
    t.quant.zero = type == CLQ_U8 ? bench_buffer(c, NULL, tokens, sizeof(int32_t)) : NULL;
  }
  return t;
}

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t heads = bench_number(c, "heads");
  const int64_t kv_heads = bench_number(c, "kv-heads");
  const int64_t head_dim = bench_number(c, "head-dim");
  const int32_t position = POSITION;
  const clq_dtype type = bench_is(c, "kv", "f32")   ? CLQ_F32
                         : bench_is(c, "kv", "f16") ? CLQ_F16
                         : bench_is(c, "kv", "q8")  ? CLQ_I8
                                                    : CLQ_U8;
  const int64_t capacity = (POSITION + rows + 15) / 16 * 16;
  s->cache = (clqi_ref_cache){.k = {.dtype = type},
                              .v = {.dtype = type},
                              .sequences = 1,
                              .heads = kv_heads,
                              .capacity = capacity,
                              .head_dim = head_dim};
  s->q = bench_random_floats(c, rows * heads * head_dim, 1);
  s->k = bench_random_floats(c, rows * kv_heads * head_dim, 2);
  s->v = bench_random_floats(c, rows * kv_heads * head_dim, 3);
  s->table = bench_host(c, capacity * head_dim, sizeof *s->table);
  if (c->code != 0) {
    return;
  }
  if (!bench_ok(c, clq_rope_table(s->table, capacity, head_dim, 10000.0))) {
    return;
  }
  s->args.q = floats(c, s->q, rows, heads, head_dim);
  s->args.out = floats(c, NULL, rows, heads, head_dim);
  s->args.k = floats(c, s->k, rows, kv_heads, head_dim);
  s->args.v = floats(c, s->v, rows, kv_heads, head_dim);
  s->args.cache.k = half_of(c, &s->cache, type);
  s->args.cache.v = half_of(c, &s->cache, type);
  s->args.position = (clq_tensor){bench_buffer(c, &position, 1, sizeof position), CLQ_I32, {1}};
  s->args.table = (clq_tensor){bench_buffer(c, s->table, capacity * head_dim, sizeof(float)),
                               CLQ_F32,
                               {capacity, head_dim / 2, 2}};
  const double row = (double)(rows * head_dim);
  const double planes = type == CLQ_I8 ? 4.0 : type == CLQ_U8 ? 8.0 : 0.0;
  const double cached =
      (double)clqi_ref_kv_bytes(&s->cache, type) / (double)capacity + planes * (double)kv_heads;
  c->record.bytes =
      row * 8.0 * (double)(heads + kv_heads) + 2.0 * (double)rows * cached + 4.0 * row;
  c->record.ops = 3.0 * row * (double)(heads + kv_heads);
  c->args = &s->args;
}

/* Host memory for keys or values, and what the device has made of them. */
static clqi_ref_kv expected_half(bench_case *c, const clqi_ref_cache *cache, clq_dtype type) {
  const int64_t tokens = cache->heads * cache->capacity;
  return (clqi_ref_kv){.data = bench_host(c, (int64_t)clqi_ref_kv_bytes(cache, type), 1),
                       .dtype = type,
                       .scale = bench_host(c, tokens, sizeof(float)),
                       .zero = bench_host(c, tokens, sizeof(int32_t))};
}

static clqi_ref_kv actual_half(bench_case *c, const clqi_ref_cache *cache, const clq_tensor *t) {
  const int64_t tokens = cache->heads * cache->capacity;
  clqi_ref_kv half = {.data = bench_read(c, t->mem, (int64_t)clqi_ref_kv_bytes(cache, t->dtype), 1),
                      .dtype = t->dtype};
  if (t->quant.scale != NULL) {
    half.scale = bench_read(c, t->quant.scale, tokens, sizeof *half.scale);
  }
  if (t->quant.zero != NULL) {
    half.zero = bench_read(c, t->quant.zero, tokens, sizeof *half.zero);
  }
  return half;
}

/* Every number of the rows appended, as the caches stand for them. */
static void check_caches(bench_case *c, const clqi_ref_cache *actual,
                         const clqi_ref_cache *expected, int64_t rows) {
  for (int64_t head = 0; head < actual->heads; ++head) {
    for (int64_t p = POSITION; p < POSITION + rows; ++p) {
      const clqi_ref_token t = {0, head, p};
      for (int64_t d = 0; d < actual->head_dim; ++d) {
        float a;
        float b;
        double x = (double)clqi_ref_cache_k(actual, t, d, &a);
        double y = (double)clqi_ref_cache_k(expected, t, d, &b);
        bench_error(c, x * (double)a, y * (double)b);
        x = (double)clqi_ref_cache_v(actual, t, d, &a);
        y = (double)clqi_ref_cache_v(expected, t, d, &b);
        bench_error(c, x * (double)a, y * (double)b);
      }
    }
  }
}

static void check(bench_case *c) {
  state *s = c->state;
  const int64_t *q = s->args.q.shape;
  const clq_dtype type = s->cache.k.dtype;
  clqi_ref_cache actual = s->cache;
  clqi_ref_rope r = {.q = s->q,
                     .out = bench_host(c, q[0] * q[1] * q[2], sizeof(float)),
                     .k = s->k,
                     .v = s->v,
                     .cache = s->cache,
                     .table = s->table,
                     .layout = CLQ_ROPE_ADJACENT,
                     .rows = q[0],
                     .sequences = 1,
                     .heads = q[1],
                     .kv_heads = s->cache.heads,
                     .head_dim = q[2],
                     .dims = q[2],
                     .positions = s->cache.capacity,
                     .position = (int32_t[]){POSITION}};
  r.cache.k = expected_half(c, &s->cache, type);
  r.cache.v = expected_half(c, &s->cache, type);
  actual.k = actual_half(c, &s->cache, &s->args.cache.k);
  actual.v = actual_half(c, &s->cache, &s->args.cache.v);
  const float *out = bench_read(c, s->args.out.mem, q[0] * q[1] * q[2], sizeof *out);
  if (c->code != 0) {
    return;
  }
  if (clqi_ref_rope_run(&r) != 0) {
    bench_fail(c, "rope: the positions do not fit");
  }
  for (int64_t i = 0; i < q[0] * q[1] * q[2]; ++i) {
    bench_error(c, (double)out[i], (double)r.out[i]);
  }
  check_caches(c, &actual, &r.cache, q[0]);
}

extern const bench_op bench_op_rope;
const bench_op bench_op_rope = {.name = "rope",
                                .words = words,
                                .word_count = sizeof words / sizeof words[0],
                                .state_bytes = sizeof(state),
                                .op = CLQ_OP_ROPE,
                                .prepare = prepare,
                                .check = check};
