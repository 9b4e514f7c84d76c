/* A plan from inside: one flat list of launches whose kernels have their arguments. */
#ifndef CLQI_SCHED_PLAN_H
#define CLQI_SCHED_PLAN_H

#include <clquant/graph.h>

#include "runtime/launch.h"

/* A kernel with its build options, for traces. */
typedef struct clqi_plan_variant {
  clqi_kernel_id id;
  char *options; /* "" for none */
} clqi_plan_variant;

typedef struct clqi_command {
  clqi_launch launch; /* the kernel, if there is one, belongs to the command: nobody else sets its
                         arguments */
  const char *op;     /* operator of the node */
  int32_t node;
  int32_t variant;
} clqi_command;

typedef struct clqi_scratch {
  cl_mem mem;
  uint64_t bytes;
} clqi_scratch;

struct clq_plan {
  clq_context *context;
  cl_mem arena;      /* NULL if no edge takes a byte */
  cl_mem error_word; /* what this plan's kernels found in their data */
  bool error_word_used;
  clqi_scratch *scratch; /* what nodes asked for; commands name it, so none goes before the plan */
  int32_t scratch_count;
  int64_t scratch_capacity;
  clqi_command *commands;
  int32_t command_count;
  int64_t command_capacity;
  clqi_plan_variant *variants;
  int32_t variant_count;
  int64_t variant_capacity;
  clq_plan_stats stats;
};

/* Enqueues every command; events: one for each, or NULL. Stops at the first error: *enqueued
 * commands, and as many events, are then out. */
clq_status clqi_plan_enqueue(const clq_plan *plan, clq_stream *stream, cl_event *events,
                             int32_t *enqueued);

/* Checks what every run asks of its arguments. */
clq_status clqi_plan_check_run(const clq_plan *plan, const clq_stream *stream);

#endif
