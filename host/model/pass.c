#include "model/pass.h"

#include "runtime/buffer.h"
#include "runtime/clock.h"
#include "runtime/stream.h"

static clq_status keep_largest_arena(clqi_pass_memory *memory, const clq_plan *plan,
                                     const clq_plan_stats *stats) {
  if (stats->arena_bytes <= memory->stats.arena_bytes) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_buffer_retain(clq_plan_arena(plan)));
  clqi_buffer_release(memory->arena);
  memory->arena = clq_plan_arena(plan);
  memory->stats.arena_bytes = stats->arena_bytes;
  memory->stats.arena_naive_bytes = stats->naive_bytes;
  memory->stats.arena_lower_bound_bytes = stats->lower_bound_bytes;
  return CLQ_OK;
}

clq_status clqi_pass_compile(const clq_model *model, const clqi_decoder_pass *pass,
                             clqi_pass_memory *memory, clq_plan **plan) {
  clq_status status = CLQ_OK;
  clq_graph *graph = NULL;
  clq_plan *p = NULL;
  clq_plan_stats stats;
  const double start = clqi_now_seconds();
  CLQI_TRY_CLEAN(clq_graph_create(model->context, &graph));
  CLQI_TRY_CLEAN(clqi_decoder_record(graph, model, pass));
  CLQI_TRY_CLEAN(clq_plan_create_in(graph, memory->arena, &p));
  memory->stats.build_seconds += clqi_now_seconds() - start;
  clq_plan_get_stats(p, &stats);
  CLQI_TRY_CLEAN(keep_largest_arena(memory, p, &stats));
  if (pass->rows == 1 && pass->wanted == CLQ_LOGITS_LAST) {
    memory->stats.launches = stats.launches;
  }
  *plan = p;
  p = NULL;
cleanup:
  clq_plan_destroy(p);
  clq_graph_destroy(graph);
  return status;
}

static clq_status enqueue(clq_plan *plan, clq_stream *stream, clq_trace *trace,
                          const clqi_pass_transfer *t) {
  CLQI_TRY(clqi_stream_write(stream, t->to, (size_t)t->input_count * sizeof *t->inputs, t->inputs));
  CLQI_TRY(trace == NULL ? clq_plan_run(plan, stream) : clq_plan_run_traced(plan, stream, trace));
  return t->logit_count == 0
             ? CLQ_OK
             : clqi_stream_read(stream, t->from, (size_t)t->logit_count * sizeof *t->logits,
                                t->logits);
}

/* What moves between host and device does so in the stream's order, so that there is one wait a
 * pass. */
clq_status clqi_pass_run(clq_plan *plan, clq_stream *stream, clq_trace *trace,
                         const clqi_pass_transfer *transfer) {
  const clq_status status = enqueue(plan, stream, trace, transfer);
  const clq_status finished = clq_stream_finish(stream);
  return status == CLQ_OK ? finished : status;
}
