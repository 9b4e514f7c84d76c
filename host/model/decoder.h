/* The graph of one pass of a LLaMA-family decoder over a number of rows. */
#ifndef CLQI_MODEL_DECODER_H
#define CLQI_MODEL_DECODER_H

#include "model/llama.h"

/* The buffers that a pass reads and writes; the same for all passes of a session. */
typedef struct clqi_decoder_io {
  cl_mem ids;      /* i32 [rows] */
  cl_mem position; /* i32 [1]: where row 0 stands */
  cl_mem table;    /* rotary cosines and sines, f32 [context, rope_dims / 2, 2] */
  cl_mem logits;   /* f32 [rows or 1, vocabulary] */
  const cl_mem *k; /* one a layer; layouts: clq_attention_args */
  const cl_mem *v;
  clq_dtype kv;
  int64_t context;  /* rows of the table */
  int64_t capacity; /* keys that a cache holds, a multiple of 16 */
} clqi_decoder_io;

/* Records embedding, layers and (unless wanted is NONE) norm and head, for `rows` tokens. */
clq_status clqi_decoder_record(clq_graph *graph, const clq_model *model, const clqi_decoder_io *io,
                               clq_acts acts, int64_t rows, clq_logits_wanted wanted);

#endif
