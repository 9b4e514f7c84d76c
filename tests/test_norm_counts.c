/* That a norm with all that it adds, quantizes and sums is one launch, in which every output is
 * written; and the bytes and operations that it is said to take, which traces print as rates,
 * against numbers counted by hand. The programs are those of test_layernorm and test_rmsnorm. */
#include <criterion/criterion.h>

#include "device.h"
#include "opencl.h"
#include "ops/op.h"
#include "sched/plan.h"

TestSuite(norm_counts, .fini = opencl_none_live);

enum { ROWS = 3, COLS = 300, COUNT = ROWS * COLS };

typedef struct counts {
  double bytes, ops;
} counts;

/* Since the last reset: one kernel, and nothing that moves bytes besides. */
static void expect_one_launch(void) {
  static const opencl_call others[] = {OPENCL_READ, OPENCL_WRITE, OPENCL_COPY_RECT, OPENCL_MAP,
                                       OPENCL_CREATE_BUFFER};
  cr_assert_eq(opencl_called(OPENCL_ENQUEUE_KERNEL), 1, "%d launches",
               opencl_called(OPENCL_ENQUEUE_KERNEL));
  for (size_t i = 0; i < sizeof others / sizeof others[0]; ++i) {
    cr_assert_eq(opencl_called(others[i]), 0, "call %d", (int)others[i]);
  }
}

static counts counts_of(const test_device *d, clq_op op, const void *args) {
  clq_graph *g;
  clq_plan *plan;
  test_ok(clq_graph_create(d->context, &g));
  test_ok(clq_graph_add(g, op, args));
  test_ok(clq_plan_create(g, &plan));
  cr_assert_eq(plan->command_count, 1);
  const counts c = {plan->commands[0].launch.bytes, plan->commands[0].launch.ops};
  opencl_reset_called();
  test_ok(clq_plan_run(plan, d->stream));
  expect_one_launch();
  opencl_reset_called();
  test_ok(clqi_op_run(d->stream, clqi_op_find(op), args));
  expect_one_launch();
  test_ok(clq_stream_finish(d->stream));
  clq_plan_destroy(plan);
  clq_graph_destroy(g);
  return c;
}

static void expect(counts got, double bytes, double ops) {
  cr_expect(got.bytes == bytes && got.ops == ops, "%g bytes and %g operations, expected %g and %g",
            got.bytes, got.ops, bytes, ops);
}

/* Buffers are filled with this. */
static void expect_written(const test_device *d, const test_buffer *buffer, int words) {
  static uint32_t data[COUNT];
  test_buffer_read(d, buffer, data);
  for (int i = 0; i < words; ++i) {
    cr_assert_neq(data[i], 0xA5A5A5A5U, "word %d was not written", i);
  }
}

Test(norm_counts, are_those_counted_by_hand) {
  enum { X, OUT, SCALE, ZERO, SUM, LINE, BUFFERS };
  test_device d = test_device_open(NULL);
  test_buffer b[BUFFERS];
  for (int i = 0; i < BUFFERS; ++i) {
    b[i] = test_buffer_new(&d, NULL, COUNT * 4);
  }
  const clq_tensor x = {b[X].mem, CLQ_F32, {ROWS, COLS}};
  const clq_tensor out = {b[OUT].mem, CLQ_F32, {ROWS, COLS}};
  const clq_tensor line = {b[LINE].mem, CLQ_F32, {COLS}};

  /* Codes with a scale, a zero point and a factor for each channel; floats. */
  clq_layernorm_args layer = {.x = x, .exponent = line, .out = out};
  layer.x.dtype = layer.exponent.dtype = CLQ_I8;
  layer.x.quant = (clq_quant){.per = CLQ_PER_CHANNEL, .scale = b[SCALE].mem, .zero = b[ZERO].mem};
  expect(counts_of(&d, CLQ_OP_LAYERNORM, &layer), COUNT + COLS * (4 + 4 + 1) + 4 * COUNT,
         5 * COUNT);

  /* Floats; codes with a scale, a zero point and a sum for each row. */
  layer = (clq_layernorm_args){.x = x, .out = out};
  layer.out.dtype = CLQ_I8;
  layer.out.quant = (clq_quant){
      .per = CLQ_PER_TOKEN, .scale = b[SCALE].mem, .zero = b[ZERO].mem, .sum = b[SUM].mem};
  expect(counts_of(&d, CLQ_OP_LAYERNORM, &layer), 4 * COUNT + COUNT + ROWS * (4 + 4 + 4),
         5 * COUNT);
  expect_written(&d, &b[OUT], COUNT / 4);
  expect_written(&d, &b[SCALE], ROWS);
  expect_written(&d, &b[ZERO], ROWS);
  expect_written(&d, &b[SUM], ROWS);

  /* A residual in and out, gamma; ten groups a row. */
  clq_rmsnorm_args rms = {.x = x, .residual = x, .gamma = line, .out = layer.out};
  rms.residual.mem = b[ZERO].mem;
  rms.out.quant =
      (clq_quant){.per = CLQ_PER_GROUP, .group = 32, .scale = b[SCALE].mem, .sum = b[SUM].mem};
  expect(counts_of(&d, CLQ_OP_RMSNORM, &rms), 12 * COUNT + 4 * COLS + COUNT + ROWS * 10 * (4 + 4),
         (2 + 3 + 1) * COUNT);

  /* The same, but that the residual only comes in. */
  rms.keep_residual = 1;
  expect(counts_of(&d, CLQ_OP_RMSNORM, &rms), 8 * COUNT + 4 * COLS + COUNT + ROWS * 10 * (4 + 4),
         (2 + 3 + 1) * COUNT);

  /* Beta adds an operation and a line; given scales are one, sums one a row. */
  layer = (clq_layernorm_args){.x = x, .gamma = line, .beta = line, .out = out};
  expect(counts_of(&d, CLQ_OP_LAYERNORM, &layer), 8 * COUNT + 8 * COLS, 7 * COUNT);
  layer = (clq_layernorm_args){.x = x, .out = out};
  layer.out.dtype = CLQ_I8;
  layer.out.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = b[SCALE].mem, .sum = b[SUM].mem};
  expect(counts_of(&d, CLQ_OP_LAYERNORM, &layer), 5 * COUNT + 4 + 4 * ROWS, 5 * COUNT);
  for (int i = 0; i < BUFFERS; ++i) {
    test_buffer_free(&b[i]);
  }
  test_device_close(&d);
}
