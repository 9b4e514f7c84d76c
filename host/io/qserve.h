/* One linear layer as QServe stores it for kernels of 4-bit weights and 8-bit activations
 * (w4a8_linear.py): codes of 4 bits in tiles of 32 rows by 32 columns; scales of two levels, a half
 * for each row and an integer for each group of a row. */
#ifndef CLQI_IO_QSERVE_H
#define CLQI_IO_QSERVE_H

#include <stdint.h>

#include "runtime/status.h"

enum { CLQI_QSERVE_TILE = 32, CLQI_QSERVE_GROUP = 128 };

typedef struct clqi_qserve_linear {
  int64_t rows;            /* outputs, a multiple of 32 */
  int64_t cols;            /* inputs, a multiple of 32; with groups of 128 */
  const uint8_t *qweight;  /* [rows, cols / 2] */
  const uint16_t *scales;  /* f16 [rows] */
  const int8_t *s2_scales; /* [cols / 128, rows], NULL: no groups */
  const int8_t *s2_zeros;  /* the same: -zero * s2_scale */
} clqi_qserve_linear;

/* Codes two a byte along the columns, low first: [rows, cols / 2]. */
void clqi_qserve_codes(const clqi_qserve_linear *linear, uint8_t *codes);

/* With groups: scales [rows, cols / 128], the product of both levels, which f32 holds exactly, and
 * zero points. CLQ_BAD_FILE where s2_zeros is no multiple of its scale by 0 to 15. */
CLQ_NODISCARD clq_status clqi_qserve_planes(const clqi_qserve_linear *linear, float *scales,
                                            uint8_t *zeros);

#endif
