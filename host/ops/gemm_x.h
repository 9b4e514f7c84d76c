/* How gemm takes its activations: as floats, or as codes that are multiplied with those of the
 * weights; and over what integers are summed. */
#ifndef CLQI_OPS_GEMM_X_H
#define CLQI_OPS_GEMM_X_H

#include "ops/op.h"

/* Products of codes, summed in int32, are what the arguments ask for. */
bool clqi_gemm_is_integer(const clq_gemm_args *args);

/* x: its type, its K, its quantization, and whether its groups go with those of the weights. The
 * context is not looked at. */
clq_status clqi_gemm_check_x(const clq_gemm_args *args);

/* Of an integer product: what is summed in int32 before it is scaled, and how many of these groups
 * a scale of x serves, and one of the weights. */
typedef struct clqi_gemm_sums {
  int64_t group;   /* elements of K, a multiple of 8 */
  int64_t x_ratio; /* not of x per token */
  int64_t w_ratio;
} clqi_gemm_sums;
clqi_gemm_sums clqi_gemm_sums_of(const clq_gemm_args *args);

/* Elements of a row of codes that share a scale: K if all do. */
int32_t clqi_gemm_x_group(const clq_gemm_args *args);

/* "-DCLQ_X=...", and of integer forms "-DCLQ_X_GROUPED=..." and so on
 * (kernels_cl/lib/gemm_args.h). */
enum { CLQI_GEMM_X_OPTIONS_BYTES = 96 };
void clqi_gemm_x_options(const clq_gemm_args *args, char options[CLQI_GEMM_X_OPTIONS_BYTES]);

/* Bytes that are read of x. */
double clqi_gemm_x_bytes(const clq_gemm_args *args);

#endif
