/* Reporting how far a call is, and the calls that it makes for it. */
#ifndef CLQI_QUANT_PROGRESS_H
#define CLQI_QUANT_PROGRESS_H

#include <clquant/quantize.h>

/* Of a whole call, in bytes. */
typedef struct clqi_progress {
  const clq_progress *to; /* NULL: nobody */
  uint64_t done, total;
  uint64_t part; /* what the call that is made now counts for */
} clqi_progress;

/* So many bytes more are done. CLQ_CANCELLED, with `what` in the sentence, if that is to be all. */
clq_status clqi_progress_add(clqi_progress *progress, uint64_t bytes, const char *what);

/* What to give to a call that is `bytes` of the whole: it reports its own bytes, `progress` hears
 * those that they count for. To be followed by clqi_progress_end_part if it succeeds. */
clq_progress clqi_progress_part(clqi_progress *progress, uint64_t bytes);
void clqi_progress_end_part(clqi_progress *progress);

#endif
