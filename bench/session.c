/* A device opened for measuring, and a way to empty its caches. */
#include <string.h>

#include "bench.h"
#include "cli.h"

/* Each work-item reads `run` vectors behind one another: one on a GPU, where neighbours then
 * share cache lines; a page on a CPU, which goes through work-items one after the other. Nothing is
 * changed, so that what is measured next need not wait for these lines to be written back: the
 * block is zero, which the device's compiler cannot know. */
static const char flush_source[] =
    "__kernel void flush_caches(__global uint4 *block, uint run) {\n"
    "  block += get_global_id(0) * run;\n"
    "  uint4 sum = 0;\n"
    "  for (uint i = 0; i < run; i++) sum |= block[i];\n"
    "  if (any(sum != 0u)) block[0] = sum;\n"
    "}\n";

enum { FLUSH_GROUP = 64, PAGE_VECTORS = 256 };

static size_t flush_bytes(const clq_context *context) {
  const size_t wanted = 3 * bench_last_cache_bytes(context);
  const uint64_t most = clq_context_info(context)->global_bytes / 16;
  const size_t step = (size_t)FLUSH_GROUP * PAGE_VECTORS * sizeof(cl_uint4);
  return (wanted > most ? (size_t)most : wanted) / step * step;
}

static cl_int prepare_flush(bench_session *s) {
  const cl_context cl = clq_context_cl(s->context);
  const cl_device_id device = clq_context_device(s->context);
  const size_t bytes = flush_bytes(s->context);
  const char *text = flush_source;
  const cl_uint run = strcmp(s->device->type, "cpu") == 0 ? PAGE_VECTORS : 1;
  const cl_uint zero = 0;
  cl_int code = CL_SUCCESS;
  s->flush_items = bytes / sizeof(cl_uint4) / run;
  s->flush_buffer = clCreateBuffer(cl, CL_MEM_READ_WRITE, bytes, NULL, &code);
  if (code == CL_SUCCESS) {
    code = clEnqueueFillBuffer(clq_stream_queue(s->stream), s->flush_buffer, &zero, sizeof zero, 0,
                               bytes, 0, NULL, NULL);
  }
  if (code == CL_SUCCESS) {
    s->flush_program = clCreateProgramWithSource(cl, 1, &text, NULL, &code);
  }
  if (code == CL_SUCCESS) {
    code = clBuildProgram(s->flush_program, 1, &device, "", NULL, NULL);
  }
  if (code == CL_SUCCESS) {
    s->flush_kernel = clCreateKernel(s->flush_program, "flush_caches", &code);
  }
  if (code == CL_SUCCESS) {
    code = clSetKernelArg(s->flush_kernel, 0, sizeof s->flush_buffer, &s->flush_buffer);
  }
  return code == CL_SUCCESS ? clSetKernelArg(s->flush_kernel, 1, sizeof run, &run) : code;
}

int bench_flush_caches(bench_session *session) {
  const cl_command_queue queue = clq_stream_queue(session->stream);
  const size_t local = FLUSH_GROUP;
  cl_int code = CL_SUCCESS;
  if (session->flush_kernel == NULL) {
    code = prepare_flush(session);
  }
  if (code == CL_SUCCESS) {
    code = clEnqueueNDRangeKernel(queue, session->flush_kernel, 1, NULL, &session->flush_items,
                                  &local, 0, NULL, NULL);
  }
  if (code == CL_SUCCESS) {
    code = clFinish(queue);
  }
  return code == CL_SUCCESS ? CLI_DONE
                            : cli_fail("the caches cannot be emptied: OpenCL error %d", (int)code);
}

int bench_open(bench_session *session, const char *device) {
  if (cli_open_context(device, &session->context) != CLI_DONE) {
    return CLI_FAILED;
  }
  if (clq_stream_create(session->context, NULL, &session->stream) != CLQ_OK) {
    return cli_fail_library();
  }
  session->device = clq_context_info(session->context);
  session->limits.on_cpu = strcmp(session->device->type, "cpu") == 0;
  session->limits.threads = (int)session->device->compute_units;
  return CLI_DONE;
}

void bench_measuring(bench_case *c) {
  bench_session *s = c->session;
  c->measuring = c->code == CLI_DONE;
  if (s->begun || bench_over(c)) {
    return;
  }
  if (!s->no_limits) {
    c->code = bench_limits_measure(s->context, s->stream, &s->limits);
  }
  if (c->code == CLI_DONE) {
    bench_report_begin(s);
  }
}

void bench_close(bench_session *session) {
  if (session->peer != NULL) {
    session->peer->close();
  }
  if (session->flush_kernel != NULL) {
    (void)clReleaseKernel(session->flush_kernel);
  }
  if (session->flush_program != NULL) {
    (void)clReleaseProgram(session->flush_program);
  }
  if (session->flush_buffer != NULL) {
    (void)clReleaseMemObject(session->flush_buffer);
  }
  clq_stream_destroy(session->stream);
  cli_close_context(session->context);
}
