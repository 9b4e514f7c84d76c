/* Who listens to how far a call is, and ends it when told. */
#ifndef CLQ_TESTS_PROGRESS_H
#define CLQ_TESTS_PROGRESS_H

#include <clquant/quantize.h>

typedef struct test_progress {
  int calls;
  int stop_at; /* the call that answers 0; 0: none does */
  uint64_t done, total;
} test_progress;

/* Asserts in every call that it is in the thread that made the first, that done has grown and total
 * has not changed. */
clq_progress test_progress_of(test_progress *progress);

/* Asserts that the calls of an attempt that went well ended at `total`, not 0, and forgets them. */
void test_progress_end(test_progress *progress, uint64_t total);

#endif
