#include "ops/gemm_parameters.h"

#include <clquant/tuning.h>

#include "ops/gemm_x.h"

#define COMMON(set)                                                 \
  .chunk = CLQI_TUNED_VALUE(context, set, chunk),                   \
  .row_tiles = CLQI_TUNED_VALUE(context, set, row_tiles),           \
  .cache_kib = CLQI_TUNED_VALUE(context, set, cache_kib),           \
  .least_tiles = CLQI_TUNED_VALUE(context, set, least_tiles),       \
  .items_per_unit = CLQI_TUNED_VALUE(context, set, items_per_unit), \
  .lane_rows = CLQI_TUNED_VALUE(context, set, lane_rows),           \
  .lanes = CLQI_TUNED_VALUE(context, set, lanes)

clqi_gemm_parameters clqi_gemm_parameters_of(const clq_context *context,
                                             const clq_gemm_args *args) {
  const bool few = args->x.shape[0] <= CLQ_TUNING_FEW_ROWS;
  if (!clqi_gemm_is_integer(args) && few) {
    return (clqi_gemm_parameters){COMMON(gemm_f32_few), .row_form_rows = CLQI_TUNED_VALUE(
                                                            context, gemm_f32_few, row_form_rows)};
  }
  if (!clqi_gemm_is_integer(args)) {
    return (clqi_gemm_parameters){COMMON(gemm_f32_many), .clblast_rows = CLQI_TUNED_VALUE(
                                                             context, gemm_f32_many, clblast_rows)};
  }
  if (few) {
    return (clqi_gemm_parameters){
        COMMON(gemm_q8_few),
        .rows_at_once = CLQI_TUNED_VALUE(context, gemm_q8_few, rows_at_once),
        .row_form_rows = CLQI_TUNED_VALUE(context, gemm_q8_few, row_form_rows),
        .row_chunk = CLQI_TUNED_VALUE(context, gemm_q8_few, row_chunk),
        .split_groups = CLQI_TUNED_VALUE(context, gemm_q8_few, split_groups),
        .split_rows = CLQI_TUNED_VALUE(context, gemm_q8_few, split_rows),
        .mma_rows = CLQI_TUNED_VALUE(context, gemm_q8_few, mma_rows)};
  }
  return (clqi_gemm_parameters){
      COMMON(gemm_q8_many), .rows_at_once = CLQI_TUNED_VALUE(context, gemm_q8_many, rows_at_once),
      .mma_rows = CLQI_TUNED_VALUE(context, gemm_q8_many, mma_rows)};
}
