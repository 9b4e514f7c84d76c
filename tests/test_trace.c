/* Traces of plan runs: what the file says, read back with a JSON parser, and the sums. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <clquant/graph.h>

#include "counting.h"
#include "device.h"
#include "opencl.h"

TestSuite(trace, .fini = opencl_none_live);

enum { ROWS = 64, COLS = 256, NODES = 4 };

typedef struct fixture {
  test_device device;
  test_buffer x, out, codes, scale;
  clq_plan *plan; /* rmsnorm, add, rmsnorm, quantize */
  clq_trace *trace;
} fixture;

static fixture open_fixture(void) {
  fixture f = {.device = test_device_open(NULL)};
  float *zeros = calloc(ROWS * COLS, sizeof *zeros);
  f.x = test_buffer_new(&f.device, zeros, sizeof(float) * ROWS * COLS);
  f.out = test_buffer_new(&f.device, zeros, sizeof(float) * ROWS * COLS);
  f.codes = test_buffer_new(&f.device, NULL, ROWS * COLS);
  f.scale = test_buffer_new(&f.device, NULL, sizeof(float) * ROWS);
  free(zeros);
  clq_graph *graph;
  test_ok(clq_graph_create(f.device.context, &graph));
  const clq_tensor x = {f.x.mem, CLQ_F32, {ROWS, COLS}};
  const clq_tensor out = {f.out.mem, CLQ_F32, {ROWS, COLS}};
  const clq_tensor codes = {
      f.codes.mem, CLQ_I8, {ROWS, COLS}, .quant = {.per = CLQ_PER_TOKEN, .scale = f.scale.mem}};
  const clq_tensor a = clq_graph_edge(graph, CLQ_F32, 0, NULL);
  const clq_tensor b = clq_graph_edge(graph, CLQ_F32, 0, NULL);
  test_ok(clq_graph_add(graph, CLQ_OP_RMSNORM, &(clq_rmsnorm_args){.x = x, .out = a}));
  test_ok(clq_graph_add(graph, CLQ_OP_ADD, &(clq_add_args){.a = a, .b = x, .out = b}));
  test_ok(clq_graph_add(graph, CLQ_OP_RMSNORM, &(clq_rmsnorm_args){.x = b, .out = out}));
  test_ok(clq_graph_add(graph, CLQ_OP_QUANTIZE, &(clq_quantize_args){.x = b, .out = codes}));
  test_ok(clq_plan_create(graph, &f.plan));
  clq_graph_destroy(graph);
  test_ok(clq_trace_create(&f.trace));
  return f;
}

static void close_fixture(fixture *f) {
  test_ok(clq_stream_finish(f->device.stream)); /* before the buffers' memory goes */
  clq_trace_destroy(f->trace);
  clq_plan_destroy(f->plan);
  test_buffer_free(&f->x);
  test_buffer_free(&f->out);
  test_buffer_free(&f->codes);
  test_buffer_free(&f->scale);
  test_device_close(&f->device);
}

static cJSON *read_json(const char *path) {
  FILE *file = fopen(path, "rb");
  cr_assert_not_null(file);
  cr_assert_eq(fseek(file, 0, SEEK_END), 0);
  const long bytes = ftell(file);
  rewind(file);
  char *text = calloc((size_t)bytes + 1, 1);
  cr_assert_eq(fread(text, 1, (size_t)bytes, file), (size_t)bytes);
  (void)fclose(file);
  cJSON *json = cJSON_ParseWithOpts(text, NULL, 1);
  cr_assert_not_null(json, "not JSON, from: %.60s", cJSON_GetErrorPtr());
  free(text);
  return json;
}

static cJSON *written(const fixture *f) {
  char path[] = "/tmp/clq_trace_XXXXXX";
  const int fd = mkstemp(path);
  cr_assert(fd >= 0);
  (void)close(fd);
  test_ok(clq_trace_write(f->trace, path));
  cJSON *json = read_json(path);
  (void)unlink(path);
  return json;
}

static double number(const cJSON *object, const char *key) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
  cr_assert(cJSON_IsNumber(item), "%s is no number", key);
  return item->valuedouble;
}

static const char *string(const cJSON *object, const char *key) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
  cr_assert(cJSON_IsString(item), "%s is no string", key);
  return item->valuestring;
}

