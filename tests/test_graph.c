/* Recording: what a graph takes, infers and refuses. No kernel runs here. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/graph.h>

#include "device.h"
#include "opencl.h"

TestSuite(graph, .fini = opencl_none_live);

enum { ROWS = 3, COLS = 64 };

typedef struct fixture {
  test_device device;
  test_buffer x;     /* f32 [ROWS, COLS] */
  test_buffer gamma; /* f32 [COLS] */
  clq_graph *graph;
} fixture;

static fixture open_fixture(void) {
  fixture f = {.device = test_device_open(NULL)};
  f.x = test_buffer_new(&f.device, NULL, sizeof(float) * ROWS * COLS);
  f.gamma = test_buffer_new(&f.device, NULL, sizeof(float) * COLS);
  test_ok(clq_graph_create(f.device.context, &f.graph));
  return f;
}

static void close_fixture(fixture *f) {
  clq_graph_destroy(f->graph);
  test_buffer_free(&f->x);
  test_buffer_free(&f->gamma);
  test_device_close(&f->device);
}

/* A graph without a past: errors stay. */
static void restart(fixture *f) {
  clq_graph_destroy(f->graph);
  test_ok(clq_graph_create(f->device.context, &f->graph));
}

static clq_tensor input(const fixture *f) { return (clq_tensor){f->x.mem, CLQ_F32, {ROWS, COLS}}; }

static clq_tensor edge(fixture *f, clq_dtype dtype, int64_t rows, int64_t cols) {
  return clq_graph_edge(f->graph, dtype, 2, (int64_t[]){rows, cols});
}

static clq_status norm(fixture *f, clq_tensor x, clq_tensor out) {
  return clq_graph_add(f->graph, CLQ_OP_RMSNORM, &(clq_rmsnorm_args){.x = x, .out = out});
}

/* The call fails so; so does everything after it, and no plan comes of it. */
static void refuses(fixture *f, clq_status status, clq_status expected, const char *part) {
  test_fails(status, expected, part);
  char text[1024];
  (void)snprintf(text, sizeof text, "%s", clq_last_error());
  test_fails(norm(f, input(f), (clq_tensor){0}), expected, text);
  clq_plan *plan = NULL;
  test_fails(clq_plan_create(f->graph, &plan), expected, text);
  cr_assert_null(plan);
  restart(f);
}

