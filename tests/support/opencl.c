/* The library asks for queues with the call of OpenCL 1.2. */
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS

#include "opencl.h"

#include <CL/cl.h>
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clblast.h"

typedef enum object_kind { CONTEXT, QUEUE, BUFFER, PROGRAM, KERNEL, EVENT, KINDS } object_kind;

enum { TEXT_BYTES = 256 };

static atomic_long live[KINDS];
static atomic_int called[OPENCL_CALLS];
static atomic_int failing[OPENCL_CALLS]; /* calls until the one that fails, plus one; 0: none */
static atomic_int failing_code[OPENCL_CALLS];

opencl_objects opencl_live(void) {
  return (opencl_objects){
      .contexts = atomic_load(&live[CONTEXT]),
      .queues = atomic_load(&live[QUEUE]),
      .buffers = atomic_load(&live[BUFFER]),
      .programs = atomic_load(&live[PROGRAM]),
      .kernels = atomic_load(&live[KERNEL]),
      .events = atomic_load(&live[EVENT]),
  };
}

/* True if as many of each kind are alive as then; else text says what is left. */
static bool same(const opencl_objects *then, char *text, size_t bytes) {
  const opencl_objects now = opencl_live();
  const opencl_objects left = {now.contexts - then->contexts, now.queues - then->queues,
                               now.buffers - then->buffers,   now.programs - then->programs,
                               now.kernels - then->kernels,   now.events - then->events};
  (void)snprintf(text, bytes,
                 "OpenCL objects are left over: %+ld contexts, %+ld queues, %+ld buffers, "
                 "%+ld programs, %+ld kernels, %+ld events",
                 left.contexts, left.queues, left.buffers, left.programs, left.kernels,
                 left.events);
  return left.contexts == 0 && left.queues == 0 && left.buffers == 0 && left.programs == 0 &&
         left.kernels == 0 && left.events == 0;
}

void opencl_assert_live(const opencl_objects *then) {
  char text[TEXT_BYTES];
  cr_assert(same(then, text, sizeof text), "%s", text);
}

void opencl_none_live(void) {
  char text[TEXT_BYTES];
  if (!same(&(opencl_objects){0}, text, sizeof text)) {
    (void)fprintf(stderr, "%s\n", text);
    abort();
  }
}

int opencl_called(opencl_call call) { return atomic_load(&called[call]); }

void opencl_reset_called(void) {
  for (int i = 0; i < OPENCL_CALLS; ++i) {
    atomic_store(&called[i], 0);
  }
}

void opencl_fail_with(opencl_call call, int skip, int code) {
  atomic_store(&failing_code[call], code);
  atomic_store(&failing[call], skip + 1);
}

void opencl_fail(opencl_call call, int skip) {
  static const int codes[OPENCL_CALLS] = {
      [OPENCL_CREATE_KERNEL] = CL_OUT_OF_HOST_MEMORY,
      [OPENCL_CREATE_BUFFER] = CL_MEM_OBJECT_ALLOCATION_FAILURE,
  };
  opencl_fail_with(call, skip, codes[call] == CL_SUCCESS ? CL_OUT_OF_RESOURCES : codes[call]);
}

/* Counts the call; what it fails with, or CL_SUCCESS. */
static cl_int count(opencl_call call) {
  (void)atomic_fetch_add(&called[call], 1);
  const bool now = atomic_load(&failing[call]) > 0 && atomic_fetch_sub(&failing[call], 1) == 1;
  return now ? atomic_load(&failing_code[call]) : CL_SUCCESS;
}

static void *refuse(cl_int *code, cl_int why) {
  if (code != NULL) {
    *code = why;
  }
  return NULL;
}

static void add(object_kind kind, bool really) {
  if (really) {
    (void)atomic_fetch_add(&live[kind], 1);
  }
}

static cl_int retained(object_kind kind, cl_int code) {
  add(kind, code == CL_SUCCESS);
  return code;
}

static cl_int released(object_kind kind, cl_int code) {
  if (code == CL_SUCCESS) {
    (void)atomic_fetch_sub(&live[kind], 1);
  }
  return code;
}

static cl_int enqueued(cl_int code, const cl_event *event) {
  add(EVENT, code == CL_SUCCESS && event != NULL);
  return code;
}

/* Counts a call that returns a code; returns if it is the one to fail. */
#define FAIL_IF_WANTED(call)            \
  do {                                  \
    const cl_int failure = count(call); \
    if (failure != CL_SUCCESS) {        \
      return failure;                   \
    }                                   \
  } while (0)

/* WRAP(f): declares what --wrap=f renames; __real_f is OpenCL's. */
#define WRAP(f) __typeof__(f) __real_##f, __wrap_##f

