/* A session from inside. */
#ifndef CLQI_MODEL_SESSION_H
#define CLQI_MODEL_SESSION_H

#include "model/pass.h"

/* Rows of one pass. More only cost memory; logits of every row cost rows * vocabulary * 4 bytes,
 * hence fewer of those. */
enum { CLQI_MAX_ROWS = 512, CLQI_MAX_LOGIT_ROWS = 128 };

struct clq_session {
  clq_model *model;
  clq_stream *stream;
  clq_stream *own_stream; /* stream, if the session made it */
  clq_acts acts;
  clqi_decoder_sequence sequence;
  cl_mem *caches; /* k then v of each layer */
  cl_mem inputs;  /* see clqi_decoder_pass, as logits */
  cl_mem states;  /* of draws on the device */
  cl_mem logits;
  int64_t logit_rows; /* that logits holds */
  int64_t position;
  uint64_t kv_bytes;
  clqi_pass_cache passes;
  /* On their way to the device. */
  cl_int input[CLQI_DECODER_POSITIONS + CLQI_MAX_ROWS];
  cl_int state[CLQI_DECODER_STATE];
  cl_int next[CLQI_DECODER_POSITIONS];
  clq_trace *trace;
};

/* CLQ_INVALID_ARGUMENT unless the sampler, which may be NULL, takes as many logits as the model
 * has. */
clq_status clqi_session_check_sampler(const clq_session *session, const clq_sampler *sampler);
/* Its settings; greedy for NULL. */
const clq_sampling *clqi_session_sampling(const clq_sampler *sampler);

/* CLQ_INVALID_ARGUMENT unless the id, the index-th of a call, is one of the model's. */
clq_status clqi_session_check_id(const clq_session *session, int32_t id, int64_t index);

#endif
