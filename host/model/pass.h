/* Compiled passes of a decoder, and their runs. Sessions and batches are made of them. */
#ifndef CLQI_MODEL_PASS_H
#define CLQI_MODEL_PASS_H

#include "model/decoder.h"

/* The memory of passes that run one after the other on one stream: they share the largest arena
 * that one of them needed. */
typedef struct clqi_pass_memory {
  cl_mem arena; /* retained; NULL: none yet */
  clq_session_stats stats;
} clqi_pass_memory;

/* Records and compiles. Adds to the statistics' build time, raises their arena's figures, and sets
 * their launches if the pass is a decode step. */
clq_status clqi_pass_compile(const clq_model *model, const clqi_decoder_pass *pass,
                             clqi_pass_memory *memory, clq_plan **plan);

/* What goes to the device before a run and what comes back after it. */
typedef struct clqi_pass_transfer {
  cl_mem to;
  const cl_int *inputs;
  int64_t input_count;
  cl_mem from;
  float *logits;
  int64_t logit_count; /* 0: nothing comes back */
} clqi_pass_transfer;

/* Runs and waits; trace may be NULL. After an error, too, nothing reads or writes host memory any
 * more. */
clq_status clqi_pass_run(clq_plan *plan, clq_stream *stream, clq_trace *trace,
                         const clqi_pass_transfer *transfer);

#endif
