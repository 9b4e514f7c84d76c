#include <clquant/model.h>

#include <string.h>

#include "model/sampling.h"
#include "model/session.h"
#include "ops/kv_cache.h"
#include "ops/rope_table.h"
#include "runtime/buffer.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/status.h"
#include "runtime/stream.h"

static clq_status out_of_memory(void) {
  return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "session: out of memory");
}

/* ---------------------------------------------------------------- buffers */

static clq_status create_rope_table(clq_session *s) {
  const clq_model *m = s->model;
  size_t bytes;
  if (!clqi_mul_size((size_t)s->sequence.context, (size_t)m->rope_dims * sizeof(float), &bytes)) {
    return out_of_memory();
  }
  float *table = clqi_malloc(bytes);
  if (table == NULL) {
    return out_of_memory();
  }
  clqi_rope_table_fill(table, s->sequence.context, m->rope_dims, m->rope_base, m->rope_divisor,
                       m->rope_factors);
  const clq_status status = clqi_buffer_create_from(m->context, table, bytes, &s->sequence.table);
  clqi_free(table);
  return status;
}

static clq_status create_caches(clq_session *s) {
  const clq_model_info *info = &s->model->info;
  const size_t layers = (size_t)info->layers;
  size_t bytes;
  const int64_t token_bytes = clqi_decoder_head_bytes(s->sequence.kv, info->head_dim) +
                              4 * clqi_decoder_planes(s->sequence.kv);
  if (!clqi_mul_size((size_t)info->kv_heads, (size_t)token_bytes, &bytes) ||
      !clqi_mul_size(bytes, (size_t)s->sequence.capacity, &bytes)) {
    return out_of_memory();
  }
  const size_t layer_bytes = bytes;
  if (!clqi_mul_size(layer_bytes, 2 * layers, &bytes)) {
    return out_of_memory();
  }
  CLQI_TRY(clqi_memory_claim(s->model->context, bytes, "session: the KV cache"));
  s->kv_bytes = bytes;
  s->caches = clqi_calloc(2 * layers, sizeof *s->caches);
  if (s->caches == NULL) {
    return out_of_memory();
  }
  s->sequence.k = s->caches;
  s->sequence.v = s->caches + layers;
  for (size_t i = 0; i < 2 * layers; ++i) {
    CLQI_TRY(clqi_buffer_create(s->model->context, layer_bytes, &s->caches[i]));
  }
  return CLQ_OK;
}

static clq_status create_buffers(clq_session *s) {
  clq_context *context = s->model->context;
  CLQI_TRY(create_rope_table(s));
  CLQI_TRY(create_caches(s));
  CLQI_TRY(clqi_buffer_create(context, sizeof s->state, &s->states));
  return clqi_buffer_create(context, sizeof s->input, &s->inputs);
}

/* ---------------------------------------------------------------- passes */

/* Logits grow on demand; plans that wrote to the old buffer go. */
static clq_status reserve_logits(clq_session *s, int64_t rows) {
  if (rows <= s->logit_rows) {
    return CLQ_OK;
  }
  clqi_pass_drop_logits(&s->passes);
  clqi_buffer_release(s->logits);
  s->logits = NULL;
  s->logit_rows = 0;
  const uint64_t bytes = (uint64_t)(rows * s->model->info.vocabulary) * sizeof(float);
  CLQI_TRY(clqi_buffer_create(s->model->context, bytes, &s->logits));
  s->logit_rows = rows;
  return CLQ_OK;
}

static bool is_greedy(const clq_sampling *sampling) {
  return sampling == NULL || !(sampling->temperature > 0);
}

static clq_status find_pass(clq_session *s, int64_t rows, clq_logits_wanted wanted,
                            const clq_sampling *sampling, clq_plan **plan) {
  const clqi_decoder_pass pass = {.sequences = &s->sequence,
                                  .count = 1,
                                  .rows = rows,
                                  .acts = s->acts,
                                  .wanted = wanted,
                                  .inputs = s->inputs,
                                  .sampling = sampling,
                                  .states = is_greedy(sampling) ? NULL : s->states,
                                  .logits = s->logits};
  return clqi_pass_get(&s->passes, s->model, &pass, plan);
}

