#include "bench.h"

typedef struct state {
  clq_embedding_args args;
  int32_t *ids;
  clqi_ref_weights table;
} state;

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "512", NULL, NULL},
    {"cols", BENCH_NUMBER, "4096", NULL, NULL},
    {"n", BENCH_NUMBER, "32768", NULL, NULL},
    {"weights", BENCH_WORD, "q8_0", NULL, bench_is_weights_word},
    {"dtype", BENCH_WORD, "f32", "f32|f16|bf16", NULL},
};

static void prepare(bench_case *c) {
  state *s = c->state;
  uint64_t seed = 11;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  const int64_t vocabulary = bench_number(c, "n");
  s->table = bench_weights(c, bench_choice(c, "weights"), vocabulary, cols);
  s->ids = bench_host(c, rows, sizeof *s->ids);
  for (int64_t i = 0; s->ids != NULL && i < rows; ++i) {
    s->ids[i] = (int32_t)(bench_random(&seed) % (uint64_t)vocabulary);
  }
  s->args.ids = (clq_tensor){bench_buffer(c, s->ids, rows, sizeof *s->ids), CLQ_I32, {rows}};
  s->args.weights = c->weights;
  s->args.out = bench_output(c, bench_choice(c, "dtype"), rows, cols);
  if (c->code == 0) {
    c->record.bytes = bench_weights_bytes(&s->table, (double)rows) + 4.0 * (double)rows +
                      bench_tensor_bytes(&s->args.out);
    c->record.ops = 2.0 * (double)rows * (double)cols;
  }
  c->args = &s->args;
}

static void reference(bench_case *c, int64_t row, float *out) {
  const state *s = c->state;
  (void)clqi_ref_embedding(&s->ids[row], 1, &s->table, out);
}

static void check(bench_case *c) {
  const state *s = c->state;
  bench_check_rows(c, &s->args.out, 4 * s->table.cols, reference);
}

extern const bench_op bench_op_embedding;
const bench_op bench_op_embedding = {.name = "embedding",
                                     .words = words,
                                     .word_count = sizeof words / sizeof words[0],
                                     .state_bytes = sizeof(state),
                                     .op = CLQ_OP_EMBEDDING,
                                     .prepare = prepare,
                                     .check = check};
