#include "ref/epilogue.h"

#include <math.h>
#include <stddef.h>

#include "ref/math.h"
#include "ref/ref.h"

float clqi_ref_activation(clq_activation activation, float v) {
  switch (activation) {
    case CLQ_ACTIVATION_RELU: return v < 0.0f ? 0.0f : v;
    case CLQ_ACTIVATION_GELU: return v * 0.5f * (1.0f + clqi_ref_erf(v * 0x1.6a09e6p-1f));
    case CLQ_ACTIVATION_GELU_TANH:
      return v * 0.5f * (1.0f + clqi_ref_tanh(v * fmaf(v * v, 0x1.2444f2p-5f, 0x1.988454p-1f)));
    case CLQ_ACTIVATION_SILU: return v * clqi_ref_sigmoid(v);
    case CLQ_ACTIVATION_NONE: break;
  }
  return v;
}

void clqi_ref_gemm_epilogue(const clqi_ref_epilogue *e, int64_t rows, int64_t cols, float *v,
                            int64_t stride) {
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t n = 0; n < cols; ++n) {
      float c = v[m * stride + n];
      for (int64_t j = 0; j < e->outliers; ++j) {
        c = fmaf(e->x_outliers[m * e->outliers + j], e->w_outliers[n * e->outliers + j], c);
      }
      c = e->bias == NULL ? c : c + e->bias[n];
      c = clqi_ref_activation(e->activation, c);
      c = e->gate == NULL ? c : c * e->gate[m * cols + n];
      c = e->residual == NULL ? c : c + e->residual[m * cols + n];
      v[m * stride + n] = c;
    }
  }
}

int32_t clqi_ref_static_code(float v, float scale, int32_t zero, int32_t lo) {
  return clqi_ref_affine_code(v, clqi_ref_div(1.0f, scale), zero, lo);
}
