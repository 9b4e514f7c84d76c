#include <math.h>
#include <stddef.h>

#include "ref/math.h"
#include "ref/ref.h"

enum { LANES = 32 };

float clqi_ref_lane_sum_of_squares(const float *x, int64_t n) {
  float lanes[LANES] = {0};
  for (int64_t i = 0; i < n; ++i) {
    lanes[i % LANES] = fmaf(x[i], x[i], lanes[i % LANES]);
  }
  float pairs[LANES / 2];
  for (int i = 0; i < LANES / 2; ++i) {
    pairs[i] = lanes[2 * i] + lanes[2 * i + 1];
  }
  return clqi_ref_fold_add(pairs, LANES / 2);
}

void clqi_ref_rmsnorm(const float *x, float *residual, const float *gamma, float eps, int64_t rows,
                      int64_t cols, bool half_storage, float *out) {
  for (int64_t r = 0; r < rows; ++r) {
    const float *s = x + r * cols;
    if (residual != NULL) {
      float *sum = residual + r * cols;
      for (int64_t i = 0; i < cols; ++i) {
        sum[i] = s[i] + sum[i];
        if (half_storage) {
          sum[i] = clqi_ref_f32_from_f16(clqi_ref_f16_from_f32(sum[i]));
        }
      }
      s = sum;
    }
    const float mean = clqi_ref_div(clqi_ref_lane_sum_of_squares(s, cols), (float)cols);
    const float rstd = clqi_ref_rsqrt(mean + eps);
    for (int64_t i = 0; i < cols; ++i) {
      const float y = s[i] * rstd;
      out[r * cols + i] = gamma == NULL ? y : y * gamma[i];
    }
  }
}
