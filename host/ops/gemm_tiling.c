#include "ops/gemm_tiling.h"

#include "runtime/checked.h"
#include "runtime/context.h"

/* As many columns for one work-item as leave every compute unit enough items: what is prepared of
 * x serves all its columns. No more than fit the second cache, where one row tile after the other
 * meets the same weights. */
clqi_gemm_tiling clqi_gemm_tile(const clq_context *context, const clq_weights *w,
                                const clqi_gemm_parameters *p, int64_t rows, int32_t tile_rows,
                                int64_t most_row_tiles, int64_t chunk) {
  const int64_t wanted = (int64_t)context->info.compute_units * p->items_per_unit;
  const int64_t all_row_tiles = clqi_div_up(rows, tile_rows);
  const int64_t column_tiles = clqi_div_up(w->rows, CLQI_TILE);
  const int64_t depth = chunk < w->padded_cols ? chunk : w->padded_cols;
  const int64_t most = (int64_t)p->cache_kib * 1024 / (depth * CLQI_TILE * w->bits / 8);
  int64_t tiles = most < 1 ? 1 : most < column_tiles ? most : column_tiles;
  int64_t row_tiles = all_row_tiles < most_row_tiles ? all_row_tiles : most_row_tiles;
  while (row_tiles > 1 &&
         clqi_div_up(all_row_tiles, row_tiles) * clqi_div_up(column_tiles, p->least_tiles) <
             wanted) {
    row_tiles = (row_tiles + 1) / 2;
  }
  const int64_t row_blocks = clqi_div_up(all_row_tiles, row_tiles);
  const int64_t column_blocks = clqi_div_up(wanted, row_blocks);
  const int64_t fair = clqi_div_up(column_tiles, column_blocks);
  tiles = fair < tiles ? fair : tiles;
  return (clqi_gemm_tiling){(int32_t)row_tiles,
                            (int32_t)tiles,
                            {(size_t)row_blocks, (size_t)clqi_div_up(column_tiles, tiles)}};
}
