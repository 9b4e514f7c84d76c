/* What operators share whose codes do not come from floats: an output of i8 or u8, not quantized,
 * or per tensor or token with planes that receive what the caller says, and lib/planes.h's
 * arguments.
 */
#ifndef CLQI_OPS_PLANES_H
#define CLQI_OPS_PLANES_H

#include "ops/op.h"

/* An input of these dtypes, not quantized, or per tensor or token with planes that are not read. */
clq_status clqi_check_codes(const char *op, const char *arg, const clq_tensor *t, unsigned dtypes);

/* `out` is of i8 or u8 and of x's shape, and its planes can receive out_scale and out_zero. */
clq_status clqi_check_planes(const char *op, const clq_tensor *out, const clq_tensor *x,
                             float out_scale, int32_t out_zero);

/* What the codes saturate to: symmetric ones leave -128 out. */
void clqi_code_range(const clq_tensor *out, int32_t *low, int32_t *high);

/* The arguments CLQ_PLANES_ARGS of lib/planes.h. */
void clqi_arg_planes(clqi_launch *launch, const clq_tensor *out, float out_scale, int32_t out_zero);

#endif
