/* What the benches of layernorm and rmsnorm share. */
#ifndef CLQ_BENCH_NORM_H
#define CLQ_BENCH_NORM_H

#include "bench.h"

typedef struct norm_state {
  clq_layernorm_args layer;
  clq_rmsnorm_args rms;
  float *x, *residual, *sum, *gamma, *beta;
} norm_state;

enum { NORM_WORDS = 5 };
extern const bench_word norm_words[NORM_WORDS];

void norm_prepare(bench_case *c);
/* Every run adds x to the residual: puts it back. */
void norm_reset(bench_case *c);
void norm_check(bench_case *c);

#endif
