/* A stream from inside: a queue, and the kernels it may set arguments on. */
#ifndef CLQI_RUNTIME_STREAM_H
#define CLQI_RUNTIME_STREAM_H

#include "runtime/launch.h"

/* The emitter that runs launches now, on this stream. */
clqi_emitter *clqi_stream_emitter(clq_stream *stream);

/* Enqueues a finished launch whose kernel has its arguments; event may be NULL. */
clq_status clqi_stream_enqueue(clq_stream *stream, const clqi_launch *launch, cl_event *event);

/* Pushes enqueued work to the device without waiting. */
clq_status clqi_stream_flush(clq_stream *stream);

/* A new kernel object of the program; the caller releases it. */
clq_status clqi_kernel_create(clq_context *context, clqi_kernel_id id, const char *options,
                              cl_kernel *kernel);
void clqi_kernel_release(cl_kernel kernel); /* NULL is ignored */

#endif
