/* Ranges that an encoder's activations were seen to have, and the scales and tables that its int8
 * parts take from them. */
#ifndef CLQI_MODEL_BERT_SCALES_H
#define CLQI_MODEL_BERT_SCALES_H

#include "model/bert.h"

/* Sums that norms read: two a layer, behind attention and behind the MLP. */
static inline int64_t clqi_bert_sums(const clqi_bert *bert) { return 2 * bert->config.layers; }

typedef struct clqi_bert_ranges {
  float *sums; /* [sums, width]: the largest |x|; the block that holds the others too */
  float *lows; /* [layers]: of the MLP's first product; at most 0 */
  float *highs;
} clqi_bert_ranges;

CLQ_NODISCARD clq_status clqi_bert_ranges_create(const clqi_bert *bert, clqi_bert_ranges *ranges);
void clqi_bert_ranges_free(clqi_bert_ranges *ranges);
/* Takes in sums [sums, rows, width] and first products [layers, rows, feed_forward]. */
void clqi_bert_ranges_add(const clqi_bert *bert, int64_t rows, const float *sums, const float *ups,
                          clqi_bert_ranges *ranges);

enum { CLQI_BERT_TABLE = 256 };

/* On the device; all zero: there are none. */
typedef struct clqi_bert_scales {
  cl_mem sums;      /* f32 [sums, width]: scales of i8 codes, a channel each */
  cl_mem up_scales; /* f32 [layers]: of u8 codes */
  cl_mem up_zeros;  /* i32 [layers] */
  cl_mem tables;    /* f16 [layers, 256]: the activation of each such code */
} clqi_bert_scales;

CLQ_NODISCARD clq_status clqi_bert_scales_create(clq_context *context, const clqi_bert *bert,
                                                 const clqi_bert_ranges *ranges,
                                                 clqi_bert_scales *scales);
void clqi_bert_scales_free(clqi_bert_scales *scales);

#endif
