#include "runtime/buffer.h"

#include "runtime/event.h"
#include "runtime/queue.h"

static clq_status create(clq_context *context, cl_mem_flags flags, const void *data, uint64_t bytes,
                         cl_mem *buffer) {
  cl_ulong most = 0;
  CLQI_TRY(clqi_context_usable(context));
  CLQI_TRY(clqi_cl(
      clGetDeviceInfo(context->device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof most, &most, NULL),
      "clGetDeviceInfo"));
  if (bytes > most || bytes > SIZE_MAX) {
    return clqi_fail(CLQ_OUT_OF_DEVICE_MEMORY,
                     "a buffer of %llu bytes is wanted, the device offers at most %llu",
                     (unsigned long long)bytes, (unsigned long long)most);
  }
  cl_int code = CL_SUCCESS;
  *buffer = clCreateBuffer(context->cl, flags, (size_t)bytes, (void *)(uintptr_t)data, &code);
  return clqi_context_cl(context, code, "clCreateBuffer");
}

clq_status clqi_buffer_create(clq_context *context, uint64_t bytes, cl_mem *buffer) {
  return create(context, CL_MEM_READ_WRITE, NULL, bytes, buffer);
}

clq_status clqi_buffer_create_from(clq_context *context, const void *data, uint64_t bytes,
                                   cl_mem *buffer) {
  return create(context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, data, bytes, buffer);
}

clq_status clqi_buffer_create_mappable(clq_context *context, uint64_t bytes, cl_mem *buffer) {
  cl_bool shared = CL_FALSE;
  CLQI_TRY(clqi_cl(
      clGetDeviceInfo(context->device, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof shared, &shared, NULL),
      "clGetDeviceInfo"));
  const cl_mem_flags where = shared != CL_FALSE ? CL_MEM_ALLOC_HOST_PTR : 0U;
  return create(context, CL_MEM_READ_ONLY | where, NULL, bytes, buffer);
}

clq_status clqi_buffer_map(clq_context *context, cl_mem buffer, cl_map_flags flags,
                           clqi_mapping *mapping) {
  *mapping = (clqi_mapping){.context = context, .buffer = buffer};
  uint64_t bytes;
  CLQI_TRY(clqi_context_usable(context));
  CLQI_TRY(clqi_buffer_bytes(context, buffer, &bytes));
  CLQI_TRY(clqi_queue_create(context, 0, &mapping->queue));
  cl_int code = CL_SUCCESS;
  mapping->base = clEnqueueMapBuffer(mapping->queue, buffer, CL_TRUE, flags, 0, (size_t)bytes, 0,
                                     NULL, NULL, &code);
  if (code != CL_SUCCESS) {
    (void)clReleaseCommandQueue(mapping->queue);
    *mapping = (clqi_mapping){.context = NULL};
  }
  return clqi_context_cl(context, code, "clEnqueueMapBuffer");
}

static clq_status give_back(const clqi_mapping *m) {
  cl_event event = NULL;
  CLQI_TRY(clqi_cl(clEnqueueUnmapMemObject(m->queue, m->buffer, m->base, 0, NULL, &event),
                   "clEnqueueUnmapMemObject"));
  const clq_status status = clqi_event_wait(event);
  clqi_event_release(event);
  return status;
}

clq_status clqi_buffer_unmap(clqi_mapping *mapping) {
  if (mapping->base == NULL) {
    return CLQ_OK;
  }
  const clq_status status = clqi_context_note(mapping->context, give_back(mapping));
  (void)clReleaseCommandQueue(mapping->queue);
  *mapping = (clqi_mapping){.context = NULL};
  return status;
}

clq_status clqi_buffer_retain(cl_mem buffer) {
  return clqi_cl(clRetainMemObject(buffer), "clRetainMemObject");
}

void clqi_buffer_release(cl_mem buffer) {
  if (buffer != NULL) {
    (void)clReleaseMemObject(buffer);
  }
}

clq_status clqi_buffer_bytes(const clq_context *context, cl_mem buffer, uint64_t *bytes) {
  size_t size = 0;
  cl_context owner = NULL;
  CLQI_TRY(clqi_cl(clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof size, &size, NULL),
                   "clGetMemObjectInfo"));
  CLQI_TRY(clqi_cl(clGetMemObjectInfo(buffer, CL_MEM_CONTEXT, sizeof owner, &owner, NULL),
                   "clGetMemObjectInfo"));
  CLQI_REQUIRE(owner == context->cl, "the buffer belongs to another OpenCL context");
  *bytes = size;
  return CLQ_OK;
}

clq_status clqi_buffer_whole(cl_mem buffer, cl_mem *whole, uint64_t *origin) {
  cl_mem parent = NULL;
  size_t offset = 0;
  CLQI_TRY(
      clqi_cl(clGetMemObjectInfo(buffer, CL_MEM_ASSOCIATED_MEMOBJECT, sizeof parent, &parent, NULL),
              "clGetMemObjectInfo"));
  if (parent != NULL) {
    CLQI_TRY(clqi_cl(clGetMemObjectInfo(buffer, CL_MEM_OFFSET, sizeof offset, &offset, NULL),
                     "clGetMemObjectInfo"));
  }
  *whole = parent != NULL ? parent : buffer;
  *origin = offset;
  return CLQ_OK;
}
