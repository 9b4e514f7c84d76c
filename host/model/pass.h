/* Compiled passes of a decoder, and their runs. Sessions and batches are made of them. */
#ifndef CLQI_MODEL_PASS_H
#define CLQI_MODEL_PASS_H

#include "model/decoder.h"

/* Passes that are kept: the longest unused one makes room. */
enum { CLQI_MAX_PASSES = 8 };

typedef struct clqi_pass {
  clq_plan *plan;              /* NULL: none */
  const cl_mem *const *caches; /* of each sequence the keys' caches, which nobody else has */
  int64_t count;
  int64_t rows;
  clq_logits_wanted wanted;
  bool samples;
  clq_sampling sampling; /* if it samples; the seed does not matter */
  uint64_t last_use;
} clqi_pass;

/* The passes that run one after the other on one stream; all zero is none. They share the largest
 * arena that one of them needed. */
typedef struct clqi_pass_cache {
  clqi_pass passes[CLQI_MAX_PASSES];
  uint64_t clock;
  cl_mem arena;               /* retained; NULL: none yet */
  clq_plan_stats arena_stats; /* of the plan that needed the largest */
  double build_seconds;       /* of all passes that were compiled */
  int32_t launches;           /* of the decode step that was compiled last */
} clqi_pass_cache;

/* The plan for these sequences, rows and logits: a kept one, or recorded and compiled now. The
 * other fields of `wanted` are as in all calls before it. It stays the cache's. */
clq_status clqi_pass_get(clqi_pass_cache *cache, const clq_model *model,
                         const clqi_decoder_pass *wanted, clq_plan **plan);
/* Settings that are the same but for the seed. */
bool clqi_same_sampling(const clq_sampling *a, const clq_sampling *b);
/* Drops the passes that write logits, because that buffer goes. */
void clqi_pass_drop_logits(clqi_pass_cache *cache);
/* Sets all but kv_bytes. */
void clqi_pass_stats(const clqi_pass_cache *cache, clq_session_stats *stats);
void clqi_pass_free(clqi_pass_cache *cache);

/* What goes to the device before a run and what comes back after it. */
typedef struct clqi_pass_transfer {
  cl_mem to;
  const cl_int *inputs;
  int64_t input_count; /* 0: what lies there is right */
  cl_mem states;       /* of draws */
  const cl_int *state;
  int64_t state_count; /* 0: none, or what lies there is right */
  cl_mem from;
  float *logits;
  int64_t logit_count; /* 0: none comes back */
  int64_t ids_at;      /* where chosen ids lie in `to` */
  int32_t *ids;
  int64_t id_count; /* 0: none comes back */
} clqi_pass_transfer;

/* Enqueues a run; the stream's next finish ends it, until then host memory is read and written. */
clq_status clqi_pass_enqueue(clq_plan *plan, clq_stream *stream, clq_trace *trace,
                             const clqi_pass_transfer *transfer);

/* Runs and waits; trace may be NULL. After an error, too, nothing reads or writes host memory any
 * more. */
clq_status clqi_pass_run(clq_plan *plan, clq_stream *stream, clq_trace *trace,
                         const clqi_pass_transfer *transfer);

#endif