Test(graph, refuses_what_is_wrong_and_remembers_it) {
  fixture f = open_fixture();

  refuses(&f, clq_graph_add(f.graph, (clq_op)99, &(clq_rmsnorm_args){0}), CLQ_INVALID_ARGUMENT,
          "graph: node 0: operator is 99, expected one of clq_op");
  refuses(&f, clq_graph_add(f.graph, (clq_op)0, &(clq_rmsnorm_args){0}), CLQ_INVALID_ARGUMENT,
          "operator is 0, expected one of clq_op");
  refuses(&f, clq_graph_add(f.graph, CLQ_OP_RMSNORM, NULL), CLQ_INVALID_ARGUMENT,
          "graph: node 0: rmsnorm: args is NULL");

  clq_tensor a = edge(&f, CLQ_F32, ROWS, COLS);
  clq_tensor b = edge(&f, CLQ_F32, ROWS, COLS);
  refuses(&f, norm(&f, a, b), CLQ_INVALID_ARGUMENT,
          "graph: node 0: rmsnorm: x reads edge 1 before any node has written it");

  a = edge(&f, CLQ_F32, ROWS, COLS);
  test_ok(norm(&f, input(&f), a));
  refuses(&f, norm(&f, input(&f), a), CLQ_INVALID_ARGUMENT,
          "graph: node 1: rmsnorm: out is edge 1 where node 0 has written it");

  a = edge(&f, CLQ_F32, ROWS, COLS);
  a.value = 7;
  refuses(&f, norm(&f, input(&f), a), CLQ_INVALID_ARGUMENT, "out is edge 7, the graph has 1");
  a.value = -1;
  refuses(&f, norm(&f, input(&f), a), CLQ_INVALID_ARGUMENT, "out is edge -1");

  a = edge(&f, CLQ_F32, ROWS, COLS);
  a.mem = f.x.mem;
  refuses(&f, norm(&f, input(&f), a), CLQ_INVALID_ARGUMENT, "out names edge 1 and a buffer");

  a = edge(&f, CLQ_F32, ROWS, COLS);
  a.dtype = CLQ_F16;
  refuses(&f, norm(&f, input(&f), a), CLQ_INVALID_ARGUMENT, "out is f16, edge 1 is f32");

  /* The operator's own checks. */
  a = edge(&f, CLQ_F32, ROWS, COLS);
  test_ok(norm(&f, input(&f), a));
  refuses(&f,
          clq_graph_add(f.graph, CLQ_OP_RMSNORM,
                        &(clq_rmsnorm_args){.x = a,
                                            .gamma = {f.gamma.mem, CLQ_F32, {COLS - 1}},
                                            .out = edge(&f, CLQ_F32, ROWS, COLS)}),
          CLQ_INVALID_ARGUMENT, "graph: node 1: rmsnorm: dimension 0 of gamma is 63");
  refuses(&f, norm(&f, input(&f), edge(&f, CLQ_F32, ROWS, COLS + 1)), CLQ_INVALID_ARGUMENT,
          "graph: node 0: rmsnorm: dimension 1 of out is 65");
  refuses(&f, norm(&f, input(&f), edge(&f, CLQ_I32, ROWS, COLS)), CLQ_UNSUPPORTED,
          "graph: node 0: rmsnorm: dtype of out is i32");

  /* The caller's buffers are checked now, not when a plan runs. */
  refuses(
      &f,
      norm(&f, (clq_tensor){f.x.mem, CLQ_F32, {ROWS + 1, COLS}}, edge(&f, CLQ_F32, ROWS + 1, COLS)),
      CLQ_INVALID_ARGUMENT, "graph: node 0: rmsnorm: the buffer of x has 768 bytes");
  refuses(&f, norm(&f, input(&f), (clq_tensor){.dtype = CLQ_F32, .shape = {ROWS, COLS}}),
          CLQ_INVALID_ARGUMENT, "out has no buffer");

  /* Views of edges. */
  a = edge(&f, CLQ_F32, ROWS, COLS);
  test_ok(norm(&f, input(&f), a));
  clq_tensor view = a;
  view.shape[1] = COLS / 2;
  view.stride[0] = COLS;
  view.stride[1] = 1;
  view.offset = sizeof(float) * (COLS / 2 + 1);
  refuses(&f, norm(&f, view, edge(&f, CLQ_F32, ROWS, COLS / 2)), CLQ_INVALID_ARGUMENT,
          "graph: node 1: rmsnorm: x takes 640 bytes from offset 132, edge 1 has 768");
  a = edge(&f, CLQ_F32, 1, COLS);
  test_ok(norm(&f, (clq_tensor){f.x.mem, CLQ_F32, {1, COLS}}, a));
  view = a;
  view.offset = UINT64_MAX - 3;
  refuses(&f, norm(&f, view, edge(&f, CLQ_F32, 1, COLS)), CLQ_INVALID_ARGUMENT, "from offset 1844");

  close_fixture(&f);
}

/* Columns [from, from + COLS / 2) of a [ROWS, COLS] edge or buffer. */
static clq_tensor half_of(clq_tensor t, int64_t from) {
  t.shape[1] = COLS / 2;
  t.stride[0] = COLS;
  t.stride[1] = 1;
  t.offset += sizeof(float) * (size_t)from;
  return t;
}

