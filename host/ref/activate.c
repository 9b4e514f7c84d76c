#include <stddef.h>

#include "ref/epilogue.h"
#include "ref/ref.h"

void clqi_ref_activate(const float *x, clq_activation activation, const float *up, int64_t n,
                       float *out) {
  for (int64_t i = 0; i < n; ++i) {
    const float y = clqi_ref_activation(activation, x[i]);
    out[i] = up == NULL ? y : y * up[i];
  }
}
