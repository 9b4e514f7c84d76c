/* What the JSON files in the folder of a model of BERT's kind say of it. */
#ifndef CLQI_MODEL_BERT_CONFIG_H
#define CLQI_MODEL_BERT_CONFIG_H

#include <clquant/encoder.h>

typedef struct clqi_bert_config {
  int64_t width;
  int64_t heads;
  int64_t layers;
  int64_t feed_forward;
  int64_t vocabulary;
  int64_t positions;
  int64_t types;   /* of tokens */
  int64_t context; /* tokens of a text: at most positions */
  clq_activation activation;
  float eps;
  clq_pooling pooling;
} clqi_bert_config;

/* config.json must be there; sentence_bert_config.json, modules.json and 1_Pooling/config.json, of
 * sentence-transformers, may be. What would make another result than is computed here is refused.
 * CLQ_IO_ERROR, CLQ_BAD_FILE, CLQ_UNSUPPORTED; sentences name the file. */
CLQ_NODISCARD clq_status clqi_bert_config_read(const char *folder, clqi_bert_config *config);

#endif