/* ---------------------------------------------------------------- running */

static void fill_input(clq_session *s, const int32_t *ids, int64_t rows) {
  s->input[0] = (cl_int)s->position;
  s->input[1] = (cl_int)(s->position + rows - 1);
  memcpy(s->input + CLQI_DECODER_POSITIONS, ids, (size_t)rows * sizeof *ids);
}

static clq_status run_pass(clq_session *s, const int32_t *ids, int64_t rows,
                           clq_logits_wanted wanted, float *logits) {
  clq_plan *plan = NULL;
  const int64_t logit_rows = wanted == CLQ_LOGITS_ALL ? rows : wanted == CLQ_LOGITS_LAST;
  CLQI_TRY(reserve_logits(s, logit_rows));
  CLQI_TRY(find_pass(s, rows, wanted, NULL, &plan));
  fill_input(s, ids, rows);
  const clqi_pass_transfer transfer = {.to = s->inputs,
                                       .inputs = s->input,
                                       .input_count = CLQI_DECODER_POSITIONS + rows,
                                       .from = s->logits,
                                       .logits = logits,
                                       .logit_count = logit_rows * s->model->info.vocabulary};
  CLQI_TRY(clqi_pass_run(plan, s->stream, s->trace, &transfer));
  s->position += rows;
  return CLQ_OK;
}

clq_status clqi_session_check_id(const clq_session *session, int32_t id, int64_t index) {
  const int64_t vocabulary = session->model->info.vocabulary;
  CLQI_REQUIRE(id >= 0 && id < vocabulary,
               "session: id %d at %lld is not one of the model's %lld tokens", (int)id,
               (long long)index, (long long)vocabulary);
  return CLQ_OK;
}

static clq_status check_eval(const clq_session *s, const int32_t *ids, int64_t count,
                             clq_logits_wanted wanted, const float *logits) {
  CLQI_REQUIRE(s != NULL && (ids != NULL || count == 0) && count >= 0,
               "session: session and ids must not be NULL");
  CLQI_REQUIRE(wanted >= CLQ_LOGITS_NONE && wanted <= CLQ_LOGITS_ALL &&
                   (logits != NULL || wanted == CLQ_LOGITS_NONE || count == 0),
               "session: logits are wanted but there is no memory for them");
  CLQI_REQUIRE(count <= s->sequence.context - s->position,
               "session: %lld tokens do not fit: %lld of the context's %lld positions are taken; "
               "use a shorter prompt or a larger context",
               (long long)count, (long long)s->position, (long long)s->sequence.context);
  for (int64_t i = 0; i < count; ++i) {
    CLQI_TRY(clqi_session_check_id(s, ids[i], i));
  }
  return CLQ_OK;
}

clq_status clq_session_eval(clq_session *session, const int32_t *ids, int64_t count,
                            clq_logits_wanted wanted, float *logits) {
  CLQI_TRY(check_eval(session, ids, count, wanted, logits));
  const int64_t start = session->position;
  const int64_t most = wanted == CLQ_LOGITS_ALL ? CLQI_MAX_LOGIT_ROWS : CLQI_MAX_ROWS;
  for (int64_t done = 0; done < count;) {
    const int64_t rows = count - done < most ? count - done : most;
    const bool last = done + rows == count;
    const clq_logits_wanted here = wanted == CLQ_LOGITS_LAST && !last ? CLQ_LOGITS_NONE : wanted;
    const clq_status status = run_pass(session, ids + done, rows, here, logits);
    if (status != CLQ_OK) {
      session->position = start;
      return status;
    }
    done += rows;
    logits = wanted == CLQ_LOGITS_ALL ? logits + rows * session->model->info.vocabulary : logits;
  }
  return CLQ_OK;
}

