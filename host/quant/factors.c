/* Power-of-two factors of channels for the 8-bit input of a norm: FQ-ViT's rule. */
#include <clquant/ops.h>
#include <math.h>

#include "runtime/status.h"

enum { MOST_EXPONENT = 7, USUAL_EXPONENT = 3 };

/* What all channels share. */
typedef struct grid {
  double step; /* of exponent 0 */
  double zero, low, high;
  int most;
} grid;

static clq_status check(const clq_factors_desc *d, const int8_t *exponent, const float *scale,
                        const int32_t *zero) {
  CLQI_REQUIRE(d != NULL && exponent != NULL && scale != NULL,
               "factors: desc, exponent and scale must not be NULL");
  CLQI_REQUIRE(d->rows >= 0 && d->cols >= 0,
               "factors: x is %lld x %lld, expected 0 or more of each", (long long)d->rows,
               (long long)d->cols);
  CLQI_REQUIRE(d->x != NULL || d->rows == 0 || d->cols == 0, "factors: x must not be NULL");
  CLQI_REQUIRE(d->codes == CLQ_I8 || (d->codes == CLQ_U8 && zero != NULL),
               "factors: codes are %s%s, expected i8, or u8 with a zero point",
               clq_dtype_name(d->codes), zero == NULL ? " without a zero point" : "");
  CLQI_REQUIRE(d->most >= 0 && d->most <= MOST_EXPONENT, "factors: most is %d, expected 0 to %d",
               (int)d->most, MOST_EXPONENT);
  for (int64_t r = 0; r < d->rows; ++r) {
    for (int64_t c = 0; c < d->cols; ++c) {
      CLQI_REQUIRE(isfinite(d->x[r * d->cols + c]),
                   "factors: x is %g at row %lld, column %lld, expected a finite number",
                   (double)d->x[r * d->cols + c], (long long)r, (long long)c);
    }
  }
  return CLQ_OK;
}

static grid grid_of(const clq_factors_desc *d, bool symmetric) {
  double least = 0.0;
  double most = 0.0;
  for (int64_t r = 0; r < d->rows; ++r) {
    for (int64_t c = 0; c < d->cols; ++c) {
      const double x = (double)d->x[r * d->cols + c];
      least = fmin(least, x);
      most = fmax(most, x);
    }
  }
  grid g = {.most = d->most == 0 ? USUAL_EXPONENT : (int)d->most,
            .low = symmetric            ? -127.0
                   : d->codes == CLQ_I8 ? -128.0
                                        : 0.0};
  g.high = d->codes == CLQ_I8 ? 127.0 : 255.0;
  const double coarse = symmetric ? fmax(most, -least) / 127.0 : (most - least) / 255.0;
  /* As the caller gets it: rounded to a float, which is not 0. */
  const float step = (float)ldexp(coarse, -g.most);
  g.step = step > 0.0f ? (double)step : coarse > 0.0 ? 0x1p-149 : 1.0;
  g.zero = symmetric ? 0.0 : fmin(fmax(g.low - rint(least / ldexp(g.step, g.most)), g.low), g.high);
  return g;
}

/* The sum of squared errors of a channel whose codes are `step` apart. */
static double error_of(const clq_factors_desc *d, const grid *g, int64_t channel, double step) {
  double sum = 0.0;
  for (int64_t r = 0; r < d->rows; ++r) {
    const double x = (double)d->x[r * d->cols + channel];
    const double code = fmin(fmax(rint(x / step) + g->zero, g->low), g->high);
    const double error = (code - g->zero) * step - x;
    sum += error * error;
  }
  return sum;
}

clq_status clq_power_of_two_factors(const clq_factors_desc *desc, int8_t *exponent, float *scale,
                                    int32_t *zero) {
  CLQI_TRY(check(desc, exponent, scale, zero));
  const grid g = grid_of(desc, zero == NULL);
  for (int64_t c = 0; c < desc->cols; ++c) {
    double best = error_of(desc, &g, c, g.step);
    exponent[c] = 0;
    for (int e = 1; e <= g.most; ++e) {
      const double error = error_of(desc, &g, c, ldexp(g.step, e));
      if (error < best) {
        best = error;
        exponent[c] = (int8_t)e;
      }
    }
  }
  *scale = (float)g.step;
  if (zero != NULL) {
    *zero = (int32_t)g.zero;
  }
  return CLQ_OK;
}
