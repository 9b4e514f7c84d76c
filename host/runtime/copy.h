/* Copies between buffers, on the device. */
#ifndef CLQI_RUNTIME_COPY_H
#define CLQI_RUNTIME_COPY_H

#include <clquant/context.h>

/* `lines` times `bytes` bytes, which lie `from_pitch` and `to_pitch` bytes apart; the buffers are
 * two. In the stream's order. */
typedef struct clqi_copy {
  cl_mem from;
  cl_mem to;
  size_t bytes;
  size_t lines;
  size_t from_pitch;
  size_t to_pitch;
} clqi_copy;
clq_status clqi_stream_copy(clq_stream *stream, const clqi_copy *copy);

#endif