/* ---------------------------------------------------------------- choosing on the device */

const clq_sampling *clqi_session_sampling(const clq_sampler *sampler) {
  static const clq_sampling greedy;
  return sampler == NULL ? &greedy : clqi_sampler_settings(sampler);
}

clq_status clqi_session_check_sampler(const clq_session *s, const clq_sampler *sampler) {
  const int64_t vocabulary = s->model->info.vocabulary;
  CLQI_REQUIRE(sampler == NULL || clqi_sampler_vocabulary(sampler) >= vocabulary,
               "session: the sampler takes %lld logits, the model has %lld",
               (long long)clqi_sampler_vocabulary(sampler), (long long)vocabulary);
  return CLQ_OK;
}

/* Feeds the last tokens and chooses one behind them. */
static clq_status enqueue_first(clq_session *s, const int32_t *ids, int64_t rows,
                                const clq_sampler *sampler, int32_t *chosen) {
  const clq_sampling *sampling = clqi_session_sampling(sampler);
  clq_plan *plan = NULL;
  CLQI_TRY(reserve_logits(s, 1));
  CLQI_TRY(find_pass(s, rows, CLQ_LOGITS_LAST, sampling, &plan));
  fill_input(s, ids, rows);
  if (!is_greedy(sampling)) {
    clqi_sampler_state(sampler, s->state);
  }
  const clqi_pass_transfer transfer = {.to = s->inputs,
                                       .inputs = s->input,
                                       .input_count = CLQI_DECODER_POSITIONS + rows,
                                       .states = s->states,
                                       .state = s->state,
                                       .state_count = is_greedy(sampling) ? 0 : CLQI_DECODER_STATE,
                                       .ids_at = CLQI_DECODER_POSITIONS,
                                       .ids = chosen,
                                       .id_count = 1};
  return clqi_pass_enqueue(plan, s->stream, s->trace, &transfer);
}

/* Steps that wait for nothing: each finds the id, its position and the state of the draw where the
 * one before left them. first: of these, whose position is not there if more than one row was
 * before. */
static clq_status enqueue_steps(clq_session *s, const clq_sampling *sampling, int64_t first,
                                int32_t *chosen, int64_t count) {
  clq_plan *plan = NULL;
  CLQI_TRY(find_pass(s, 1, CLQ_LOGITS_LAST, sampling, &plan));
  s->next[0] = s->next[1] = (cl_int)first;
  for (int64_t i = 0; i < count; ++i) {
    const clqi_pass_transfer transfer = {.to = s->inputs,
                                         .inputs = s->next,
                                         .input_count = i == 0 ? CLQI_DECODER_POSITIONS : 0,
                                         .ids_at = CLQI_DECODER_POSITIONS,
                                         .ids = chosen + i,
                                         .id_count = 1};
    CLQI_TRY(clqi_pass_enqueue(plan, s->stream, s->trace, &transfer));
  }
  return CLQ_OK;
}

/* What is enqueued at once. */
enum { MOST_STEPS = 16 };

static clq_status generate(clq_session *s, const int32_t *ids, int64_t rows,
                           const clq_sampler *sampler, int32_t *chosen, int64_t wanted) {
  clq_status status = enqueue_first(s, ids, rows, sampler, chosen);
  for (int64_t done = 1; status == CLQ_OK && done < wanted; done += MOST_STEPS) {
    const int64_t steps = wanted - done < MOST_STEPS ? wanted - done : MOST_STEPS;
    status = enqueue_steps(s, clqi_session_sampling(sampler), s->position + rows + done - 1,
                           chosen + done, steps);
    CLQI_ALSO(status, clq_stream_finish(s->stream));
  }
  CLQI_ALSO(status, clq_stream_finish(s->stream));
  return status;
}

