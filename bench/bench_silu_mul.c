#include "bench.h"

typedef struct state {
  clq_silu_mul_args args;
  float *gate, *up;
} state;

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "4096", NULL, NULL},
    {"cols", BENCH_NUMBER, "4096", NULL, NULL},
    {"dtype", BENCH_WORD, "f32", "f32|f16|bf16", NULL},
    {"out", BENCH_WORD, "f32", NULL, bench_is_tensor_word},
};

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  s->gate = bench_random_floats(c, rows * cols, 1);
  s->up = bench_random_floats(c, rows * cols, 2);
  s->args.gate = bench_input(c, bench_choice(c, "dtype"), rows, cols, s->gate);
  s->args.up = bench_input(c, bench_choice(c, "dtype"), rows, cols, s->up);
  s->args.out = bench_output(c, bench_choice(c, "out"), rows, cols);
  c->record.bytes = 2.0 * bench_tensor_bytes(&s->args.up) + bench_tensor_bytes(&s->args.out);
  c->record.ops = 16.0 * (double)rows * (double)cols;
  c->args = &s->args;
}

static void reference(bench_case *c, int64_t row, float *out) {
  const state *s = c->state;
  const int64_t cols = s->args.gate.shape[1];
  clqi_ref_silu_mul(s->gate + row * cols, s->up + row * cols, cols, out);
}

static void check(bench_case *c) {
  const state *s = c->state;
  bench_check_rows(c, &s->args.out, s->args.gate.shape[1], reference);
}

extern const bench_op bench_op_silu_mul;
const bench_op bench_op_silu_mul = {.name = "silu_mul",
                                    .words = words,
                                    .word_count = sizeof words / sizeof words[0],
                                    .state_bytes = sizeof(state),
                                    .op = CLQ_OP_SILU_MUL,
                                    .prepare = prepare,
                                    .check = check};
