#include <math.h>
#include <stddef.h>

#include "ref/math.h"
#include "ref/ref.h"

enum { BLOCK = 32 };

/* One code of W, as the formats store it, and what its group says. */
typedef struct element {
  int32_t code; /* zero point taken off */
  float scale;
  float min;
} element;

static float half_at(const uint8_t *p) {
  return clqi_ref_f32_from_f16((uint16_t)(p[0] | p[1] << 8));
}

static element gguf_element(const clqi_ref_weights *w, int64_t n, int64_t k) {
  const int64_t bytes = w->format == CLQ_FORMAT_Q4_0 ? 18 : w->format == CLQ_FORMAT_Q4_1 ? 20 : 34;
  const uint8_t *block = (const uint8_t *)w->data + (n * (w->cols / BLOCK) + k / BLOCK) * bytes;
  const int64_t j = k % BLOCK;
  element e = {.scale = half_at(block)};
  if (w->format == CLQ_FORMAT_Q8_0) {
    e.code = (int8_t)block[2 + j];
    return e;
  }
  const uint8_t *codes = block + (bytes - 16);
  e.code = j < 16 ? codes[j] & 15 : codes[j - 16] >> 4;
  if (w->format == CLQ_FORMAT_Q4_1) {
    e.min = half_at(block + 2);
  } else {
    e.code -= 8;
  }
  return e;
}

static element element_at(const clqi_ref_weights *w, int64_t n, int64_t k) {
  if (w->format != CLQ_FORMAT_W4 && w->format != CLQ_FORMAT_W8) {
    return gguf_element(w, n, k);
  }
  const int64_t groups = (w->cols + w->group - 1) / w->group;
  const int64_t g = n * groups + k / w->group;
  element e = {.scale = w->scales[g]};
  if (w->format == CLQ_FORMAT_W8) {
    e.code = ((const int8_t *)w->data)[n * w->cols + k];
    return e;
  }
  const uint8_t byte = ((const uint8_t *)w->data)[n * ((w->cols + 1) / 2) + k / 2];
  e.code = (k % 2 ? byte >> 4 : byte & 15) - (w->zeros ? w->zeros[g] : 8);
  return e;
}

float clqi_ref_weight(const clqi_ref_weights *w, int64_t n, int64_t k) {
  if (w->format == CLQ_FORMAT_F32) {
    return ((const float *)w->data)[n * w->cols + k];
  }
  if (w->format == CLQ_FORMAT_F16) {
    return half_at((const uint8_t *)w->data + 2 * (n * w->cols + k));
  }
  const element e = element_at(w, n, k);
  return w->format == CLQ_FORMAT_Q4_1 ? fmaf((float)e.code, e.scale, e.min)
                                      : (float)e.code * e.scale;
}

void clqi_ref_gemm_f32(const float *x, int64_t x_stride, int64_t rows, const clqi_ref_weights *w,
                       float *out, int64_t out_stride) {
  for (int64_t n = 0; n < w->rows; ++n) {
    for (int64_t m = 0; m < rows; ++m) {
      float c = 0.0f;
      for (int64_t k = 0; k < w->cols; ++k) {
        c = fmaf(x[m * x_stride + k], clqi_ref_weight(w, n, k), c);
      }
      out[m * out_stride + n] = c;
    }
  }
}

void clqi_ref_gemm_q8(const int8_t *x, int64_t x_stride, const float *x_scale, int64_t x_group,
                      int64_t rows, const clqi_ref_weights *w, float *out, int64_t out_stride) {
  const int64_t w_group =
      w->format == CLQ_FORMAT_W4 || w->format == CLQ_FORMAT_W8 ? w->group : BLOCK;
  const int64_t group = x_group != 0 && x_group < w_group ? x_group : w_group;
  const int64_t groups = (w->cols + group - 1) / group;
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t n = 0; n < w->rows; ++n) {
      float c = 0.0f;
      for (int64_t g = 0; g < groups; ++g) {
        int32_t acc = 0;
        int32_t sum = 0;
        for (int64_t k = g * group; k < (g + 1) * group && k < w->cols; ++k) {
          const int32_t q = x[m * x_stride + k];
          acc += q * element_at(w, n, k).code;
          sum += q;
        }
        const element e = element_at(w, n, g * group);
        if (x_group != 0) {
          const float s = x_scale[m * groups + g];
          c = fmaf((float)acc * s, e.scale, c);
          c = w->format == CLQ_FORMAT_Q4_1 ? fmaf(s * (float)sum, e.min, c) : c;
        } else {
          c = fmaf((float)acc, e.scale, c);
          c = w->format == CLQ_FORMAT_Q4_1 ? fmaf((float)sum, e.min, c) : c;
        }
      }
      out[m * out_stride + n] = x_group != 0 ? c : c * x_scale[m];
    }
  }
}
