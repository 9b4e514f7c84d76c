#include "quant/progress.h"

#include "runtime/status.h"

static int32_t tell(const clqi_progress *p, uint64_t done) {
  return p->to == NULL || p->to->report == NULL ? 1 : p->to->report(p->to->user, done, p->total);
}

clq_status clqi_progress_add(clqi_progress *progress, uint64_t bytes, const char *what) {
  progress->done += bytes;
  return tell(progress, progress->done)
             ? CLQ_OK
             : clqi_fail(CLQ_CANCELLED, "%s: cancelled after %llu of %llu bytes", what,
                         (unsigned long long)progress->done, (unsigned long long)progress->total);
}

static int32_t forward(void *user, uint64_t done, uint64_t total) {
  const clqi_progress *p = user;
  const uint64_t share =
      done == total ? p->part : (uint64_t)((double)done / (double)total * (double)p->part);
  return tell(p, p->done + (share < p->part ? share : p->part));
}

clq_progress clqi_progress_part(clqi_progress *progress, uint64_t bytes) {
  progress->part = bytes;
  return (clq_progress){.report = forward, .user = progress};
}

void clqi_progress_end_part(clqi_progress *progress) {
  progress->done += progress->part;
  progress->part = 0;
}
