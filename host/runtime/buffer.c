#include "runtime/buffer.h"

#include <string.h>

#include "runtime/event.h"
#include "runtime/host_memory.h"
#include "runtime/host_pages.h"
#include "runtime/queue.h"

static clq_status check_size(const clq_context *context, uint64_t bytes) {
  cl_ulong most = 0;
  CLQI_TRY(clqi_cl(
      clGetDeviceInfo(context->device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof most, &most, NULL),
      "clGetDeviceInfo"));
  return bytes <= most && bytes <= SIZE_MAX
             ? CLQ_OK
             : clqi_fail(CLQ_OUT_OF_DEVICE_MEMORY,
                         "a buffer of %llu bytes is wanted, the device offers at most %llu",
                         (unsigned long long)bytes, (unsigned long long)most);
}

static clq_status create(clq_context *context, cl_mem_flags flags, const void *data, uint64_t bytes,
                         cl_mem *buffer) {
  cl_int code = CL_SUCCESS;
  *buffer = clCreateBuffer(context->cl, flags, (size_t)bytes, (void *)(uintptr_t)data, &code);
  const clq_status status = clqi_context_cl(context, code, "clCreateBuffer");
  return status == CLQ_OK
             ? CLQ_OK
             : clqi_fail_prefix(status, "a buffer of %llu bytes", (unsigned long long)bytes);
}

static void CL_CALLBACK give_back_pages(cl_mem buffer, void *pages) {
  (void)buffer;
  clqi_host_pages_give_back(pages);
}

/* The pages are the buffer's from here on, error or not. */
static clq_status create_in_pages(clq_context *context, cl_mem_flags flags, void *pages,
                                  uint64_t bytes, cl_mem *buffer) {
  clq_status status = create(context, flags | CL_MEM_USE_HOST_PTR, pages, bytes, buffer);
  if (status == CLQ_OK) {
    status = clqi_cl(clSetMemObjectDestructorCallback(*buffer, give_back_pages, pages),
                     "clSetMemObjectDestructorCallback");
  }
  if (status != CLQ_OK) {
    clqi_buffer_release(*buffer);
    *buffer = NULL;
    clqi_host_pages_give_back(pages);
  }
  return status;
}

static clq_status shares_host_memory(const clq_context *context, bool *shared) {
  cl_bool unified = CL_FALSE;
  CLQI_TRY(clqi_cl(clGetDeviceInfo(context->device, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified,
                                   &unified, NULL),
                   "clGetDeviceInfo"));
  *shared = unified != CL_FALSE;
  return CLQ_OK;
}

/* CPUs compute in the pages that they are given. Elsewhere memory of the host is asked for as such:
 * a driver then takes it now, where it may refuse, and not when the first command finds none (pocl
 * asserts there). */
static clq_status create_where_it_lies(clq_context *context, cl_mem_flags flags, uint64_t bytes,
                                       cl_mem *buffer) {
  bool shared = false;
  *buffer = NULL;
  CLQI_TRY(clqi_context_usable(context));
  CLQI_TRY(check_size(context, bytes));
  CLQI_TRY(shares_host_memory(context, &shared));
  const bool cpu = shared && strcmp(context->info.type, "cpu") == 0;
  void *pages = cpu ? clqi_host_pages_take(&context->pages, (size_t)bytes) : NULL;
  if (pages != NULL) {
    return create_in_pages(context, flags, pages, bytes, buffer);
  }
  return create(context, flags | (shared ? CL_MEM_ALLOC_HOST_PTR : 0U), NULL, bytes, buffer);
}

clq_status clqi_buffer_create(clq_context *context, uint64_t bytes, cl_mem *buffer) {
  return create_where_it_lies(context, CL_MEM_READ_WRITE, bytes, buffer);
}

clq_status clq_buffer_create(clq_context *context, uint64_t bytes, cl_mem *buffer) {
  CLQI_REQUIRE(context != NULL && buffer != NULL, "buffer: the context or the result is NULL");
  *buffer = NULL;
  CLQI_REQUIRE(bytes > 0, "buffer: 0 bytes are wanted, expected at least 1");
  return clqi_buffer_create(context, bytes, buffer);
}

clq_status clqi_buffer_create_from(clq_context *context, const void *data, uint64_t bytes,
                                   cl_mem *buffer) {
  CLQI_TRY(clqi_context_usable(context));
  CLQI_TRY(check_size(context, bytes));
  return create(context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, data, bytes, buffer);
}

clq_status clqi_buffer_create_mappable(clq_context *context, uint64_t bytes, cl_mem *buffer) {
  return create_where_it_lies(context, CL_MEM_READ_ONLY, bytes, buffer);
}

/* What the system has free is asked only for what could matter to it: where a claim takes the sum
 * past another LARGE bytes, because the layers of a model are many and none of them need be large.
 */
static uint64_t free_bytes(bool shared, uint64_t before, uint64_t bytes) {
  enum { LARGE = 64 << 20 };
  return shared && before / LARGE != (before + bytes) / LARGE ? clqi_host_available_bytes()
                                                              : UINT64_MAX;
}

clq_status clqi_memory_claim(clq_context *context, uint64_t bytes, const char *what) {
  const uint64_t all = context->info.global_bytes;
  bool shared = false;
  CLQI_TRY(shares_host_memory(context, &shared));
  const uint64_t before = atomic_fetch_add(&context->claimed_bytes, bytes);
  uint64_t left = before < all ? all - before : 0;
  const uint64_t available = free_bytes(shared, before, bytes);
  left = available < left ? available : left;
  if (bytes > left) {
    clqi_memory_unclaim(context, bytes);
    return clqi_fail(CLQ_OUT_OF_DEVICE_MEMORY,
                     "%s: out of device memory: %.1f MiB are needed, %.1f of its %.1f MiB are left",
                     what, (double)bytes / (1 << 20), (double)left / (1 << 20),
                     (double)all / (1 << 20));
  }
  return CLQ_OK;
}

void clqi_memory_unclaim(clq_context *context, uint64_t bytes) {
  (void)atomic_fetch_sub(&context->claimed_bytes, bytes);
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
  cl_mem_object_type type = 0;
  CLQI_TRY(clqi_cl(clGetMemObjectInfo(buffer, CL_MEM_TYPE, sizeof type, &type, NULL),
                   "clGetMemObjectInfo"));
  CLQI_REQUIRE(type == CL_MEM_OBJECT_BUFFER,
               "the memory object is an image or a pipe, expected a buffer");
  CLQI_TRY(clqi_cl(clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof size, &size, NULL),
                   "clGetMemObjectInfo"));
  CLQI_TRY(clqi_cl(clGetMemObjectInfo(buffer, CL_MEM_CONTEXT, sizeof owner, &owner, NULL),
                   "clGetMemObjectInfo"));
  CLQI_REQUIRE(owner == context->cl, "the buffer belongs to another OpenCL context");
  *bytes = size;
  return CLQ_OK;
}

clq_status clqi_buffer_access(cl_mem buffer, bool *readable, bool *writable) {
  cl_mem_flags flags = 0;
  CLQI_TRY(clqi_cl(clGetMemObjectInfo(buffer, CL_MEM_FLAGS, sizeof flags, &flags, NULL),
                   "clGetMemObjectInfo"));
  *readable = (flags & CL_MEM_WRITE_ONLY) == 0;
  *writable = (flags & CL_MEM_READ_ONLY) == 0;
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
