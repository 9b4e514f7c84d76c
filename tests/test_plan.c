/* Plans on the device: the same bits as immediate calls, however often and from wherever they run;
 * what a run does not do; what happens when OpenCL refuses. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/graph.h>

#include "counting.h"
#include "device.h"
#include "opencl.h"

TestSuite(plan, .fini = opencl_none_live);

/* --- a small chain: inferred shapes, views with strides, in-place nodes, residuals, int8 per group
 * and per token with their planes --- */

enum { CHAIN_NODES = 13, CHAIN_TEMPORARIES = 8 };

/* Memory of one intermediate of the immediate calls; an edge in a plan. */
typedef struct temporary {
  test_buffer data, scale, sum;
} temporary;

typedef struct chain {
  int64_t rows;
  int64_t cols; /* its half a multiple of 32 */
  test_buffer x, residual, gamma;
  temporary temporaries[CHAIN_TEMPORARIES];
  test_buffer out, wide, codes, scale, sum;
} chain;

static chain open_chain(const test_device *d, int64_t rows, int64_t cols) {
  const size_t all = sizeof(float) * (size_t)(rows * cols);
  const size_t planes = sizeof(float) * (size_t)(rows * (cols / 32));
  chain c = {.rows = rows, .cols = cols};
  c.x = test_buffer_new(d, NULL, all);
  c.residual = test_buffer_new(d, NULL, all);
  c.gamma = test_buffer_new(d, NULL, sizeof(float) * (size_t)cols);
  for (int i = 0; i < CHAIN_TEMPORARIES; i++) {
    c.temporaries[i] = (temporary){test_buffer_new(d, NULL, all), test_buffer_new(d, NULL, planes),
                                   test_buffer_new(d, NULL, planes)};
  }
  c.out = test_buffer_new(d, NULL, all / 2);
  c.wide = test_buffer_new(d, NULL, all);
  c.codes = test_buffer_new(d, NULL, (size_t)(rows * cols));
  c.scale = test_buffer_new(d, NULL, planes);
  c.sum = test_buffer_new(d, NULL, planes);
  return c;
}

static void close_chain(chain *c) {
  test_buffer *all[] = {&c->x,    &c->residual, &c->gamma, &c->out,
                        &c->wide, &c->codes,    &c->scale, &c->sum};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    test_buffer_free(all[i]);
  }
  for (int i = 0; i < CHAIN_TEMPORARIES; i++) {
    test_buffer_free(&c->temporaries[i].data);
    test_buffer_free(&c->temporaries[i].scale);
    test_buffer_free(&c->temporaries[i].sum);
  }
}

static void write_floats(const test_device *d, const test_buffer *b, test_random *random) {
  const size_t count = b->bytes / sizeof(float);
  float *values = malloc(b->bytes);
  for (size_t i = 0; i < count; i++) {
    values[i] = test_random_normal(random);
  }
  cr_assert_eq(clEnqueueWriteBuffer(clq_stream_queue(d->stream), b->mem, CL_TRUE, 0, b->bytes,
                                    values, 0, NULL, NULL),
               CL_SUCCESS);
  free(values);
}

static void fill_chain(const test_device *d, const chain *c, uint64_t seed) {
  test_random random = {seed};
  write_floats(d, &c->x, &random);
  write_floats(d, &c->residual, &random);
  write_floats(d, &c->gamma, &random);
}

/* Where a node goes: into a graph, or at once to a stream. */
typedef struct sink {
  clq_graph *graph;
  clq_stream *stream;
} sink;

static clq_status norm(sink s, clq_rmsnorm_args args) {
  return s.graph != NULL ? clq_graph_add(s.graph, CLQ_OP_RMSNORM, &args)
                         : clq_rmsnorm(s.stream, &args);
}
static clq_status quantize(sink s, clq_tensor x, clq_tensor out) {
  const clq_quantize_args args = {.x = x, .out = out};
  return s.graph != NULL ? clq_graph_add(s.graph, CLQ_OP_QUANTIZE, &args)
                         : clq_quantize(s.stream, &args);
}
static clq_status dequantize(sink s, clq_tensor x, clq_tensor out) {
  const clq_dequantize_args args = {.x = x, .out = out};
  return s.graph != NULL ? clq_graph_add(s.graph, CLQ_OP_DEQUANTIZE, &args)
                         : clq_dequantize(s.stream, &args);
}
static clq_status add(sink s, clq_tensor a, clq_tensor b, clq_tensor out) {
  const clq_add_args args = {.a = a, .b = b, .out = out};
  return s.graph != NULL ? clq_graph_add(s.graph, CLQ_OP_ADD, &args) : clq_add(s.stream, &args);
}
static clq_status swiglu(sink s, clq_tensor gate, clq_tensor up, clq_tensor out) {
  const clq_activate_args args = {
      .x = gate, .activation = CLQ_ACTIVATION_SILU, .up = up, .out = out};
  return s.graph != NULL ? clq_graph_add(s.graph, CLQ_OP_ACTIVATE, &args)
                         : clq_activate(s.stream, &args);
}

