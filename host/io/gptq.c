#include "io/gptq.h"

#include <inttypes.h>

#include "runtime/memory.h"

/* The field at a bit of the stream's word *word, whose next one is word[stride]. */
static uint32_t field_in(const uint32_t *word, int64_t stride, int bits, int shift) {
  uint32_t value = *word >> shift;
  if (shift + bits > 32) {
    value |= word[stride] << (32 - shift);
  }
  return value & ((1u << bits) - 1);
}

/* Field `index` of the stream of those words. */
static uint32_t field_at(const uint32_t *words, int bits, int64_t index) {
  const int64_t bit = index * bits;
  return field_in(words + bit / 32, 1, bits, (int)(bit % 32));
}

static int64_t groups_of(const clqi_gptq_linear *l) {
  return clqi_group_count(l->cols, l->group_size);
}

static clq_status check_shape(const clqi_gptq_linear *l) {
  int64_t bits = 0;
  if (l->bits != 2 && l->bits != 3 && l->bits != 4 && l->bits != 8) {
    return clqi_fail(CLQ_BAD_FILE, "gptq: bits is %d, expected 2, 3, 4 or 8", l->bits);
  }
  if (l->group_size != -1 && l->group_size < 1) {
    return clqi_fail(CLQ_BAD_FILE, "gptq: group_size is %" PRId64 ", expected 1 or more, or -1",
                     l->group_size);
  }
  if (l->cols < 0 || l->cols > UINT32_MAX || !clqi_mul_i64(l->cols, l->bits, &bits) ||
      bits % 32 != 0) {
    return clqi_fail(CLQ_BAD_FILE,
                     "gptq: %" PRId64 " columns of %d bits do not fill words of 32 bits", l->cols,
                     l->bits);
  }
  if (l->rows < 0 || !clqi_mul_i64(l->rows, l->bits, &bits) || bits % 32 != 0) {
    return clqi_fail(CLQ_BAD_FILE, "gptq: %" PRId64 " rows of %d bits do not fill words of 32 bits",
                     l->rows, l->bits);
  }
  return CLQ_OK;
}

/* --- The order of the columns. -------------------------------------------- */

/* A counting sort, stable: next[g] is where the next column of group g goes. */
static clq_status sort_columns(const clqi_gptq_linear *l, int64_t *next, uint32_t *order) {
  const int64_t groups = groups_of(l);
  const int64_t size = clqi_group_columns(l->cols, l->group_size);
  for (int64_t g = 0; g < groups; ++g) {
    next[g] = g * size;
  }
  for (int64_t col = 0; col < l->cols; ++col) {
    const int64_t g = l->g_idx[col];
    if (g < 0 || g >= groups) {
      return clqi_fail(CLQ_BAD_FILE,
                       "gptq: g_idx has group %" PRId64 " for column %" PRId64
                       ", expected 0 to %" PRId64,
                       g, col, groups - 1);
    }
    const int64_t end = g == groups - 1 ? l->cols : (g + 1) * size;
    if (next[g] == end) {
      return clqi_fail(CLQ_BAD_FILE,
                       "gptq: g_idx has more columns of group %" PRId64 " than the %" PRId64
                       " expected",
                       g, end - g * size);
    }
    order[next[g]++] = (uint32_t)col;
  }
  return CLQ_OK; /* no group has too many, so none has too few */
}

static clq_status find_order(const clqi_gptq_linear *l, uint32_t *order, bool *ordered) {
  *ordered = true;
  if (l->g_idx == NULL) {
    for (int64_t col = 0; col < l->cols; ++col) {
      order[col] = (uint32_t)col;
    }
    return CLQ_OK;
  }
  int64_t *next = clqi_calloc((size_t)groups_of(l), sizeof *next);
  if (next == NULL && groups_of(l) != 0) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "gptq: no memory for %" PRId64 " groups",
                     groups_of(l));
  }
  const clq_status status = sort_columns(l, next, order);
  clqi_free(next);
  for (int64_t col = 0; col < l->cols && status == CLQ_OK; ++col) {
    *ordered = *ordered && order[col] == (uint32_t)col;
  }
  return status;
}

