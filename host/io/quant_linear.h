/* One linear layer of a GPTQ or AWQ model, from its tensors in a set of safetensors files. */
#ifndef CLQI_IO_QUANT_LINEAR_H
#define CLQI_IO_QUANT_LINEAR_H

#include "io/linear_codes.h"
#include "io/quant_config.h"
#include "io/safetensors.h"

typedef struct clqi_quant_linear {
  int64_t rows; /* outputs */
  int64_t cols; /* inputs */
  int64_t groups;
  int64_t group_size; /* columns of a group; the last may have fewer */
  int bits;
  clqi_linear_codes codes;
  clqi_safetensors_dtype scale_dtype; /* F16 or BF16 */
  uint32_t *order; /* [cols] the column at each position; NULL if it is 0, 1, 2, ... */
} clqi_quant_linear;

/* True if the set has PREFIX.qweight: other layers are not quantized. */
bool clqi_quant_linear_exists(const clqi_safetensors *set, const char *prefix);

/* Reads PREFIX.qweight, .qzeros, .scales and, of GPTQ, .g_idx (which may be absent unless
 * desc_act), checks their dtypes and shapes against each other and the config, and decodes them.
 * The sentence names the tensor; CLQ_BAD_FILE if the model is at fault. A bias is the caller's to
 * read. *out is to be released, and holds nothing on failure. */
CLQ_NODISCARD clq_status clqi_quant_linear_load(const clqi_safetensors *set,
                                                const clqi_quant_config *config, const char *prefix,
                                                clqi_quant_linear *out);
void clqi_quant_linear_free(clqi_quant_linear *linear);

#endif
