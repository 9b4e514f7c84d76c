#include "bench.h"

typedef struct state {
  clq_add_args args;
  float *a, *b;
} state;

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "4096", NULL, NULL},
    {"cols", BENCH_NUMBER, "4096", NULL, NULL},
    {"dtype", BENCH_WORD, "f32", "f32|f16|bf16|q8", NULL},
    {"out", BENCH_WORD, "same", "same|f32|f16|bf16|q8|q8g32", NULL},
};

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  const char *dtype = bench_choice(c, "dtype");
  const char *out = bench_is(c, "out", "same") ? dtype : bench_choice(c, "out");
  s->a = bench_random_floats(c, rows * cols, 1);
  s->b = bench_random_floats(c, rows * cols, 2);
  s->args.a = bench_input(c, dtype, rows, cols, s->a);
  s->args.b = bench_input(c, dtype, rows, cols, s->b);
  s->args.out = bench_output(c, out, rows, cols);
  c->record.bytes = bench_tensor_bytes(&s->args.a) + bench_tensor_bytes(&s->args.b) +
                    bench_tensor_bytes(&s->args.out);
  c->record.ops = (double)rows * (double)cols;
  c->args = &s->args;
}

static void reference(bench_case *c, int64_t row, float *out) {
  const state *s = c->state;
  const int64_t cols = s->args.a.shape[1];
  clqi_ref_add(s->a + row * cols, s->b + row * cols, cols, out);
}

static void check(bench_case *c) {
  const state *s = c->state;
  bench_check_rows(c, &s->args.out, s->args.a.shape[1], reference);
}

extern const bench_op bench_op_add;
const bench_op bench_op_add = {.name = "add",
                               .words = words,
                               .word_count = sizeof words / sizeof words[0],
                               .state_bytes = sizeof(state),
                               .op = CLQ_OP_ADD,
                               .prepare = prepare,
                               .check = check};
