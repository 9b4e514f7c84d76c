/* Positive real factors as integers with a shift to the right, for devices that compute with
 * integers alone. */
#ifndef CLQI_OPS_MULTIPLIER_H
#define CLQI_OPS_MULTIPLIER_H

#include <stdint.h>

/* factor as *multiplier * 2^-*shift, *shift at most `most`, *multiplier in 2^30 .. 2^31 - 1 unless
 * the shift would be larger. factor is positive and below 2^31. */
void clqi_multiplier(double factor, int most, int32_t *multiplier, int32_t *shift);

#endif