/* An edge whose shape is inferred, or the i-th temporary with the shape written out. */
static clq_tensor floats(sink s, const chain *c, int i, int64_t cols) {
  return s.graph != NULL ? clq_graph_edge(s.graph, CLQ_F32, 0, NULL)
                         : (clq_tensor){c->temporaries[i].data.mem, CLQ_F32, {c->rows, cols}};
}

static clq_tensor int8(sink s, const chain *c, int i, clq_quant quant) {
  clq_tensor t = {c->temporaries[i].data.mem, CLQ_I8, {c->rows, c->cols}};
  if (s.graph != NULL) {
    t = clq_graph_edge(s.graph, CLQ_I8, 2, t.shape);
  } else {
    quant.scale = c->temporaries[i].scale.mem;
    quant.sum = c->temporaries[i].sum.mem;
  }
  t.quant = quant;
  return t;
}

/* The half of a [rows, cols] tensor that starts at column `from`. */
static clq_tensor half_of(const chain *c, clq_tensor t, int64_t from) {
  t.shape[0] = c->rows;
  t.shape[1] = c->cols / 2;
  t.stride[0] = c->cols;
  t.stride[1] = 1;
  t.offset += sizeof(float) * (size_t)from;
  return t;
}

static void emit_chain(sink s, const chain *c) {
  const int64_t rows = c->rows;
  const int64_t cols = c->cols;
  const clq_quant grouped = {.per = CLQ_PER_GROUP, .group = 32};
  const clq_tensor x = {c->x.mem, CLQ_F32, {rows, cols}};
  const clq_tensor residual = {c->residual.mem, CLQ_F32, {rows, cols}};
  const clq_tensor gamma = {c->gamma.mem, CLQ_F32, {cols}};
  const clq_tensor out = {c->out.mem, CLQ_F32, {rows, cols / 2}};
  const clq_tensor wide = {c->wide.mem, CLQ_F32, {rows, cols}};
  clq_tensor codes = {c->codes.mem, CLQ_I8, {rows, cols}, .quant = grouped};
  codes.quant.scale = c->scale.mem;
  codes.quant.sum = c->sum.mem;

  const clq_tensor e1 = floats(s, c, 0, cols);
  const clq_tensor e2 = floats(s, c, 1, cols);
  const clq_tensor e3 = floats(s, c, 2, cols / 2);
  const clq_tensor e4 = floats(s, c, 3, cols / 2);
  test_ok(norm(s, (clq_rmsnorm_args){.x = x, .residual = residual, .gamma = gamma, .out = e1}));
  test_ok(norm(s, (clq_rmsnorm_args){.x = e1, .gamma = gamma, .out = e2}));
  test_ok(norm(s, (clq_rmsnorm_args){.x = e2, .out = e2}));
  test_ok(swiglu(s, half_of(c, e2, 0), half_of(c, e2, cols / 2), e3));
  test_ok(norm(s, (clq_rmsnorm_args){.x = e3, .residual = half_of(c, e1, cols / 2), .out = e4}));
  test_ok(norm(s, (clq_rmsnorm_args){.x = e4, .out = out}));

  const clq_tensor q5 = int8(s, c, 4, grouped);
  const clq_tensor e6 = floats(s, c, 5, cols);
  const clq_tensor q7 = int8(s, c, 6, (clq_quant){.per = CLQ_PER_TOKEN});
  const clq_tensor e8 = floats(s, c, 7, cols);
  test_ok(norm(s, (clq_rmsnorm_args){.x = e1, .out = q5}));
  test_ok(dequantize(s, q5, e6));
  test_ok(add(s, e6, e1, e6));
  test_ok(quantize(s, e6, q7));
  test_ok(dequantize(s, q7, e8));
  test_ok(add(s, e8, e2, wide));
  test_ok(quantize(s, e8, codes));
}

