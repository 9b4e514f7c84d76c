#include "bench.h"

typedef struct state {
  clq_gemm_args args;
  clqi_ref_weights weights;
  float *x; /* what the activations stand for */
  int8_t *codes;
  float *scales;
} state;

static const bench_word words[] = {
    {"m", BENCH_NUMBER, "1", NULL, NULL},
    {"n", BENCH_NUMBER, "4096", NULL, NULL},
    {"k", BENCH_NUMBER, "4096", NULL, NULL},
    {"weights", BENCH_WORD, "w4g32", NULL, bench_is_weights_word},
    {"acts", BENCH_WORD, "q8", NULL, bench_is_tensor_word},
    {"out", BENCH_WORD, "f32", "f32|f16|q8", NULL},
};

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t m = bench_number(c, "m");
  const int64_t n = bench_number(c, "n");
  const int64_t k = bench_number(c, "k");
  s->weights = bench_weights(c, bench_choice(c, "weights"), n, k);
  s->x = bench_random_floats(c, m * k, 1);
  s->args.weights = c->weights;
  s->args.x = bench_input(c, bench_choice(c, "acts"), m, k, s->x);
  s->args.out = bench_output(c, bench_choice(c, "out"), m, n);
  if (c->code == 0) {
    c->record.bytes = bench_weights_bytes(&s->weights, (double)n) + bench_tensor_bytes(&s->args.x) +
                      bench_tensor_bytes(&s->args.out);
    c->record.ops = 2.0 * (double)m * (double)n * (double)k;
  }
  c->args = &s->args;
}

/* One element as the reference computes it. */
static float element(const state *s, int64_t row, int64_t col) {
  const int64_t k = s->weights.cols;
  const clq_format format = s->weights.format;
  clqi_ref_weights one = s->weights;
  const int64_t groups = s->weights.group == 0 ? 0 : (k + s->weights.group - 1) / s->weights.group;
  const int64_t row_bytes = format == CLQ_FORMAT_F32    ? 4 * k
                            : format == CLQ_FORMAT_F16  ? 2 * k
                            : format == CLQ_FORMAT_Q4_0 ? k / 32 * 18
                            : format == CLQ_FORMAT_Q4_1 ? k / 32 * 20
                            : format == CLQ_FORMAT_Q8_0 ? k / 32 * 34
                            : format == CLQ_FORMAT_W4   ? (k + 1) / 2
                                                        : k;
  one.rows = 1;
  one.data = (const char *)s->weights.data + col * row_bytes;
  one.scales = s->weights.scales == NULL ? NULL : s->weights.scales + col * groups;
  one.zeros = s->weights.zeros == NULL ? NULL : s->weights.zeros + col * groups;
  float out = 0.0f;
  if (s->codes == NULL) {
    clqi_ref_gemm_f32(s->x + row * k, k, 1, &one, &out, 1);
  } else {
    const int64_t group = s->args.x.quant.per == CLQ_PER_GROUP ? s->args.x.quant.group : 0;
    const int64_t scales = group == 0 ? 1 : (k + group - 1) / group;
    clqi_ref_gemm_q8(s->codes + row * k, k, s->scales + row * scales, group, 1, &one, &out, 1);
  }
  return out;
}

/* A sample of rows times a sample of columns, all of them where that is little work. */
static void check(bench_case *c) {
  state *s = c->state;
  const int64_t m = s->args.out.shape[0];
  const int64_t n = s->args.out.shape[1];
  const int64_t k = s->weights.cols;
  if (s->args.x.dtype == CLQ_I8) {
    const int64_t group = s->args.x.quant.per == CLQ_PER_GROUP ? s->args.x.quant.group : k;
    s->codes = bench_read(c, s->args.x.mem, m * k, 1);
    s->scales = bench_read(c, s->args.x.quant.scale, m * ((k + group - 1) / group), sizeof(float));
  }
  const float *out = bench_read(c, s->args.out.mem, m * n, sizeof *out);
  const int64_t cols = bench_sample_count(n, 64 * k);
  const int64_t rows = bench_sample_count(m, cols * k);
  for (int64_t i = 0; i < rows && !bench_over(c); ++i) {
    const int64_t row = bench_sample_row(m, rows, i);
    for (int64_t j = 0; j < cols; ++j) {
      const int64_t col = bench_sample_row(n, cols, j);
      bench_error(c, (double)out[row * n + col], (double)element(s, row, col));
    }
  }
}

extern const bench_op bench_op_gemm;
const bench_op bench_op_gemm = {.name = "gemm",
                                .words = words,
                                .word_count = sizeof words / sizeof words[0],
                                .state_bytes = sizeof(state),
                                .op = CLQ_OP_GEMM,
                                .prepare = prepare,
                                .check = check};
