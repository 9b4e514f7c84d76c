/* The integer models of clq_integer_add and clq_integer_gelu, one element at a time; parameters as
 * in their arguments. */
#ifndef CLQI_REF_INTEGER_ADD_H
#define CLQI_REF_INTEGER_ADD_H

#include <stdint.h>

#include <clquant/ops.h>

/* gemmlowp's fixedpoint.h. */
int32_t clqi_ref_doubling_high_mul(int32_t a, int32_t b);
int32_t clqi_ref_rounding_divide(int32_t x, int exponent);

/* The code of a sum, saturated to low .. high. */
int32_t clqi_ref_integer_add(const clq_integer_add_args *args, int32_t a, int32_t b, int32_t low,
                             int32_t high);

int32_t clqi_ref_integer_gelu(const clq_integer_gelu_args *args, int32_t x, int32_t low,
                              int32_t high);

#endif
