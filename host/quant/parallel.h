/* A loop over a few threads. */
#ifndef CLQI_QUANT_PARALLEL_H
#define CLQI_QUANT_PARALLEL_H

#include <stdint.h>

enum { CLQI_MAX_THREADS = 8 };

/* One share of a loop: what a thread works on, and with which room of its own. */
typedef void (*clqi_share)(void *loop, int64_t index, int thread);

/* Calls share(loop, i, t) for all i in [0, count), t < threads naming the thread; returns when all
 * are done. Where a thread cannot be started, fewer do the work. */
void clqi_parallel(clqi_share share, void *loop, int64_t count, int threads);

/* Threads worth starting for so much arithmetic; at least 1, at most CLQI_MAX_THREADS. */
int clqi_useful_threads(double operations);

#endif
