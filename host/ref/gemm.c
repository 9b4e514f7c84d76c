#include <math.h>
#include <stddef.h>

#include "ref/ref.h"
#include "ref/weights.h"

void clqi_ref_gemm_f32(const float *x, int64_t x_stride, int64_t rows, const clqi_ref_weights *w,
                       float *out, int64_t out_stride) {
  for (int64_t n = 0; n < w->rows; ++n) {
    for (int64_t m = 0; m < rows; ++m) {
      float c = 0.0f;
      for (int64_t k = 0; k < w->cols; ++k) {
        c = fmaf(x[m * x_stride + clqi_ref_column(w, k)], clqi_ref_weight(w, n, k), c);
      }
      out[m * out_stride + n] = c;
    }
  }
}

void clqi_ref_gemm_q8(const int8_t *x, int64_t x_stride, const float *x_scale, int64_t x_group,
                      int64_t rows, const clqi_ref_weights *w, float *out, int64_t out_stride) {
  const int64_t w_group = clqi_ref_group(w);
  const int64_t group = x_group != 0 && x_group < w_group ? x_group : w_group;
  const int64_t groups = (w->cols + group - 1) / group;
  const int64_t x_groups = x_group == 0 ? 1 : (w->cols + x_group - 1) / x_group;
  const bool has_min = clqi_ref_has_min(w);
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t n = 0; n < w->rows; ++n) {
      float c = 0.0f;
      for (int64_t g = 0; g < groups; ++g) {
        int32_t acc = 0;
        int32_t sum = 0;
        for (int64_t k = g * group; k < (g + 1) * group && k < w->cols; ++k) {
          const int32_t q = x[m * x_stride + clqi_ref_column(w, k)];
          acc += q * clqi_ref_element_at(w, n, k).code;
          sum += q;
        }
        const clqi_ref_element e = clqi_ref_element_at(w, n, g * group);
        if (x_group != 0) {
          const float s = x_scale[m * x_groups + g * group / x_group];
          c = fmaf((float)acc * s, e.scale, c);
          c = has_min ? fmaf(s * (float)sum, e.min, c) : c;
        } else {
          c = fmaf((float)acc, e.scale, c);
          c = has_min ? fmaf((float)sum, e.min, c) : c;
        }
      }
      out[m * out_stride + n] = x_group != 0 ? c : c * x_scale[m];
    }
  }
}
