/* The limits of devices that are no CPU, through small kernels and their events. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "limits.h"

enum { REPETITIONS = 7, GROUP = 256, PASSES = 2048, SUMS = 8 };

/* The dot product is that of kernels_cl/lib/dot.h, chosen by the same probes. */
static const char source[] =
    "#if defined(DOT_KHR)\n"
    "#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable\n"
    "#define DOT(a, b, c) ((c) + dot_4x8packed_ss_int(a, b))\n"
    "#elif defined(DOT_NVIDIA)\n"
    "static inline int dot4(uint a, uint b, int c) {\n"
    "  int r;\n"
    "  __asm__(\"dp4a.s32.s32 %0, %1, %2, %3;\" : \"=r\"(r) : \"r\"(a), \"r\"(b), \"r\"(c));\n"
    "  return r;\n"
    "}\n"
    "#define DOT(a, b, c) dot4(a, b, c)\n"
    "#else\n"
    "static inline int dot4(uint a, uint b, int c) {\n"
    "  int4 p = convert_int4(as_char4(a)) * convert_int4(as_char4(b));\n"
    "  return c + ((p.x + p.y) + (p.z + p.w));\n"
    "}\n"
    "#define DOT(a, b, c) dot4(a, b, c)\n"
    "#endif\n"
    "__kernel void limit_read(__global const uint4 *from, __global uint4 *to, ulong n) {\n"
    "  uint4 sum = 0;\n"
    "  for (ulong i = get_global_id(0); i < n; i += get_global_size(0)) sum += from[i];\n"
    "  if (sum.x == 0x12345678u) to[get_global_id(0)] = sum;\n"
    "}\n"
    "__kernel void limit_copy(__global const uint4 *from, __global uint4 *to, ulong n) {\n"
    "  for (ulong i = get_global_id(0); i < n; i += get_global_size(0)) to[i] = from[i];\n"
    "}\n"
    "__kernel void limit_fp32(__global const uint4 *from, __global uint4 *to, ulong n) {\n"
    "  float a[SUMS];\n"
    "  const float x = as_float(from[0].x), y = (float)get_global_id(0);\n"
    "  for (int i = 0; i < SUMS; ++i) a[i] = (float)i;\n"
    "  for (ulong p = 0; p < n; ++p) {\n"
    "    _Pragma(\"unroll\") for (int i = 0; i < SUMS; ++i) a[i] = fma(a[i], x, y);\n"
    "  }\n"
    "  float sum = 0;\n"
    "  for (int i = 0; i < SUMS; ++i) sum += a[i];\n"
    "  if (sum == 12345.0f) to[get_global_id(0)].x = 1;\n"
    "}\n"
    "__kernel void limit_int8(__global const uint4 *from, __global uint4 *to, ulong n) {\n"
    "  int a[SUMS];\n"
    "  const uint x = from[0].x;\n"
    "  for (int i = 0; i < SUMS; ++i) a[i] = i;\n"
    "  for (ulong p = 0; p < n; ++p) {\n"
    "    _Pragma(\"unroll\") for (int i = 0; i < SUMS; ++i) a[i] = DOT(x, (uint)a[i], a[i]);\n"
    "  }\n"
    "  int sum = 0;\n"
    "  for (int i = 0; i < SUMS; ++i) sum ^= a[i];\n"
    "  if (sum == 0x12345678) to[get_global_id(0)].x = 1;\n"
    "}\n";

typedef struct kit {
  cl_command_queue queue;
  cl_program program;
  cl_mem from, to;
  size_t items;
  double bytes;
  cl_int code;
} kit;

static bool has_trait(const clq_context *context, const char *name) {
  for (int32_t i = 0; clq_context_trait(context, i) != NULL; ++i) {
    if (strcmp(clq_context_trait(context, i), name) == 0) {
      return true;
    }
  }
  return false;
}

