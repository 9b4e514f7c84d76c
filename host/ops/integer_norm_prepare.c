/* Floats to the integers that clq_integer_norm computes with. Pure C, once per layer. */
#include <clquant/ops.h>
#include <math.h>

#include "runtime/status.h"

enum {
  MOST_SHIFT = 46,     /* of integer_norm.cl */
  LEAST_SHIFT = 16,    /* the bias keeps 16 fraction bits */
  UNIT_BITS = 30,      /* fraction bits of a normalized value on the device */
  MULTIPLIER_BITS = 31 /* magnitude bits of a multiplier */
};

static clq_status check_line(const char *name, const float *line, int64_t cols) {
  for (int64_t i = 0; line != NULL && i < cols; ++i) {
    CLQI_REQUIRE(isfinite(line[i]), "integer_norm: %s[%lld] is %g, expected a finite number", name,
                 (long long)i, (double)line[i]);
  }
  return CLQ_OK;
}

/* Largest |gamma| * sqrt(cols) / out_scale. */
static double largest_factor(const clq_integer_norm_desc *d, double unit) {
  double most = d->gamma == NULL ? unit : 0.0;
  for (int64_t i = 0; d->gamma != NULL && i < d->cols; ++i) {
    const double factor = fabs((double)d->gamma[i]) * unit;
    most = factor > most ? factor : most;
  }
  return most;
}

static double saturated(double x) {
  return x > (double)INT32_MAX    ? (double)INT32_MAX
         : x < -(double)INT32_MAX ? -(double)INT32_MAX
                                  : x;
}

/* Nearest integer, halves up, as the device rounds. */
static int32_t nearest(double x) { return (int32_t)saturated(floor(x + 0.5)); }

static clq_status prepare_eps(const clq_integer_norm_desc *d, clq_integer_norm_args *args) {
  const double eps = d->eps == 0.0f ? 1e-5 : d->eps < 0.0f ? 0.0 : (double)d->eps;
  args->eps = 0;
  args->eps_shift = 0;
  if (eps == 0.0) {
    return CLQ_OK;
  }
  const double scale = (double)d->x_scale;
  CLQI_REQUIRE(
      isfinite(eps),
      "integer_norm: eps is %g, expected 0 (for 1e-5), a finite positive number, or a negative "
      "one (for 0)",
      eps);
  CLQI_REQUIRE(isfinite(scale) && scale > 0.0,
               "integer_norm: x_scale is %g, expected a finite positive number", scale);
  int exponent = 0;
  const double mantissa = frexp(eps / (scale * scale), &exponent);
  args->eps = nearest(ldexp(mantissa, MULTIPLIER_BITS));
  args->eps_shift = MULTIPLIER_BITS - exponent;
  return CLQ_OK;
}

clq_status clq_integer_norm_prepare(const clq_integer_norm_desc *desc, int32_t *multiplier,
                                    int32_t *bias, clq_integer_norm_args *args) {
  CLQI_REQUIRE(desc != NULL && multiplier != NULL && args != NULL,
               "integer_norm: desc, multiplier and args must not be NULL");
  CLQI_REQUIRE(desc->cols >= 0, "integer_norm: cols is %lld, expected 0 or more",
               (long long)desc->cols);
  const double out_scale = (double)desc->out_scale;
  CLQI_REQUIRE(isfinite(out_scale) && out_scale > 0.0,
               "integer_norm: out_scale is %g, expected a finite positive number", out_scale);
  CLQI_REQUIRE(bias != NULL || (desc->beta == NULL && desc->out_zero == 0),
               "integer_norm: bias is NULL, expected an array for beta and out_zero");
  CLQI_TRY(check_line("gamma", desc->gamma, desc->cols));
  CLQI_TRY(check_line("beta", desc->beta, desc->cols));
  const double unit = sqrt((double)desc->cols) / out_scale;
  const double most = largest_factor(desc, unit);
  int exponent = 0;
  (void)frexp(most, &exponent);
  const int wanted = MULTIPLIER_BITS + UNIT_BITS - exponent;
  CLQI_REQUIRE(wanted >= LEAST_SHIFT,
               "integer_norm: gamma * sqrt(cols) / out_scale is %g, expected less than 2^45", most);
  CLQI_TRY(prepare_eps(desc, args));
  args->shift = wanted < MOST_SHIFT ? wanted : MOST_SHIFT;
  args->out_scale = desc->out_scale;
  args->out_zero = desc->out_zero;
  for (int64_t i = 0; i < desc->cols; ++i) {
    const double gamma = desc->gamma == NULL ? 1.0 : (double)desc->gamma[i];
    const double beta = desc->beta == NULL ? 0.0 : (double)desc->beta[i];
    multiplier[i] = nearest(ldexp(gamma * unit, args->shift - UNIT_BITS));
    if (bias != NULL) {
      bias[i] = nearest(ldexp(beta / out_scale + (double)desc->out_zero, 16));
    }
  }
  return CLQ_OK;
}