static clq_plan *plan_of(const test_device *d, const chain *c, cl_mem arena) {
  clq_graph *graph;
  clq_plan *plan;
  test_ok(clq_graph_create(d->context, &graph));
  emit_chain((sink){.graph = graph}, c);
  test_ok(clq_plan_create_in(graph, arena, &plan));
  clq_graph_destroy(graph);
  return plan;
}

/* Everything that a chain leaves behind. */
typedef struct result {
  unsigned char *bytes;
  size_t count;
} result;

static result read_chain(const test_device *d, const chain *c) {
  const test_buffer *outs[] = {&c->residual, &c->out, &c->wide, &c->codes, &c->scale, &c->sum};
  result r = {NULL, 0};
  for (size_t i = 0; i < sizeof outs / sizeof outs[0]; i++) {
    r.count += outs[i]->bytes;
  }
  r.bytes = malloc(r.count);
  size_t at = 0;
  for (size_t i = 0; i < sizeof outs / sizeof outs[0]; i++) {
    test_buffer_read(d, outs[i], r.bytes + at);
    at += outs[i]->bytes;
  }
  return r;
}

/* Fills, calls the operators one by one, and returns what that gave; then fills again. */
static result immediate_result(const test_device *d, const chain *c, uint64_t seed) {
  fill_chain(d, c, seed);
  emit_chain((sink){.stream = d->stream}, c);
  const result r = read_chain(d, c);
  fill_chain(d, c, seed);
  return r;
}

static void same_result(result expected, result got, const char *what) {
  cr_assert_eq(expected.count, got.count);
  cr_assert(memcmp(expected.bytes, got.bytes, got.count) == 0, "%s: other bytes", what);
}

Test(plan, gives_the_bits_of_immediate_calls) {
  test_device d = test_device_open(NULL);
  const int64_t shapes[][2] = {{1, 64}, {3, 64}, {5, 192}, {17, 576}};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    chain c = open_chain(&d, shapes[i][0], shapes[i][1]);
    clq_plan *plan = plan_of(&d, &c, NULL);
    const result expected = immediate_result(&d, &c, 7 + i);
    test_ok(clq_plan_run(plan, d.stream));
    const result got = read_chain(&d, &c);
    same_result(expected, got, "first run");
    free(expected.bytes);
    free(got.bytes);

    clq_plan_stats stats;
    clq_plan_get_stats(plan, &stats);
    cr_assert_eq(stats.nodes, CHAIN_NODES);
    cr_assert_eq(stats.launches, CHAIN_NODES);
    cr_assert(stats.arena_bytes >= stats.lower_bound_bytes);
    cr_assert(stats.arena_bytes < stats.naive_bytes, "nothing was shared");
    size_t bytes = 0;
    cr_assert_eq(clGetMemObjectInfo(clq_plan_arena(plan), CL_MEM_SIZE, sizeof bytes, &bytes, NULL),
                 CL_SUCCESS);
    cr_assert_eq(bytes, stats.arena_bytes);
    clq_plan_destroy(plan);
    close_chain(&c);
  }
  test_device_close(&d);
}

Test(plan, replays_with_changing_inputs_and_touches_nothing) {
  test_device d = test_device_open(NULL);
  chain c = open_chain(&d, 5, 192);
  clq_plan *plan = plan_of(&d, &c, NULL);
  counting_start(0, 0);
  for (uint64_t round = 0; round < 100; round++) {
    const result expected = immediate_result(&d, &c, round);
    test_ok(clq_stream_finish(d.stream));
    const size_t allocations = counting_calls();
    opencl_reset_called();
    test_ok(clq_plan_run(plan, d.stream));
    cr_assert_eq(counting_calls(), allocations, "a run allocated");
    cr_assert_eq(opencl_called(OPENCL_SET_ARG), 0, "a run set arguments");
    cr_assert_eq(opencl_called(OPENCL_CREATE_KERNEL), 0);
    cr_assert_eq(opencl_called(OPENCL_CREATE_BUFFER), 0);
    cr_assert_eq(opencl_called(OPENCL_ENQUEUE_KERNEL), CHAIN_NODES);
    const result got = read_chain(&d, &c);
    same_result(expected, got, "replay");
    free(expected.bytes);
    free(got.bytes);
  }
  counting_stop();
  clq_plan_destroy(plan);
  close_chain(&c);
  test_device_close(&d);
}

