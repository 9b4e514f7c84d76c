/* What planning costs, and what a node of a plan costs above the driver's own
 * enqueue: a chain of small additions, and beside it the same kernel's work
 * enqueued by hand, in turns. */
#include "bench.h"

#include <math.h>
#include <stdio.h>

#include "cli.h"

enum { COLS = 64, MOST_NODES = 1000000 };

static const bench_word words[] = {{"nodes", BENCH_NUMBER, "10000", NULL, NULL}};

/* As many arguments as add_rows has. */
static const char source[] =
    "__kernel void by_hand(__global const float *a, long a0, __global const float *b, long b0,\n"
    "                      __global float *out, long out0, long cols, long a_stride,\n"
    "                      long b_stride, long out_stride) {\n"
    "  const long row = (long)get_global_id(0);\n"
    "  a += a0 + row * a_stride;\n"
    "  b += b0 + row * b_stride;\n"
    "  out += out0 + row * out_stride;\n"
    "  for (long i = 0; i < cols; ++i) out[i] = a[i] + b[i];\n"
    "}\n";

typedef struct chain {
  cl_mem start, one, end;
  clq_graph *graph;
  clq_plan *plan;
  cl_program program;
  cl_kernel by_hand;
  double *planning, *ours, *device, *driver, *graphing;
} chain;

static clq_tensor row_of(cl_mem mem) { return (clq_tensor){mem, CLQ_F32, {1, COLS}}; }

static void build_graph(bench_case *c, chain *k, int64_t nodes) {
  const int64_t shape[] = {1, COLS};
  clq_tensor at = row_of(k->start);
  bool good = bench_ok(c, clq_graph_create(c->session->context, &k->graph));
  for (int64_t i = 0; good && i < nodes; ++i) {
    const clq_tensor next =
        i + 1 < nodes ? clq_graph_edge(k->graph, CLQ_F32, 2, shape) : row_of(k->end);
    const clq_add_args args = {.a = at, .b = row_of(k->one), .out = next};
    good = bench_ok(c, clq_graph_add(k->graph, CLQ_OP_ADD, &args));
    at = next;
  }
}

/* Of a new graph and plan each time; the last ones stay. */
static void plan_turn(bench_case *c, chain *k, int64_t nodes, double *graphing, double *planning) {
  clq_plan_destroy(k->plan);
  clq_graph_destroy(k->graph);
  k->plan = NULL;
  k->graph = NULL;
  const double began = cli_seconds();
  build_graph(c, k, nodes);
  const double built = cli_seconds();
  if (c->code == CLI_DONE) {
    (void)bench_ok(c, clq_plan_create(k->graph, &k->plan));
  }
  *graphing = built - began;
  *planning = cli_seconds() - built;
}

static double run_turn(bench_case *c, chain *k) {
  const double began = cli_seconds();
  (void)bench_ok(c, clq_plan_run(k->plan, c->session->stream));
  (void)bench_ok(c, clq_stream_finish(c->session->stream));
  return cli_seconds() - began;
}

static double device_turn(bench_case *c, chain *k) {
  clq_trace *trace = NULL;
  clq_kernel_time time = {0};
  if (!bench_ok(c, clq_trace_create(&trace))) {
    return 0.0;
  }
  (void)bench_ok(c, clq_plan_run_traced(k->plan, c->session->stream, trace));
  (void)clq_trace_kernels(trace, &time, 1);
  clq_trace_destroy(trace);
  return time.device_seconds;
}

/* --- the driver alone --- */

static void refuse(bench_case *c, cl_int code) {
  if (code != CL_SUCCESS) {
    bench_fail(c, "plan: the enqueue by hand failed with OpenCL error %d", (int)code);
  }
}

static void prepare_by_hand(bench_case *c, chain *k) {
  const cl_device_id device = clq_context_device(c->session->context);
  const char *text = source;
  const cl_long numbers[] = {0, 0, 0, COLS, COLS, COLS, COLS};
  const cl_mem buffers[] = {k->start, k->one, bench_buffer(c, NULL, COLS, sizeof(float))};
  cl_int code = CL_SUCCESS;
  k->program =
      clCreateProgramWithSource(clq_context_cl(c->session->context), 1, &text, NULL, &code);
  code = code == CL_SUCCESS ? clBuildProgram(k->program, 1, &device, "", NULL, NULL) : code;
  if (code == CL_SUCCESS) {
    k->by_hand = clCreateKernel(k->program, "by_hand", &code);
  }
  for (cl_uint i = 0; i < 3 && code == CL_SUCCESS; ++i) {
    code = clSetKernelArg(k->by_hand, 2 * i, sizeof buffers[i], &buffers[i]);
    code = code == CL_SUCCESS
               ? clSetKernelArg(k->by_hand, 2 * i + 1, sizeof numbers[i], &numbers[i])
               : code;
  }
  for (cl_uint i = 6; i < 10 && code == CL_SUCCESS; ++i) {
    code = clSetKernelArg(k->by_hand, i, sizeof numbers[i - 3], &numbers[i - 3]);
  }
  refuse(c, code);
}

static double driver_turn(bench_case *c, chain *k, int64_t nodes) {
  const cl_command_queue queue = clq_stream_queue(c->session->stream);
  const size_t one = 1;
  cl_int code = CL_SUCCESS;
  const double began = cli_seconds();
  for (int64_t i = 0; i < nodes && code == CL_SUCCESS; ++i) {
    code = clEnqueueNDRangeKernel(queue, k->by_hand, 1, NULL, &one, &one, 0, NULL, NULL);
  }
  code = code == CL_SUCCESS ? clFinish(queue) : code;
  refuse(c, code);
  return cli_seconds() - began;
}