Test(graph, edges_are_written_once_or_in_pieces_or_in_place) {
  fixture f = open_fixture();
  clq_tensor x = input(&f);
  clq_tensor e = edge(&f, CLQ_F32, ROWS, COLS);
  test_ok(norm(&f, half_of(x, 0), half_of(e, 0)));
  test_ok(norm(&f, half_of(x, COLS / 2), half_of(e, COLS / 2)));
  test_ok(norm(&f, e, e));
  refuses(&f, norm(&f, half_of(x, 0), half_of(e, 3)), CLQ_INVALID_ARGUMENT,
          "graph: node 3: rmsnorm: out is edge 1 where node 0 has written it");

  e = edge(&f, CLQ_F32, ROWS, COLS);
  test_ok(norm(&f, half_of(x, 0), half_of(e, 0)));
  refuses(&f, norm(&f, x, e), CLQ_INVALID_ARGUMENT, "out is edge 1 where node 0 has written it");

  /* In place, exactly, and only where the operator offers it. */
  e = edge(&f, CLQ_F32, ROWS, COLS);
  test_ok(norm(&f, x, e));
  refuses(&f, norm(&f, half_of(e, 0), half_of(e, 1)), CLQ_INVALID_ARGUMENT,
          "graph: node 1: rmsnorm: out overlaps x");
  e = edge(&f, CLQ_F32, ROWS, COLS);
  test_ok(norm(&f, x, e));
  refuses(&f,
          clq_graph_add(
              f.graph, CLQ_OP_ACTIVATE,
              &(clq_activate_args){.x = half_of(e, 0), .up = half_of(e, 0), .out = half_of(e, 1)}),
          CLQ_INVALID_ARGUMENT, "graph: node 1: activate: out overlaps x");
  refuses(&f,
          clq_graph_add(
              f.graph, CLQ_OP_RMSNORM,
              &(clq_rmsnorm_args){.x = x, .residual = x, .out = edge(&f, CLQ_F32, ROWS, COLS)}),
          CLQ_INVALID_ARGUMENT, "graph: node 0: rmsnorm: residual overlaps x");
  close_fixture(&f);
}

/* Rows [first, first + rows) of an i8 edge of COLS columns. */
static clq_tensor rows_of(clq_tensor t, int64_t first, int64_t rows) {
  t.offset += (size_t)(first * COLS);
  t.shape[0] = rows;
  return t;
}

static clq_tensor codes_edge(fixture *f, clq_granularity per, int32_t group) {
  clq_tensor t = edge(f, CLQ_I8, ROWS, COLS);
  t.quant.per = per;
  t.quant.group = group;
  return t;
}

