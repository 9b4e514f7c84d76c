#include <string.h>

#include "model/sampling.h"
#include "model/session.h"
#include "runtime/buffer.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/status.h"

struct clq_batch {
  int32_t count;
  clq_session **sessions;
  bool *taken;   /* scratch: who is a member of the call at hand */
  cl_mem inputs; /* see clqi_decoder_pass, as logits */
  cl_mem logits;
  cl_mem states;
  cl_int *state;                    /* on its way to the device, as input */
  cl_int *input;                    /* on its way to the device */
  clqi_decoder_sequence *sequences; /* of the members of the call at hand */
  clqi_pass_cache passes;
};

enum { INPUTS = CLQI_DECODER_POSITIONS + 1 }; /* of a member */

static const clq_model *model_of(const clq_batch *batch) { return batch->sessions[0]->model; }

/* ---------------------------------------------------------------- checks */

static clq_status check_sessions(clq_session *const *sessions, int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    CLQI_REQUIRE(sessions[i] != NULL, "batch: session %d is NULL", (int)i);
    CLQI_REQUIRE(sessions[i]->model == sessions[0]->model,
                 "batch: sessions 0 and %d are of different models", (int)i);
    CLQI_REQUIRE(sessions[i]->acts == sessions[0]->acts,
                 "batch: sessions 0 and %d have different activations", (int)i);
    for (int32_t k = 0; k < i; ++k) {
      CLQI_REQUIRE(sessions[i] != sessions[k], "batch: sessions %d and %d are the same", (int)k,
                   (int)i);
    }
  }
  return CLQ_OK;
}

static int32_t member(const int32_t *members, int32_t i) {
  return members == NULL ? i : members[i];
}

static clq_status check_call(clq_batch *batch, const int32_t *members, const int32_t *ids,
                             int32_t count, const void *out) {
  CLQI_REQUIRE(batch != NULL && (count == 0 || (ids != NULL && out != NULL)),
               "batch: batch, ids and the place for what comes back must not be NULL");
  CLQI_REQUIRE(count >= 0 && count <= batch->count && (members != NULL || count == batch->count),
               "batch: %d tokens for the %d sessions of the batch", (int)count, (int)batch->count);
  memset(batch->taken, 0, (size_t)batch->count * sizeof *batch->taken);
  for (int32_t i = 0; i < count; ++i) {
    const int32_t m = member(members, i);
    CLQI_REQUIRE(m >= 0 && m < batch->count, "batch: there is no session %d, the batch has %d",
                 (int)m, (int)batch->count);
    CLQI_REQUIRE(!batch->taken[m], "batch: session %d is named twice", (int)m);
    batch->taken[m] = true;
    const clq_session *s = batch->sessions[m];
    CLQI_REQUIRE(s->position < s->sequence.context,
                 "batch: session %d is full: all of its context's %lld positions are taken", (int)m,
                 (long long)s->sequence.context);
    CLQI_TRY(clqi_session_check_id(s, ids[i], i));
  }
  return CLQ_OK;
}

/* ---------------------------------------------------------------- passes */

static clq_status find_pass(clq_batch *batch, const int32_t *members, int32_t count,
                            const clq_sampling *sampling, clq_plan **plan) {
  const bool draws = sampling != NULL && sampling->temperature > 0;
  for (int32_t i = 0; i < count; ++i) {
    batch->sequences[i] = batch->sessions[member(members, i)]->sequence;
  }
  const clqi_decoder_pass pass = {.sequences = batch->sequences,
                                  .count = count,
                                  .rows = 1,
                                  .acts = batch->sessions[0]->acts,
                                  .wanted = CLQ_LOGITS_LAST,
                                  .inputs = batch->inputs,
                                  .sampling = sampling,
                                  .states = draws ? batch->states : NULL,
                                  .logits = batch->logits};
  return clqi_pass_get(&batch->passes, model_of(batch), &pass, plan);
}

static void fill_input(clq_batch *batch, const int32_t *members, const int32_t *ids,
                       int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    const cl_int position = (cl_int)batch->sessions[member(members, i)]->position;
    batch->input[CLQI_DECODER_POSITIONS * i] = position; /* the one token is first and last */
    batch->input[CLQI_DECODER_POSITIONS * i + 1] = position;
    batch->input[CLQI_DECODER_POSITIONS * count + i] = ids[i];
  }
}

static clq_status run_step(clq_batch *batch, const int32_t *members, int32_t count, clq_plan *plan,
                           const clqi_pass_transfer *transfer) {
  clq_session *first = batch->sessions[0];
  CLQI_TRY(clqi_pass_run(plan, first->stream, first->trace, transfer));
  for (int32_t i = 0; i < count; ++i) {
    batch->sessions[member(members, i)]->position++;
  }
  return CLQ_OK;
}

clq_status clq_batch_eval(clq_batch *batch, const int32_t *members, const int32_t *ids,
                          int32_t count, float *logits) {
  CLQI_TRY(check_call(batch, members, ids, count, logits));
  if (count == 0) {
    return CLQ_OK;
  }
  clq_plan *plan = NULL;
  CLQI_TRY(find_pass(batch, members, count, NULL, &plan));
  fill_input(batch, members, ids, count);
  const clqi_pass_transfer transfer = {.to = batch->inputs,
                                       .inputs = batch->input,
                                       .input_count = INPUTS * (int64_t)count,
                                       .from = batch->logits,
                                       .logits = logits,
                                       .logit_count = count * model_of(batch)->info.vocabulary};
  return run_step(batch, members, count, plan, &transfer);
}

