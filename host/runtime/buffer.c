#include "runtime/buffer.h"

static clq_status create(const clq_context *context, cl_mem_flags flags, const void *data,
                         uint64_t bytes, cl_mem *buffer) {
  cl_ulong most = 0;
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
  return clqi_cl(code, "clCreateBuffer");
}

clq_status clqi_buffer_create(const clq_context *context, uint64_t bytes, cl_mem *buffer) {
  return create(context, CL_MEM_READ_WRITE, NULL, bytes, buffer);
}

clq_status clqi_buffer_create_from(const clq_context *context, const void *data, uint64_t bytes,
                                   cl_mem *buffer) {
  return create(context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, data, bytes, buffer);
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
