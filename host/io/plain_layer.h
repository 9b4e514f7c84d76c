/* A linear layer of a model in safetensors files as clq_weights_pack takes one part of its weights:
 * plain codes, whatever the tool was that packed them. */
#ifndef CLQI_IO_PLAIN_LAYER_H
#define CLQI_IO_PLAIN_LAYER_H

#include <stdbool.h>

#include <clquant/quantize.h>

#include "io/quant_config.h"
#include "io/safetensors.h"

typedef struct clqi_plain_layer {
  clq_format format; /* W2, W3, W4 or W8 */
  int64_t rows;
  int64_t cols;
  int64_t group;         /* 0: one scale a row */
  clq_dtype scale_dtype; /* of mins too */
  uint8_t *data;         /* codes of W8 are unsigned here */
  void *scales;
  uint8_t *zeros; /* NULL: mins instead */
  void *mins;
  int32_t *order; /* NULL: none */
} clqi_plain_layer;

/* Reads what has PREFIX.qweight. *out is to be released, and holds nothing on failure. */
CLQ_NODISCARD clq_status clqi_plain_layer_load(const clqi_safetensors *set,
                                               const clqi_quant_config *config, const char *prefix,
                                               clqi_plain_layer *out);
void clqi_plain_layer_free(clqi_plain_layer *layer);

/* All zero points are the middle of the codes, so that the layer needs none. */
bool clqi_plain_layer_is_symmetric(const clqi_plain_layer *layer);
/* Leaves them out then. */
void clqi_plain_layer_drop_zeros(clqi_plain_layer *layer);

#endif
