/* One linear layer as AutoAWQ's "gemm" version stores it: codes of 4 bits and their zero points,
 * both packed along the rows, eight to a word, in the order 0 2 4 6 1 3 5 7. */
#ifndef CLQI_IO_AWQ_H
#define CLQI_IO_AWQ_H

#include "io/linear_codes.h"
#include "runtime/status.h"

typedef struct clqi_awq_linear {
  int64_t rows;            /* outputs, a multiple of 8 */
  int64_t cols;            /* inputs */
  int64_t group_size;      /* -1: one group */
  const uint32_t *qweight; /* [cols, rows / 8] */
  const uint32_t *qzeros;  /* [groups, rows / 8] */
  const uint16_t *scales;  /* [groups, rows] */
} clqi_awq_linear;

/* The positions of the codes are the columns. Refuses shapes that cannot be: CLQ_BAD_FILE. */
CLQ_NODISCARD clq_status clqi_awq_decode(const clqi_awq_linear *linear,
                                         const clqi_linear_codes *out);

#endif
