/* Writing the packed layout of quant/weights.h into mapped memory. */
#ifndef CLQI_QUANT_PACK_H
#define CLQI_QUANT_PACK_H

#include "quant/weights.h"

/* Packs `count` tiles of the parts' rows, from tile `from` of them on, into the tiles from `to` on
 * of `weights` (its geometry is set), which lie at `base`, with a few threads if it is worth their
 * start. Arguments are checked by the caller: the rows fill whole tiles or end with the weights. */
void clqi_pack(const clq_weights *weights, const clq_weights_desc *desc, int64_t from,
               int64_t count, int64_t to, uint8_t *base);

/* Takes the outlier columns out of the codes that clqi_pack wrote, into planes of their own. */
void clqi_pack_outliers(const clq_weights *weights, const clq_weights_desc *desc, uint8_t *base);

/* Where rows come from that do not lie in memory. read writes `rows` rows of a part from first_row
 * on, one behind the other, to out; its failure is passed on. */
typedef struct clqi_row_source {
  clq_status (*read)(void *from, int32_t part, int64_t first_row, int64_t rows, void *out);
  void *from;
} clqi_row_source;

/* clq_weights_pack with rows of a source, some megabytes at a time; the parts' data is not looked
 * at. Formats that bring their own scales. */
clq_status clqi_weights_pack_from(clq_context *context, const clq_weights_desc *desc,
                                  const clqi_row_source *source, clq_weights **weights);

/* The inverse for one row, from what clqi_pack wrote. */
void clqi_unpack_row(const clq_weights *weights, const uint8_t *base, int64_t row, float *out);

#endif