#define WRAP_RETAIN(f, type, kind) \
  WRAP(f);                         \
  cl_int __wrap_##f(type object) { return retained(kind, __real_##f(object)); }

#define WRAP_RELEASE(f, type, kind) \
  WRAP(f);                          \
  cl_int __wrap_##f(type object) { return released(kind, __real_##f(object)); }

WRAP_RETAIN(clRetainContext, cl_context, CONTEXT)
WRAP_RETAIN(clRetainCommandQueue, cl_command_queue, QUEUE)
WRAP_RETAIN(clRetainMemObject, cl_mem, BUFFER)
WRAP_RETAIN(clRetainProgram, cl_program, PROGRAM)
WRAP_RETAIN(clRetainKernel, cl_kernel, KERNEL)
WRAP_RETAIN(clRetainEvent, cl_event, EVENT)
WRAP_RELEASE(clReleaseContext, cl_context, CONTEXT)
WRAP_RELEASE(clReleaseCommandQueue, cl_command_queue, QUEUE)
WRAP_RELEASE(clReleaseMemObject, cl_mem, BUFFER)
WRAP_RELEASE(clReleaseProgram, cl_program, PROGRAM)
WRAP_RELEASE(clReleaseKernel, cl_kernel, KERNEL)
WRAP_RELEASE(clReleaseEvent, cl_event, EVENT)

/* --- what creates --- */

WRAP(clCreateContext);
cl_context __wrap_clCreateContext(const cl_context_properties *properties, cl_uint count,
                                  const cl_device_id *devices,
                                  void(CL_CALLBACK *notify)(const char *, const void *, size_t,
                                                            void *),
                                  void *user, cl_int *code) {
  cl_context made = __real_clCreateContext(properties, count, devices, notify, user, code);
  add(CONTEXT, made != NULL);
  return made;
}

WRAP(clCreateCommandQueue);
cl_command_queue __wrap_clCreateCommandQueue(cl_context context, cl_device_id device,
                                             cl_command_queue_properties properties, cl_int *code) {
  cl_command_queue made = __real_clCreateCommandQueue(context, device, properties, code);
  add(QUEUE, made != NULL);
  return made;
}

WRAP(clCreateCommandQueueWithProperties);
cl_command_queue __wrap_clCreateCommandQueueWithProperties(cl_context context, cl_device_id device,
                                                           const cl_queue_properties *properties,
                                                           cl_int *code) {
  cl_command_queue made =
      __real_clCreateCommandQueueWithProperties(context, device, properties, code);
  add(QUEUE, made != NULL);
  return made;
}

WRAP(clCreateBuffer);
cl_mem __wrap_clCreateBuffer(cl_context context, cl_mem_flags flags, size_t bytes, void *host,
                             cl_int *code) {
  const cl_int failure = count(OPENCL_CREATE_BUFFER);
  if (failure != CL_SUCCESS) {
    return refuse(code, failure);
  }
  cl_mem made = __real_clCreateBuffer(context, flags, bytes, host, code);
  add(BUFFER, made != NULL);
  return made;
}

WRAP(clCreateSubBuffer);
cl_mem __wrap_clCreateSubBuffer(cl_mem whole, cl_mem_flags flags, cl_buffer_create_type type,
                                const void *region, cl_int *code) {
  cl_mem made = __real_clCreateSubBuffer(whole, flags, type, region, code);
  add(BUFFER, made != NULL);
  return made;
}

WRAP(clCreateImage);
cl_mem __wrap_clCreateImage(cl_context context, cl_mem_flags flags, const cl_image_format *format,
                            const cl_image_desc *desc, void *host, cl_int *code) {
  cl_mem made = __real_clCreateImage(context, flags, format, desc, host, code);
  add(BUFFER, made != NULL);
  return made;
}

WRAP(clCreateProgramWithSource);
cl_program __wrap_clCreateProgramWithSource(cl_context context, cl_uint count, const char **texts,
                                            const size_t *lengths, cl_int *code) {
  cl_program made = __real_clCreateProgramWithSource(context, count, texts, lengths, code);
  add(PROGRAM, made != NULL);
  return made;
}

WRAP(clCreateProgramWithBinary);
cl_program __wrap_clCreateProgramWithBinary(cl_context context, cl_uint count,
                                            const cl_device_id *devices, const size_t *lengths,
                                            const unsigned char **binaries, cl_int *states,
                                            cl_int *code) {
  cl_program made =
      __real_clCreateProgramWithBinary(context, count, devices, lengths, binaries, states, code);
  add(PROGRAM, made != NULL);
  return made;
}

