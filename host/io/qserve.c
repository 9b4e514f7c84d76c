#include "io/qserve.h"

#include <inttypes.h>
#include <string.h>

#include "quant/formats.h"

enum { TILE = CLQI_QSERVE_TILE, TILE_BYTES = TILE * TILE / 2, MOST_CODE = 15 };

/* Byte i of a tile holds the codes of one column of it in two rows, 16 apart, the upper row's low.
 * i counts, slowest first, rows modulo 8 [8], fours of columns modulo 4 [4], halves of the columns
 * [2], eights of rows modulo 2 [2], columns modulo 4 [4]. */
static int row_of(int i) { return i / 64 + i / 4 % 2 * 8; }
static int column_of(int i) { return i / 8 % 2 * 16 + i / 16 % 4 * 4 + i % 4; }

static void put(uint8_t *codes, int64_t cols, int64_t row, int64_t col, unsigned code) {
  uint8_t *byte = &codes[row * (cols / 2) + col / 2];
  *byte = (uint8_t)(*byte | code << (col % 2 * 4));
}

void clqi_qserve_codes(const clqi_qserve_linear *linear, uint8_t *codes) {
  const int64_t cols = linear->cols;
  const uint8_t *tile = linear->qweight;
  memset(codes, 0, (size_t)linear->rows * (size_t)(cols / 2));
  for (int64_t row = 0; row < linear->rows; row += TILE) {
    for (int64_t col = 0; col < cols; col += TILE, tile += TILE_BYTES) {
      for (int i = 0; i < TILE_BYTES; ++i) {
        put(codes, cols, row + row_of(i), col + column_of(i), tile[i] & 15U);
        put(codes, cols, row + row_of(i) + TILE / 2, col + column_of(i), tile[i] >> 4U);
      }
    }
  }
}

/* Of 32 rows a group's scales lie in the order 0, 8, 16, 24, 1, 9, ... */
static int64_t place_of(int64_t row) { return row / TILE * TILE + row % 8 * 4 + row % TILE / 8; }

clq_status clqi_qserve_planes(const clqi_qserve_linear *linear, float *scales, uint8_t *zeros) {
  const int64_t groups = linear->cols / CLQI_QSERVE_GROUP;
  for (int64_t row = 0; row < linear->rows; ++row) {
    const float first = clqi_f32_from_f16(linear->scales[row]);
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t at = g * linear->rows + place_of(row);
      const int scale = linear->s2_scales[at];
      const int lift = linear->s2_zeros[at];
      const int zero = scale == 0 ? 0 : -lift / scale;
      if (zero * scale != -lift || zero < 0 || zero > MOST_CODE) {
        return clqi_fail(CLQ_BAD_FILE,
                         "qserve: s2_zeros of row %" PRId64 ", group %" PRId64
                         " is %d, which is not -zero * %d of a zero point from 0 to 15",
                         row, g, lift, scale);
      }
      scales[row * groups + g] = first * (float)scale;
      zeros[row * groups + g] = (uint8_t)zero;
    }
  }
  return CLQ_OK;
}
