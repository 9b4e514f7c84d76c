#include <stddef.h>

#include "ref/norm.h"
#include "ref/ref.h"

void clqi_ref_layernorm(const float *x, float *residual, const float *gamma, const float *beta,
                        float eps, int64_t rows, int64_t cols, clq_dtype storage, float *out) {
  const clqi_ref_norm n = {.centered = true,
                           .x = x,
                           .residual = residual,
                           .residual_type = storage,
                           .gamma = gamma,
                           .beta = beta,
                           .eps = eps,
                           .alpha = 1.0f,
                           .x_scale = 1.0f};
  clqi_ref_norm_rows(&n, rows, cols, out, NULL, NULL);
}