/* tests/test_views.c runs such graphs. */
Test(graph, quantized_edges_are_viewed_by_rows) {
  fixture f = open_fixture();
  clq_tensor row = input(&f);
  row.shape[0] = 1;
  for (int per = CLQ_PER_TOKEN; per <= CLQ_PER_GROUP; per++) {
    const int32_t group = per == CLQ_PER_GROUP ? 32 : 0;
    clq_tensor codes = codes_edge(&f, (clq_granularity)per, group);
    test_ok(norm(&f, row, rows_of(codes, 2, 1)));
    test_ok(norm(&f, row, rows_of(codes, 0, 1)));
    refuses(&f, norm(&f, row, rows_of(codes, 2, 1)), CLQ_INVALID_ARGUMENT,
            "graph: node 2: rmsnorm: out is edge 1 where node 0 has written it");

    codes = codes_edge(&f, (clq_granularity)per, group);
    refuses(&f, norm(&f, row, rows_of(codes, 3, 1)), CLQ_INVALID_ARGUMENT,
            "out takes 64 bytes from offset 192, edge 1 has 192");

    codes = codes_edge(&f, (clq_granularity)per, group);
    clq_tensor view = rows_of(codes, 0, 1);
    view.offset += 32;
    refuses(&f, norm(&f, row, view), CLQ_INVALID_ARGUMENT, "it must be whole rows of 64");

    codes = codes_edge(&f, (clq_granularity)per, group);
    view = codes;
    view.quant.scale_offset = sizeof(float);
    refuses(&f, norm(&f, input(&f), view), CLQ_INVALID_ARGUMENT, "where its planes lie");
    view = codes;
    view.quant.sum_offset = sizeof(float);
    refuses(&f, norm(&f, input(&f), view), CLQ_INVALID_ARGUMENT, "edge 1, the graph has 0");

    codes = codes_edge(&f, (clq_granularity)per, group);
    test_ok(norm(&f, input(&f), codes));
    view = codes;
    view.shape[1] = COLS / 2;
    view.stride[0] = COLS;
    view.stride[1] = 1;
    refuses(
        &f,
        clq_graph_add(f.graph, CLQ_OP_DEQUANTIZE,
                      &(clq_dequantize_args){.x = view, .out = edge(&f, CLQ_F32, ROWS, COLS / 2)}),
        CLQ_INVALID_ARGUMENT, "dequantize: x is a view of edge 1, which is quantized");

    codes = codes_edge(&f, (clq_granularity)per, group);
    test_ok(norm(&f, input(&f), codes));
    view = rows_of(codes, 0, 2);
    view.stride[0] = 2 * COLS; /* rows 0 and 2 */
    view.stride[1] = 1;
    refuses(&f,
            clq_graph_add(f.graph, CLQ_OP_DEQUANTIZE,
                          &(clq_dequantize_args){.x = view, .out = edge(&f, CLQ_F32, 2, COLS)}),
            CLQ_INVALID_ARGUMENT, "it must be whole rows of 64");
  }

  /* One scale for all rows, as an operator with u8 of 1/256 steps emits it. */
  clq_tensor all = edge(&f, CLQ_U8, ROWS, COLS);
  all.quant.per = CLQ_PER_TENSOR;
  clq_tensor codes = codes_edge(&f, CLQ_PER_TOKEN, 0);
  test_ok(norm(&f, input(&f), codes));
  test_ok(clq_graph_add(
      f.graph, CLQ_OP_SOFTMAX,
      &(clq_softmax_args){.x = rows_of(codes, 1, 1), .out = rows_of(all, 1, 1), .scale = 1}));
  refuses(&f,
          clq_graph_add(f.graph, CLQ_OP_SOFTMAX,
                        &(clq_softmax_args){
                            .x = rows_of(codes, 0, 1), .out = rows_of(all, 0, 1), .scale = 1}),
          CLQ_INVALID_ARGUMENT, "an edge whose rows share scales is written at once");

  /* Codes without a scale have none for a reader. */
  all = edge(&f, CLQ_U8, ROWS, COLS);
  codes = codes_edge(&f, CLQ_PER_TOKEN, 0);
  test_ok(norm(&f, input(&f), codes));
  test_ok(clq_graph_add(f.graph, CLQ_OP_SOFTMAX,
                        &(clq_softmax_args){.x = codes, .out = all, .scale = 1}));
  all.quant.per = CLQ_PER_TENSOR;
  refuses(&f,
          clq_graph_add(f.graph, CLQ_OP_SOFTMAX,
                        &(clq_softmax_args){.x = all, .out = edge(&f, CLQ_F32, ROWS, COLS)}),
          CLQ_INVALID_ARGUMENT, "softmax: x is not quantized as edge 1 was when node 1 wrote it");
  close_fixture(&f);
}

