/* The norms' own kernels one after the other, as a peer of the fused one. Between them stand what a
 * program would keep: the sum in the residual's place, y in x's type. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "norm.h"

static const char *always(void) { return NULL; }
static const char *version(void) { return "CLQuant unfused"; }
static void close_nothing(void) {}

static bool makes_codes(const norm_state *s) { return s->layer.out.dtype == CLQ_I8; }

static int64_t elements(const norm_state *s) { return s->layer.x.shape[0] * s->layer.x.shape[1]; }

static void prepare(bench_case *c) {
  norm_state *s = c->state;
  const bool centered = c->op->op == CLQ_OP_LAYERNORM;
  const clq_tensor *x = &s->layer.x;
  clq_tensor in = *x;
  clq_tensor y = bench_output(c, makes_codes(s) ? bench_choice(c, "dtype") : bench_choice(c, "out"),
                              x->shape[0], x->shape[1]);
  bench_step steps[3];
  int count = 0;
  if (s->residual == NULL && !makes_codes(s)) {
    bench_fail(c, "%s: nothing is fused without --residual or an --out of q8; give one of them",
               c->op->name);
  }
  if (s->residual != NULL) {
    in = bench_input(c, bench_choice(c, "dtype"), x->shape[0], x->shape[1], s->residual);
    s->add = (clq_add_args){.a = *x, .b = in, .out = in};
    steps[count++] = (bench_step){CLQ_OP_ADD, "add", &s->add};
  }
  s->layer_alone =
      (clq_layernorm_args){.x = in, .gamma = s->layer.gamma, .beta = s->layer.beta, .out = y};
  s->rms_alone = (clq_rmsnorm_args){.x = in, .gamma = s->rms.gamma, .out = y};
  steps[count++] = (bench_step){c->op->op, c->op->name,
                                centered ? (const void *)&s->layer_alone : &s->rms_alone};
  if (makes_codes(s)) {
    const clq_tensor out = bench_output(c, bench_choice(c, "out"), x->shape[0], x->shape[1]);
    s->quantize = (clq_quantize_args){.x = y, .out = out};
    steps[count++] = (bench_step){CLQ_OP_QUANTIZE, "quantize", &s->quantize};
  }
  bench_plan_peer(c, steps, count);
}

/* Both buffers hold `bytes` bytes, which must be the same. */
static void compare_bits(bench_case *c, cl_mem theirs, cl_mem ours, size_t element_bytes) {
  const int64_t count = elements(c->state);
  const char *a = bench_read(c, theirs, count, element_bytes);
  const char *b = bench_read(c, ours, count, element_bytes);
  if (a != NULL && b != NULL && memcmp(a, b, (size_t)count * element_bytes) != 0) {
    bench_error(c, 1.0, 0.0);
  }
}

/* What the codes stand for, in units of our scale. */
static void compare_codes(bench_case *c) {
  const norm_state *s = c->state;
  const clq_tensor *ours = &s->layer.out;
  const int64_t rows = ours->shape[0];
  const int64_t cols = ours->shape[1];
  const int64_t group = ours->quant.per == CLQ_PER_GROUP ? ours->quant.group : cols;
  const int64_t groups = (cols + group - 1) / group;
  const int8_t *a = bench_read(c, s->quantize.out.mem, rows * cols, 1);
  const int8_t *b = bench_read(c, ours->mem, rows * cols, 1);
  const float *scale_a = bench_read(c, s->quantize.out.quant.scale, rows * groups, sizeof *scale_a);
  const float *scale_b = bench_read(c, ours->quant.scale, rows * groups, sizeof *scale_b);
  for (int64_t i = 0; i < rows && !bench_over(c); ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      const int64_t at = i * groups + j / group;
      const double ratio =
          scale_a[at] == scale_b[at] ? 1.0 : (double)scale_a[at] / (double)scale_b[at];
      bench_error(c, ratio * a[i * cols + j], b[i * cols + j]);
    }
  }
}

/* In f32 the same bits. In f16 and bf16 y is rounded between the kernels, which moves a code by one
 * at most, and the scale by a rounding. */
static void check(bench_case *c) {
  const norm_state *s = c->state;
  bench_count(c, c->peer_plan);
  if (s->residual != NULL) {
    norm_restore(c, s->add.out.mem);
  }
  bench_run_peer(c);
  (void)bench_ok(c, clq_stream_finish(c->session->stream));
  if (s->residual != NULL) {
    compare_bits(c, s->add.out.mem, s->layer.residual.mem, clq_dtype_bytes(s->add.out.dtype));
  }
  if (makes_codes(s)) {
    compare_codes(c);
  } else {
    compare_bits(c, s->rms_alone.out.mem, s->layer.out.mem, clq_dtype_bytes(s->layer.out.dtype));
  }
  const double roundings = s->layer.x.dtype == CLQ_F16 ? 0x1p-10 : 0x1p-7;
  c->bound = makes_codes(s) && s->layer.x.dtype != CLQ_F32 ? 1.0 + 127.0 * roundings : 0.0;
  (void)snprintf(c->record.variant, sizeof c->record.variant, "%s", c->peer_variant);
}

const bench_peer norm_unfused = {"unfused", always,         version, close_nothing,
                                 prepare,   bench_run_peer, check};
