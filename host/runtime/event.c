#include "runtime/event.h"

clq_status clqi_stream_require_profiling(const clq_stream *stream) {
  cl_command_queue_properties properties = 0;
  CLQI_TRY(clqi_cl(clGetCommandQueueInfo(clq_stream_queue(stream), CL_QUEUE_PROPERTIES,
                                         sizeof properties, &properties, NULL),
                   "clGetCommandQueueInfo"));
  if ((properties & CL_QUEUE_PROFILING_ENABLE) == 0) {
    return clqi_fail(CLQ_INVALID_STATE,
                     "the stream's queue was made without CL_QUEUE_PROFILING_ENABLE");
  }
  return CLQ_OK;
}

clq_status clqi_event_wait(cl_event event) {
  CLQI_TRY(clqi_cl(clWaitForEvents(1, &event), "clWaitForEvents"));
  cl_int state = CL_COMPLETE; /* or the negative code of a command that failed */
  CLQI_TRY(
      clqi_cl(clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL),
              "clGetEventInfo"));
  return state < 0 ? clqi_cl(state, "the command's execution") : CLQ_OK;
}

clq_status clqi_event_span(cl_event event, clqi_span *span) {
  cl_ulong start = 0;
  cl_ulong end = 0;
  CLQI_TRY(clqi_cl(
      clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL),
      "clGetEventProfilingInfo"));
  CLQI_TRY(clqi_cl(clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL),
                   "clGetEventProfilingInfo"));
  *span = (clqi_span){start, end < start ? start : end};
  return CLQ_OK;
}

void clqi_event_release(cl_event event) {
  if (event != NULL) {
    (void)clReleaseEvent(event);
  }
}
