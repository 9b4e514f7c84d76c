#include "bench.h"
#include "ref/pool.h"

typedef struct state {
  clq_pool_args args;
  float *x;
  int32_t *starts;
  clqi_ref_pool_of of;
} state;

static const bench_word words[] = {
    {"batch", BENCH_NUMBER, "64", NULL, NULL},
    {"rows", BENCH_NUMBER, "8192", NULL, NULL},
    {"cols", BENCH_NUMBER, "384", NULL, NULL},
    {"dtype", BENCH_WORD, "f32", "f32|f16|bf16", NULL},
    {"out", BENCH_WORD, "f32", "f32|f16|bf16", NULL},
    {"pooling", BENCH_WORD, "mean", "mean|first|last", NULL},
    {"normalize", BENCH_FLAG, "", NULL, NULL},
};

/* Sequences of lengths that differ by up to a row. */
static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t batch = bench_number(c, "batch");
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  s->of = (clqi_ref_pool_of){.rows = rows,
                             .cols = cols,
                             .pooling = bench_is(c, "pooling", "first")  ? CLQ_POOL_FIRST
                                        : bench_is(c, "pooling", "last") ? CLQ_POOL_LAST
                                                                         : CLQ_POOL_MEAN,
                             .normalize = bench_number(c, "normalize") != 0,
                             .eps = 1e-12f};
  s->x = bench_random_floats(c, rows * cols, 1);
  s->starts = bench_host(c, batch + 1, sizeof *s->starts);
  for (int64_t i = 0; s->starts != NULL && i <= batch; ++i) {
    s->starts[i] = (int32_t)(rows * i / batch);
  }
  s->args.x = bench_input(c, bench_choice(c, "dtype"), rows, cols, s->x);
  s->args.starts =
      (clq_tensor){bench_buffer(c, s->starts, batch + 1, sizeof *s->starts), CLQ_I32, {batch + 1}};
  s->args.out = bench_output(c, bench_choice(c, "out"), batch, cols);
  s->args.pooling = s->of.pooling;
  s->args.normalize = s->of.normalize;
  c->args = &s->args;
}

static void reference(bench_case *c, int64_t row, float *out) {
  const state *s = c->state;
  (void)clqi_ref_pool(s->x, s->starts + row, 1, &s->of, out);
}

static void check(bench_case *c) {
  const state *s = c->state;
  const int64_t batch = s->args.out.shape[0];
  bench_check_rows(c, &s->args.out, (s->of.rows / (batch == 0 ? 1 : batch) + 1) * s->of.cols,
                   reference);
}

extern const bench_op bench_op_pool;
const bench_op bench_op_pool = {.name = "pool",
                                .words = words,
                                .word_count = sizeof words / sizeof words[0],
                                .state_bytes = sizeof(state),
                                .op = CLQ_OP_POOL,
                                .prepare = prepare,
                                .check = check};
