/* Scales to the integers that clq_integer_gelu computes with. Pure C, once per layer. */
#include <clquant/ops.h>
#include <math.h>

#include "ops/multiplier.h"
#include "runtime/status.h"

enum { ARGUMENT_BITS = 20, VALUE_BITS = 15, MOST_SHIFT = 62 };

clq_status clq_integer_gelu_prepare(float x_scale, int32_t x_zero, float out_scale,
                                    int32_t out_zero, clq_integer_gelu_args *args) {
  CLQI_REQUIRE(args != NULL, "integer_gelu: args must not be NULL");
  CLQI_REQUIRE(isfinite(x_scale) && x_scale > 0.0f && x_scale < 1448.0f,
               "integer_gelu: x_scale is %g, expected a positive number below 1448",
               (double)x_scale);
  CLQI_REQUIRE(isfinite(out_scale) && out_scale > 0.0f,
               "integer_gelu: out_scale is %g, expected a finite positive number",
               (double)out_scale);
  const double ratio = (double)x_scale / (double)out_scale;
  CLQI_REQUIRE(ratio < 0x1.fffffffp+14,
               "integer_gelu: x_scale / out_scale is %g, expected less than 2^15", ratio);
  const double argument = ldexp((double)x_scale * sqrt(0.5), ARGUMENT_BITS);
  clqi_multiplier(argument, MOST_SHIFT, &args->x_multiplier, &args->x_shift);
  clqi_multiplier(ldexp(ratio, VALUE_BITS), MOST_SHIFT, &args->value_multiplier,
                  &args->value_shift);
  args->x_zero = x_zero;
  args->out_scale = out_scale;
  args->out_zero = out_zero;
  return CLQ_OK;
}
