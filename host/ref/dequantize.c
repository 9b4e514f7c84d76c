#include <stddef.h>

#include "ref/ref.h"

void clqi_ref_dequantize(const int8_t *codes, const float *scales, const int32_t *zeros,
                         int64_t rows, int64_t cols, int64_t row_step, int64_t group, float *out) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t plane = r * row_step + c / group;
      const int32_t zero = zeros == NULL ? 0 : zeros[plane];
      out[r * cols + c] = scales[plane] * (float)(codes[r * cols + c] - zero);
    }
  }
}