WRAP(clCreateKernel);
cl_kernel __wrap_clCreateKernel(cl_program program, const char *name, cl_int *code) {
  const cl_int failure = count(OPENCL_CREATE_KERNEL);
  if (failure != CL_SUCCESS) {
    return refuse(code, failure);
  }
  cl_kernel made = __real_clCreateKernel(program, name, code);
  add(KERNEL, made != NULL);
  return made;
}

WRAP(clCreateUserEvent);
cl_event __wrap_clCreateUserEvent(cl_context context, cl_int *code) {
  cl_event made = __real_clCreateUserEvent(context, code);
  add(EVENT, made != NULL);
  return made;
}

/* --- what may return an event --- */

WRAP(clEnqueueNDRangeKernel);
cl_int __wrap_clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dims,
                                     const size_t *offset, const size_t *global,
                                     const size_t *local, cl_uint waits, const cl_event *wait,
                                     cl_event *event) {
  FAIL_IF_WANTED(OPENCL_ENQUEUE_KERNEL);
  return enqueued(
      __real_clEnqueueNDRangeKernel(queue, kernel, dims, offset, global, local, waits, wait, event),
      event);
}

WRAP(clEnqueueReadBuffer);
cl_int __wrap_clEnqueueReadBuffer(cl_command_queue queue, cl_mem from, cl_bool blocking,
                                  size_t offset, size_t bytes, void *to, cl_uint waits,
                                  const cl_event *wait, cl_event *event) {
  FAIL_IF_WANTED(OPENCL_READ);
  return enqueued(
      __real_clEnqueueReadBuffer(queue, from, blocking, offset, bytes, to, waits, wait, event),
      event);
}

WRAP(clEnqueueWriteBuffer);
cl_int __wrap_clEnqueueWriteBuffer(cl_command_queue queue, cl_mem to, cl_bool blocking,
                                   size_t offset, size_t bytes, const void *from, cl_uint waits,
                                   const cl_event *wait, cl_event *event) {
  FAIL_IF_WANTED(OPENCL_WRITE);
  return enqueued(
      __real_clEnqueueWriteBuffer(queue, to, blocking, offset, bytes, from, waits, wait, event),
      event);
}

WRAP(clEnqueueCopyBuffer);
cl_int __wrap_clEnqueueCopyBuffer(cl_command_queue queue, cl_mem from, cl_mem to,
                                  size_t from_offset, size_t to_offset, size_t bytes, cl_uint waits,
                                  const cl_event *wait, cl_event *event) {
  return enqueued(__real_clEnqueueCopyBuffer(queue, from, to, from_offset, to_offset, bytes, waits,
                                             wait, event),
                  event);
}

WRAP(clEnqueueCopyBufferRect);
cl_int __wrap_clEnqueueCopyBufferRect(cl_command_queue queue, cl_mem from, cl_mem to,
                                      const size_t *from_origin, const size_t *to_origin,
                                      const size_t *region, size_t from_row, size_t from_slice,
                                      size_t to_row, size_t to_slice, cl_uint waits,
                                      const cl_event *wait, cl_event *event) {
  FAIL_IF_WANTED(OPENCL_COPY_RECT);
  return enqueued(
      __real_clEnqueueCopyBufferRect(queue, from, to, from_origin, to_origin, region, from_row,
                                     from_slice, to_row, to_slice, waits, wait, event),
      event);
}

WRAP(clEnqueueFillBuffer);
cl_int __wrap_clEnqueueFillBuffer(cl_command_queue queue, cl_mem to, const void *pattern,
                                  size_t pattern_bytes, size_t offset, size_t bytes, cl_uint waits,
                                  const cl_event *wait, cl_event *event) {
  return enqueued(__real_clEnqueueFillBuffer(queue, to, pattern, pattern_bytes, offset, bytes,
                                             waits, wait, event),
                  event);
}

WRAP(clEnqueueMapBuffer);
void *__wrap_clEnqueueMapBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking,
                                cl_map_flags flags, size_t offset, size_t bytes, cl_uint waits,
                                const cl_event *wait, cl_event *event, cl_int *code) {
  const cl_int failure = count(OPENCL_MAP);
  if (failure != CL_SUCCESS) {
    return refuse(code, failure);
  }
  void *mapped = __real_clEnqueueMapBuffer(queue, buffer, blocking, flags, offset, bytes, waits,
                                           wait, event, code);
  add(EVENT, mapped != NULL && event != NULL);
  return mapped;
}

WRAP(clEnqueueUnmapMemObject);
cl_int __wrap_clEnqueueUnmapMemObject(cl_command_queue queue, cl_mem object, void *mapped,
                                      cl_uint waits, const cl_event *wait, cl_event *event) {
  FAIL_IF_WANTED(OPENCL_UNMAP);
  return enqueued(__real_clEnqueueUnmapMemObject(queue, object, mapped, waits, wait, event), event);
}

