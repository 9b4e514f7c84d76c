#include "progress.h"

#include <criterion/criterion.h>
#include <pthread.h>

static pthread_t caller;

static int32_t report(void *user, uint64_t done, uint64_t total) {
  test_progress *p = user;
  if (p->calls == 0) {
    caller = pthread_self();
  }
  cr_assert(pthread_equal(caller, pthread_self()));
  cr_assert(p->calls == 0 || done > p->done, "%llu after %llu", (unsigned long long)done,
            (unsigned long long)p->done);
  cr_assert(p->calls == 0 || total == p->total);
  cr_assert_leq(done, total);
  p->done = done;
  p->total = total;
  return ++p->calls != p->stop_at;
}

clq_progress test_progress_of(test_progress *progress) {
  return (clq_progress){.report = report, .user = progress};
}

void test_progress_end(test_progress *progress, uint64_t total) {
  cr_assert_gt(progress->calls, 0);
  cr_assert_eq(progress->done, total, "%llu of %llu", (unsigned long long)progress->done,
               (unsigned long long)total);
  cr_assert_eq(progress->total, total);
  *progress = (test_progress){0};
}
