/* What follows a product in clq_gemm: kernels_cl/lib/epilogue.h and activation.h in plain C, the
 * same bits. */
#ifndef CLQI_REF_EPILOGUE_H
#define CLQI_REF_EPILOGUE_H

#include <stdint.h>

#include <clquant/ops.h>

float clqi_ref_activation(clq_activation activation, float v);

/* Arrays are dense floats as the device reads them (already rounded to their storage type); NULL:
 * absent. */
typedef struct clqi_ref_epilogue {
  const float *bias; /* [cols] */
  clq_activation activation;
  const float *gate, *residual; /* [rows, cols] */
  int64_t outliers;
  const float *x_outliers; /* [rows, outliers] */
  const float *w_outliers; /* [cols, outliers] */
} clqi_ref_epilogue;

/* v [rows, cols], rows `stride` elements apart: the product, replaced by what is to be stored,
 * not yet rounded to the type of out. */
void clqi_ref_gemm_epilogue(const clqi_ref_epilogue *e, int64_t rows, int64_t cols, float *v,
                            int64_t stride);

/* The code of v in [lo, lo + 255] with a scale and a zero point that are given. */
int32_t clqi_ref_static_code(float v, float scale, int32_t zero, int32_t lo);

#endif
