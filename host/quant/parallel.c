#include "quant/parallel.h"

#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

/* Below this a thread costs more than it saves. */
#define OPERATIONS_PER_THREAD 1e6

typedef struct worker {
  clqi_share share;
  void *loop;
  int64_t count;
  int thread, threads;
} worker;

static void *work(void *argument) {
  const worker *w = argument;
  for (int64_t i = w->thread; i < w->count; i += w->threads) {
    w->share(w->loop, i, w->thread);
  }
  return NULL;
}

void clqi_parallel(clqi_share share, void *loop, int64_t count, int threads) {
  worker workers[CLQI_MAX_THREADS];
  pthread_t ids[CLQI_MAX_THREADS];
  bool started[CLQI_MAX_THREADS] = {false};
  for (int t = 0; t < threads; ++t) {
    workers[t] = (worker){share, loop, count, t, threads};
  }
  for (int t = 1; t < threads; ++t) {
    started[t] = pthread_create(&ids[t], NULL, work, &workers[t]) == 0;
  }
  for (int t = 0; t < threads; ++t) {
    if (!started[t]) {
      work(&workers[t]);
    }
  }
  for (int t = 1; t < threads; ++t) {
    if (started[t]) {
      pthread_join(ids[t], NULL);
    }
  }
}

int clqi_useful_threads(double operations) {
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
  const int most = online < 1 ? 1 : online > CLQI_MAX_THREADS ? CLQI_MAX_THREADS : (int)online;
  const double useful = operations / OPERATIONS_PER_THREAD;
  return useful < 1.0 ? 1 : useful < most ? (int)useful : most;
}
