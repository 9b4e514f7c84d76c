/* When a launch ran, for traces. */
#ifndef CLQI_RUNTIME_EVENT_H
#define CLQI_RUNTIME_EVENT_H

#include "runtime/stream.h"

/* Nanoseconds of the device's clock. */
typedef struct clqi_span {
  uint64_t start;
  uint64_t end;
} clqi_span;

/* CLQ_INVALID_STATE if the stream's queue does not profile. */
clq_status clqi_stream_require_profiling(const clq_stream *stream);
/* Waits for the event; CLQ_DEVICE_ERROR (or _LOST, not yet noted) if its command failed. */
clq_status clqi_event_wait(cl_event event);
/* Of an event that is complete. */
clq_status clqi_event_span(cl_event event, clqi_span *span);
void clqi_event_release(cl_event event); /* NULL is ignored */

#endif
