/* A trace from inside: spans of launches, named by interned kernels. */
#ifndef CLQI_SCHED_TRACE_H
#define CLQI_SCHED_TRACE_H

#include "runtime/event.h"
#include "sched/plan.h"

typedef struct clqi_trace_kernel {
  clqi_kernel_id id;
  char *options;
  char *name; /* kernel and options, as clq_kernel_time has it */
  uint64_t calls;
  uint64_t nanoseconds;
  double bytes;
  double ops;
} clqi_trace_kernel;

typedef struct clqi_trace_span {
  clqi_span time;
  const char *op;
  int32_t node;
  int32_t kernel;
  int32_t run;   /* from 1 */
  int32_t queue; /* lane of the picture, from 1 */
  cl_uint dims;
  size_t global[3];
  size_t local[3];
  double bytes;
  double ops;
} clqi_trace_span;

struct clq_trace {
  cl_device_id device; /* of the first run: one trace, one clock */
  char device_name[128];
  clqi_trace_span *spans;
  int32_t span_count;
  int64_t span_capacity;
  clqi_trace_kernel *kernels;
  int32_t kernel_count;
  int64_t kernel_capacity;
  cl_command_queue *queues; /* only compared */
  int32_t queue_count;
  int64_t queue_capacity;
  int32_t runs;
};

#endif
