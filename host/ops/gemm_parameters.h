/* The tuned values that a call of GEMM goes by (runtime/tuning.def says what they are). */
#ifndef CLQI_OPS_GEMM_PARAMETERS_H
#define CLQI_OPS_GEMM_PARAMETERS_H

#include <clquant/ops.h>

#include "runtime/context.h"

/* What a kind of calls has no use for is 0. */
typedef struct clqi_gemm_parameters {
  int32_t rows_at_once;
  int32_t chunk;
  int32_t row_chunk;
  int32_t row_tiles;
  int32_t cache_kib;
  int32_t least_tiles;
  int32_t row_form_rows;
  int32_t items_per_unit;
  int32_t lane_rows;
  int32_t lanes;
  int32_t split_groups;
  int32_t split_rows;
  int32_t mma_rows;
  int32_t clblast_rows;
} clqi_gemm_parameters;

/* x of codes, or of floats; few rows, or many. */
clqi_gemm_parameters clqi_gemm_parameters_of(const clq_context *context, const clq_gemm_args *args);

#endif
