/* The graph of one pass of a LLaMA-family decoder: a number of tokens of one sequence, or of
 * several. */
#ifndef CLQI_MODEL_DECODER_H
#define CLQI_MODEL_DECODER_H

#include "model/llama.h"

/* What a pass reads and writes of one sequence. */
typedef struct clqi_decoder_sequence {
  cl_mem table;    /* rotary cosines and sines, f32 [context, rope_dims / 2, 2] */
  const cl_mem *k; /* caches, one a layer; layouts: clq_kv_cache */
  const cl_mem *v;
  clq_dtype kv;
  int64_t context;  /* rows of the table */
  int64_t capacity; /* keys that a cache holds, a multiple of 16 */
} clqi_decoder_sequence;

/* Bytes of a key or a value in one head, without its planes, which are a scale and with 4 bits a
 * zero point: [kv_heads, capacity] each, behind all keys or values in the same buffer. CLQ_U8: two
 * codes a byte. */
static inline int64_t clqi_decoder_head_bytes(clq_dtype kv, int64_t head_dim) {
  return kv == CLQ_U8 ? head_dim / 2 : head_dim * (int64_t)clq_dtype_bytes(kv);
}
static inline int64_t clqi_decoder_planes(clq_dtype kv) {
  return kv == CLQ_U8 ? 2 : kv == CLQ_I8 ? 1 : 0;
}

/* Numbers that every sequence has in front of the ids in `inputs`. */
enum { CLQI_DECODER_POSITIONS = 2 };
/* And of what a draw needs of each in `states`, as clq_sample_args has it. */
enum { CLQI_DECODER_STATE = 4 };

typedef struct clqi_decoder_pass {
  const clqi_decoder_sequence *sequences;
  int64_t count; /* of sequences */
  int64_t rows;  /* tokens of each */
  clq_acts acts;
  clq_logits_wanted wanted; /* NONE, LAST of each sequence, or ALL */
  cl_mem inputs; /* i32: where each sequence's first and last token stand [count, 2], then the
                  * ids [count, rows] */
  /* Not NULL, with LAST: how the next token of each sequence is chosen. It replaces the sequence's
   * id, as if the pass had one row, and the positions are counted up by one: after a pass of one
   * row the same pass can follow at once. The seed does not matter. */
  const clq_sampling *sampling;
  cl_mem states; /* i32 [count, CLQI_DECODER_STATE], or NULL if the choice is greedy */
  cl_mem logits; /* f32 [count (LAST) or count * rows (ALL), vocabulary] */
} clqi_decoder_pass;

/* Records embedding, layers and (unless wanted is NONE) norm and head. What a row becomes does not
 * depend on the rows beside it. Of the last layer, only the keys and values of rows are computed
 * whose logits are not wanted. */
clq_status clqi_decoder_record(clq_graph *graph, const clq_model *model,
                               const clqi_decoder_pass *pass);

#endif