/* Checks all complete events and returns their number; *total gets their time in microseconds. */
static int check_spans(const cJSON *json, int runs, double *total) {
  static const char *const ops[NODES] = {"rmsnorm", "add", "rmsnorm", "quantize"};
  const cJSON *events = cJSON_GetObjectItemCaseSensitive(json, "traceEvents");
  cr_assert(cJSON_IsArray(events));
  int spans = 0;
  double last_end = 0.0;
  *total = 0.0;
  const cJSON *event;
  cJSON_ArrayForEach(event, events) {
    if (strcmp(string(event, "ph"), "X") != 0) {
      cr_assert_str_eq(string(event, "ph"), "M");
      continue;
    }
    const int node = spans % NODES;
    const double ts = number(event, "ts");
    const double duration = number(event, "dur");
    cr_assert(duration > 0.0);
    cr_assert(ts >= last_end - 0.002, "an in-order queue ran two launches at once");
    last_end = ts + duration;
    *total += duration;
    cr_assert_eq((int)number(event, "pid"), 1);
    cr_assert_eq((int)number(event, "tid"), 1);
    const cJSON *args = cJSON_GetObjectItemCaseSensitive(event, "args");
    cr_assert_eq((int)number(args, "node"), node);
    cr_assert_eq((int)number(args, "run"), 1 + spans / NODES);
    cr_assert_str_eq(string(args, "op"), ops[node]);
    cr_assert(
        strncmp(string(args, "kernel"), string(event, "name"), strlen(string(event, "name"))) == 0);
    cr_assert(number(args, "GB/s") > 0.0);
    cr_assert(number(args, "GFLOP/s") >= 0.0);
    const cJSON *global = cJSON_GetObjectItemCaseSensitive(args, "global");
    const cJSON *local = cJSON_GetObjectItemCaseSensitive(args, "local");
    cr_assert(cJSON_GetArraySize(global) >= 1 && cJSON_GetArraySize(global) <= 3);
    cr_assert_eq(cJSON_GetArraySize(global), cJSON_GetArraySize(local));
    spans++;
  }
  cr_assert_eq(spans, runs * NODES);
  return spans;
}

Test(trace, file_and_sums_agree) {
  fixture f = open_fixture();
  enum { RUNS = 3 };
  for (int run = 0; run < RUNS; run++) {
    test_ok(clq_plan_run_traced(f.plan, f.device.stream, f.trace));
    test_ok(clq_plan_run(f.plan, f.device.stream)); /* leaves no span */
  }
  cJSON *json = written(&f);
  double total;
  (void)check_spans(json, RUNS, &total);

  const cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(json, "traceEvents"), 0);
  cr_assert_str_eq(string(first, "name"), "process_name");
  cr_assert_str_eq(string(cJSON_GetObjectItemCaseSensitive(first, "args"), "name"),
                   clq_context_info(f.device.context)->name);
  cJSON_Delete(json);

  clq_kernel_time times[8];
  const int32_t count = clq_trace_kernels(f.trace, times, 8);
  cr_assert_eq(count, 3, "rmsnorm twice, add, quantize");
  uint64_t calls = 0;
  double seconds = 0.0;
  for (int32_t i = 0; i < count; i++) {
    calls += times[i].calls;
    seconds += times[i].device_seconds;
    cr_assert(i == 0 || times[i].device_seconds <= times[i - 1].device_seconds);
    if (strncmp(times[i].name, "rmsnorm", 7) == 0) {
      cr_assert_eq(times[i].calls, 2 * RUNS);
      cr_assert_eq(times[i].bytes, 2.0 * RUNS * 2.0 * sizeof(float) * ROWS * COLS);
    }
  }
  cr_assert_eq(calls, NODES * RUNS);
  cr_assert(total * 1e-6 > 0.999999 * seconds && total * 1e-6 < 1.000001 * seconds);

  /* A short table holds the slowest. */
  clq_kernel_time two[3] = {{.name = "unused"}, {.name = "unused"}, {.name = "unused"}};
  cr_assert_eq(clq_trace_kernels(f.trace, two, 2), 3);
  cr_assert_str_eq(two[0].name, times[0].name);
  cr_assert_str_eq(two[1].name, times[1].name);
  cr_assert_str_eq(two[2].name, "unused");
  cr_assert_eq(clq_trace_kernels(f.trace, NULL, 0), 3);
  close_fixture(&f);
}

Test(trace, empty_trace_is_a_file_too) {
  fixture f = open_fixture();
  cJSON *json = written(&f);
  double total;
  (void)check_spans(json, 0, &total);
  cJSON_Delete(json);
  cr_assert_eq(clq_trace_kernels(f.trace, NULL, 0), 0);
  close_fixture(&f);
}

