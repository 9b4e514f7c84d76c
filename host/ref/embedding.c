#include <math.h>
#include <string.h>

#include "ref/math.h"
#include "ref/ref.h"

int64_t clqi_ref_embedding(const int32_t *ids, int64_t rows, const clqi_ref_weights *w,
                           float *out) {
  int64_t unknown = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const bool known = ids[r] >= 0 && ids[r] < w->rows;
    unknown += !known;
    for (int64_t k = 0; k < w->cols; ++k) {
      out[r * w->cols + clqi_ref_column(w, k)] = known ? clqi_ref_weight(w, ids[r], k) : 0.0f;
    }
  }
  return unknown;
}

static uint16_t half_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static float float_at(const uint8_t *p) {
  const uint32_t bits = (uint32_t)half_at(p) | (uint32_t)half_at(p + 2) << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

void clqi_ref_table_row(const uint8_t *bytes, clq_row_format format, int64_t cols, float *out) {
  const int bits = format == CLQ_ROW_8BIT ? 8 : format == CLQ_ROW_4BIT ? 4 : 2;
  const uint8_t *behind = bytes + (cols * bits + 7) / 8;
  for (int64_t k = 0; k < cols; ++k) {
    const int code = bytes[k * bits / 8] >> (k * bits % 8) & ((1 << bits) - 1);
    switch (format) {
      case CLQ_ROW_F32: out[k] = float_at(bytes + 4 * k); break;
      case CLQ_ROW_F16: out[k] = clqi_ref_f32_from_f16(half_at(bytes + 2 * k)); break;
      case CLQ_ROW_BF16: out[k] = clqi_ref_f32_from_bf16(half_at(bytes + 2 * k)); break;
      case CLQ_ROW_8BIT: out[k] = fmaf((float)code, float_at(behind), float_at(behind + 4)); break;
      default:
        out[k] = fmaf((float)code, clqi_ref_f32_from_f16(half_at(behind)),
                      clqi_ref_f32_from_f16(half_at(behind + 2)));
    }
  }
}

int64_t clqi_ref_embedding_tables(const int32_t *ids, int64_t rows,
                                  const clqi_ref_table tables[CLQ_MOST_TABLES], const int32_t *map,
                                  int64_t map_rows, int64_t cols, float *out) {
  int64_t unknown = 0;
  for (int64_t r = 0; r < rows; ++r) {
    int64_t at = ids[r];
    if (map != NULL) {
      at = at >= 0 && at < map_rows ? map[at] : -1;
    }
    const clqi_ref_table *table = NULL;
    for (int t = 0; at >= 0 && t < CLQ_MOST_TABLES && table == NULL; ++t) {
      if (at < tables[t].rows) {
        table = &tables[t];
      } else {
        at -= tables[t].rows;
      }
    }
    unknown += table == NULL;
    memset(out + r * cols, 0, (size_t)cols * sizeof *out);
    if (table != NULL) {
      clqi_ref_table_row(table->bytes + at * table->stride, table->format, cols, out + r * cols);
    }
  }
  return unknown;
}
