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
