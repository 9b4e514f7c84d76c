/* One linear layer as GPTQ's packers store it: fields of 2, 3, 4 or 8 bits, least significant
 * first, in a stream of 32-bit words, so that fields of 3 bits cross words. Codes are packed along
 * the columns, zero points along the rows. Format: AutoGPTQ and GPTQModel, pack_original. */
#ifndef CLQI_IO_GPTQ_H
#define CLQI_IO_GPTQ_H

#include "io/linear_codes.h"
#include "runtime/status.h"

typedef struct clqi_gptq_linear {
  int64_t rows;       /* outputs; rows * bits a multiple of 32 */
  int64_t cols;       /* inputs; cols * bits a multiple of 32 */
  int64_t group_size; /* -1: one group */
  int bits;
  /* Zero points are stored as they are (gptq_v2), or less one (gptq, v1). */
  bool zero_is_true;
  /* All zero points are said to be 2^(bits-1): checked, and then zero_is_true is not believed,
   * because some writers mislabel. */
  bool sym;
  const uint32_t *qweight; /* [cols * bits / 32, rows] */
  const uint32_t *qzeros;  /* [groups, rows * bits / 32] */
  const uint16_t *scales;  /* [groups, rows] */
  const int32_t *g_idx;    /* [cols] group of each column; NULL: col / group_size */
} clqi_gptq_linear;

/* Refuses shapes that cannot be, a g_idx whose groups have other sizes than group_size (the last
 * one the rest), and zero points that are not what sym promises: CLQ_BAD_FILE. order, [cols], gets
 * the column at each position; *ordered tells that it is 0, 1, 2, ... */
CLQ_NODISCARD clq_status clqi_gptq_decode(const clqi_gptq_linear *linear,
                                          const clqi_linear_codes *out, uint32_t *order,
                                          bool *ordered);

#endif
