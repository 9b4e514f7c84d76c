/* The selection tables of GEMM: which form computes which call. */
#ifndef CLQI_OPS_GEMM_VARIANTS_H
#define CLQI_OPS_GEMM_VARIANTS_H

#include "ops/gemm_parameters.h"
#include "ops/variant.h"

typedef struct clqi_gemm_form {
  const clqi_variant *variant;
  clqi_gemm_parameters parameters;
  int32_t rows;    /* of a work-item's tile */
  int32_t at_once; /* of them computed side by side; columns of gemm_q8_mma */
} clqi_gemm_form;

/* The form for integer products (ops/gemm_x.h), and for those of floats. */
clqi_gemm_form clqi_gemm_choose_integer(const clq_context *context, const clq_gemm_args *args);
clqi_gemm_form clqi_gemm_choose_float(const clq_context *context, const clq_gemm_args *args);

#endif
