#include "model/pass.h"

#include "runtime/buffer.h"
#include "runtime/clock.h"
#include "runtime/memory.h"
#include "runtime/stream.h"

static clq_status keep_largest_arena(clqi_pass_cache *cache, const clq_plan *plan,
                                     const clq_plan_stats *stats) {
  if (stats->arena_bytes <= cache->arena_stats.arena_bytes) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_buffer_retain(clq_plan_arena(plan)));
  clqi_buffer_release(cache->arena);
  cache->arena = clq_plan_arena(plan);
  cache->arena_stats = *stats;
  return CLQ_OK;
}

static clq_status compile(clqi_pass_cache *cache, const clq_model *model,
                          const clqi_decoder_pass *pass, clq_plan **plan) {
  clq_status status = CLQ_OK;
  clq_graph *graph = NULL;
  clq_plan *p = NULL;
  clq_plan_stats stats;
  const double start = clqi_now_seconds();
  CLQI_TRY_CLEAN(clq_graph_create(model->context, &graph));
  CLQI_TRY_CLEAN(clqi_decoder_record(graph, model, pass));
  CLQI_TRY_CLEAN(clq_plan_create_in(graph, cache->arena, &p));
  cache->build_seconds += clqi_now_seconds() - start;
  clq_plan_get_stats(p, &stats);
  CLQI_TRY_CLEAN(keep_largest_arena(cache, p, &stats));
  if (pass->rows == 1 && pass->wanted == CLQ_LOGITS_LAST) {
    cache->launches = stats.launches;
  }
  *plan = p;
  p = NULL;
cleanup:
  clq_plan_destroy(p);
  clq_graph_destroy(graph);
  return status;
}

static void drop(clqi_pass *pass) {
  clq_plan_destroy(pass->plan);
  clqi_free((void *)pass->caches);
  *pass = (clqi_pass){.plan = NULL};
}

bool clqi_same_sampling(const clq_sampling *a, const clq_sampling *b) {
  return a->temperature == b->temperature && a->top_k == b->top_k && a->top_p == b->top_p &&
         a->min_p == b->min_p;
}

static bool is_for(const clqi_pass *pass, const clqi_decoder_pass *wanted) {
  bool same = pass->plan != NULL && pass->count == wanted->count && pass->rows == wanted->rows &&
              pass->wanted == wanted->wanted && pass->samples == (wanted->sampling != NULL) &&
              (!pass->samples || clqi_same_sampling(&pass->sampling, wanted->sampling));
  for (int64_t i = 0; same && i < wanted->count; ++i) {
    same = pass->caches[i] == wanted->sequences[i].k;
  }
  return same;
}

/* Into an empty place, which stays empty on failure. */
static clq_status fill(clqi_pass_cache *cache, const clq_model *model,
                       const clqi_decoder_pass *wanted, clqi_pass *pass) {
  const cl_mem **caches = clqi_calloc((size_t)wanted->count, sizeof *caches);
  if (caches == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "out of memory for a pass");
  }
  for (int64_t i = 0; i < wanted->count; ++i) {
    caches[i] = wanted->sequences[i].k;
  }
  pass->caches = caches;
  pass->count = wanted->count;
  pass->rows = wanted->rows;
  pass->wanted = wanted->wanted;
  pass->samples = wanted->sampling != NULL;
  pass->sampling = pass->samples ? *wanted->sampling : (clq_sampling){.temperature = 0};
  const clq_status status = compile(cache, model, wanted, &pass->plan);
  if (status != CLQ_OK) {
    drop(pass);
  }
  return status;
}

clq_status clqi_pass_get(clqi_pass_cache *cache, const clq_model *model,
                         const clqi_decoder_pass *wanted, clq_plan **plan) {
  clqi_pass *pass = NULL;
  clqi_pass *oldest = &cache->passes[0];
  for (int i = 0; i < CLQI_MAX_PASSES && pass == NULL; ++i) {
    clqi_pass *p = &cache->passes[i];
    pass = is_for(p, wanted) ? p : NULL;
    oldest = p->last_use < oldest->last_use ? p : oldest;
  }
  if (pass == NULL) {
    drop(oldest);
    CLQI_TRY(fill(cache, model, wanted, oldest));
    pass = oldest;
  }
  pass->last_use = ++cache->clock;
  *plan = pass->plan;
  return CLQ_OK;
}

void clqi_pass_drop_logits(clqi_pass_cache *cache) {
  for (int i = 0; i < CLQI_MAX_PASSES; ++i) {
    if (cache->passes[i].wanted != CLQ_LOGITS_NONE) {
      drop(&cache->passes[i]);
    }
  }
}

void clqi_pass_stats(const clqi_pass_cache *cache, clq_session_stats *stats) {
  stats->arena_bytes = cache->arena_stats.arena_bytes;
  stats->arena_naive_bytes = cache->arena_stats.naive_bytes;
  stats->arena_lower_bound_bytes = cache->arena_stats.lower_bound_bytes;
  stats->build_seconds = cache->build_seconds;
  stats->launches = cache->launches;
}

void clqi_pass_free(clqi_pass_cache *cache) {
  for (int i = 0; i < CLQI_MAX_PASSES; ++i) {
    drop(&cache->passes[i]);
  }
  clqi_buffer_release(cache->arena);
  *cache = (clqi_pass_cache){.clock = 0};
}

static clq_status write_inputs(clq_stream *stream, const clqi_pass_transfer *t) {
  if (t->input_count > 0) {
    CLQI_TRY(
        clqi_stream_write(stream, t->to, (size_t)t->input_count * sizeof *t->inputs, t->inputs));
  }
  return t->state_count == 0
             ? CLQ_OK
             : clqi_stream_write(stream, t->states, (size_t)t->state_count * sizeof *t->state,
                                 t->state);
}

clq_status clqi_pass_enqueue(clq_plan *plan, clq_stream *stream, clq_trace *trace,
                             const clqi_pass_transfer *t) {
  CLQI_TRY(write_inputs(stream, t));
  CLQI_TRY(trace == NULL ? clq_plan_run(plan, stream) : clq_plan_run_traced(plan, stream, trace));
  if (t->logit_count > 0) {
    CLQI_TRY(
        clqi_stream_read(stream, t->from, (size_t)t->logit_count * sizeof *t->logits, t->logits));
  }
  return t->id_count == 0 ? CLQ_OK
                          : clqi_stream_read_at(stream, t->to, (size_t)t->ids_at * sizeof(cl_int),
                                                (size_t)t->id_count * sizeof *t->ids, t->ids);
}

/* What moves between host and device does so in the stream's order, so that there is one wait a
 * pass. */
clq_status clqi_pass_run(clq_plan *plan, clq_stream *stream, clq_trace *trace,
                         const clqi_pass_transfer *transfer) {
  clq_status status = clqi_pass_enqueue(plan, stream, trace, transfer);
  CLQI_ALSO(status, clq_stream_finish(stream));
  return status;
}