/* --- Zero points. --------------------------------------------------------- */

/* The zero points of v1 from its words. The writer of today subtracted one from every field by one
 * subtraction a word, so that a zero point of 0 borrowed from its neighbour: adding the same number
 * gives it back. Fields of 3 bits, which cross words, wrap alone. */
static uint32_t zero_of_v1(const uint32_t *words, int bits, int64_t row) {
  if (bits == 3) {
    return (field_at(words, bits, row) + 1) & 7;
  }
  const uint32_t most = (1u << bits) - 1;
  const uint32_t ones = UINT32_MAX / most; /* 1 in every field */
  const int64_t fields = 32 / bits;
  return (words[row / fields] + ones) >> row % fields * bits & most;
}

static void decode_zeros(const clqi_gptq_linear *l, uint8_t *out) {
  const int64_t groups = groups_of(l);
  for (int64_t g = 0; g < groups; ++g) {
    const uint32_t *words = l->qzeros + g * (l->rows * l->bits / 32);
    for (int64_t row = 0; row < l->rows; ++row) {
      const uint32_t zero =
          l->zero_is_true ? field_at(words, l->bits, row) : zero_of_v1(words, l->bits, row);
      out[row * groups + g] = (uint8_t)zero;
    }
  }
}

/* All stored zero points are the middle (v2) or all the middle less one (v1), whatever the label:
 * the zero points are the middle. */
static clq_status decode_symmetric_zeros(const clqi_gptq_linear *l, uint8_t *out) {
  const int64_t groups = groups_of(l);
  const uint32_t middle = 1u << (l->bits - 1);
  const uint32_t first = l->rows == 0 || groups == 0 ? middle : field_at(l->qzeros, l->bits, 0);
  for (int64_t g = 0; g < groups; ++g) {
    const uint32_t *words = l->qzeros + g * (l->rows * l->bits / 32);
    for (int64_t row = 0; row < l->rows; ++row) {
      const uint32_t stored = field_at(words, l->bits, row);
      if (stored != first || (stored != middle && stored != middle - 1)) {
        return clqi_fail(CLQ_BAD_FILE,
                         "gptq: row %" PRId64 " has the stored zero point %u in group %" PRId64
                         ", but sym promises %u everywhere, or %u",
                         row, stored, g, middle - 1, middle);
      }
      out[row * groups + g] = (uint8_t)middle;
    }
  }
  return CLQ_OK;
}

/* --- Codes. --------------------------------------------------------------- */

/* Eight rows at a time, so that codes are written in runs that do not push each other out of the
 * cache whatever the number of columns. */
static void decode_codes(const clqi_gptq_linear *l, const uint32_t *order, uint8_t *out) {
  enum { ROWS = 8 };
  for (int64_t first = 0; first < l->rows; first += ROWS) {
    const int64_t end = first + ROWS < l->rows ? first + ROWS : l->rows;
    for (int64_t p = 0; p < l->cols; ++p) {
      const int64_t bit = (int64_t)order[p] * l->bits;
      const uint32_t *words = l->qweight + bit / 32 * l->rows;
      for (int64_t row = first; row < end; ++row) {
        out[row * l->cols + p] = (uint8_t)field_in(words + row, l->rows, l->bits, (int)(bit % 32));
      }
    }
  }
}

clq_status clqi_gptq_decode(const clqi_gptq_linear *linear, const clqi_linear_codes *out,
                            uint32_t *order, bool *ordered) {
  CLQI_TRY(check_shape(linear));
  CLQI_TRY(find_order(linear, order, ordered));
  if (linear->sym) {
    CLQI_TRY(decode_symmetric_zeros(linear, out->zeros));
  } else {
    decode_zeros(linear, out->zeros);
  }
  clqi_transpose_scales(linear->scales, groups_of(linear), linear->rows, out->scales);
  decode_codes(linear, order, out->codes);
  return CLQ_OK;
}
