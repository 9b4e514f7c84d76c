/* Writing the packed layout of quant/weights.h into mapped memory. */
#ifndef CLQI_QUANT_PACK_H
#define CLQI_QUANT_PACK_H

#include "quant/weights.h"

/* Packs every tile of `weights` (its geometry is set) from the parts into `base`, with a few
 * threads if it is worth their start. Arguments are checked by the caller. */
void clqi_pack(const clq_weights *weights, const clq_weights_desc *desc, uint8_t *base);

/* The inverse for one row, from what clqi_pack wrote. */
void clqi_unpack_row(const clq_weights *weights, const uint8_t *base, int64_t row, float *out);

#endif
