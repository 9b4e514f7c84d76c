#include <string.h>

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

static clq_status check_eval(clq_batch *batch, const int32_t *members, const int32_t *ids,
                             int32_t count, const float *logits) {
  CLQI_REQUIRE(batch != NULL && (count == 0 || (ids != NULL && logits != NULL)),
               "batch: batch, ids and logits must not be NULL");
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
                            clq_plan **plan) {
  for (int32_t i = 0; i < count; ++i) {
    batch->sequences[i] = batch->sessions[member(members, i)]->sequence;
  }
  const clqi_decoder_pass pass = {.sequences = batch->sequences,
                                  .count = count,
                                  .rows = 1,
                                  .acts = batch->sessions[0]->acts,
                                  .wanted = CLQ_LOGITS_LAST,
                                  .inputs = batch->inputs,
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

clq_status clq_batch_eval(clq_batch *batch, const int32_t *members, const int32_t *ids,
                          int32_t count, float *logits) {
  CLQI_TRY(check_eval(batch, members, ids, count, logits));
  if (count == 0) {
    return CLQ_OK;
  }
  clq_plan *plan = NULL;
  CLQI_TRY(find_pass(batch, members, count, &plan));
  fill_input(batch, members, ids, count);
  const clqi_pass_transfer transfer = {.to = batch->inputs,
                                       .inputs = batch->input,
                                       .input_count = INPUTS * (int64_t)count,
                                       .from = batch->logits,
                                       .logits = logits,
                                       .logit_count = count * model_of(batch)->info.vocabulary};
  clq_session *first = batch->sessions[0];
  CLQI_TRY(clqi_pass_run(plan, first->stream, first->trace, &transfer));
  for (int32_t i = 0; i < count; ++i) {
    batch->sessions[member(members, i)]->position++;
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
  batch->sequences = clqi_calloc(count, sizeof *batch->sequences);
  if (batch->taken == NULL || batch->input == NULL || batch->sequences == NULL ||
      !clqi_mul_size((size_t)model->info.vocabulary, sizeof(float), &row) ||
      !clqi_mul_size(count, row, &bytes)) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "batch: out of memory");
  }
  CLQI_TRY(clqi_buffer_create(model->context, INPUTS * count * sizeof(cl_int), &batch->inputs));
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
  clqi_buffer_release(batch->logits);
  clqi_free(batch->sequences);
  clqi_free(batch->input);
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