/* --- two plans, two streams, two threads --- */

typedef struct worker {
  test_device device; /* the shared context, a stream of its own */
  chain chain;
  clq_plan *plan;
  result expected;
  int failed;
} worker;

static void *work(void *user) {
  worker *w = user;
  for (int i = 0; i < 50; i++) {
    w->failed += clq_plan_run(w->plan, w->device.stream) != CLQ_OK;
    w->failed += clq_stream_finish(w->device.stream) != CLQ_OK;
  }
  return NULL;
}

/* Fifty runs, each of which adds x to the residual, done one by one. */
static result fifty_immediate(const test_device *d, const chain *c, uint64_t seed) {
  fill_chain(d, c, seed);
  for (int i = 0; i < 50; i++) {
    emit_chain((sink){.stream = d->stream}, c);
  }
  const result r = read_chain(d, c);
  fill_chain(d, c, seed);
  test_ok(clq_stream_finish(d->stream));
  return r;
}

Test(plan, two_plans_on_two_streams_in_two_threads) {
  test_device d = test_device_open(NULL);
  worker workers[2];
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) {
    worker *w = &workers[i];
    *w = (worker){.device = {.context = d.context}};
    test_ok(clq_stream_create(d.context, NULL, &w->device.stream));
    w->chain = open_chain(&w->device, 9 + i, 320);
    w->plan = plan_of(&w->device, &w->chain, NULL);
    w->expected = fifty_immediate(&w->device, &w->chain, (uint64_t)(100 + i));
  }
  for (int i = 0; i < 2; i++) {
    cr_assert_eq(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
  }
  for (int i = 0; i < 2; i++) {
    (void)pthread_join(threads[i], NULL);
  }
  for (int i = 0; i < 2; i++) {
    worker *w = &workers[i];
    cr_assert_eq(w->failed, 0);
    const result got = read_chain(&w->device, &w->chain);
    same_result(w->expected, got, i == 0 ? "first thread" : "second thread");
    free(got.bytes);
    free(w->expected.bytes);
    clq_plan_destroy(w->plan);
    close_chain(&w->chain);
    clq_stream_destroy(w->device.stream);
  }
  test_device_close(&d);
}

Test(plan, plans_share_an_arena) {
  test_device d = test_device_open(NULL);
  chain large = open_chain(&d, 16, 192);
  chain small = open_chain(&d, 1, 192);
  clq_plan *first = plan_of(&d, &large, NULL);
  opencl_reset_called();
  clq_plan *second = plan_of(&d, &small, clq_plan_arena(first));
  cr_assert_eq(opencl_called(OPENCL_CREATE_BUFFER), 1); /* the error word, and no arena */
  cr_assert_eq(clq_plan_arena(first), clq_plan_arena(second));
  clq_plan *third = plan_of(&d, &large, clq_plan_arena(second));
  cr_assert_eq(clq_plan_arena(third), clq_plan_arena(first));
  clq_plan_destroy(first); /* the others keep the arena */

  const result expected_small = immediate_result(&d, &small, 1);
  const result expected_large = immediate_result(&d, &large, 2);
  test_ok(clq_plan_run(third, d.stream));
  test_ok(clq_plan_run(second, d.stream));
  const result got_small = read_chain(&d, &small);
  const result got_large = read_chain(&d, &large);
  same_result(expected_small, got_small, "small");
  same_result(expected_large, got_large, "large");
  free(expected_small.bytes);
  free(expected_large.bytes);
  free(got_small.bytes);
  free(got_large.bytes);

  /* One that is too small is not taken. */
  clq_plan *own_small = plan_of(&d, &small, NULL);
  clq_plan *own_large = plan_of(&d, &large, clq_plan_arena(own_small));
  cr_assert_neq(clq_plan_arena(own_small), clq_plan_arena(own_large));
  clq_plan_destroy(own_small);
  clq_plan_destroy(own_large);
  clq_plan_destroy(second);
  clq_plan_destroy(third);
  close_chain(&large);
  close_chain(&small);
  test_device_close(&d);
}

