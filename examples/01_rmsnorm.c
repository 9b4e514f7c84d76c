/* One operator on the caller's own OpenCL objects: residual + RMSNorm + int8 quantization in one
 * pass over memory, giving codes, scales and sums. */
#include <clquant/clquant.h>
#include <stdio.h>

enum { ROWS = 4, COLS = 576 };

static int fail(const char *what) {
  (void)fprintf(stderr, "%s: %s\n", what, clq_last_error());
  return 1;
}

int main(void) {
  /* What a host program has already: a device, a context, a queue, buffers. */
  clq_device_info info;
  int32_t count = 0;
  if (clq_devices(&info, 1, &count) != CLQ_OK) {
    return fail("devices");
  }
  cl_context mine = clCreateContext(NULL, 1, &info.id, NULL, NULL, NULL);
  cl_command_queue queue = clCreateCommandQueueWithProperties(mine, info.id, NULL, NULL);
  static float x[ROWS * COLS];
  static float residual[ROWS * COLS];
  for (int i = 0; i < ROWS * COLS; ++i) {
    x[i] = (float)(i % 31) - 15.0f;
    residual[i] = 0.25f * (float)(i % 7);
  }
  const cl_mem_flags copy = CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR;
  cl_mem x_mem = clCreateBuffer(mine, copy, sizeof x, x, NULL);
  cl_mem residual_mem = clCreateBuffer(mine, copy, sizeof residual, residual, NULL);
  cl_mem codes = clCreateBuffer(mine, CL_MEM_READ_WRITE, ROWS * COLS, NULL, NULL);
  cl_mem scales = clCreateBuffer(mine, CL_MEM_READ_WRITE, ROWS * sizeof(float), NULL, NULL);
  cl_mem sums = clCreateBuffer(mine, CL_MEM_READ_WRITE, ROWS * sizeof(cl_int), NULL, NULL);

  /* CLQuant adopts them. */
  clq_context *context = NULL;
  clq_stream *stream = NULL;
  if (clq_context_create(&(clq_context_desc){.cl_context = mine, .device = info.id}, &context) ||
      clq_stream_create(context, queue, &stream)) {
    return fail("context");
  }
  const clq_rmsnorm_args args = {
      .x = {x_mem, CLQ_F32, {ROWS, COLS}},
      .residual = {residual_mem, CLQ_F32, {ROWS, COLS}}, /* becomes x + residual */
      .out = {codes,
              CLQ_I8,
              {ROWS, COLS},
              .quant = {.per = CLQ_PER_TOKEN, .scale = scales, .sum = sums}},
  };
  if (clq_rmsnorm(stream, &args) || clq_stream_finish(stream)) {
    return fail("rmsnorm");
  }

  float scale[ROWS];
  cl_int sum[ROWS];
  cl_char first[8];
  (void)clEnqueueReadBuffer(queue, scales, CL_TRUE, 0, sizeof scale, scale, 0, NULL, NULL);
  (void)clEnqueueReadBuffer(queue, sums, CL_TRUE, 0, sizeof sum, sum, 0, NULL, NULL);
  (void)clEnqueueReadBuffer(queue, codes, CL_TRUE, 0, sizeof first, first, 0, NULL, NULL);
  (void)printf("%s: row 0 has scale %g and sum %d; its codes begin %d %d %d\n", info.name,
               (double)scale[0], sum[0], first[0], first[1], first[2]);

  clq_stream_destroy(stream);
  clq_context_destroy(context);
  cl_mem all[] = {x_mem, residual_mem, codes, scales, sums};
  for (int i = 0; i < 5; ++i) {
    (void)clReleaseMemObject(all[i]);
  }
  (void)clReleaseCommandQueue(queue);
  (void)clReleaseContext(mine);
  return scale[0] > 0.0f ? 0 : 1;
}
