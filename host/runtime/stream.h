/* A stream from inside: a queue, and the kernels it may set arguments on. */
#ifndef CLQI_RUNTIME_STREAM_H
#define CLQI_RUNTIME_STREAM_H

#include "runtime/launch.h"

/* The emitter that runs launches now, on this stream. */
clqi_emitter *clqi_stream_emitter(clq_stream *stream);

/* Enqueues a finished launch whose kernel has its arguments; event may be NULL. */
clq_status clqi_stream_enqueue(clq_stream *stream, const clqi_launch *launch, cl_event *event);

/* `lines` times `bytes` bytes, from `from_start` and `to_start` on, `from_pitch` and `to_pitch`
 * bytes apart; the buffers are two. */
typedef struct clqi_copy {
  cl_mem from;
  cl_mem to;
  size_t bytes;
  size_t lines;
  size_t from_start;
  size_t to_start;
  size_t from_pitch;
  size_t to_pitch;
} clqi_copy;

/* Pushes enqueued work to the device without waiting. */
clq_status clqi_stream_flush(clq_stream *stream);

/* The bytes move in the stream's order; data must stay until the stream has finished. */
clq_status clqi_stream_write(clq_stream *stream, cl_mem buffer, size_t bytes, const void *data);
clq_status clqi_stream_read(clq_stream *stream, cl_mem buffer, size_t bytes, void *data);
/* The same from `offset` bytes on. */
clq_status clqi_stream_read_at(clq_stream *stream, cl_mem buffer, size_t offset, size_t bytes,
                               void *data);
/* On the device, in the stream's order. */
clq_status clqi_stream_copy(clq_stream *stream, const clqi_copy *copy);

/* A new error word, without an error. */
clq_status clqi_error_word_create(clq_context *context, cl_mem *buffer);
/* The stream's next finish reads, reports and clears this word: to be asked for whenever a kernel
 * that may write it is enqueued. */
clq_status clqi_stream_watch(clq_stream *stream, cl_mem error_word);

/* A new kernel object of the program; the caller releases it. */
clq_status clqi_kernel_create(clq_context *context, clqi_kernel_id id, const char *options,
                              cl_kernel *kernel);
void clqi_kernel_release(cl_kernel kernel); /* NULL is ignored */

#endif
