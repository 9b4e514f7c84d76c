#include "ref/math.h"
#include "ref/ref.h"

int32_t clqi_ref_quantize_group(const float *x, int64_t n, int8_t *codes, float *scale) {
  int32_t absmax = 0;
  for (int64_t i = 0; i < n; ++i) {
    absmax = clqi_ref_absmax(absmax, x[i]);
  }
  const float mult = clqi_ref_quant_mult(absmax);
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    codes[i] = clqi_ref_quant_code(x[i], mult);
    sum += codes[i];
  }
  *scale = clqi_ref_quant_scale(absmax);
  return sum;
}

void clqi_ref_quantize(const float *x, int64_t rows, int64_t cols, int64_t group, int8_t *codes,
                       float *scales, int32_t *sums) {
  const int64_t groups = (cols + group - 1) / group;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = r * cols + g * group;
      const int64_t n = g * group + group <= cols ? group : cols - g * group;
      const int32_t sum =
          clqi_ref_quantize_group(x + begin, n, codes + begin, &scales[r * groups + g]);
      if (sums != 0) {
        sums[r * groups + g] = sum;
      }
    }
  }
}