Test(plan, empty_work) {
  test_device d = test_device_open(NULL);
  clq_graph *graph;
  clq_plan *plan;
  test_ok(clq_graph_create(d.context, &graph));
  test_ok(clq_plan_create(graph, &plan)); /* no node at all */
  cr_assert_null(clq_plan_arena(plan));
  test_ok(clq_plan_run(plan, d.stream));
  clq_plan_destroy(plan);

  test_buffer x = test_buffer_new(&d, NULL, 4);
  const clq_tensor none = {x.mem, CLQ_F32, {0, 64}};
  const clq_tensor e = clq_graph_edge(graph, CLQ_F32, 0, NULL);
  test_ok(clq_graph_add(graph, CLQ_OP_RMSNORM, &(clq_rmsnorm_args){.x = none, .out = e}));
  test_ok(clq_graph_add(graph, CLQ_OP_RMSNORM, &(clq_rmsnorm_args){.x = e, .out = none}));
  test_ok(clq_plan_create(graph, &plan));
  clq_plan_stats stats;
  clq_plan_get_stats(plan, &stats);
  cr_assert(stats.nodes == 2 && stats.launches == 0 && stats.arena_bytes == 0);
  test_ok(clq_plan_run(plan, d.stream));
  clq_plan_destroy(plan);
  clq_graph_destroy(graph);
  test_buffer_free(&x);
  test_device_close(&d);
}

Test(plan, a_failed_enqueue_names_its_node_and_stops) {
  test_device d = test_device_open(NULL);
  chain c = open_chain(&d, 3, 64);
  clq_plan *plan = plan_of(&d, &c, NULL);
  const result expected = immediate_result(&d, &c, 3);
  for (int node = 0; node < CHAIN_NODES; node++) {
    char part[64];
    (void)snprintf(part, sizeof part, "plan: node %d (", node);
    opencl_reset_called();
    opencl_fail(OPENCL_ENQUEUE_KERNEL, node);
    const clq_status status = clq_plan_run(plan, d.stream);
    opencl_fail(OPENCL_ENQUEUE_KERNEL, -1);
    cr_assert(status == CLQ_DEVICE_ERROR || status == CLQ_DEVICE_LOST ||
              status == CLQ_OUT_OF_DEVICE_MEMORY);
    test_fails(status, status, part);
    test_fails(status, status, "CL_OUT_OF_RESOURCES");
    cr_assert_eq(opencl_called(OPENCL_ENQUEUE_KERNEL), node + 1,
                 "work was enqueued behind the error");
  }
  /* The plan itself is none the worse. */
  fill_chain(&d, &c, 3);
  test_ok(clq_plan_run(plan, d.stream));
  const result got = read_chain(&d, &c);
  same_result(expected, got, "after errors");
  free(expected.bytes);
  free(got.bytes);

  clq_context *other_context = NULL;
  clq_stream *other = NULL;
  test_ok(clq_context_create(NULL, &other_context));
  test_ok(clq_stream_create(other_context, NULL, &other));
  test_fails(clq_plan_run(plan, other), CLQ_INVALID_ARGUMENT, "belongs to another context");
  test_fails(clq_plan_run(NULL, other), CLQ_INVALID_ARGUMENT, "NULL");
  test_fails(clq_plan_run(plan, NULL), CLQ_INVALID_ARGUMENT, "NULL");
  clq_stream_destroy(other);
  clq_context_destroy(other_context);
  clq_plan_destroy(plan);
  close_chain(&c);
  test_device_close(&d);
}

/* Builds the chain's graph and plan under failing calls; nothing but success or the given status
 * may come of it. Graph errors end the attempt like a caller would. */
static clq_status try_plan(const test_device *d, const chain *c) {
  const clq_tensor x = {c->x.mem, CLQ_F32, {c->rows, c->cols}};
  const clq_tensor out = {c->residual.mem, CLQ_F32, {c->rows, c->cols}};
  clq_graph *graph = NULL;
  clq_plan *plan = NULL;
  clq_status status = clq_graph_create(d->context, &graph);
  if (status == CLQ_OK) {
    const clq_tensor e = clq_graph_edge(graph, CLQ_F32, 0, NULL);
    status = clq_graph_add(graph, CLQ_OP_RMSNORM, &(clq_rmsnorm_args){.x = x, .out = e});
    if (status == CLQ_OK) {
      status = clq_graph_add(graph, CLQ_OP_RMSNORM, &(clq_rmsnorm_args){.x = e, .out = out});
    }
    if (status == CLQ_OK) {
      status = clq_plan_create(graph, &plan);
    }
  }
  clq_plan_destroy(plan);
  clq_graph_destroy(graph);
  return status;
}