static clq_status check_samplers(const clq_batch *batch, clq_sampler *const *samplers,
                                 int32_t count) {
  for (int32_t i = 0; samplers != NULL && i < count; ++i) {
    CLQI_REQUIRE(samplers[i] != NULL, "batch: sampler %d is NULL", (int)i);
    CLQI_TRY(clqi_session_check_sampler(batch->sessions[0], samplers[i]));
    if (!clqi_same_sampling(clqi_sampler_settings(samplers[i]),
                            clqi_sampler_settings(samplers[0]))) {
      return clqi_fail(CLQ_UNSUPPORTED, "batch: samplers 0 and %d differ in more than their seed",
                       (int)i);
    }
  }
  return CLQ_OK;
}

clq_status clq_batch_generate(clq_batch *batch, const int32_t *members, const int32_t *ids,
                              int32_t count, clq_sampler *const *samplers, int32_t *chosen) {
  CLQI_TRY(check_call(batch, members, ids, count, chosen));
  CLQI_TRY(check_samplers(batch, samplers, count));
  if (count == 0) {
    return CLQ_OK;
  }
  const clq_sampling *sampling = clqi_session_sampling(samplers == NULL ? NULL : samplers[0]);
  const bool draws = samplers != NULL && sampling->temperature > 0;
  clq_plan *plan = NULL;
  CLQI_TRY(find_pass(batch, members, count, sampling, &plan));
  fill_input(batch, members, ids, count);
  for (int32_t i = 0; draws && i < count; ++i) {
    clqi_sampler_state(samplers[i], batch->state + (size_t)i * CLQI_DECODER_STATE);
  }
  const clqi_pass_transfer transfer = {
      .to = batch->inputs,
      .inputs = batch->input,
      .input_count = INPUTS * (int64_t)count,
      .states = batch->states,
      .state = batch->state,
      .state_count = draws ? CLQI_DECODER_STATE * (int64_t)count : 0,
      .ids_at = CLQI_DECODER_POSITIONS * (int64_t)count,
      .ids = chosen,
      .id_count = count};
  CLQI_TRY(run_step(batch, members, count, plan, &transfer));
  for (int32_t i = 0; draws && i < count; ++i) {
    clqi_sampler_count(samplers[i], 1);
  }
  return CLQ_OK;
}

/* ---------------------------------------------------------------- the object */

static clq_status create_buffers(clq_batch *batch) {
  const clq_model *model = model_of(batch);
  const size_t count = (size_t)batch->count;
  size_t row;
  size_t bytes;
  batch->taken = clqi_calloc(count, sizeof *batch->taken);
  batch->input = clqi_calloc(INPUTS * count, sizeof *batch->input);
  batch->state = clqi_calloc(CLQI_DECODER_STATE * count, sizeof *batch->state);
  batch->sequences = clqi_calloc(count, sizeof *batch->sequences);
  if (batch->taken == NULL || batch->input == NULL || batch->state == NULL ||
      batch->sequences == NULL ||
      !clqi_mul_size((size_t)model->info.vocabulary, sizeof(float), &row) ||
      !clqi_mul_size(count, row, &bytes)) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "batch: out of memory");
  }
  CLQI_TRY(clqi_buffer_create(model->context, INPUTS * count * sizeof(cl_int), &batch->inputs));
  CLQI_TRY(clqi_buffer_create(model->context, CLQI_DECODER_STATE * count * sizeof(cl_int),
                              &batch->states));
  return clqi_buffer_create(model->context, bytes, &batch->logits);
}

/* The first session's passes run on the same stream, and rarely need less. */
static clq_status borrow_arena(clq_batch *batch) {
  const cl_mem arena = batch->sessions[0]->passes.arena;
  if (arena == NULL) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_buffer_retain(arena));
  batch->passes.arena = arena;
  return CLQ_OK;
}

clq_status clq_batch_create(clq_session *const *sessions, int32_t count, clq_batch **batch) {
  CLQI_REQUIRE(batch != NULL, "batch: the result pointer is NULL");
  *batch = NULL;
  CLQI_REQUIRE(sessions != NULL, "batch: sessions is NULL");
  CLQI_REQUIRE(count > 0, "batch: of %d sessions, expected 1 or more", (int)count);
  CLQI_TRY(check_sessions(sessions, count));
  clq_status status = CLQ_OK;
  clq_batch *b = clqi_calloc(1, sizeof *b);
  if (b == NULL || (b->sessions = clqi_calloc((size_t)count, sizeof(clq_session *))) == NULL) {
    status = clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "batch: out of memory");
    goto cleanup;
  }
  memcpy(b->sessions, sessions, (size_t)count * sizeof(clq_session *));
  b->count = count;
  CLQI_TRY_CLEAN(create_buffers(b));
  CLQI_TRY_CLEAN(borrow_arena(b));
  *batch = b;
  b = NULL;
cleanup:
  clq_batch_destroy(b);
  return status;
}

void clq_batch_destroy(clq_batch *batch) {
  if (batch == NULL) {
    return;
  }
  clqi_pass_free(&batch->passes);
  clqi_buffer_release(batch->inputs);
  clqi_buffer_release(batch->states);
  clqi_buffer_release(batch->logits);
  clqi_free(batch->sequences);
  clqi_free(batch->input);
  clqi_free(batch->state);
  clqi_free(batch->taken);
  clqi_free(batch->sessions);
  clqi_free(batch);
}

void clq_batch_get_stats(const clq_batch *batch, clq_session_stats *stats) {
  *stats = (clq_session_stats){.kv_bytes = 0};
  clqi_pass_stats(&batch->passes, stats);
  for (int32_t i = 0; i < batch->count; ++i) {
    stats->kv_bytes += batch->sessions[i]->kv_bytes;
  }
}
