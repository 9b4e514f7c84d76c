#include "ops/rope_table.h"

#include <math.h>
#include <stddef.h>

void clqi_rope_table_fill(float *table, int64_t positions, int64_t dims, double base,
                          double divisor, const float *factors) {
  for (int64_t i = 0; i < dims / 2; ++i) {
    const double factor = factors == NULL ? 1.0 : (double)factors[i];
    const double frequency = pow(base, -2.0 * (double)i / (double)dims) / factor / divisor;
    for (int64_t p = 0; p < positions; ++p) {
      const double angle = (double)p * frequency;
      float *pair = table + (p * (dims / 2) + i) * 2;
      pair[0] = (float)cos(angle);
      pair[1] = (float)sin(angle);
    }
  }
}
