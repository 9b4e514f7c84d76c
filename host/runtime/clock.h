/* Wall time for what the library reports of itself. */
#ifndef CLQI_RUNTIME_CLOCK_H
#define CLQI_RUNTIME_CLOCK_H

#include <time.h>

static inline double clqi_now_seconds(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
