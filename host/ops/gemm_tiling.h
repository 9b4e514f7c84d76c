/* How the CPU forms of GEMM share rows and columns among work-items. */
#ifndef CLQI_OPS_GEMM_TILING_H
#define CLQI_OPS_GEMM_TILING_H

#include "ops/gemm_parameters.h"
#include "quant/weights.h"

/* Work-items of a CPU form: `row_tiles` tiles of rows by `tiles` tiles of 16 columns. */
typedef struct clqi_gemm_tiling {
  int32_t row_tiles;
  int32_t tiles;
  size_t global[2];
} clqi_gemm_tiling;

/* rows: of x; tile_rows: of a tile; most_row_tiles and chunk: what the parameters say, or what the
 * call must have. */
clqi_gemm_tiling clqi_gemm_tile(const clq_context *context, const clq_weights *weights,
                                const clqi_gemm_parameters *parameters, int64_t rows,
                                int32_t tile_rows, int64_t most_row_tiles, int64_t chunk);

#endif
