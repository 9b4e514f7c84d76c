#include "bench.h"

typedef struct state {
  clq_activate_args args;
  float *x, *up; /* up: NULL without --gated */
} state;

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "4096", NULL, NULL},
    {"cols", BENCH_NUMBER, "4096", NULL, NULL},
    {"dtype", BENCH_WORD, "f32", "f32|f16|bf16", NULL},
    {"activation", BENCH_WORD, "silu", "relu|gelu|gelu_tanh|silu", NULL},
    {"gated", BENCH_FLAG, "", NULL, NULL},
    {"out", BENCH_WORD, "f32", NULL, bench_is_tensor_word},
};

static clq_activation activation_of(bench_case *c) {
  return bench_is(c, "activation", "relu")        ? CLQ_ACTIVATION_RELU
         : bench_is(c, "activation", "gelu")      ? CLQ_ACTIVATION_GELU
         : bench_is(c, "activation", "gelu_tanh") ? CLQ_ACTIVATION_GELU_TANH
                                                  : CLQ_ACTIVATION_SILU;
}

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  s->x = bench_random_floats(c, rows * cols, 1);
  s->args.x = bench_input(c, bench_choice(c, "dtype"), rows, cols, s->x);
  s->args.activation = activation_of(c);
  if (bench_number(c, "gated") != 0) {
    s->up = bench_random_floats(c, rows * cols, 2);
    s->args.up = bench_input(c, bench_choice(c, "dtype"), rows, cols, s->up);
  }
  s->args.out = bench_output(c, bench_choice(c, "out"), rows, cols);
  c->record.bytes = bench_tensor_bytes(&s->args.x) + bench_tensor_bytes(&s->args.out) +
                    (s->up != NULL ? bench_tensor_bytes(&s->args.up) : 0.0);
  c->record.ops = 16.0 * (double)rows * (double)cols;
  c->args = &s->args;
}

static void reference(bench_case *c, int64_t row, float *out) {
  const state *s = c->state;
  const int64_t cols = s->args.x.shape[1];
  clqi_ref_activate(s->x + row * cols, s->args.activation,
                    s->up == NULL ? NULL : s->up + row * cols, cols, out);
}

static void check(bench_case *c) {
  const state *s = c->state;
  bench_check_rows(c, &s->args.out, s->args.x.shape[1], reference);
}

extern const bench_op bench_op_activate;
const bench_op bench_op_activate = {.name = "activate",
                                    .words = words,
                                    .word_count = sizeof words / sizeof words[0],
                                    .state_bytes = sizeof(state),
                                    .op = CLQ_OP_ACTIVATE,
                                    .prepare = prepare,
                                    .check = check};
