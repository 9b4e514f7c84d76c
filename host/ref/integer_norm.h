/* The integer model of clq_integer_norm, one row at a time, as ops.h and kernels_cl/integer_norm.cl
 * describe it. */
#ifndef CLQI_REF_INTEGER_NORM_H
#define CLQI_REF_INTEGER_NORM_H

#include <stdbool.h>
#include <stdint.h>

#include <clquant/ops.h>

/* What a row is given beside its values; the members as in clq_integer_norm_args. */
typedef struct clqi_ref_integer_norm {
  bool is_layer;
  int64_t cols;
  const int32_t *multiplier;
  const int32_t *bias; /* NULL: 0 */
  int32_t shift, eps, eps_shift;
  int32_t low, high; /* what codes saturate to */
} clqi_ref_integer_norm;

/* floor(sqrt(n)) by Newton's iteration as in I-BERT: from above, until it no longer falls. */
uint64_t clqi_ref_integer_sqrt(uint64_t n);

/* q' of one element; exponent 0 without factors. */
int32_t clqi_ref_integer_norm_value(clq_dtype dtype, int32_t code, int32_t zero, int8_t exponent);

/* One row of q' to codes; returns their sum. */
int32_t clqi_ref_integer_norm_row(const clqi_ref_integer_norm *norm, const int32_t *values,
                                  int32_t *codes);

#endif
