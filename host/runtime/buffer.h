/* Device memory. Nothing here is counted by the allocation hooks, which are for the host's. */
#ifndef CLQI_RUNTIME_BUFFER_H
#define CLQI_RUNTIME_BUFFER_H

#include "runtime/context.h"

/* A buffer that kernels read and write; bytes > 0. CLQ_OUT_OF_DEVICE_MEMORY also where one buffer
 * may not be as large. */
clq_status clqi_buffer_create(clq_context *context, uint64_t bytes, cl_mem *buffer);
/* The same, holding a copy of data. */
clq_status clqi_buffer_create_from(clq_context *context, const void *data, uint64_t bytes,
                                   cl_mem *buffer);
/* A buffer that kernels only read and the host fills through a mapping; where the two share memory
 * the mapping is the buffer and nothing is copied. */
clq_status clqi_buffer_create_mappable(clq_context *context, uint64_t bytes, cl_mem *buffer);
/* Counts memory that is about to be asked for, so that what exceeds the device in sum is refused at
 * once, by drivers that give out more than there is as well. CLQ_OUT_OF_DEVICE_MEMORY, with `what`
 * in the sentence; else to be taken back with unclaim. Claimed are weights and KV caches;
 * activations and small buffers are not. */
clq_status clqi_memory_claim(clq_context *context, uint64_t bytes, const char *what);
void clqi_memory_unclaim(clq_context *context, uint64_t bytes);
clq_status clqi_buffer_retain(cl_mem buffer);
void clqi_buffer_release(cl_mem buffer); /* NULL is ignored */
/* Size of a buffer; CLQ_INVALID_ARGUMENT unless it is one of this context. */
clq_status clqi_buffer_bytes(const clq_context *context, cl_mem buffer, uint64_t *bytes);
/* What kernels may do with it. */
clq_status clqi_buffer_access(cl_mem buffer, bool *readable, bool *writable);
/* A whole buffer in the host's memory; all zero: none. */
typedef struct clqi_mapping {
  clq_context *context;
  cl_command_queue queue;
  cl_mem buffer;
  void *base;
} clqi_mapping;
/* Waits until the memory is there. Commands of other queues must be over. */
clq_status clqi_buffer_map(clq_context *context, cl_mem buffer, cl_map_flags flags,
                           clqi_mapping *mapping);
/* Waits until the device has it back; the mapping is none afterwards, error or not. */
clq_status clqi_buffer_unmap(clqi_mapping *mapping);
/* Of a sub-buffer the buffer it is a piece of and where in it; any other buffer is its own. */
clq_status clqi_buffer_whole(cl_mem buffer, cl_mem *whole, uint64_t *origin);

#endif
