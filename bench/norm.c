#include "norm.h"

const bench_word norm_words[NORM_WORDS] = {
    {"rows", BENCH_NUMBER, "4096", NULL, NULL},
    {"cols", BENCH_NUMBER, "4096", NULL, NULL},
    {"dtype", BENCH_WORD, "f32", "f32|f16|bf16", NULL},
    {"out", BENCH_WORD, "f32", NULL, bench_is_tensor_word},
    {"residual", BENCH_FLAG, "", NULL, NULL},
};

static bool centered(const bench_case *c) { return c->op->op == CLQ_OP_LAYERNORM; }

static clq_tensor line(bench_case *c, float *values, int64_t cols) {
  return (clq_tensor){bench_buffer(c, values, cols, sizeof *values), CLQ_F32, {cols}};
}

void norm_prepare(bench_case *c) {
  norm_state *s = c->state;
  clq_layernorm_args *a = &s->layer;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  const char *dtype = bench_choice(c, "dtype");
  s->x = bench_random_floats(c, rows * cols, 1);
  s->gamma = bench_random_floats(c, cols, 2);
  a->x = bench_input(c, dtype, rows, cols, s->x);
  a->gamma = line(c, s->gamma, cols);
  a->out = bench_output(c, bench_choice(c, "out"), rows, cols);
  if (centered(c)) {
    s->beta = bench_random_floats(c, cols, 4);
    a->beta = line(c, s->beta, cols);
  }
  if (bench_number(c, "residual") != 0) {
    s->residual = bench_random_floats(c, rows * cols, 3);
    a->residual = bench_input(c, dtype, rows, cols, s->residual);
    s->sum = bench_host(c, cols, sizeof *s->sum);
  }
  s->rms = (clq_rmsnorm_args){.x = a->x, .residual = a->residual, .gamma = a->gamma, .out = a->out};
  c->args = centered(c) ? (void *)&s->layer : (void *)&s->rms;
}

void norm_restore(bench_case *c, cl_mem residual) {
  const norm_state *s = c->state;
  const clq_tensor *x = &s->layer.x;
  const clq_tensor again =
      bench_input(c, bench_choice(c, "dtype"), x->shape[0], x->shape[1], s->residual);
  const size_t bytes = (size_t)(x->shape[0] * x->shape[1]) * clq_dtype_bytes(again.dtype);
  if (c->code == 0 && clEnqueueCopyBuffer(clq_stream_queue(c->session->stream), again.mem, residual,
                                          0, 0, bytes, 0, NULL, NULL) != CL_SUCCESS) {
    bench_fail(c, "%s: the residual cannot be restored", c->op->name);
  }
}

void norm_reset(bench_case *c) {
  const norm_state *s = c->state;
  if (s->residual != NULL) {
    norm_restore(c, s->layer.residual.mem);
  }
}

static void reference(bench_case *c, int64_t row, float *out) {
  const norm_state *s = c->state;
  const int64_t cols = s->layer.x.shape[1];
  const clq_dtype type = s->layer.x.dtype;
  for (int64_t i = 0; s->residual != NULL && i < cols; ++i) {
    s->sum[i] = s->residual[row * cols + i];
  }
  if (centered(c)) {
    clqi_ref_layernorm(s->x + row * cols, s->sum, s->gamma, s->beta, 1e-5f, 1, cols, type, out);
  } else {
    clqi_ref_rmsnorm(s->x + row * cols, s->sum, s->gamma, 1e-5f, 1, cols, type, out);
  }
}

void norm_check(bench_case *c) {
  const norm_state *s = c->state;
  bench_check_rows(c, &s->layer.out, s->layer.x.shape[1], reference);
}
