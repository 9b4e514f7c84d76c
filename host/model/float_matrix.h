/* Tensors of floats in safetensors files, as packed weights of any float format or of int8 codes,
 * and as floats. */
#ifndef CLQI_MODEL_FLOAT_MATRIX_H
#define CLQI_MODEL_FLOAT_MATRIX_H

#include <clquant/quantize.h>

#include "io/safetensors.h"

/* CLQ_FORMAT_F32, _F16, _BF16 of a tensor of floats; 0 of another one. */
clq_format clqi_float_format(const clqi_safetensors_tensor *tensor);

/* What becomes of matrices. */
typedef struct clqi_matrix_format {
  clq_format
      format;    /* F32, F16, BF16 (rounded to nearest even), W8 (absmax / 127, no zero points) */
  int64_t group; /* of W8; 0: a row */
} clqi_matrix_format;

/* Packs `count` tensors of two dimensions with the same number of columns, one behind the other.
 * CLQ_BAD_FILE if one holds what is not finite, CLQ_UNSUPPORTED if a number does not fit into the
 * format; sentences name the file and the tensor. */
CLQ_NODISCARD clq_status clqi_matrix_pack(clq_context *context, const clqi_safetensors *set,
                                          const clqi_safetensors_tensor *const *tensors,
                                          int32_t count, clqi_matrix_format format,
                                          clq_weights **weights);

/* Elements [first, first + count) of a tensor of floats. CLQ_BAD_FILE for what is not finite. */
CLQ_NODISCARD clq_status clqi_float_read(const clqi_safetensors *set,
                                         const clqi_safetensors_tensor *tensor, size_t first,
                                         size_t count, float *out);

#endif
