#include "bench.h"

#include <string.h>

typedef struct state {
  clq_quantize_args args;
  float *x;
} state;

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "4096", NULL, NULL},
    {"cols", BENCH_NUMBER, "4096", NULL, NULL},
    {"dtype", BENCH_WORD, "f32", "f32|f16|bf16", NULL},
    {"out", BENCH_WORD, "q8", NULL, bench_is_tensor_word},
};

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  s->x = bench_random_floats(c, rows * cols, 1);
  s->args.x = bench_input(c, bench_choice(c, "dtype"), rows, cols, s->x);
  s->args.out = bench_output(c, bench_choice(c, "out"), rows, cols);
  c->record.bytes = bench_tensor_bytes(&s->args.x) + bench_tensor_bytes(&s->args.out);
  c->record.ops = 3.0 * (double)rows * (double)cols;
  c->args = &s->args;
}

static void reference(bench_case *c, int64_t row, float *out) {
  const state *s = c->state;
  const size_t cols = (size_t)s->args.x.shape[1];
  memcpy(out, s->x + (size_t)row * cols, cols * sizeof *out);
}

static void check(bench_case *c) {
  const state *s = c->state;
  bench_check_rows(c, &s->args.out, s->args.x.shape[1], reference);
}

extern const bench_op bench_op_quantize;
const bench_op bench_op_quantize = {.name = "quantize",
                                    .words = words,
                                    .word_count = sizeof words / sizeof words[0],
                                    .state_bytes = sizeof(state),
                                    .op = CLQ_OP_QUANTIZE,
                                    .prepare = prepare,
                                    .check = check};
