#include "bench.h"

#include "ref/integer_add.h"

typedef struct state {
  clq_integer_add_args args;
  int8_t *a, *b;
} state;

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "4096", NULL, NULL},
    {"cols", BENCH_NUMBER, "4096", NULL, NULL},
    {"mode", BENCH_WORD, "single", "saturate|gemmlowp|single", NULL},
};

static int8_t *random_codes(bench_case *c, int64_t count, uint64_t seed) {
  int8_t *codes = bench_host(c, count, 1);
  for (int64_t i = 0; codes != NULL && i < count; ++i) {
    codes[i] = (int8_t)(uint8_t)bench_random(&seed);
  }
  return codes;
}

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  if (rows > INT64_MAX / cols) {
    bench_fail(c, "integer_add: the shape is too large; take a smaller one");
    return;
  }
  clq_integer_add_desc desc = {CLQ_ADD_SINGLE_ROUNDING, 0.03f, 0, 0.01f, 0, 0.035f, 0};
  if (bench_is(c, "mode", "gemmlowp")) {
    desc.mode = CLQ_ADD_GEMMLOWP;
  } else if (bench_is(c, "mode", "saturate")) {
    desc = (clq_integer_add_desc){CLQ_ADD_SATURATE, 0.03f, 0, 0.03f, 0, 0.03f, 0};
  }
  (void)bench_ok(c, clq_integer_add_prepare(&desc, &s->args));
  s->a = random_codes(c, rows * cols, 1);
  s->b = random_codes(c, rows * cols, 2);
  s->args.a = (clq_tensor){bench_buffer(c, s->a, rows * cols, 1), CLQ_I8, {rows, cols}};
  s->args.b = (clq_tensor){bench_buffer(c, s->b, rows * cols, 1), CLQ_I8, {rows, cols}};
  s->args.out = (clq_tensor){bench_buffer(c, NULL, rows * cols, 1), CLQ_I8, {rows, cols}};
  c->record.bytes = 3.0 * (double)rows * (double)cols;
  c->record.ops = (double)rows * (double)cols;
  c->args = &s->args;
}

/* Codes are equal or wrong. */
static void check(bench_case *c) {
  const state *s = c->state;
  const int64_t rows = s->args.a.shape[0];
  const int64_t cols = s->args.a.shape[1];
  const int8_t *out = bench_read(c, s->args.out.mem, rows * cols, 1);
  const int64_t samples = bench_sample_count(rows, cols);
  for (int64_t i = 0; out != NULL && i < samples && !bench_over(c); ++i) {
    const int64_t row = bench_sample_row(rows, samples, i);
    for (int64_t k = row * cols; k < (row + 1) * cols; ++k) {
      bench_error(c, out[k], clqi_ref_integer_add(&s->args, s->a[k], s->b[k], -128, 127));
    }
  }
}

extern const bench_op bench_op_integer_add;
const bench_op bench_op_integer_add = {.name = "integer_add",
                                       .words = words,
                                       .word_count = sizeof words / sizeof words[0],
                                       .state_bytes = sizeof(state),
                                       .op = CLQ_OP_INTEGER_ADD,
                                       .prepare = prepare,
                                       .check = check};
