#include "bench.h"

typedef struct state {
  clq_rmsnorm_args args;
  float *x, *residual, *sum, *gamma;
} state;

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "4096", NULL, NULL},
    {"cols", BENCH_NUMBER, "4096", NULL, NULL},
    {"dtype", BENCH_WORD, "f32", "f32|f16|bf16", NULL},
    {"out", BENCH_WORD, "f32", NULL, bench_is_tensor_word},
    {"residual", BENCH_FLAG, "", NULL, NULL},
};

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  const char *dtype = bench_choice(c, "dtype");
  s->x = bench_random_floats(c, rows * cols, 1);
  s->gamma = bench_random_floats(c, cols, 2);
  s->args.x = bench_input(c, dtype, rows, cols, s->x);
  s->args.gamma = (clq_tensor){bench_buffer(c, s->gamma, cols, sizeof *s->gamma), CLQ_F32, {cols}};
  s->args.out = bench_output(c, bench_choice(c, "out"), rows, cols);
  const double x_bytes = bench_tensor_bytes(&s->args.x);
  c->record.bytes = x_bytes + 4.0 * (double)cols + bench_tensor_bytes(&s->args.out);
  c->record.ops = 4.0 * (double)rows * (double)cols;
  if (bench_number(c, "residual") != 0) {
    s->residual = bench_random_floats(c, rows * cols, 3);
    s->args.residual = bench_input(c, dtype, rows, cols, s->residual);
    s->sum = bench_host(c, cols, sizeof *s->sum);
    c->record.bytes += 2.0 * x_bytes;
    c->record.ops += (double)rows * (double)cols;
  }
  c->args = &s->args;
}

/* Every run adds x to the residual. */
static void reset(bench_case *c) {
  state *s = c->state;
  if (s->residual != NULL) {
    const clq_tensor again = bench_input(c, bench_choice(c, "dtype"), s->args.x.shape[0],
                                         s->args.x.shape[1], s->residual);
    if (c->code == 0) {
      const size_t bytes =
          (size_t)(s->args.x.shape[0] * s->args.x.shape[1]) * clq_dtype_bytes(again.dtype);
      if (clEnqueueCopyBuffer(clq_stream_queue(c->session->stream), again.mem, s->args.residual.mem,
                              0, 0, bytes, 0, NULL, NULL) != CL_SUCCESS) {
        bench_fail(c, "rmsnorm: the residual cannot be restored");
      }
    }
  }
}

static void reference(bench_case *c, int64_t row, float *out) {
  const state *s = c->state;
  const int64_t cols = s->args.x.shape[1];
  for (int64_t i = 0; s->residual != NULL && i < cols; ++i) {
    s->sum[i] = s->residual[row * cols + i];
  }
  clqi_ref_rmsnorm(s->x + row * cols, s->sum, s->gamma, 1e-5f, 1, cols, s->args.x.dtype, out);
}

static void check(bench_case *c) {
  const state *s = c->state;
  bench_check_rows(c, &s->args.out, s->args.x.shape[1], reference);
}

extern const bench_op bench_op_rmsnorm;
const bench_op bench_op_rmsnorm = {.name = "rmsnorm",
                                   .words = words,
                                   .word_count = sizeof words / sizeof words[0],
                                   .state_bytes = sizeof(state),
                                   .op = CLQ_OP_RMSNORM,
                                   .prepare = prepare,
                                   .reset = reset,
                                   .check = check};
