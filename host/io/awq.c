#include "io/awq.h"

#include <inttypes.h>

enum { FIELDS = 8, BITS = 4 };

/* Where in its word each of eight neighbouring rows lies. */
static const int shifts[FIELDS] = {0 * BITS, 4 * BITS, 1 * BITS, 5 * BITS,
                                   2 * BITS, 6 * BITS, 3 * BITS, 7 * BITS};

static clq_status check_shape(const clqi_awq_linear *l) {
  if (l->rows < 0 || l->cols < 0 || l->rows % FIELDS != 0) {
    return clqi_fail(CLQ_BAD_FILE,
                     "awq: the shape is %" PRId64 " by %" PRId64 ", expected rows in eights",
                     l->rows, l->cols);
  }
  if (l->group_size != -1 && l->group_size < 1) {
    return clqi_fail(CLQ_BAD_FILE, "awq: group_size is %" PRId64 ", expected 1 or more, or -1",
                     l->group_size);
  }
  return CLQ_OK;
}

/* in [count, rows / 8] words to out [rows, count] fields; a word's rows at a time, so that fields
 * are written in runs. */
static void unpack(const uint32_t *in, int64_t count, int64_t rows, uint8_t *out) {
  const int64_t words = rows / FIELDS;
  for (int64_t w = 0; w < words; ++w) {
    uint8_t *first = out + w * FIELDS * count;
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t word = in[i * words + w];
      for (int64_t row = 0; row < FIELDS; ++row) {
        first[row * count + i] = (uint8_t)(word >> shifts[row] & 15);
      }
    }
  }
}

clq_status clqi_awq_decode(const clqi_awq_linear *linear, const clqi_linear_codes *out) {
  CLQI_TRY(check_shape(linear));
  const int64_t groups = clqi_group_count(linear->cols, linear->group_size);
  unpack(linear->qweight, linear->cols, linear->rows, out->codes);
  unpack(linear->qzeros, groups, linear->rows, out->zeros);
  clqi_transpose_scales(linear->scales, groups, linear->rows, out->scales);
  return CLQ_OK;
}
