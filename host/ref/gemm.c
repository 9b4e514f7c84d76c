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

/* --- activations that are codes --- */

static int64_t scale_at(const clqi_ref_codes *x, int64_t cols, int64_t m, int64_t k) {
  return x->group == 0 ? m : m * ((cols + x->group - 1) / x->group) + k / x->group;
}

/* Its zero point taken off. */
static int32_t code_at(const clqi_ref_codes *x, int64_t cols, int64_t m, int64_t k) {
  const int64_t at = m * x->stride + k;
  const int32_t code =
      x->dtype == CLQ_U8 ? ((const uint8_t *)x->codes)[at] : ((const int8_t *)x->codes)[at];
  return x->zero == NULL ? code : code - x->zero[scale_at(x, cols, m, k)];
}

/* Floats: the codes are the floats that they stand for. */
static float by_floats(const clqi_ref_codes *x, const clqi_ref_weights *w, int64_t m, int64_t n) {
  float c = 0.0f;
  for (int64_t k = 0; k < w->cols; ++k) {
    const int64_t column = clqi_ref_column(w, k);
    const float s = x->scale[scale_at(x, w->cols, m, column)];
    c = fmaf((float)code_at(x, w->cols, m, column) * s, clqi_ref_weight(w, n, k), c);
  }
  return c;
}

static float by_groups(const clqi_ref_codes *x, const clqi_ref_weights *w, int64_t m, int64_t n) {
  const int64_t w_group = clqi_ref_group(w);
  const int64_t group = x->group != 0 && x->group < w_group ? x->group : w_group;
  const bool has_min = clqi_ref_has_min(w);
  float c = 0.0f;
  for (int64_t k0 = 0; k0 < w->cols; k0 += group) {
    int64_t acc = 0;
    int64_t sum = 0;
    for (int64_t k = k0; k < k0 + group && k < w->cols; ++k) {
      const int64_t q = code_at(x, w->cols, m, clqi_ref_column(w, k));
      acc += q * clqi_ref_element_at(w, n, k).code;
      sum += q;
    }
    const clqi_ref_element e = clqi_ref_element_at(w, n, k0);
    if (x->group != 0) {
      const float s = x->scale[scale_at(x, w->cols, m, k0)];
      c = fmaf((float)(int32_t)acc * s, e.scale, c);
      c = has_min ? fmaf(s * (float)(int32_t)sum, e.min, c) : c;
    } else {
      c = fmaf((float)(int32_t)acc, e.scale, c);
      c = has_min ? fmaf((float)(int32_t)sum, e.min, c) : c;
    }
  }
  return x->group != 0 ? c : c * x->scale[m];
}

void clqi_ref_gemm_codes(const clqi_ref_codes *x, const clqi_ref_weights *w, float *out,
                         int64_t out_stride) {
  const bool floats =
      w->format == CLQ_FORMAT_F32 || w->format == CLQ_FORMAT_F16 || w->format == CLQ_FORMAT_BF16;
  for (int64_t m = 0; m < x->rows; ++m) {
    for (int64_t n = 0; n < w->rows; ++n) {
      out[m * out_stride + n] = floats ? by_floats(x, w, m, n) : by_groups(x, w, m, n);
    }
  }
}

void clqi_ref_gemm_q8(const int8_t *x, int64_t x_stride, const float *x_scale, int64_t x_group,
                      int64_t rows, const clqi_ref_weights *w, float *out, int64_t out_stride) {
  const clqi_ref_codes codes = {x, CLQ_I8, rows, x_stride, x_group, x_scale, NULL};
  clqi_ref_gemm_codes(&codes, w, out, out_stride);
}