WRAP(clEnqueueMarkerWithWaitList);
cl_int __wrap_clEnqueueMarkerWithWaitList(cl_command_queue queue, cl_uint waits,
                                          const cl_event *wait, cl_event *event) {
  FAIL_IF_WANTED(OPENCL_MARKER);
  return enqueued(__real_clEnqueueMarkerWithWaitList(queue, waits, wait, event), event);
}

WRAP(clEnqueueBarrierWithWaitList);
cl_int __wrap_clEnqueueBarrierWithWaitList(cl_command_queue queue, cl_uint waits,
                                           const cl_event *wait, cl_event *event) {
  FAIL_IF_WANTED(OPENCL_BARRIER);
  return enqueued(__real_clEnqueueBarrierWithWaitList(queue, waits, wait, event), event);
}

/* --- other calls --- */

WRAP(clSetKernelArg);
cl_int __wrap_clSetKernelArg(cl_kernel kernel, cl_uint index, size_t bytes, const void *value) {
  FAIL_IF_WANTED(OPENCL_SET_ARG);
  return __real_clSetKernelArg(kernel, index, bytes, value);
}

WRAP(clFlush);
cl_int __wrap_clFlush(cl_command_queue queue) {
  FAIL_IF_WANTED(OPENCL_FLUSH);
  return __real_clFlush(queue);
}

/* Waits in any case, so that a test may look at what the device did. */
WRAP(clFinish);
cl_int __wrap_clFinish(cl_command_queue queue) {
  const cl_int code = __real_clFinish(queue);
  FAIL_IF_WANTED(OPENCL_FINISH);
  return code;
}

WRAP(clGetEventInfo);
cl_int __wrap_clGetEventInfo(cl_event event, cl_event_info info, size_t bytes, void *value,
                             size_t *returned) {
  const cl_int code = __real_clGetEventInfo(event, info, bytes, value, returned);
  if (code == CL_SUCCESS && info == CL_EVENT_COMMAND_EXECUTION_STATUS && value != NULL) {
    const cl_int failure = count(OPENCL_COMMAND);
    *(cl_int *)value = failure != CL_SUCCESS ? failure : *(cl_int *)value;
  }
  return code;
}

WRAP(clGetDeviceInfo);
cl_int __wrap_clGetDeviceInfo(cl_device_id device, cl_device_info info, size_t bytes, void *value,
                              size_t *returned) {
  FAIL_IF_WANTED(OPENCL_DEVICE_INFO);
  return __real_clGetDeviceInfo(device, info, bytes, value, returned);
}

WRAP(clGetProgramInfo);
/* CLQ_TEST_DRIVER_KEEPS=1: a driver that keeps what it has built gives no binaries. pocl, when
 * asked for one, compiles everything again in a more general form, which doubles what a build
 * costs; tests with many programs that no other test runs do without. */
static bool keeps_its_binaries(cl_program program) {
  const char *wanted = getenv("CLQ_TEST_DRIVER_KEEPS");
  cl_device_id device = NULL;
  cl_platform_id platform = NULL;
  char name[TEXT_BYTES] = "";
  return wanted != NULL && wanted[0] == '1' &&
         __real_clGetProgramInfo(program, CL_PROGRAM_DEVICES, sizeof device, &device, NULL) ==
             CL_SUCCESS &&
         __real_clGetDeviceInfo(device, CL_DEVICE_PLATFORM, sizeof(cl_platform_id), &platform,
                                NULL) == CL_SUCCESS &&
         clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof name, name, NULL) == CL_SUCCESS &&
         strcmp(name, "Portable Computing Language") == 0;
}

cl_int __wrap_clGetProgramInfo(cl_program program, cl_program_info info, size_t bytes, void *value,
                               size_t *returned) {
  FAIL_IF_WANTED(OPENCL_PROGRAM_INFO);
  if (info == CL_PROGRAM_BINARY_SIZES && value != NULL && keeps_its_binaries(program)) {
    *(size_t *)value = 0;
    return CL_SUCCESS;
  }
  return __real_clGetProgramInfo(program, info, bytes, value, returned);
}

/* --- what is no call of OpenCL's, but enqueues --- */

WRAP(clqi_clblast_sgemm);
cl_int __wrap_clqi_clblast_sgemm(const clqi_sgemm *product, cl_command_queue queue,
                                 cl_event *event) {
  FAIL_IF_WANTED(OPENCL_CLBLAST);
  return enqueued(__real_clqi_clblast_sgemm(product, queue, event), event);
}
