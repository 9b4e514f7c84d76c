/* Plain OpenCL for tests of device code: one device, kernels built straight from
 * kernels_cl, no context of the library in between. Every failure that is not
 * the kernel's own fault ends the test. */
#ifndef CLQ_TESTS_CL_UTIL_H
#define CLQ_TESTS_CL_UTIL_H

#include <CL/cl.h>
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl.h"
#include "runtime/memory.h"
#include "runtime/source.h"

typedef struct cl_util {
  cl_device_id device;
  cl_context context;
  cl_command_queue queue;
} cl_util;

/* Bits and generators. */

static inline float cl_util_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline uint32_t cl_util_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* The same sequence in every test program. */
static inline uint32_t cl_util_random(void) {
  static uint64_t state = 0x9e3779b97f4a7c15U;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 32);
}

/* Sum of four uniform numbers: mean 0, deviation 1. */
static inline float cl_util_normal(void) {
  int32_t sum = 0;
  for (int i = 0; i < 4; ++i) {
    sum += (int32_t)(cl_util_random() >> 8) - (1 << 23);
  }
  return (float)sum * 0x1.bb67aep-24f;
}

static cl_util cl_util_only;

/* The device: number CLQ_DEVICE over all platforms, else the first. */
static inline cl_util *cl_util_get(void) {
  if (cl_util_only.context != NULL) {
    return &cl_util_only;
  }
  const char *wanted = getenv("CLQ_DEVICE");
  const unsigned long index = wanted == NULL ? 0 : strtoul(wanted, NULL, 10);
  cl_platform_id platforms[8];
  cl_uint platform_count = 0;
  cr_assert_eq(clGetPlatformIDs(8, platforms, &platform_count), CL_SUCCESS, "no OpenCL platform");
  cl_device_id devices[32];
  cl_uint count = 0;
  for (cl_uint i = 0; i < platform_count && i < 8 && count < 24; ++i) {
    cl_uint found = 0;
    if (clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, 8, devices + count, &found) ==
        CL_SUCCESS) {
      count += found < 8 ? found : 8;
    }
  }
  cr_assert_lt(index, count, "no OpenCL device %lu", index);
  cl_util *util = &cl_util_only;
  util->device = devices[index];
  cl_int error;
  util->context = clCreateContext(NULL, 1, &util->device, NULL, NULL, &error);
  cr_assert_eq(error, CL_SUCCESS);
  util->queue = clCreateCommandQueueWithProperties(util->context, util->device, NULL, &error);
  cr_assert_eq(error, CL_SUCCESS);
  return util;
}

/* The `fini` of suites: a case must have released what it made. */
static inline void cl_util_close(void) {
  if (cl_util_only.context != NULL) {
    clReleaseCommandQueue(cl_util_only.queue);
    clReleaseContext(cl_util_only.context);
    cl_util_only = (cl_util){NULL, NULL, NULL};
  }
  opencl_none_live();
}

static inline bool cl_util_is_cpu(void) {
  cl_device_type type;
  cr_assert_eq(clGetDeviceInfo(cl_util_get()->device, CL_DEVICE_TYPE, sizeof type, &type, NULL),
               CL_SUCCESS);
  return (type & CL_DEVICE_TYPE_CPU) != 0;
}

static inline bool cl_util_has_extension(const char *name) {
  static char extensions[8192];
  cr_assert_eq(clGetDeviceInfo(cl_util_get()->device, CL_DEVICE_EXTENSIONS, sizeof extensions - 2,
                               extensions, NULL),
               CL_SUCCESS);
  char word[128];
  (void)snprintf(word, sizeof word, "%s ", name);
  (void)strcat(extensions, " ");
  return strstr(extensions, word) != NULL;
}

/* kernels_cl/<file>.cl under these options; NULL where it does not build. */
static inline cl_program cl_util_try_build(const char *file, const char *options) {
  cl_util *util = cl_util_get();
  char *text = NULL;
  size_t length = 0;
  cr_assert_eq(clqi_source_load(file, &text, &length), CLQ_OK, "%s", clq_last_error());
  cl_int error;
  cl_program program =
      clCreateProgramWithSource(util->context, 1, (const char **)&text, &length, &error);
  cr_assert_eq(error, CL_SUCCESS);
  clqi_free(text);
  if (clBuildProgram(program, 1, &util->device, options, NULL, NULL) != CL_SUCCESS) {
    if (getenv("CLQ_VERBOSE") != NULL) {
      static char log[16384];
      (void)clGetProgramBuildInfo(program, util->device, CL_PROGRAM_BUILD_LOG, sizeof log, log,
                                  NULL);
      (void)fprintf(stderr, "%s %s:\n%s\n", file, options, log);
    }
    clReleaseProgram(program);
    return NULL;
  }
  return program;
}

static inline cl_program cl_util_build(const char *file, const char *options) {
  cl_program program = cl_util_try_build(file, options);
  cr_assert_not_null(program, "%s does not build with '%s' (CLQ_VERBOSE=1 shows why)", file,
                     options);
  return program;
}

static inline cl_kernel cl_util_kernel(cl_program program, const char *name) {
  cl_int error;
  cl_kernel kernel = clCreateKernel(program, name, &error);
  cr_assert_eq(error, CL_SUCCESS, "kernel %s: error %d", name, error);
  return kernel;
}

/* A buffer with a copy of data, or of zeros where data is NULL. */
static inline cl_mem cl_util_buffer(const void *data, size_t bytes) {
  cl_int error;
  void *zeros = data == NULL ? calloc(1, bytes) : NULL;
  cl_mem mem = clCreateBuffer(cl_util_get()->context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR,
                              bytes, data == NULL ? zeros : (void *)(size_t)data, &error);
  cr_assert_eq(error, CL_SUCCESS);
  free(zeros);
  return mem;
}

static inline void cl_util_read(cl_mem mem, void *out, size_t bytes) {
  cr_assert_eq(
      clEnqueueReadBuffer(cl_util_get()->queue, mem, CL_TRUE, 0, bytes, out, 0, NULL, NULL),
      CL_SUCCESS);
}

/* Sets the buffers as the kernel's first arguments. */
static inline void cl_util_args(cl_kernel kernel, cl_uint count, ...) {
  va_list list;
  va_start(list, count);
  for (cl_uint i = 0; i < count; ++i) {
    cl_mem mem = va_arg(list, cl_mem);
    cr_assert_eq(clSetKernelArg(kernel, i, sizeof mem, &mem), CL_SUCCESS, "argument %u", i);
  }
  va_end(list);
}

static inline void cl_util_arg_int(cl_kernel kernel, cl_uint index, int value) {
  cr_assert_eq(clSetKernelArg(kernel, index, sizeof value, &value), CL_SUCCESS, "argument %u",
               index);
}

/* local 0: the implementation's choice. */
static inline void cl_util_run(cl_kernel kernel, size_t global, size_t local) {
  cl_util *util = cl_util_get();
  const cl_int error = clEnqueueNDRangeKernel(util->queue, kernel, 1, NULL, &global,
                                              local == 0 ? NULL : &local, 0, NULL, NULL);
  cr_assert_eq(error, CL_SUCCESS, "enqueue: error %d", error);
  cr_assert_eq(clFinish(util->queue), CL_SUCCESS);
}

#endif
