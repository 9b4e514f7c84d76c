#include "bench.h"

#include "ref/integer_add.h"

typedef struct state {
  clq_integer_gelu_args args;
  int32_t *values;
} state;

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "4096", NULL, NULL},
    {"cols", BENCH_NUMBER, "4096", NULL, NULL},
    {"dtype", BENCH_WORD, "i8", "i8|i32", NULL},
};

static cl_mem fill(bench_case *c, state *s, clq_dtype dtype, int64_t count) {
  s->values = bench_host(c, count, sizeof *s->values);
  int8_t *codes = bench_host(c, count, 1);
  uint64_t seed = 1;
  for (int64_t i = 0; codes != NULL && i < count; ++i) {
    const int32_t v = (int32_t)(bench_random(&seed) & 0xffffffU) - 0x800000;
    codes[i] = (int8_t)(v / 0x10000);
    s->values[i] = dtype == CLQ_I8 ? codes[i] : v;
  }
  return dtype == CLQ_I8 ? bench_buffer(c, codes, count, 1)
                         : bench_buffer(c, s->values, count, sizeof *s->values);
}

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  const clq_dtype x = bench_is(c, "dtype", "i32") ? CLQ_I32 : CLQ_I8;
  if (rows > INT64_MAX / cols) {
    bench_fail(c, "integer_gelu: the shape is too large; take a smaller one");
    return;
  }
  (void)bench_ok(c, clq_integer_gelu_prepare(x == CLQ_I32 ? 5e-7f : 0.03f, 0, 0.03f, 0, &s->args));
  s->args.x = (clq_tensor){fill(c, s, x, rows * cols), x, {rows, cols}};
  s->args.out = (clq_tensor){bench_buffer(c, NULL, rows * cols, 1), CLQ_I8, {rows, cols}};
  c->record.bytes = (double)rows * (double)cols * (1.0 + (double)clq_dtype_bytes(x));
  c->record.ops = 10.0 * (double)rows * (double)cols;
  c->args = &s->args;
}

/* Codes are equal or wrong. */
static void check(bench_case *c) {
  const state *s = c->state;
  const int64_t rows = s->args.x.shape[0];
  const int64_t cols = s->args.x.shape[1];
  const int8_t *out = bench_read(c, s->args.out.mem, rows * cols, 1);
  const int64_t samples = bench_sample_count(rows, cols);
  for (int64_t i = 0; out != NULL && i < samples && !bench_over(c); ++i) {
    const int64_t row = bench_sample_row(rows, samples, i);
    for (int64_t k = row * cols; k < (row + 1) * cols; ++k) {
      bench_error(c, out[k], clqi_ref_integer_gelu(&s->args, s->values[k], -128, 127));
    }
  }
}

extern const bench_op bench_op_integer_gelu;
const bench_op bench_op_integer_gelu = {.name = "integer_gelu",
                                        .words = words,
                                        .word_count = sizeof words / sizeof words[0],
                                        .state_bytes = sizeof(state),
                                        .op = CLQ_OP_INTEGER_GELU,
                                        .prepare = prepare,
                                        .check = check};
