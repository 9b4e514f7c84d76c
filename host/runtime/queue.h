/* Queues that the library makes for itself. */
#ifndef CLQI_RUNTIME_QUEUE_H
#define CLQI_RUNTIME_QUEUE_H

#include "runtime/context.h"

/* An in-order queue on the context's device; properties: 0 or CL_QUEUE_PROFILING_ENABLE. Released
 * with clReleaseCommandQueue. */
clq_status clqi_queue_create(clq_context *context, cl_command_queue_properties properties,
                             cl_command_queue *queue);

#endif
