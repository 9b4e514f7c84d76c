#include "bench.h"

#include <string.h>

#include "ref/math.h"
#include "ref/rope.h"

enum { POSITION = 100 }; /* of the first row; not at the start of a block of keys */

typedef struct state {
  clq_rope_args args;
  float *q, *k, *v, *table;
  int64_t capacity;
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

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t heads = bench_number(c, "heads");
  const int64_t kv_heads = bench_number(c, "kv-heads");
  const int64_t head_dim = bench_number(c, "head-dim");
  const int32_t position = POSITION;
  const clq_dtype cache = bench_is(c, "kv", "f32") ? CLQ_F32 : CLQ_F16;
  if (bench_is(c, "kv", "q8") || bench_is(c, "kv", "q4")) {
    bench_fail(c, "rope: --kv %s is not offered yet; take f32 or f16", bench_choice(c, "kv"));
    return;
  }
  s->capacity = (POSITION + rows + 15) / 16 * 16;
  s->q = bench_random_floats(c, rows * heads * head_dim, 1);
  s->k = bench_random_floats(c, rows * kv_heads * head_dim, 2);
  s->v = bench_random_floats(c, rows * kv_heads * head_dim, 3);
  s->table = bench_host(c, s->capacity * head_dim, sizeof *s->table);
  if (c->code != 0) {
    return;
  }
  if (!bench_ok(c, clq_rope_table(s->table, s->capacity, head_dim, 10000.0))) {
    return;
  }
  const int64_t cached = kv_heads * s->capacity * head_dim;
  const clq_tensor caches = {NULL, cache, {1, kv_heads, s->capacity, head_dim}};
  s->args.q = floats(c, s->q, rows, heads, head_dim);
  s->args.out = floats(c, NULL, rows, heads, head_dim);
  s->args.k = floats(c, s->k, rows, kv_heads, head_dim);
  s->args.v = floats(c, s->v, rows, kv_heads, head_dim);
  s->args.cache.k = s->args.cache.v = caches;
  s->args.cache.k.mem = bench_buffer(c, NULL, cached, clq_dtype_bytes(cache));
  s->args.cache.v.mem = bench_buffer(c, NULL, cached, clq_dtype_bytes(cache));
  s->args.position = (clq_tensor){bench_buffer(c, &position, 1, sizeof position), CLQ_I32, {1}};
  s->args.table = (clq_tensor){bench_buffer(c, s->table, s->capacity * head_dim, sizeof(float)),
                               CLQ_F32,
                               {s->capacity, head_dim / 2, 2}};
  const double row = (double)(rows * head_dim);
  c->record.bytes = row * (8.0 * (double)heads +
                           (double)kv_heads * 2.0 * (4.0 + (double)clq_dtype_bytes(cache))) +
                    4.0 * row;
  c->record.ops = 3.0 * row * (double)(heads + kv_heads);
  c->args = &s->args;
}

static void check_cache(bench_case *c, cl_mem mem, const void *expected, int64_t count,
                        clq_dtype dtype) {
  const void *actual = bench_read(c, mem, count, clq_dtype_bytes(dtype));
  for (int64_t i = 0; actual != NULL && i < count; ++i) {
    if (dtype == CLQ_F16) {
      bench_error(c, (double)clqi_ref_f32_from_f16(((const uint16_t *)actual)[i]),
                  (double)clqi_ref_f32_from_f16(((const uint16_t *)expected)[i]));
    } else {
      bench_error(c, (double)((const float *)actual)[i], (double)((const float *)expected)[i]);
    }
  }
}

static void check(bench_case *c) {
  state *s = c->state;
  const int64_t *q = s->args.q.shape;
  const clq_tensor *cache = &s->args.cache.k;
  const int64_t cached = cache->shape[1] * cache->shape[2] * cache->shape[3];
  clqi_ref_rope r = {.q = s->q,
                     .out = bench_host(c, q[0] * q[1] * q[2], sizeof(float)),
                     .k = s->k,
                     .v = s->v,
                     .k_cache = bench_host(c, cached, clq_dtype_bytes(cache->dtype)),
                     .v_cache = bench_host(c, cached, clq_dtype_bytes(cache->dtype)),
                     .table = s->table,
                     .cache_dtype = cache->dtype,
                     .layout = CLQ_ROPE_ADJACENT,
                     .rows = q[0],
                     .heads = q[1],
                     .kv_heads = cache->shape[1],
                     .head_dim = q[2],
                     .dims = q[2],
                     .positions = s->capacity,
                     .capacity = s->capacity,
                     .position = POSITION};
  const float *out = bench_read(c, s->args.out.mem, q[0] * q[1] * q[2], sizeof *out);
  if (out == NULL || r.out == NULL || r.k_cache == NULL || r.v_cache == NULL) {
    return;
  }
  if (clqi_ref_rope_run(&r) != 0) {
    bench_fail(c, "rope: the positions do not fit");
  }
  for (int64_t i = 0; i < q[0] * q[1] * q[2]; ++i) {
    bench_error(c, (double)out[i], (double)r.out[i]);
  }
  check_cache(c, s->args.cache.k.mem, r.k_cache, cached, cache->dtype);
  check_cache(c, s->args.cache.v.mem, r.v_cache, cached, cache->dtype);
}

extern const bench_op bench_op_rope;
const bench_op bench_op_rope = {.name = "rope",
                                .words = words,
                                .word_count = sizeof words / sizeof words[0],
                                .state_bytes = sizeof(state),
                                .op = CLQ_OP_ROPE,
                                .prepare = prepare,
                                .check = check};
