/* What the benches of layernorm and rmsnorm share. */
#ifndef CLQ_BENCH_NORM_H
#define CLQ_BENCH_NORM_H

#include "bench.h"

typedef struct norm_state {
  clq_layernorm_args layer;
  clq_rmsnorm_args rms;
  float *x, *residual, *sum, *gamma, *beta;
  /* The same unfused. */
  clq_add_args add;
  clq_layernorm_args layer_alone;
  clq_rmsnorm_args rms_alone;
  clq_quantize_args quantize;
} norm_state;

enum { NORM_WORDS = 5 };
extern const bench_word norm_words[NORM_WORDS];

void norm_prepare(bench_case *c);
/* Every run adds x to the residual: puts it back. */
void norm_reset(bench_case *c);
void norm_check(bench_case *c);
/* Copies the residual as it was first into the buffer. */
void norm_restore(bench_case *c, cl_mem residual);

/* add, norm and quantize by own kernels one after the other: what fusing them saves. */
extern const bench_peer norm_unfused;

#endif
