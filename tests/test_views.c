/* Views of quantized edges on the device: written and read by rows, an edge has the bits of one
 * written and read at once. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/graph.h>

#include "device.h"
#include "opencl.h"
#include "weights.h"

TestSuite(views, .fini = opencl_none_live);

static const struct {
  clq_granularity per;
  int32_t group;
} kinds[] = {{CLQ_PER_TOKEN, 0}, {CLQ_PER_GROUP, 32}, {CLQ_PER_GROUP, 48}};

static clq_tensor rows_of(clq_tensor t, int64_t first, int64_t rows) {
  t.offset += (uint64_t)(first * t.shape[1]) * clq_dtype_bytes(t.dtype);
  t.shape[0] = rows;
  return t;
}

typedef struct fixture {
  test_device device;
  int64_t rows, cols;
  test_buffer x, whole, pieces;
} fixture;

static fixture open_fixture(int64_t rows, int64_t cols, int64_t out_cols) {
  fixture f = {test_device_open(NULL), rows, cols, .whole = {0}};
  const size_t count = (size_t)(rows * cols);
  const size_t out_bytes = (size_t)(rows * out_cols) * sizeof(float);
  float *values = malloc(count * sizeof *values);
  test_random random = {11};
  for (size_t i = 0; i < count; i++) {
    const size_t row = i / (size_t)cols; /* whose scales differ */
    values[i] = test_random_normal(&random) * (float)(1 + row);
  }
  f.x = test_buffer_new(&f.device, values, count * sizeof *values);
  f.whole = test_buffer_new(&f.device, NULL, out_bytes);
  f.pieces = test_buffer_new(&f.device, NULL, out_bytes);
  free(values);
  return f;
}

static void close_fixture(fixture *f) {
  test_buffer_free(&f->x);
  test_buffer_free(&f->whole);
  test_buffer_free(&f->pieces);
  test_device_close(&f->device);
}

/* Compiles and runs the graph, releases it, and demands that both results have the same bits. */
static void expect_same(fixture *f, clq_graph *graph) {
  clq_plan *plan = NULL;
  test_ok(clq_plan_create(graph, &plan));
  test_ok(clq_plan_run(plan, f->device.stream));
  test_ok(clq_stream_finish(f->device.stream));
  unsigned char *a = malloc(f->whole.bytes);
  unsigned char *b = malloc(f->whole.bytes);
  test_buffer_read(&f->device, &f->whole, a);
  test_buffer_read(&f->device, &f->pieces, b);
  cr_assert_arr_eq(a, b, f->whole.bytes);
  memset(b, 0xA5, f->whole.bytes);
  cr_assert_arr_neq(a, b, f->whole.bytes, "nothing was written");
  free(a);
  free(b);
  clq_plan_destroy(plan);
  clq_graph_destroy(graph);
}

static clq_tensor codes_edge(clq_graph *graph, const fixture *f, size_t kind) {
  clq_tensor t = clq_graph_edge(graph, CLQ_I8, 2, (int64_t[]){f->rows, f->cols});
  t.quant.per = kinds[kind].per;
  t.quant.group = kinds[kind].group;
  return t;
}

/* Written by rows from the end, read by two; cols that no group divides, rows at odd bytes. */
Test(views, rows_of_codes_have_their_scales) {
  const int64_t shapes[][2] = {{1, 64}, {5, 64}, {6, 97}, {9, 160}};
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
    const int64_t rows = shapes[s][0];
    const int64_t cols = shapes[s][1];
    fixture f = open_fixture(rows, cols, cols);
    const clq_tensor x = {f.x.mem, CLQ_F32, {rows, cols}};
    const clq_tensor whole = {f.whole.mem, CLQ_F32, {rows, cols}};
    const clq_tensor pieces = {f.pieces.mem, CLQ_F32, {rows, cols}};
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
      clq_graph *graph = NULL;
      test_ok(clq_graph_create(f.device.context, &graph));
      const clq_tensor a = codes_edge(graph, &f, kind);
      const clq_tensor b = codes_edge(graph, &f, kind);
      test_ok(clq_graph_add(graph, CLQ_OP_QUANTIZE, &(clq_quantize_args){.x = x, .out = a}));
      test_ok(
          clq_graph_add(graph, CLQ_OP_DEQUANTIZE, &(clq_dequantize_args){.x = a, .out = whole}));
      for (int64_t r = rows - 1; r >= 0; r--) {
        test_ok(
            clq_graph_add(graph, CLQ_OP_QUANTIZE,
                          &(clq_quantize_args){.x = rows_of(x, r, 1), .out = rows_of(b, r, 1)}));
      }
      for (int64_t r = 0; r < rows; r += 2) {
        const int64_t n = rows - r < 2 ? rows - r : 2;
        test_ok(clq_graph_add(
            graph, CLQ_OP_DEQUANTIZE,
            &(clq_dequantize_args){.x = rows_of(b, r, n), .out = rows_of(pieces, r, n)}));
      }
      expect_same(&f, graph);
    }
    close_fixture(&f);
  }
}

/* A GEMM with minima reads scales and sums. */
Test(views, rows_of_codes_have_their_sums) {
  enum { ROWS = 7, K = 96, N = 24 };
  fixture f = open_fixture(ROWS, K, N);
  test_random random = {3};
  test_weights source = test_weights_new(&random, CLQ_FORMAT_W4, N, K, 32, true);
  clq_weights *weights = test_weights_pack(&f.device, &source);
  const clq_tensor x = {f.x.mem, CLQ_F32, {ROWS, K}};
  const clq_tensor whole = {f.whole.mem, CLQ_F32, {ROWS, N}};
  const clq_tensor pieces = {f.pieces.mem, CLQ_F32, {ROWS, N}};
  for (size_t kind = 0; kind < 2; kind++) {
    clq_graph *graph = NULL;
    test_ok(clq_graph_create(f.device.context, &graph));
    const clq_tensor a = codes_edge(graph, &f, kind);
    const clq_tensor b = codes_edge(graph, &f, kind);
    test_ok(clq_graph_add(graph, CLQ_OP_RMSNORM, &(clq_rmsnorm_args){.x = x, .out = a}));
    test_ok(clq_graph_add(graph, CLQ_OP_GEMM,
                          &(clq_gemm_args){.x = a, .weights = weights, .out = whole}));
    for (int64_t r = 0; r < ROWS; r++) {
      test_ok(clq_graph_add(graph, CLQ_OP_RMSNORM,
                            &(clq_rmsnorm_args){.x = rows_of(x, r, 1), .out = rows_of(b, r, 1)}));
    }
    for (int64_t r = 0; r < ROWS; r += 3) {
      const int64_t n = ROWS - r < 3 ? ROWS - r : 3;
      test_ok(clq_graph_add(
          graph, CLQ_OP_GEMM,
          &(clq_gemm_args){
              .x = rows_of(b, r, n), .weights = weights, .out = rows_of(pieces, r, n)}));
    }
    expect_same(&f, graph);
  }
  clq_weights_destroy(weights);
  test_weights_free(&source);
  close_fixture(&f);
}
