/* keep_residual: the residual stays as it is, and all outputs have the bits that they have where
 * the sum is written back, which norm_case compares with the reference; and blocks whose stream
 * goes on behind the norm move no sum that nobody reads. */
#include <criterion/criterion.h>

#include <clquant/block.h>

#include "norm_case.h"
#include "opencl.h"
#include "sched/plan.h"

TestSuite(norm_keep, .fini = opencl_none_live);

static void sweep(const norm_case *type, int forms) {
  static const int64_t cols[] = {1, 33, 127, 128, 769, 1025, 2100, 5137};
  enum { CASES = sizeof cols / sizeof cols[0] };
  norm_case cases[2 * CASES];
  for (int i = 0; i < 2 * CASES; ++i) {
    cases[i] = *type;
    cases[i].rows = 1 + 4 * (i % 3);
    cases[i].cols = cols[i / 2];
    cases[i].pad = i % 2;
    cases[i].in_place = i % 2 == 0 && type->out == 0;
  }
  norm_case_run(forms, type, cases, 2 * CASES);
}

Test(norm_keep, leaves_the_residual_and_gives_the_same_bits) {
  sweep(&(norm_case){.centered = true, .residual = CLQ_F32, .alpha = 1.5f, .keep_residual = true},
        2);
  sweep(&(norm_case){.x = CLQ_F16,
                     .residual = CLQ_BF16,
                     .out = CLQ_I8,
                     .per = CLQ_PER_TOKEN,
                     .sum = true,
                     .keep_residual = true},
        1);
}

Test(norm_keep, is_for_residuals) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 64);
  const clq_tensor t = {b.mem, CLQ_F32, {1, 8}};
  clq_layernorm_args a = {.x = t, .out = t, .keep_residual = 1};
  test_fails(clq_layernorm(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "layernorm: keep_residual is 1, expected 0: there is no residual");
  a.residual = t;
  a.residual.offset = 32;
  a.keep_residual = 2;
  test_fails(clq_layernorm(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "layernorm: keep_residual is 2, expected 0 or 1");
  test_buffer_free(&b);
  test_device_close(&d);
}

/* ---------------------------------------------------------------- blocks */

enum { ROWS = 3, COLS = 40, TENSOR = ROWS * COLS * 4, SUBLAYERS = 2 };

/* Bytes of the norms of a stream of f32 whose sublayers do nothing but exist. */
static double bytes_of(const test_device *d, clq_block_kind kind, float *stream) {
  float h[ROWS * COLS];
  for (int i = 0; i < ROWS * COLS; ++i) {
    h[i] = (float)(i % 13);
  }
  test_buffer stream_buffer = test_buffer_new(d, h, sizeof h);
  test_buffer y = test_buffer_new(d, h, sizeof h);
  test_buffer out = test_buffer_new(d, NULL, sizeof h);
  clq_graph *g;
  clq_plan *plan;
  test_ok(clq_graph_create(d->context, &g));
  clq_block b = {.graph = g, .kind = kind, .stream = {stream_buffer.mem, CLQ_F32, {ROWS, COLS}}};
  b.alpha = kind == CLQ_BLOCK_DEEPNORM ? 2.0f : 0.0f;
  for (int i = 0; i < SUBLAYERS; ++i) {
    clq_tensor x;
    test_ok(clq_block_read(&b, NULL, &x));
    test_ok(clq_block_add(&b, (clq_tensor){y.mem, CLQ_F32, {ROWS, COLS}}, NULL));
  }
  test_ok(clq_block_finish(&b, NULL, (clq_tensor){out.mem, CLQ_F32, {ROWS, COLS}}));
  test_ok(clq_plan_create(g, &plan));
  double bytes = 0.0;
  for (int32_t i = 0; i < plan->command_count; ++i) {
    bytes += plan->commands[i].launch.bytes;
  }
  test_ok(clq_plan_run(plan, d->stream));
  test_buffer_read(d, &stream_buffer, stream);
  test_buffer *all[] = {&stream_buffer, &y, &out};
  for (int i = 0; i < 3; ++i) {
    test_buffer_free(all[i]);
  }
  clq_plan_destroy(plan);
  clq_graph_destroy(g);
  return bytes;
}

Test(norm_keep, blocks_write_the_sums_that_are_read) {
  float h[ROWS * COLS];
  test_device d = test_device_open(NULL);
  /* x and the result; then the sum's two parts, the sum and the result. */
  cr_expect_eq(bytes_of(&d, CLQ_BLOCK_PRE_LN, h), (2.0 + SUBLAYERS * 4.0) * TENSOR);
  cr_expect_eq(h[1], 1.0f + SUBLAYERS * 1.0f);
  /* The sum's two parts and the result. */
  cr_expect_eq(bytes_of(&d, CLQ_BLOCK_POST_LN, h), SUBLAYERS * 3.0 * TENSOR);
  cr_expect_eq(h[1], 1.0f, "the embeddings are written over");
  cr_expect_eq(bytes_of(&d, CLQ_BLOCK_DEEPNORM, h), SUBLAYERS * 3.0 * TENSOR);
  test_device_close(&d);
}
