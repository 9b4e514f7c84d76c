/* How the linear layers of a safetensors model are quantized, as its config files say it. */
#ifndef CLQI_IO_QUANT_CONFIG_H
#define CLQI_IO_QUANT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum { CLQI_QUANT_CONFIG_MAX_BYTES = 16 << 20 };

typedef enum clqi_quant_method {
  CLQI_QUANT_NONE = 0, /* the model is not quantized */
  CLQI_QUANT_GPTQ,
  CLQI_QUANT_AWQ /* the layout "gemm" */
} clqi_quant_method;

typedef struct clqi_quant_config {
  clqi_quant_method method;
  int bits;           /* GPTQ: 2, 3, 4 or 8; AWQ: 4 */
  int64_t group_size; /* columns that share a scale; -1: a whole row */
  bool desc_act;      /* GPTQ: columns were quantized in another order */
  bool sym;           /* GPTQ: all zero points are said to be 2^(bits-1) */
  bool zero_is_true;  /* zero points are stored as they are (gptq_v2, AWQ), not less one (gptq) */
} clqi_quant_config;

/* Reads the object "quantization_config" of folder/config.json and folder/quantize_config.json,
 * which must agree if both are there; neither: CLQI_QUANT_NONE. Refuses with a sentence what is not
 * known, not supported or contradicts itself (CLQ_BAD_FILE, CLQ_UNSUPPORTED). */
CLQ_NODISCARD clq_status clqi_quant_config_open(const char *folder, clqi_quant_config *out);

/* The same for the text, which is changed, of one file. nested: of a config.json. */
CLQ_NODISCARD clq_status clqi_quant_config_parse(const char *name, char *text, size_t length,
                                                 bool nested, clqi_quant_config *out);

#endif
