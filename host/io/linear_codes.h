/* The weights of a linear layer as plain codes: what the importers of packed formats give.
 *
 *   weight[row, order[p]] = scale[row, p / group_size] * (code[row, p] - zero[row, p / group_size])
 *
 * Rows are outputs, columns inputs. Positions p are the file's columns sorted by group, so that a
 * group's codes lie together: the last group may be shorter. */
#ifndef CLQI_IO_LINEAR_CODES_H
#define CLQI_IO_LINEAR_CODES_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/checked.h"

/* The caller's memory. */
typedef struct clqi_linear_codes {
  uint8_t *codes;   /* [rows, cols], 0 to 2^bits - 1 */
  uint8_t *zeros;   /* [rows, groups], the true zero points */
  uint16_t *scales; /* [rows, groups], the bits as stored: f16 or bf16 */
} clqi_linear_codes;

/* group_size -1: one group. */
static inline int64_t clqi_group_columns(int64_t cols, int64_t group_size) {
  return group_size == -1 ? cols : group_size;
}

static inline int64_t clqi_group_count(int64_t cols, int64_t group_size) {
  return group_size == -1 ? 1 : clqi_div_up(cols, group_size);
}

/* in [groups, rows] to out [rows, groups]. */
static inline void clqi_transpose_scales(const uint16_t *in, int64_t groups, int64_t rows,
                                         uint16_t *out) {
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t row = 0; row < rows; ++row) {
      out[row * groups + g] = in[g * rows + row];
    }
  }
}

#endif
