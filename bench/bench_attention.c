#include "bench.h"

#include <math.h>

#include "ref/attention.h"
#include "ref/math.h"

/* The queries are the last rows of a sequence of `keys`: 1 is a decode step, as many as there are
 * keys a prefill. */
typedef struct state {
  clq_attention_args *args; /* one per sequence */
  float *q;                 /* of all sequences */
  void *k, *v;              /* the same caches' content for all sequences */
  int64_t capacity, position;
} state;

static const bench_word words[] = {
    {"batch", BENCH_NUMBER, "1", NULL, NULL},         {"heads", BENCH_NUMBER, "32", NULL, NULL},
    {"kv-heads", BENCH_NUMBER, "8", NULL, NULL},      {"head-dim", BENCH_NUMBER, "128", NULL, NULL},
    {"queries", BENCH_NUMBER, "1", NULL, NULL},       {"keys", BENCH_NUMBER, "1024", NULL, NULL},
    {"kv", BENCH_WORD, "f16", "f32|f16|q8|q4", NULL},
};

static void *random_cache(bench_case *c, clq_dtype dtype, int64_t count, uint64_t seed) {
  float *floats = bench_random_floats(c, count, seed);
  uint16_t *halves = dtype == CLQ_F16 ? bench_host(c, count, sizeof *halves) : NULL;
  for (int64_t i = 0; floats != NULL && halves != NULL && i < count; ++i) {
    halves[i] = clqi_ref_f16_from_f32(floats[i]);
  }
  return dtype == CLQ_F16 ? (void *)halves : (void *)floats;
}

static void count_work(bench_case *c, double rows, double heads, double kv_heads, double head_dim,
                       double keys, double cache_bytes) {
  const double seen = rows * keys - 0.5 * rows * (rows - 1.0);
  const double batch = (double)c->calls;
  c->record.bytes =
      batch * (8.0 * rows * heads * head_dim + 2.0 * keys * kv_heads * head_dim * cache_bytes);
  c->record.ops = batch * 4.0 * seen * heads * head_dim;
}

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t batch = bench_number(c, "batch");
  const int64_t rows = bench_number(c, "queries");
  const int64_t heads = bench_number(c, "heads");
  const int64_t kv_heads = bench_number(c, "kv-heads");
  const int64_t head_dim = bench_number(c, "head-dim");
  const int64_t keys = bench_number(c, "keys");
  const clq_dtype dtype = bench_is(c, "kv", "f32") ? CLQ_F32 : CLQ_F16;
  enum { MOST_SEQUENCES = 8 };
  if (bench_is(c, "kv", "q8") || bench_is(c, "kv", "q4")) {
    bench_fail(c, "attention: --kv %s is not offered yet; take f32 or f16", bench_choice(c, "kv"));
  } else if (rows > keys || batch > MOST_SEQUENCES) {
    bench_fail(c,
               rows > keys ? "attention: --queries %lld are more than --keys %lld; take fewer"
                           : "attention: --batch is %lld, at most %lld sequences are measured",
               (long long)(rows > keys ? rows : batch),
               (long long)(rows > keys ? keys : MOST_SEQUENCES));
  }
  s->capacity = (keys + 15) / 16 * 16;
  s->position = keys - rows;
  const int32_t position = (int32_t)s->position;
  const int64_t width = heads * head_dim;
  const int64_t cached = kv_heads * s->capacity * head_dim;
  s->args = bench_host(c, batch, sizeof *s->args);
  s->q = bench_random_floats(c, batch * rows * width, 1);
  s->k = random_cache(c, dtype, cached, 2);
  s->v = random_cache(c, dtype, cached, 3);
  const clq_tensor where = {bench_buffer(c, &position, 1, sizeof position), CLQ_I32, {1}};
  for (int64_t b = 0; b < batch && c->code == 0; ++b) {
    clq_tensor cache = {NULL, dtype, {1, kv_heads, s->capacity, head_dim}};
    clq_attention_args *a = &s->args[b];
    a->q = (clq_tensor){bench_buffer(c, s->q + b * rows * width, rows * width, sizeof *s->q),
                        CLQ_F32,
                        {rows, heads, head_dim}};
    cache.mem = bench_buffer(c, s->k, cached, clq_dtype_bytes(dtype));
    a->cache.k = cache;
    cache.mem = bench_buffer(c, s->v, cached, clq_dtype_bytes(dtype));
    a->cache.v = cache;
    a->position = where;
    a->out = bench_output(c, "f32", rows, width);
  }
  c->args = s->args;
  c->args_bytes = sizeof *s->args;
  c->calls = (int32_t)batch;
  count_work(c, (double)rows, (double)heads, (double)kv_heads, (double)head_dim, (double)keys,
             (double)clq_dtype_bytes(dtype));
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

static void check_row(bench_case *c, const clq_attention_args *a, const float *q, int64_t row,
                      const float *out, double *exact, double *scratch) {
  const state *s = c->state;
  const int64_t heads = a->q.shape[1];
  const int64_t head_dim = a->q.shape[2];
  const clqi_ref_attention r = {.q = q,
                                .k_cache = s->k,
                                .v_cache = s->v,
                                .out = exact,
                                .scratch = scratch,
                                .cache_dtype = a->cache.k.dtype,
                                .rows = 1,
                                .heads = heads,
                                .kv_heads = a->cache.k.shape[1],
                                .head_dim = head_dim,
                                .capacity = s->capacity,
                                .position = s->position + row};
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
  const int64_t rows = s->args[0].q.shape[0];
  const int64_t width = s->args[0].q.shape[1] * s->args[0].q.shape[2];
  double *exact = bench_host(c, width, sizeof *exact);
  double *scratch = bench_host(c, s->capacity, sizeof *scratch);
  const int64_t samples = bench_sample_count(rows, 2 * s->capacity * width);
  for (int32_t b = 0; b < c->calls && !bench_over(c); ++b) {
    const float *out = bench_read(c, s->args[b].out.mem, rows * width, sizeof *out);
    for (int64_t i = 0; i < samples && !bench_over(c); ++i) {
      const int64_t row = bench_sample_row(rows, samples, i);
      check_row(c, &s->args[b], s->q + (b * rows + row) * width, row, out + row * width, exact,
                scratch);
    }
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