/* A disk that is full leaves no half of a file, and the reason is the disk's. */
Test(trace, a_failed_write_leaves_no_file) {
  fixture f = open_fixture();
  char folder[] = "/tmp/clq_trace_XXXXXX";
  char path[64];
  struct rlimit before;
  cr_assert_not_null(mkdtemp(folder));
  (void)snprintf(path, sizeof path, "%s/trace.json", folder);
  test_ok(clq_plan_run_traced(f.plan, f.device.stream, f.trace));
  cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
  const struct rlimit small = {.rlim_cur = 16, .rlim_max = before.rlim_max};
  (void)signal(SIGXFSZ, SIG_IGN);
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
  const clq_status status = clq_trace_write(f.trace, path);
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
  test_fails(status, CLQ_IO_ERROR, strerror(EFBIG));
  cr_assert_eq(rmdir(folder), 0, "the half is still there");
  close_fixture(&f);
}

Test(trace, refusals) {
  fixture f = open_fixture();
  test_fails(clq_trace_write(f.trace, "/nonexistent/folder/trace.json"), CLQ_IO_ERROR,
             "trace: /nonexistent/folder/trace.json cannot be written: ");
  if (access("/dev/full", W_OK) == 0) {
    test_fails(clq_trace_write(f.trace, "/dev/full"), CLQ_IO_ERROR, "No space left");
  }
  test_fails(clq_trace_write(NULL, "x"), CLQ_INVALID_ARGUMENT, "NULL");
  test_fails(clq_trace_create(NULL), CLQ_INVALID_ARGUMENT, "NULL");
  test_fails(clq_plan_run_traced(f.plan, f.device.stream, NULL), CLQ_INVALID_ARGUMENT, "NULL");

  cl_int code = CL_SUCCESS;
  cl_command_queue queue = clCreateCommandQueueWithProperties(
      clq_context_cl(f.device.context), clq_context_device(f.device.context), NULL, &code);
  cr_assert_eq(code, CL_SUCCESS);
  clq_stream *plain;
  test_ok(clq_stream_create(f.device.context, queue, &plain));
  (void)clReleaseCommandQueue(queue);
  test_fails(clq_plan_run_traced(f.plan, plain, f.trace), CLQ_INVALID_STATE,
             "CL_QUEUE_PROFILING_ENABLE");
  test_ok(clq_plan_run(f.plan, plain));
  test_ok(clq_stream_finish(plain));
  clq_stream_destroy(plain);
  cr_assert_eq(clq_trace_kernels(f.trace, NULL, 0), 0, "a refused run left spans");
  clq_trace_destroy(NULL);
  close_fixture(&f);
}

/* Two streams are two lanes. */
Test(trace, one_lane_for_each_queue) {
  fixture f = open_fixture();
  clq_stream *second;
  test_ok(clq_stream_create(f.device.context, NULL, &second));
  test_ok(clq_plan_run_traced(f.plan, f.device.stream, f.trace));
  test_ok(clq_plan_run_traced(f.plan, second, f.trace));
  cJSON *json = written(&f);
  int lanes[3] = {0, 0, 0};
  const cJSON *event;
  cJSON_ArrayForEach(event, cJSON_GetObjectItemCaseSensitive(json, "traceEvents")) {
    if (strcmp(string(event, "ph"), "X") == 0) {
      const int lane = (int)number(event, "tid");
      cr_assert(lane == 1 || lane == 2);
      lanes[lane]++;
    }
  }
  cr_assert(lanes[1] == NODES && lanes[2] == NODES);
  cJSON_Delete(json);
  clq_stream_destroy(second);
  close_fixture(&f);
}

/* --- host memory --- */

Test(trace, out_of_memory) {
  fixture f = open_fixture();
  clq_status status = CLQ_OUT_OF_HOST_MEMORY;
  for (size_t granted = 0; status != CLQ_OK && granted < 100; granted++) {
    counting_start(granted + 1, 1);
    clq_trace *trace = NULL;
    status = clq_trace_create(&trace);
    if (status == CLQ_OK) {
      status = clq_plan_run_traced(f.plan, f.device.stream, trace);
    }
    clq_trace_destroy(trace);
    counting_stop();
    cr_assert(status == CLQ_OK || status == CLQ_OUT_OF_HOST_MEMORY, "%s", clq_last_error());
    cr_assert_eq(counting_live(), 0);
  }
  cr_assert_eq(status, CLQ_OK);
  close_fixture(&f);
}
