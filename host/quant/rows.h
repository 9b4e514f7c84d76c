/* Rows of embedding tables in the caller's buffers. */
#ifndef CLQI_QUANT_ROWS_H
#define CLQI_QUANT_ROWS_H

#include <stdbool.h>

#include <clquant/quantize.h>

static inline bool clqi_row_has_codes(clq_row_format format) {
  return format >= CLQ_ROW_8BIT && format <= CLQ_ROW_2BIT;
}

/* Of codes. */
static inline int clqi_row_bits(clq_row_format format) {
  return format == CLQ_ROW_8BIT ? 8 : format == CLQ_ROW_4BIT ? 4 : 2;
}

#endif
