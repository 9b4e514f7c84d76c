/* The selection tables of GEMM: which form computes which call. */
#ifndef CLQI_OPS_GEMM_VARIANTS_H
#define CLQI_OPS_GEMM_VARIANTS_H

#include "ops/variant.h"

static inline bool clqi_gemm_x_is_grouped(const clq_gemm_args *args) {
  return args->x.quant.per == CLQ_PER_GROUP;
}

/* The form for x of codes, and for x of floats. Never NULL. */
const clqi_variant *clqi_gemm_choose_integer(const clq_context *context, const clq_gemm_args *args);
const clqi_variant *clqi_gemm_choose_float(const clq_context *context, const clq_gemm_args *args);

#endif
