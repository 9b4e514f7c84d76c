/* The reference of clq_layernorm and clq_rmsnorm: lib/norm.h in plain C, the same bits. */
#ifndef CLQI_REF_NORM_H
#define CLQI_REF_NORM_H

#include <stdbool.h>
#include <stdint.h>

#include <clquant/ops.h>

/* What the arguments say of every row; see clq_layernorm_args. Arrays are dense floats, [cols] or
 * [rows, cols], as the device reads them (already rounded to their storage type, or dequantized);
 * NULL: absent. */
typedef struct clqi_ref_norm {
  bool centered; /* layernorm */
  const float *x;
  float *residual; /* replaced by the sum */
  clq_dtype residual_type;
  const float *bias, *gamma, *beta;
  float eps, alpha, x_scale; /* as they are: no defaults */
  clq_norm_cast cast;
  clq_dtype round; /* what CLQ_CAST_LLAMA rounds to */
} clqi_ref_norm;

/* out [rows, cols]; mean and rstd [rows] may be NULL. */
void clqi_ref_norm_rows(const clqi_ref_norm *n, int64_t rows, int64_t cols, float *out, float *mean,
                        float *rstd);

/* Relative to the pivot, of t [cols]; rmsnorm has neither pivot nor mean. */
typedef struct clqi_ref_norm_stats {
  float pivot, mean, rstd;
  float variance; /* or the mean of squares */
} clqi_ref_norm_stats;
clqi_ref_norm_stats clqi_ref_norm_row_stats(const float *t, int64_t cols, bool centered, float eps);

/* x rounded to f32 (as it is), f16 or bf16. */
float clqi_ref_rounded(float x, clq_dtype type);

#endif
