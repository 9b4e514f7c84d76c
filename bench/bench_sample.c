#include "bench.h"

#include "ref/sample.h"

typedef struct state {
  clq_sample_args args;
  float *logits;
} state;

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "1", NULL, NULL},
    {"cols", BENCH_NUMBER, "131072", NULL, NULL},
    {"draw", BENCH_WORD, "greedy", "greedy|all|top-k|top-p|filtered", NULL},
};

static clq_sampling sampling_of(const bench_case *c) {
  return bench_is(c, "draw", "greedy")  ? (clq_sampling){.temperature = 0}
         : bench_is(c, "draw", "all")   ? (clq_sampling){.temperature = 1}
         : bench_is(c, "draw", "top-k") ? (clq_sampling){.temperature = 1, .top_k = 40}
         : bench_is(c, "draw", "top-p")
             ? (clq_sampling){.temperature = 1, .top_p = 0.9f}
             : (clq_sampling){.temperature = 1, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f};
}

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  s->logits = bench_random_floats(c, rows * cols, 3);
  for (int64_t i = 0; s->logits != NULL && i < rows * cols; ++i) {
    s->logits[i] *= 3.0f; /* a language model's are spread about as much */
  }
  s->args.logits = bench_input(c, "f32", rows, cols, s->logits);
  s->args.out = (clq_tensor){bench_buffer(c, NULL, rows, sizeof(int32_t)), CLQ_I32, {rows}};
  s->args.sampling = sampling_of(c);
  c->record.bytes = bench_tensor_bytes(&s->args.logits) + 4.0 * (double)rows;
  c->record.ops = (double)rows * (double)cols; /* comparisons */
  c->args = &s->args;
}

static void check(bench_case *c) {
  const state *s = c->state;
  const int64_t rows = s->args.logits.shape[0];
  const int64_t cols = s->args.logits.shape[1];
  const int32_t *ids = bench_read(c, s->args.out.mem, rows, sizeof *ids);
  int32_t *order = bench_host(c, cols, sizeof *order);
  const int64_t samples = bench_sample_count(rows, cols);
  for (int64_t i = 0; i < samples && !bench_over(c); ++i) {
    const int64_t row = bench_sample_row(rows, samples, i);
    clq_sampling sampling = s->args.sampling;
    sampling.seed += (uint64_t)row;
    bench_error(c, ids[row], clqi_ref_sample(s->logits + row * cols, cols, &sampling, 0, order));
  }
}

extern const bench_op bench_op_sample;
const bench_op bench_op_sample = {.name = "sample",
                                  .words = words,
                                  .word_count = sizeof words / sizeof words[0],
                                  .state_bytes = sizeof(state),
                                  .op = CLQ_OP_SAMPLE,
                                  .prepare = prepare,
                                  .check = check};
