/* Two operators recorded into a graph, planned once and run many times: RMSNorm with int8 output
 * and a GEMM on it. What lies between them needs no buffer from the caller. */
#include <clquant/clquant.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 2, K = 128, N = 48, GROUP = 32 };

static int fail(const char *what) {
  (void)fprintf(stderr, "%s: %s\n", what, clq_last_error());
  return 1;
}

int main(void) {
  clq_context *context = NULL;
  clq_stream *stream = NULL;
  if (clq_context_create(NULL, &context) || clq_stream_create(context, NULL, &stream)) {
    return fail("context");
  }

  /* int8 weights, one scale a row: W[n, k] = (k % 5 - 2) / 100. */
  static int8_t codes[N * K];
  static float scales[N];
  for (int i = 0; i < N * K; ++i) {
    codes[i] = (int8_t)(i % K % 5 - 2);
    scales[i / K] = 0.01f;
  }
  const clq_weights_part part = {.data = codes, .scales = scales, .rows = N};
  clq_weights *weights = NULL;
  if (clq_weights_pack(context,
                       &(clq_weights_desc){CLQ_FORMAT_W8, K, .parts = &part, .part_count = 1},
                       &weights)) {
    return fail("weights");
  }

  static float x[ROWS * K];
  for (int i = 0; i < ROWS * K; ++i) {
    x[i] = (float)(i % 5) - 2.0f;
  }
  cl_mem in = clCreateBuffer(clq_context_cl(context), CL_MEM_COPY_HOST_PTR, sizeof x, x, NULL);
  cl_mem out = clCreateBuffer(clq_context_cl(context), 0, ROWS * N * sizeof(float), NULL, NULL);

  clq_graph *graph = NULL;
  clq_plan *plan = NULL;
  if (clq_graph_create(context, &graph)) {
    return fail("graph");
  }
  clq_tensor normed = clq_graph_edge(graph, CLQ_I8, 2, (int64_t[]){ROWS, K});
  normed.quant = (clq_quant){.per = CLQ_PER_GROUP, .group = GROUP};
  if (clq_graph_add(graph, CLQ_OP_RMSNORM,
                    &(clq_rmsnorm_args){.x = {in, CLQ_F32, {ROWS, K}}, .out = normed}) ||
      clq_graph_add(graph, CLQ_OP_GEMM,
                    &(clq_gemm_args){normed, weights, {out, CLQ_F32, {ROWS, N}}}) ||
      clq_plan_create(graph, &plan)) {
    return fail("plan");
  }
  clq_graph_destroy(graph);

  for (int i = 0; i < 3; ++i) { /* no argument is set again, nothing is allocated */
    if (clq_plan_run(plan, stream)) {
      return fail("run");
    }
  }
  if (clq_stream_finish(stream)) {
    return fail("finish");
  }
  float y = 0.0f;
  (void)clEnqueueReadBuffer(clq_stream_queue(stream), out, CL_TRUE, 0, sizeof y, &y, 0, NULL, NULL);
  clq_plan_stats stats;
  clq_plan_get_stats(plan, &stats);
  /* mean(x^2) is about 2, so y is about sum(x * W) / sqrt(2) = 128 * 2 / 100 / 1.41 */
  (void)printf("%d launches, %llu bytes between them; y = %.3f\n", stats.launches,
               (unsigned long long)stats.arena_bytes, (double)y);

  clq_plan_destroy(plan);
  clq_weights_destroy(weights);
  (void)clReleaseMemObject(in);
  (void)clReleaseMemObject(out);
  clq_stream_destroy(stream);
  clq_context_destroy(context);
  return y > 1.7f && y < 1.9f ? 0 : 1;
}
