/* The graph of one pass of an encoder of BERT's kind: several texts, packed behind each other. */
#ifndef CLQI_MODEL_BERT_GRAPH_H
#define CLQI_MODEL_BERT_GRAPH_H

#include "model/bert_scales.h"

typedef struct clqi_bert_pass {
  int64_t rows; /* tokens of all texts */
  int64_t texts;
  int64_t capacity; /* keys that a text has room for, a multiple of 16 */
  clq_acts acts;
  unsigned int8;                  /* or-ed clq_encoder_int8 */
  const clqi_bert_scales *scales; /* if int8 wants them */
  cl_mem inputs; /* i32: the first row of each text and the end [texts + 1], ids [rows], where in
                    its text each row stands [rows] */
  cl_mem k, v;   /* room for [texts, heads, capacity, head_dim], f32 or i8; clq_kv_cache */
  cl_mem k_scale, v_scale; /* of i8: f32 [texts, heads, capacity] */
  cl_mem vectors;          /* f32 [texts, width] */
  cl_mem
      sum_codes; /* i8 [rows, width] and u8 [rows, feed_forward], of int8 norms and activations: */
  cl_mem up_codes; /* edges have no scales that are given */
  /* What ranges are taken of, see clqi_bert_ranges_add; NULL: not wanted. Without int8 parts. */
  cl_mem sums;
  cl_mem ups;
} clqi_bert_pass;

/* Records embeddings, layers, pooling and the division by the length. What a text becomes does not
 * depend on the others. */
clq_status clqi_bert_record(clq_graph *graph, const clqi_bert *bert, const clqi_bert_pass *pass);

#endif
