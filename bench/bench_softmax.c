#include "bench.h"

#include "ref/softmax.h"

typedef struct state {
  clq_softmax_args args;
  float *x;
  int8_t *codes;
  float *scales;
  const void *out;
} state;

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "4096", NULL, NULL},
    {"cols", BENCH_NUMBER, "4096", NULL, NULL},
    {"dtype", BENCH_WORD, "f32", "f32|f16|bf16|q8", NULL},
    {"lut", BENCH_WORD, "two-level", "two-level|f32|q30|u16|u16-two-level|ibert|ivit", NULL},
    {"out", BENCH_WORD, "f32", "f32|f16|bf16|u8", NULL},
};

/* By the numbers of clq_exp. */
static clq_exp exp_of(const bench_case *c) {
  static const char *const names[] = {"two-level",     "f32",   "q30", "u16",
                                      "u16-two-level", "ibert", "ivit"};
  int exp = 0;
  while (!bench_is(c, "lut", names[exp])) {
    ++exp;
  }
  return (clq_exp)exp;
}

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  s->x = bench_random_floats(c, rows * cols, 1);
  for (int64_t i = 0; s->x != NULL && i < rows * cols; ++i) {
    s->x[i] *= 8.0f;
  }
  s->args.x = bench_input(c, bench_choice(c, "dtype"), rows, cols, s->x);
  s->args.x.quant.sum = NULL; /* nobody reads them */
  s->args.exp = exp_of(c);
  if (s->args.exp != CLQ_EXP_TWO_LEVEL && s->args.x.dtype != CLQ_I8) {
    bench_fail(c, "softmax: --lut %s is not offered with --dtype %s; take --dtype q8",
               bench_choice(c, "lut"), bench_choice(c, "dtype"));
  }
  s->args.out = bench_output(c, bench_choice(c, "out"), rows, cols);
  if (s->args.out.dtype == CLQ_U8) {
    const float step = 1.0f / 256.0f;
    s->args.out.quant =
        (clq_quant){.per = CLQ_PER_TENSOR, .scale = bench_buffer(c, &step, 1, sizeof step)};
  }
  const double elements = (double)rows * (double)cols;
  c->record.bytes =
      bench_tensor_bytes(&s->args.x) + elements * (double)clq_dtype_bytes(s->args.out.dtype);
  c->record.ops = 4.0 * elements; /* scale, subtract, add, multiply; exp not counted */
  c->args = &s->args;
}

static void reference(bench_case *c, int64_t row, float *out) {
  const state *s = c->state;
  const int64_t cols = s->args.x.shape[1];
  const clqi_ref_softmax_row whole = {.cols = cols, .visible = cols};
  if (s->codes == NULL) {
    clqi_ref_softmax_float(s->x + row * cols, 1.0f, &whole, out);
  } else {
    clqi_ref_softmax_codes(s->codes + row * cols, CLQ_I8, s->scales[row], s->args.exp, &whole, out);
  }
}

static void check_u8(bench_case *c) {
  const state *s = c->state;
  const int64_t rows = s->args.x.shape[0];
  const int64_t cols = s->args.x.shape[1];
  const uint8_t *out = bench_read(c, s->args.out.mem, rows * cols, 1);
  float *expected = bench_host(c, cols, sizeof *expected);
  const int64_t samples = bench_sample_count(rows, cols);
  for (int64_t i = 0; i < samples && !bench_over(c); ++i) {
    const int64_t row = bench_sample_row(rows, samples, i);
    reference(c, row, expected);
    for (int64_t k = 0; k < cols; ++k) {
      bench_error(c, out[row * cols + k] / 256.0, clqi_ref_softmax_u8(expected[k]) / 256.0);
    }
  }
}

static void check(bench_case *c) {
  state *s = c->state;
  const int64_t rows = s->args.x.shape[0];
  const int64_t cols = s->args.x.shape[1];
  if (s->args.x.dtype == CLQ_I8) {
    s->codes = bench_read(c, s->args.x.mem, rows * cols, 1);
    s->scales = bench_read(c, s->args.x.quant.scale, rows, sizeof(float));
  }
  if (s->args.out.dtype == CLQ_U8) {
    check_u8(c);
  } else {
    bench_check_rows(c, &s->args.out, cols, reference);
  }
}

extern const bench_op bench_op_softmax;
const bench_op bench_op_softmax = {.name = "softmax",
                                   .words = words,
                                   .word_count = sizeof words / sizeof words[0],
                                   .state_bytes = sizeof(state),
                                   .op = CLQ_OP_SOFTMAX,
                                   .prepare = prepare,
                                   .check = check};
