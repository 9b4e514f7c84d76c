/* The loops behind the CPU's limits. */
#ifndef CLQ_BENCH_LIMITS_LOOPS_H
#define CLQ_BENCH_LIMITS_LOOPS_H

#include "limits.h"

enum { BENCH_LOOP_STEP = 512 }; /* bytes; memory loops take multiples, from addresses of 64 */

typedef struct bench_body {
  /* Returns something made of all that it read. */
  unsigned (*memory)(void *to, const void *from, size_t bytes);
  float (*arithmetic)(long passes);
  double ops; /* of one pass */
} bench_body;

/* The widest loop that this CPU runs; both pointers NULL if there is none. */
bench_body bench_x86_body(bench_loop loop);
bench_body bench_plain_body(bench_loop loop);

#endif
