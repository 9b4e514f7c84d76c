/* C twins of kernels_cl/lib: the same operations in the same order, so that a
 * reference agrees with the device bit for bit. Build with -ffp-contract=off.
 * Contracts stand in the header of the same name in kernels_cl/lib. */
#ifndef CLQI_REF_MATH_H
#define CLQI_REF_MATH_H

#include <stdint.h>

/* lib/math.h */
float clqi_ref_div(float a, float b);
float clqi_ref_sqrt(float x);
float clqi_ref_rsqrt(float x);
float clqi_ref_exp(float x);
float clqi_ref_sigmoid(float x);
float clqi_ref_tanh(float x);
float clqi_ref_erf(float x);

/* lib/half.h */
float clqi_ref_f32_from_f16(uint16_t h);
uint16_t clqi_ref_f16_from_f32(float x);
float clqi_ref_f32_from_bf16(uint16_t h);
uint16_t clqi_ref_bf16_from_f32(float x);

/* lib/quantize.h */
int32_t clqi_ref_absmax(int32_t bits, float x);
float clqi_ref_quant_scale(int32_t absmax_bits);
float clqi_ref_quant_mult(int32_t absmax_bits);
int8_t clqi_ref_quant_code(float x, float mult);
int8_t clqi_ref_saturate(float x);

/* lib/fold.h and lib/warp.h: the sum of count >= 1 lanes, neighbours first. */
float clqi_ref_fold_add(const float *lanes, int count);

#endif