/* --- */

static void measure(bench_case *c, chain *k, int64_t nodes) {
  const int64_t n = c->session->repetitions;
  plan_turn(c, k, nodes, &k->graphing[0], &k->planning[0]); /* builds the kernel */
  if (c->code == CLI_DONE) {
    (void)run_turn(c, k);
    (void)driver_turn(c, k, nodes);
  }
  for (int64_t i = 0; i < n && !bench_over(c); ++i) {
    plan_turn(c, k, nodes, &k->graphing[i], &k->planning[i]);
    if (c->code == CLI_DONE) {
      k->ours[i] = run_turn(c, k);
      k->driver[i] = driver_turn(c, k, nodes);
      k->device[i] = device_turn(c, k);
    }
  }
}

static void check(bench_case *c, const chain *k, int64_t nodes) {
  const float *end = bench_read(c, k->end, COLS, sizeof *end);
  for (int64_t i = 0; end != NULL && i < COLS; ++i) {
    bench_error(c, (double)end[i], (double)(i + nodes));
  }
  c->record.checked = c->code == CLI_DONE && c->record.max_error == 0.0;
  if (c->code == CLI_DONE && !c->record.checked) {
    bench_fail(c, "plan: the chain's result is off by %g", c->record.max_error);
  }
}

static void extra(bench_case *c, const char *key, double value) {
  c->record.extras[c->record.extra_count++] = (bench_extra){key, value};
}

/* What a run of ours takes beyond the one by hand in the same turn: the median of the turns, or NaN
 * if it is not above their spread (the median distance from it), or the turns are too few to tell.
 * differences: room for the turns. */
static double overhead(const chain *k, size_t n, double *differences) {
  enum { LEAST_TURNS = 3 };
  for (size_t i = 0; i < n; ++i) {
    differences[i] = k->ours[i] - k->driver[i];
  }
  const double middle = bench_median(differences, n);
  for (size_t i = 0; i < n; ++i) {
    differences[i] = fabs(k->ours[i] - k->driver[i] - middle);
  }
  return n >= LEAST_TURNS && middle > bench_median(differences, n) ? middle : (double)NAN;
}

static void summarize(bench_case *c, chain *k, int64_t nodes) {
  const size_t n = (size_t)c->session->repetitions;
  clq_plan_stats stats;
  clq_plan_get_stats(k->plan, &stats);
  bench_record *r = &c->record;
  /* Before the medians, which sort the turns. */
  double *differences = bench_host(c, (int64_t)n, sizeof *differences);
  if (differences == NULL) {
    return;
  }
  const double beyond = overhead(k, n, differences);
  r->repetitions = (int64_t)n;
  r->real_ns = 1e9 * bench_median(k->ours, n);
  r->min_ns = 1e9 * k->ours[0];
  r->device_ns = 1e9 * bench_median(k->device, n);
  r->bytes = 12.0 * COLS * (double)nodes;
  r->ops = COLS * (double)nodes;
  const double driver = 1e9 * bench_median(k->driver, n);
  extra(c, "graph_time", 1e9 * bench_median(k->graphing, n));
  extra(c, "plan_time", 1e9 * bench_median(k->planning, n));
  extra(c, "driver_time", driver);
  extra(c, "overhead_per_node", 1e9 * beyond / (double)nodes);
  extra(c, "arena_bytes", (double)stats.arena_bytes);
  extra(c, "lower_bound_bytes", (double)stats.lower_bound_bytes);
  extra(c, "naive_bytes", (double)stats.naive_bytes);
}

static void run(bench_case *c) {
  const int64_t nodes = bench_number(c, "nodes");
  const int64_t n = c->session->repetitions;
  chain k = {0};
  float start[COLS];
  float one[COLS];
  for (int i = 0; i < COLS; ++i) {
    start[i] = (float)i;
    one[i] = 1.0f;
  }
  if (nodes > MOST_NODES) {
    bench_fail(c, "plan: --nodes is %lld, at most %d nodes are measured", (long long)nodes,
               MOST_NODES);
  }
  k.start = bench_buffer(c, start, COLS, sizeof(float));
  k.one = bench_buffer(c, one, COLS, sizeof(float));
  k.end = bench_buffer(c, NULL, COLS, sizeof(float));
  double **const turns[] = {&k.planning, &k.ours, &k.device, &k.driver, &k.graphing};
  for (size_t i = 0; i < sizeof turns / sizeof turns[0]; ++i) {
    *turns[i] = bench_host(c, n, sizeof(double));
  }
  bench_measuring(c);
  if (c->code == CLI_DONE) {
    prepare_by_hand(c, &k);
  }
  if (c->code == CLI_DONE) {
    measure(c, &k, nodes);
  }
  if (!bench_over(c)) {
    check(c, &k, nodes);
  }
  if (!bench_over(c)) {
    summarize(c, &k, nodes);
  }
  if (!bench_over(c)) {
    bench_emit(c);
  }
  clq_plan_destroy(k.plan);
  clq_graph_destroy(k.graph);
  if (k.by_hand != NULL) {
    (void)clReleaseKernel(k.by_hand);
  }
  if (k.program != NULL) {
    (void)clReleaseProgram(k.program);
  }
}

extern const bench_op bench_op_plan;
const bench_op bench_op_plan = {
    .name = "plan", .words = words, .word_count = sizeof words / sizeof words[0], .run = run};