clq_status clq_session_generate(clq_session *session, const int32_t *ids, int64_t count,
                                clq_sampler *sampler, int32_t *chosen, int64_t wanted) {
  CLQI_TRY(check_eval(session, ids, count, CLQ_LOGITS_NONE, NULL));
  CLQI_REQUIRE(count > 0 && wanted > 0 && chosen != NULL,
               "session: %lld tokens to feed and %lld to choose, expected 1 or more of each, and "
               "memory for them",
               (long long)count, (long long)wanted);
  CLQI_REQUIRE(wanted - 1 <= session->sequence.context - session->position - count,
               "session: %lld more tokens do not fit behind the %lld of the context's %lld "
               "positions that are taken",
               (long long)wanted - 1, (long long)(session->position + count),
               (long long)session->sequence.context);
  CLQI_TRY(clqi_session_check_sampler(session, sampler));
  const int64_t start = session->position;
  const int64_t last = count % CLQI_MAX_ROWS == 0 ? CLQI_MAX_ROWS : count % CLQI_MAX_ROWS;
  CLQI_TRY(clq_session_eval(session, ids, count - last, CLQ_LOGITS_NONE, NULL));
  const clq_status status = generate(session, ids + count - last, last, sampler, chosen, wanted);
  session->position = status == CLQ_OK ? start + count + wanted - 1 : start;
  if (status == CLQ_OK && sampler != NULL) {
    clqi_sampler_count(sampler, wanted);
  }
  return status;
}

/* ---------------------------------------------------------------- the object */

static clq_status check_desc(const clq_model *model, const clq_session_desc *desc) {
  CLQI_REQUIRE(desc->acts >= 0 && desc->acts <= CLQ_ACTS_F32, "session: acts is %d",
               (int)desc->acts);
  CLQI_REQUIRE(desc->kv == 0 || desc->kv == CLQ_F16 || desc->kv == CLQ_F32 || desc->kv == CLQ_I8 ||
                   desc->kv == CLQ_U8,
               "session: kv is %s, offered: f16, f32, i8, u8 (4 bits)", clq_dtype_name(desc->kv));
  CLQI_REQUIRE(desc->context >= 0 && desc->context <= model->info.context,
               "session: a context of %lld tokens is wanted, the model was trained for %lld",
               (long long)desc->context, (long long)model->info.context);
  return CLQ_OK;
}

clq_status clq_session_create(clq_model *model, clq_stream *stream, const clq_session_desc *desc,
                              clq_session **session) {
  static const clq_session_desc defaults;
  CLQI_REQUIRE(session != NULL, "session: the result pointer is NULL");
  *session = NULL;
  CLQI_REQUIRE(model != NULL, "session: model is NULL");
  desc = desc == NULL ? &defaults : desc;
  CLQI_TRY(check_desc(model, desc));
  clq_session *s = clqi_calloc(1, sizeof *s);
  if (s == NULL) {
    return out_of_memory();
  }
  clq_status status = CLQ_OK;
  s->model = model;
  s->stream = stream;
  s->acts = desc->acts == 0 ? CLQ_ACTS_Q8G32 : desc->acts;
  s->sequence.kv = desc->kv == 0 ? CLQ_F16 : desc->kv;
  s->sequence.context = desc->context == 0 ? model->info.context : desc->context;
  s->sequence.capacity = clqi_div_up(s->sequence.context, CLQI_KEY_BLOCK) * CLQI_KEY_BLOCK;
  if (stream == NULL) {
    CLQI_TRY_CLEAN(clq_stream_create(model->context, NULL, &s->own_stream));
    s->stream = s->own_stream;
  }
  CLQI_TRY_CLEAN(create_buffers(s));
  *session = s;
  s = NULL;
cleanup:
  clq_session_destroy(s);
  return status;
}