Test(graph, refuses_edges_that_cannot_be) {
  fixture f = open_fixture();
  const struct {
    clq_dtype dtype;
    int32_t dims;
    int64_t shape[4];
    const char *part;
  } cases[] = {
      {(clq_dtype)0, 2, {2, 2}, "graph: edge 1: dtype is 0"},
      {(clq_dtype)77, 2, {2, 2}, "graph: edge 1: dtype is 77"},
      {CLQ_F32, 5, {2, 2}, "graph: edge 1: dims is 5, expected 0 to 4"},
      {CLQ_F32, -1, {2, 2}, "graph: edge 1: dims is -1"},
      {CLQ_F32, 2, {2, -2}, "graph: edge 1: dimension 1 is -2"},
      {CLQ_F32, 3, {INT64_MAX / 2, 2, 2}, "graph: edge 1: the size overflows"},
      {CLQ_F32, 2, {INT64_MAX / 4, 2}, "graph: edge 1: the size overflows"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const clq_tensor t = clq_graph_edge(f.graph, cases[i].dtype, cases[i].dims, cases[i].shape);
    cr_assert_eq(t.value, 0);
    refuses(&f, norm(&f, input(&f), t), CLQ_INVALID_ARGUMENT, cases[i].part);
  }
  cr_assert_eq(clq_graph_edge(f.graph, CLQ_F32, 1, NULL).value, 0);
  refuses(&f, norm(&f, input(&f), (clq_tensor){0}), CLQ_INVALID_ARGUMENT, "shape is NULL");
  cr_assert_eq(clq_graph_edge(NULL, CLQ_F32, 1, (int64_t[]){1}).value, 0);

  clq_tensor t;
  test_fails(clq_graph_tensor(f.graph, 1, &t), CLQ_INVALID_ARGUMENT, "there is no edge 1");
  test_fails(clq_graph_tensor(f.graph, 0, &t), CLQ_INVALID_ARGUMENT, "there is no edge 0");
  test_fails(clq_graph_tensor(NULL, 1, &t), CLQ_INVALID_ARGUMENT, "NULL");
  test_fails(clq_graph_add(NULL, CLQ_OP_RMSNORM, &t), CLQ_INVALID_ARGUMENT, "NULL");
  clq_graph *none = f.graph;
  test_fails(clq_graph_create(NULL, &none), CLQ_INVALID_ARGUMENT, "NULL");
  cr_assert_null(none);
  test_fails(clq_graph_create(f.device.context, NULL), CLQ_INVALID_ARGUMENT, "NULL");
  test_fails(clq_plan_create(f.graph, NULL), CLQ_INVALID_ARGUMENT, "NULL");
  clq_plan *plan;
  test_fails(clq_plan_create(NULL, &plan), CLQ_INVALID_ARGUMENT, "NULL");
  clq_graph_destroy(NULL);
  clq_plan_destroy(NULL);
  close_fixture(&f);
}

Test(graph, infers_shapes_and_follows_quantization) {
  fixture f = open_fixture();
  clq_tensor open = clq_graph_edge(f.graph, CLQ_F32, 0, NULL);
  clq_tensor t;
  test_ok(clq_graph_tensor(f.graph, open.value, &t));
  cr_assert(t.shape[0] == 0 && t.value == open.value && t.dtype == CLQ_F32);
  test_ok(norm(&f, input(&f), open));
  test_ok(clq_graph_tensor(f.graph, open.value, &t));
  cr_assert(t.shape[0] == ROWS && t.shape[1] == COLS && t.shape[2] == 0);

  /* A reader may go on with the tensor that has no shape. */
  clq_tensor codes = clq_graph_edge(f.graph, CLQ_I8, 0, NULL);
  codes.quant.per = CLQ_PER_GROUP;
  codes.quant.group = 32;
  test_ok(norm(&f, open, codes));
  test_ok(clq_graph_tensor(f.graph, codes.value, &t));
  cr_assert(t.shape[0] == ROWS && t.shape[1] == COLS);
  cr_assert(t.quant.per == CLQ_PER_GROUP && t.quant.group == 32);

  /* What is written as i8 must say how. */
  refuses(&f, norm(&f, input(&f), edge(&f, CLQ_I8, ROWS, COLS)), CLQ_INVALID_ARGUMENT,
          "graph: node 2: rmsnorm: out is i8, so quant.per must say");

  /* Nobody gives planes to an edge. */
  codes = edge(&f, CLQ_I8, ROWS, COLS);
  codes.quant = (clq_quant){.per = CLQ_PER_TOKEN, .scale = f.gamma.mem};
  refuses(&f, norm(&f, input(&f), codes), CLQ_INVALID_ARGUMENT, "names edge 1 and a buffer");
  close_fixture(&f);
}
