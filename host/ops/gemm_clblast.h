/* A product of floats that CLBlast computes: weights as floats, its Sgemm, and what follows. */
#ifndef CLQI_OPS_GEMM_CLBLAST_H
#define CLQI_OPS_GEMM_CLBLAST_H

#include "ops/variant.h"

/* Of K, so that 16 columns of floats fit into the scratch memory. */
enum { CLQI_CLBLAST_MOST_DEPTH = 1 << 19 };

/* Whether that is what a row of the table stands for. */
static inline bool clqi_gemm_is_clblast(const clqi_variant *variant) {
  return variant->kernel == CLQI_KERNEL_gemm_f32_weights;
}

/* In slices of rows and of columns, so that what becomes floats on the way takes at most 64 MiB of
 * scratch memory. K is at most CLQI_CLBLAST_MOST_DEPTH. */
clq_status clqi_gemm_launch_clblast(clqi_emitter *emitter, const clq_gemm_args *args,
                                    const clqi_variant *variant);

#endif