void clq_session_destroy(clq_session *session) {
  if (session == NULL) {
    return;
  }
  clqi_pass_free(&session->passes);
  for (int64_t i = 0; session->caches != NULL && i < 2 * session->model->info.layers; ++i) {
    clqi_buffer_release(session->caches[i]);
  }
  clqi_memory_unclaim(session->model->context, session->kv_bytes);
  clqi_buffer_release(session->sequence.table);
  clqi_buffer_release(session->inputs);
  clqi_buffer_release(session->states);
  clqi_buffer_release(session->logits);
  clq_stream_destroy(session->own_stream);
  clqi_free(session->caches);
  clqi_free(session);
}

int64_t clq_session_position(const clq_session *session) { return session->position; }

clq_status clq_session_rewind(clq_session *session, int64_t position) {
  CLQI_REQUIRE(session != NULL && position >= 0 && position <= session->position,
               "session: rewind to %lld, expected 0 to %lld", (long long)position,
               (long long)(session == NULL ? 0 : session->position));
  session->position = position;
  return CLQ_OK;
}

/* What heads have side by side, `capacity` items of so many bytes each, from `start` of a token's
 * bytes on in all heads: the first `keys` items of each. */
static clq_status copy_part(clq_session *to, const clq_session *from, int64_t cache, int64_t start,
                            int64_t item_bytes) {
  const size_t heads = (size_t)from->model->info.kv_heads;
  const size_t item = (size_t)item_bytes;
  const int64_t keys = clqi_div_up(from->position, CLQI_KEY_BLOCK) * CLQI_KEY_BLOCK;
  return clqi_stream_copy(
      to->stream,
      &(clqi_copy){.from = from->caches[cache],
                   .to = to->caches[cache],
                   .bytes = (size_t)keys * item,
                   .lines = heads,
                   .from_start = (size_t)start * heads * (size_t)from->sequence.capacity,
                   .to_start = (size_t)start * heads * (size_t)to->sequence.capacity,
                   .from_pitch = (size_t)from->sequence.capacity * item,
                   .to_pitch = (size_t)to->sequence.capacity * item});
}

/* A head's keys lie one behind the other, in blocks; so do its values, and their scales. */
static clq_status copy_caches(clq_session *to, const clq_session *from) {
  const clq_model_info *info = &from->model->info;
  const int64_t head_bytes = clqi_decoder_head_bytes(from->sequence.kv, info->head_dim);
  for (int64_t i = 0; i < 2 * info->layers; ++i) {
    CLQI_TRY(copy_part(to, from, i, 0, head_bytes));
    for (int64_t plane = 0; plane < clqi_decoder_planes(from->sequence.kv); ++plane) {
      CLQI_TRY(copy_part(to, from, i, head_bytes + 4 * plane, 4));
    }
  }
  return CLQ_OK;
}

clq_status clq_session_copy(clq_session *to, const clq_session *from) {
  CLQI_REQUIRE(to != NULL && from != NULL, "session: a session to copy is NULL");
  CLQI_REQUIRE(to->model == from->model, "session: only a session of the same model can be copied");
  CLQI_REQUIRE(to->sequence.kv == from->sequence.kv,
               "session: the KV cache is %s, the copied one is %s", clq_dtype_name(to->sequence.kv),
               clq_dtype_name(from->sequence.kv));
  CLQI_REQUIRE(from->position <= to->sequence.context,
               "session: %lld tokens do not fit into a context of %lld", (long long)from->position,
               (long long)to->sequence.context);
  if (to == from) {
    return CLQ_OK;
  }
  to->position = 0;
  if (from->position == 0) {
    return CLQ_OK;
  }
  clq_status status = copy_caches(to, from);
  CLQI_ALSO(status, clq_stream_finish(to->stream));
  CLQI_TRY(status);
  to->position = from->position;
  return CLQ_OK;
}

void clq_session_get_stats(const clq_session *session, clq_session_stats *stats) {
  *stats = (clq_session_stats){.kv_bytes = session->kv_bytes};
  clqi_pass_stats(&session->passes, stats);
}

void clq_session_trace(clq_session *session, clq_trace *trace) { session->trace = trace; }
