/* Plain C references, one for every operator: slow, obvious, and the same
 * result as the device to the bit where the operator's contract says so. They
 * take dense host arrays; quantities are named as in clquant/ops.h. Built with
 * -ffp-contract=off. */
#ifndef CLQI_REF_REF_H
#define CLQI_REF_REF_H

#include <stdbool.h>
#include <stdint.h>

/* Sum over 32 lanes (element i in lane i % 32) folded as lib/fold.h folds. */
float clqi_ref_lane_sum_of_squares(const float *x, int64_t n);

/* One row or group of n elements: codes, scale, and the sum of the codes returned. */
int32_t clqi_ref_quantize_group(const float *x, int64_t n, int8_t *codes, float *scale);

/* [rows, cols]; group == cols for one scale a row. sums may be NULL. */
void clqi_ref_quantize(const float *x, int64_t rows, int64_t cols, int64_t group, int8_t *codes,
                       float *scales, int32_t *sums);

/* out [rows, cols] f32. residual may be NULL; it is replaced by x + residual (rounded through f16
 * if half_storage). gamma may be NULL. */
void clqi_ref_rmsnorm(const float *x, float *residual, const float *gamma, float eps, int64_t rows,
                      int64_t cols, bool half_storage, float *out);

#endif