static void prepare(kit *k, clq_context *context) {
  const char *text = source;
  const cl_uchar pattern = 1;
  char options[64];
  (void)snprintf(options, sizeof options, "-DSUMS=%d%s", (int)SUMS,
                 has_trait(context, "khr_int_dot")  ? " -DDOT_KHR -cl-std=CL3.0"
                 : has_trait(context, "nvidia_ptx") ? " -DDOT_NVIDIA"
                                                    : "");
  const cl_context cl = clq_context_cl(context);
  const cl_device_id device = clq_context_device(context);
  k->program = clCreateProgramWithSource(cl, 1, &text, NULL, &k->code);
  if (k->code == CL_SUCCESS) {
    k->code = clBuildProgram(k->program, 1, &device, options, NULL, NULL);
  }
  cl_mem *const buffers[] = {&k->from, &k->to};
  for (size_t i = 0; i < 2 && k->code == CL_SUCCESS; ++i) {
    *buffers[i] = clCreateBuffer(cl, CL_MEM_READ_WRITE, (size_t)k->bytes, NULL, &k->code);
    if (k->code == CL_SUCCESS) {
      k->code = clEnqueueFillBuffer(k->queue, *buffers[i], &pattern, sizeof pattern, 0,
                                    (size_t)k->bytes, 0, NULL, NULL);
    }
  }
}

static double run_once(kit *k, cl_kernel kernel) {
  cl_event event = NULL;
  cl_ulong began = 0;
  cl_ulong ended = 0;
  const size_t local = GROUP;
  k->code = clEnqueueNDRangeKernel(k->queue, kernel, 1, NULL, &k->items, &local, 0, NULL, &event);
  if (k->code == CL_SUCCESS) {
    k->code = clWaitForEvents(1, &event);
  }
  if (k->code == CL_SUCCESS) {
    k->code =
        clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_START, sizeof began, &began, NULL);
  }
  if (k->code == CL_SUCCESS) {
    k->code = clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof ended, &ended, NULL);
  }
  if (event != NULL) {
    (void)clReleaseEvent(event);
  }
  return 1e-9 * (double)(ended - began);
}

/* Seconds of one launch; n: what the kernel calls n. */
static double measure(kit *k, const char *name, cl_ulong n) {
  if (k->code != CL_SUCCESS) {
    return 0.0;
  }
  cl_kernel kernel = clCreateKernel(k->program, name, &k->code);
  if (k->code != CL_SUCCESS) {
    return 0.0;
  }
  double seconds[REPETITIONS] = {0.0};
  if (clSetKernelArg(kernel, 0, sizeof k->from, &k->from) != CL_SUCCESS ||
      clSetKernelArg(kernel, 1, sizeof k->to, &k->to) != CL_SUCCESS ||
      clSetKernelArg(kernel, 2, sizeof n, &n) != CL_SUCCESS) {
    k->code = CL_INVALID_KERNEL_ARGS;
  }
  for (int r = -1; r < REPETITIONS && k->code == CL_SUCCESS; ++r) {
    const double once = run_once(k, kernel);
    seconds[r < 0 ? 0 : r] = once;
  }
  (void)clReleaseKernel(kernel);
  return bench_median(seconds, REPETITIONS);
}

static double rate(double amount, double seconds) { return seconds > 0.0 ? amount / seconds : 0.0; }

int bench_limits_kernels(clq_context *context, clq_stream *stream, bench_limits *limits) {
  kit k = {.queue = clq_stream_queue(stream),
           .bytes = limits->array_bytes,
           .items = (size_t)clq_context_info(context)->compute_units * 16 * GROUP};
  prepare(&k, context);
  const cl_ulong vectors = (cl_ulong)(limits->array_bytes / 16.0);
  const double arithmetic = 2.0 * SUMS * PASSES * (double)k.items;
  limits->read = rate(limits->array_bytes, measure(&k, "limit_read", vectors));
  limits->copy_plain = rate(2.0 * limits->array_bytes, measure(&k, "limit_copy", vectors));
  limits->fp32 = rate(arithmetic, measure(&k, "limit_fp32", PASSES));
  limits->int8 = rate(4.0 * arithmetic, measure(&k, "limit_int8", PASSES));
  if (k.from != NULL) {
    (void)clReleaseMemObject(k.from);
  }
  if (k.to != NULL) {
    (void)clReleaseMemObject(k.to);
  }
  if (k.program != NULL) {
    (void)clReleaseProgram(k.program);
  }
  return k.code == CL_SUCCESS
             ? CLI_DONE
             : cli_fail("the limits of the device cannot be measured: OpenCL error %d",
                        (int)k.code);
}
