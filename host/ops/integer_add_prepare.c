/* Scales to the integers that clq_integer_add computes with. Pure C, once per layer. */
#include <clquant/ops.h>
#include <math.h>

#include "ops/multiplier.h"
#include "runtime/status.h"

enum { UP = 20, MOST_SHIFT = 31, MOST_SINGLE_SHIFT = 62 };

static clq_status check_scale(const char *name, float scale) {
  CLQI_REQUIRE(isfinite(scale) && scale > 0.0f,
               "integer_add: %s is %g, expected a finite positive number", name, (double)scale);
  return CLQ_OK;
}

/* TensorFlow Lite's QuantizeMultiplierSmallerThanOneExp; false where that would abort. */
static bool quantize_multiplier(double factor, int32_t *multiplier, int32_t *right_shift) {
  int shift = 0;
  int64_t fixed = (int64_t)round(ldexp(frexp(factor, &shift), MOST_SHIFT));
  if (fixed == (int64_t)1 << MOST_SHIFT) {
    fixed /= 2;
    ++shift;
  }
  if (shift < -MOST_SHIFT) {
    shift = 0;
    fixed = 0;
  }
  *multiplier = (int32_t)fixed;
  *right_shift = -shift;
  return shift <= 0;
}

static clq_status prepare_gemmlowp(const clq_integer_add_desc *d, clq_integer_add_args *args) {
  const double twice_most = 2.0 * fmax((double)d->a_scale, (double)d->b_scale);
  const double out = twice_most / ((double)(1 << UP) * (double)d->out_scale);
  (void)quantize_multiplier((double)d->a_scale / twice_most, &args->a_multiplier, &args->a_shift);
  (void)quantize_multiplier((double)d->b_scale / twice_most, &args->b_multiplier, &args->b_shift);
  CLQI_REQUIRE(out < 1.0 && quantize_multiplier(out, &args->out_multiplier, &args->out_shift),
               "integer_add: 2 * max(a_scale, b_scale) / out_scale is %g, expected less than 2^20",
               twice_most / (double)d->out_scale);
  return CLQ_OK;
}

static clq_status prepare_single(const clq_integer_add_desc *d, clq_integer_add_args *args) {
  const double a = (double)d->a_scale / (double)d->out_scale;
  const double b = (double)d->b_scale / (double)d->out_scale;
  const double limit = 0x1.fffffffp+19; /* whose multiplier still rounds to 31 bits */
  CLQI_REQUIRE(fmax(a, b) < limit,
               "integer_add: max(a_scale, b_scale) / out_scale is %g, expected less than 2^20",
               fmax(a, b));
  int32_t larger = 0;
  clqi_multiplier(fmax(a, b), MOST_SINGLE_SHIFT, &larger, &args->out_shift);
  args->a_multiplier = (int32_t)rint(ldexp(a, args->out_shift));
  args->b_multiplier = (int32_t)rint(ldexp(b, args->out_shift));
  return CLQ_OK;
}

static clq_status prepare_saturate(const clq_integer_add_desc *d) {
  CLQI_REQUIRE(
      d->a_scale == d->out_scale && d->b_scale == d->out_scale,
      "integer_add: scales are %g, %g and %g, expected the same: with CLQ_ADD_SATURATE a, b "
      "and the sum share one",
      (double)d->a_scale, (double)d->b_scale, (double)d->out_scale);
  return CLQ_OK;
}

clq_status clq_integer_add_prepare(const clq_integer_add_desc *desc, clq_integer_add_args *args) {
  CLQI_REQUIRE(desc != NULL && args != NULL, "integer_add: desc and args must not be NULL");
  CLQI_TRY(check_scale("a_scale", desc->a_scale));
  CLQI_TRY(check_scale("b_scale", desc->b_scale));
  CLQI_TRY(check_scale("out_scale", desc->out_scale));
  clq_integer_add_args made = {.a = args->a,
                               .b = args->b,
                               .out = args->out,
                               .mode = desc->mode,
                               .a_zero = desc->a_zero,
                               .b_zero = desc->b_zero,
                               .out_scale = desc->out_scale,
                               .out_zero = desc->out_zero};
  switch (desc->mode) {
    case CLQ_ADD_SATURATE: CLQI_TRY(prepare_saturate(desc)); break;
    case CLQ_ADD_GEMMLOWP: CLQI_TRY(prepare_gemmlowp(desc, &made)); break;
    case CLQ_ADD_SINGLE_ROUNDING: CLQI_TRY(prepare_single(desc, &made)); break;
    default:
      return clqi_fail(CLQ_INVALID_ARGUMENT,
                       "integer_add: mode is %d, expected one of clq_integer_add_mode (1 to 3)",
                       (int)desc->mode);
  }
  *args = made;
  return CLQ_OK;
}
