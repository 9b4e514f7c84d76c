/* An encoder of BERT's kind from inside: packed weights by layer. */
#ifndef CLQI_MODEL_BERT_H
#define CLQI_MODEL_BERT_H

#include <clquant/encoder.h>

#include "model/bert_config.h"
#include "model/float_matrix.h"

/* A matrix and what is added to its products, f32 [rows of the weights]. */
typedef struct clqi_bert_linear {
  clq_weights *weights;
  cl_mem bias;
} clqi_bert_linear;

/* f32 [width]. */
typedef struct clqi_bert_norm {
  cl_mem gamma;
  cl_mem beta;
} clqi_bert_norm;

typedef struct clqi_bert_layer {
  clqi_bert_linear qkv; /* query, key and value below each other */
  clqi_bert_linear attention_out;
  clqi_bert_norm attention_norm;
  clqi_bert_linear up;
  clqi_bert_linear down;
  clqi_bert_norm norm;
} clqi_bert_layer;

typedef struct clqi_bert {
  clqi_bert_config config;
  clqi_matrix_format format;
  clqi_matrix_format embedding_format;
  clq_weights *words;
  clq_weights *positions;
  cl_mem type; /* f32 [width]: of the first text's tokens, the only ones there are */
  clqi_bert_norm norm;
  clqi_bert_layer *layers; /* [config.layers] */
  uint64_t bytes;          /* on the device */
} clqi_bert;

/* Loads the folder's model; format.format 0: that of the file's word embeddings; embeddings 0: as
 * format. *bert is to be freed, whatever the answer. */
CLQ_NODISCARD clq_status clqi_bert_load(clq_context *context, const char *folder,
                                        clqi_matrix_format format, clq_format embeddings,
                                        clqi_bert *bert);
void clqi_bert_free(clqi_bert *bert);

#endif
