#include "runtime/copy.h"

#include "runtime/context.h"

clq_status clqi_stream_copy(clq_stream *stream, const clqi_copy *copy) {
  static const size_t start[3];
  const size_t region[3] = {copy->bytes, copy->lines, 1};
  return clqi_cl(
      clEnqueueCopyBufferRect(clq_stream_queue(stream), copy->from, copy->to, start, start, region,
                              copy->from_pitch, 0, copy->to_pitch, 0, 0, NULL, NULL),
      "clEnqueueCopyBufferRect");
}
