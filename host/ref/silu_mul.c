#include "ref/math.h"
#include "ref/ref.h"

void clqi_ref_silu_mul(const float *gate, const float *up, int64_t n, float *out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = gate[i] * clqi_ref_sigmoid(gate[i]) * up[i];
  }
}
