#include "ops/multiplier.h"

#include <math.h>

void clqi_multiplier(double factor, int most, int32_t *multiplier, int32_t *shift) {
  int exponent = 0;
  (void)frexp(factor, &exponent);
  int by = 31 - exponent;
  if (by <= most && rint(ldexp(factor, by)) > (double)INT32_MAX) {
    --by;
  }
  by = by > most ? most : by;
  *multiplier = (int32_t)rint(ldexp(factor, by));
  *shift = by;
}
