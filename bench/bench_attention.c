#include "bench.h"

#include <math.h>

#include "ref/attention.h"
#include "ref/math.h"

/* The queries are the last rows of each sequence of `keys`: 1 is a decode step, as many as there
 * are keys a prefill. */
typedef struct state {
  clq_attention_args args;
  float *q;    /* of all sequences */
  void *k, *v; /* of all sequences */
  int64_t sequences, rows, keys, capacity;
} state;

static const bench_word words[] = {
    {"batch", BENCH_NUMBER, "1", NULL, NULL},         {"heads", BENCH_NUMBER, "32", NULL, NULL},
    {"kv-heads", BENCH_NUMBER, "8", NULL, NULL},      {"head-dim", BENCH_NUMBER, "128", NULL, NULL},
    {"queries", BENCH_NUMBER, "1", NULL, NULL},       {"keys", BENCH_NUMBER, "1024", NULL, NULL},
    {"kv", BENCH_WORD, "f16", "f32|f16|q8|q4", NULL}, {"window", BENCH_NUMBER, "0", NULL, NULL},
    {"bidirectional", BENCH_FLAG, "", NULL, NULL},
};

static void *random_cache(bench_case *c, clq_dtype dtype, int64_t count, uint64_t seed) {
  float *floats = bench_random_floats(c, count, seed);
  uint16_t *halves = dtype == CLQ_F16 ? bench_host(c, count, sizeof *halves) : NULL;
  for (int64_t i = 0; floats != NULL && halves != NULL && i < count; ++i) {
    halves[i] = clqi_ref_f16_from_f32(floats[i]);
  }
  return dtype == CLQ_F16 ? (void *)halves : (void *)floats;
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
  c->record.bytes =
      batch * (8.0 * (double)s->rows * width +
               2.0 * read * kv_width * (double)clq_dtype_bytes(s->args.cache.k.dtype));
  c->record.ops = batch * 4.0 * keys_seen(s) * width;
}

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t heads = bench_number(c, "heads");
  const int64_t kv_heads = bench_number(c, "kv-heads");
  const int64_t head_dim = bench_number(c, "head-dim");
  const clq_dtype dtype = bench_is(c, "kv", "f32") ? CLQ_F32 : CLQ_F16;
  s->sequences = bench_number(c, "batch");
  s->rows = bench_number(c, "queries");
  s->keys = bench_number(c, "keys");
  if (bench_is(c, "kv", "q8") || bench_is(c, "kv", "q4")) {
    bench_fail(c, "attention: --kv %s is not offered yet; take f32 or f16", bench_choice(c, "kv"));
  } else if (s->rows > s->keys) {
    bench_fail(c, "attention: --queries %lld are more than --keys %lld; take fewer",
               (long long)s->rows, (long long)s->keys);
  }
  s->capacity = (s->keys + 15) / 16 * 16;
  const int64_t width = heads * head_dim;
  const int64_t cached = s->sequences * kv_heads * s->capacity * head_dim;
  s->q = bench_random_floats(c, s->sequences * s->rows * width, 1);
  s->k = random_cache(c, dtype, cached, 2);
  s->v = random_cache(c, dtype, cached, 3);
  int32_t *position = bench_host(c, s->sequences, sizeof *position);
  for (int64_t i = 0; position != NULL && i < s->sequences; ++i) {
    position[i] = (int32_t)(s->keys - s->rows);
  }
  if (c->code != 0) {
    return;
  }
  const int64_t bytes = (int64_t)clq_dtype_bytes(dtype);
  const int64_t shape[] = {s->sequences, kv_heads, s->capacity, head_dim};
  clq_attention_args *a = &s->args;
  a->cache.k = a->cache.v =
      (clq_tensor){.dtype = dtype, .shape = {shape[0], shape[1], shape[2], shape[3]}};
  a->q = (clq_tensor){bench_buffer(c, s->q, s->sequences * s->rows * width, sizeof *s->q),
                      CLQ_F32,
                      {s->sequences * s->rows, heads, head_dim}};
  a->cache.k.mem = bench_buffer(c, s->k, cached, (size_t)bytes);
  a->cache.v.mem = bench_buffer(c, s->v, cached, (size_t)bytes);
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
  const size_t cached =
      (size_t)(sequence * kv_heads * s->capacity * head_dim) * clq_dtype_bytes(a->cache.k.dtype);
  const clqi_ref_attention r = {.q = q,
                                .k_cache = (const char *)s->k + cached,
                                .v_cache = (const char *)s->v + cached,
                                .out = exact,
                                .scratch = scratch,
                                .cache_dtype = a->cache.k.dtype,
                                .rows = 1,
                                .heads = heads,
                                .kv_heads = kv_heads,
                                .head_dim = head_dim,
                                .capacity = s->capacity,
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
  double *scratch = bench_host(c, s->capacity, sizeof *scratch);
  const int64_t samples = bench_sample_count(rows, 2 * s->capacity * width);
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