Test(plan, nothing_leaks_whatever_fails) {
  test_device d = test_device_open(NULL);
  chain c = open_chain(&d, 3, 64);
  test_ok(try_plan(&d, &c)); /* the program is in the cache from here on */

  const opencl_objects before = opencl_live();
  clq_status status = CLQ_OUT_OF_HOST_MEMORY;
  size_t granted = 0;
  for (; status != CLQ_OK && granted < 200; granted++) {
    counting_start(granted + 1, 1);
    status = try_plan(&d, &c);
    counting_stop();
    cr_assert(status == CLQ_OK || status == CLQ_OUT_OF_HOST_MEMORY, "%s: %s",
              clq_status_name(status), clq_last_error());
    cr_assert_eq(counting_live(), 0, "%zu allocations granted, %zu blocks leaked", granted,
                 counting_live());
    opencl_assert_live(&before);
  }
  cr_assert_eq(status, CLQ_OK);
  cr_assert_gt(granted, 5);

  counting_start(0, 0);
  for (int i = 0; i < 2; i++) {
    opencl_fail(OPENCL_CREATE_KERNEL, i);
    char part[64];
    (void)snprintf(part, sizeof part, "plan: node %d (rmsnorm): ", i);
    status = try_plan(&d, &c);
    test_fails(status, CLQ_OUT_OF_HOST_MEMORY, part);
    cr_assert_eq(counting_live(), 0);
    opencl_assert_live(&before);
  }
  opencl_fail(OPENCL_CREATE_KERNEL, -1);
  opencl_fail(OPENCL_CREATE_BUFFER, 0);
  test_fails(try_plan(&d, &c), CLQ_OUT_OF_DEVICE_MEMORY, "plan: the arena: ");
  opencl_fail(OPENCL_CREATE_BUFFER, -1);
  cr_assert_eq(counting_live(), 0);
  test_ok(try_plan(&d, &c));
  cr_assert_eq(counting_live(), 0);
  opencl_assert_live(&before);
  counting_stop();
  close_chain(&c);
  test_device_close(&d);
}

/* One after the other in one arena, many nodes: flushed on the way, and still right. */
Test(plan, long_chains) {
  enum { NODES = 400 };
  test_device d = test_device_open(NULL);
  test_buffer x = test_buffer_new(&d, NULL, sizeof(float) * 64);
  test_buffer out = test_buffer_new(&d, NULL, sizeof(float) * 64);
  test_buffer hand = test_buffer_new(&d, NULL, sizeof(float) * 64);
  test_random random = {5};
  write_floats(&d, &x, &random);
  clq_graph *graph;
  test_ok(clq_graph_create(d.context, &graph));
  clq_tensor t = {x.mem, CLQ_F32, {1, 64}};
  for (int i = 0; i < NODES; i++) {
    const clq_tensor next = i == NODES - 1 ? (clq_tensor){out.mem, CLQ_F32, {1, 64}}
                                           : clq_graph_edge(graph, CLQ_F32, 0, NULL);
    test_ok(clq_graph_add(graph, CLQ_OP_RMSNORM, &(clq_rmsnorm_args){.x = t, .out = next}));
    t = next;
  }
  clq_plan *plan;
  test_ok(clq_plan_create(graph, &plan));
  clq_graph_destroy(graph);
  clq_plan_stats stats;
  clq_plan_get_stats(plan, &stats);
  cr_assert_eq(stats.arena_bytes, 2 * 256);
  cr_assert_eq(stats.lower_bound_bytes, 2 * 256);
  cr_assert_eq(stats.naive_bytes, (NODES - 1) * 256);
  opencl_reset_called();
  test_ok(clq_plan_run(plan, d.stream));
  cr_assert_geq(opencl_called(OPENCL_FLUSH), NODES / 16);

  t = (clq_tensor){x.mem, CLQ_F32, {1, 64}};
  for (int i = 0; i < NODES; i++) {
    const clq_tensor next = {hand.mem, CLQ_F32, {1, 64}};
    test_ok(clq_rmsnorm(d.stream, &(clq_rmsnorm_args){.x = t, .out = next}));
    t = next;
  }
  float a[64];
  float b[64];
  test_buffer_read(&d, &out, a);
  test_buffer_read(&d, &hand, b);
  cr_assert(memcmp(a, b, sizeof a) == 0);
  clq_plan_destroy(plan);
  test_buffer_free(&x);
  test_buffer_free(&out);
  test_buffer_free(&hand);
  test_device_close(&d);
}
