/* Norms of matrices in host memory: f32, dense, row-major, finite. Independent of the number of
 * threads to the bit. */
#ifndef CLQI_QUANT_NORMS_H
#define CLQI_QUANT_NORMS_H

#include <stdbool.h>
#include <stdint.h>

#include <clquant/status.h>

/* (factor * A B + I) diag(gamma), I only if `identity`. */
typedef struct clqi_product {
  const float *a;     /* [rows, depth] */
  const float *b;     /* [depth, cols] */
  const float *gamma; /* [cols], or NULL for ones */
  int64_t rows;
  int64_t depth;
  int64_t cols;
  double factor;
  bool identity; /* needs rows == cols */
} clqi_product;

/* Its Frobenius norm. Elements of the product are f32 sums over 256 and double sums of those. No
 * finite f32 input overflows. */
CLQ_NODISCARD clq_status clqi_product_norm(const clqi_product *product, double *norm);

/* The spectral norm of A diag(gamma), A [rows, cols]; gamma may be NULL. A singular value lies
 * within 1e-6 of the result, relatively, and it is the largest unless the fixed start vector has
 * no part of its vector; after 1000 steps the value reached, which is never above the norm but for
 * rounding. */
CLQ_NODISCARD clq_status clqi_spectral_norm(const float *a, int64_t rows, int64_t cols,
                                            const float *gamma, double *norm);

/* The largest magnitude among n numbers; 0 for n == 0. */
float clqi_largest(const float *x, int64_t n);

#endif
