#include "sched/trace.h"

#include <stdio.h>
#include <string.h>

#include "runtime/array.h"
#include "runtime/memory.h"

clq_status clq_trace_create(clq_trace **trace) {
  CLQI_REQUIRE(trace != NULL, "trace: the result pointer is NULL");
  *trace = clqi_calloc(1, sizeof **trace);
  return *trace != NULL ? CLQ_OK : clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "trace: out of memory");
}

void clq_trace_destroy(clq_trace *trace) {
  if (trace == NULL) {
    return;
  }
  for (int32_t i = 0; i < trace->kernel_count; i++) {
    clqi_free(trace->kernels[i].options);
    clqi_free(trace->kernels[i].name);
  }
  clqi_free(trace->kernels);
  clqi_free(trace->spans);
  clqi_free(trace->queues);
  clqi_free(trace);
}

/* --- collecting --- */

/* "kernel" or "kernel options" */
static char *display_name(const char *kernel, const char *options) {
  const size_t bytes = strlen(kernel) + 1 + strlen(options) + 1;
  char *name = clqi_malloc(bytes);
  if (name != NULL) {
    (void)snprintf(name, bytes, "%s%s%s", kernel, options[0] == '\0' ? "" : " ", options);
  }
  return name;
}

static clq_status intern_kernel(clq_trace *trace, const clqi_plan_variant *variant,
                                int32_t *kernel) {
  for (int32_t i = 0; i < trace->kernel_count; i++) {
    if (trace->kernels[i].id == variant->id &&
        strcmp(trace->kernels[i].options, variant->options) == 0) {
      *kernel = i;
      return CLQ_OK;
    }
  }
  CLQI_TRY(clqi_array_reserve(&trace->kernels, trace->kernel_count, 1, &trace->kernel_capacity,
                              sizeof *trace->kernels));
  char *options = clqi_strdup(variant->options);
  char *name = display_name(clqi_kernel_name(variant->id), variant->options);
  if (options == NULL || name == NULL) {
    clqi_free(options);
    clqi_free(name);
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "out of memory");
  }
  *kernel = trace->kernel_count;
  trace->kernels[trace->kernel_count++] =
      (clqi_trace_kernel){.id = variant->id, .options = options, .name = name};
  return CLQ_OK;
}

static clq_status intern_queue(clq_trace *trace, cl_command_queue queue, int32_t *lane) {
  for (int32_t i = 0; i < trace->queue_count; i++) {
    if (trace->queues[i] == queue) {
      *lane = i + 1;
      return CLQ_OK;
    }
  }
  CLQI_TRY(clqi_array_reserve(&trace->queues, trace->queue_count, 1, &trace->queue_capacity,
                              sizeof *trace->queues));
  trace->queues[trace->queue_count++] = queue;
  *lane = trace->queue_count;
  return CLQ_OK;
}

static clq_status take_device(clq_trace *trace, const clq_context *context) {
  if (trace->device == NULL) {
    trace->device = context->device;
    (void)snprintf(trace->device_name, sizeof trace->device_name, "%s", context->info.name);
  }
  CLQI_REQUIRE(trace->device == context->device,
               "trace: it holds runs on %s; another device has another clock", trace->device_name);
  return CLQ_OK;
}

static clq_status add_span(clq_trace *trace, const clq_plan *plan, const clqi_command *command,
                           int32_t lane, cl_event event) {
  clqi_trace_span span = {.op = command->op,
                          .node = command->node,
                          .run = trace->runs,
                          .queue = lane,
                          .dims = command->launch.dims,
                          .bytes = command->launch.bytes,
                          .ops = command->launch.ops};
  memcpy(span.global, command->launch.global, sizeof span.global);
  memcpy(span.local, command->launch.local, sizeof span.local);
  CLQI_TRY(clqi_event_span(event, &span.time));
  CLQI_TRY(intern_kernel(trace, &plan->variants[command->variant], &span.kernel));
  CLQI_TRY(clqi_array_reserve(&trace->spans, trace->span_count, 1, &trace->span_capacity,
                              sizeof *trace->spans));
  trace->spans[trace->span_count++] = span;
  clqi_trace_kernel *kernel = &trace->kernels[span.kernel];
  kernel->calls++;
  kernel->nanoseconds += span.time.end - span.time.start;
  kernel->bytes += span.bytes;
  kernel->ops += span.ops;
  return CLQ_OK;
}

static clq_status wait_for(const clq_plan *plan, int32_t i, cl_event event) {
  const clq_status status = clqi_context_note(plan->context, clqi_event_wait(event));
  return status == CLQ_OK ? CLQ_OK
                          : clqi_fail_prefix(status, "plan: node %d (%s)",
                                             (int)plan->commands[i].node, plan->commands[i].op);
}

/* Waits for all events before it looks at any: an error must not leave work behind that is still
 * running. `status` is that of enqueueing them. */
static clq_status collect(clq_trace *trace, const clq_plan *plan, int32_t lane,
                          const cl_event *events, int32_t count, clq_status status) {
  for (int32_t i = 0; i < count; i++) {
    CLQI_ALSO(status, wait_for(plan, i, events[i]));
  }
  for (int32_t i = 0; i < count && status == CLQ_OK; i++) {
    status = add_span(trace, plan, &plan->commands[i], lane, events[i]);
  }
  return status;
}

clq_status clq_plan_run_traced(clq_plan *plan, clq_stream *stream, clq_trace *trace) {
  CLQI_TRY(clqi_plan_check_run(plan, stream));
  CLQI_REQUIRE(trace != NULL, "trace: NULL");
  CLQI_TRY(clqi_stream_require_profiling(stream));
  CLQI_TRY(take_device(trace, plan->context));
  int32_t lane;
  CLQI_TRY(intern_queue(trace, clq_stream_queue(stream), &lane));
  cl_event *events = clqi_calloc((size_t)plan->command_count + 1, sizeof(cl_event));
  if (events == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "trace: out of memory");
  }
  trace->runs++;
  int32_t enqueued = 0;
  clq_status status = clqi_plan_enqueue(plan, stream, events, &enqueued);
  status = collect(trace, plan, lane, events, enqueued, status);
  for (int32_t i = 0; i < enqueued; i++) {
    clqi_event_release(events[i]);
  }
  clqi_free(events);
  CLQI_ALSO(status, clq_stream_finish(stream));
  return status;
}

/* --- sums --- */

static bool slower(const clq_kernel_time *a, const clq_kernel_time *b) {
  return a->device_seconds > b->device_seconds;
}

int32_t clq_trace_kernels(const clq_trace *trace, clq_kernel_time *times, int32_t capacity) {
  int32_t held = 0;
  for (int32_t i = 0; i < trace->kernel_count; i++) {
    const clqi_trace_kernel *kernel = &trace->kernels[i];
    const clq_kernel_time time = {.name = kernel->name,
                                  .calls = kernel->calls,
                                  .device_seconds = 1e-9 * (double)kernel->nanoseconds,
                                  .bytes = kernel->bytes,
                                  .ops = kernel->ops};
    int32_t at = held; /* insertion into the slowest `capacity` so far */
    while (at > 0 && slower(&time, &times[at - 1])) {
      at--;
    }
    if (at >= capacity) {
      continue;
    }
    held += held < capacity ? 1 : 0;
    memmove(&times[at + 1], &times[at], (size_t)(held - 1 - at) * sizeof *times);
    times[at] = time;
  }
  return trace->kernel_count;
}
