/* How kernels receive packed weights (kernels_cl/lib/weights.h). */
#ifndef CLQI_OPS_WEIGHTS_ARGS_H
#define CLQI_OPS_WEIGHTS_ARGS_H

#include "quant/weights.h"
#include "runtime/launch.h"

/* "-DCLQ_W_BITS=... -DCLQ_W_ZERO=... -DCLQ_W_MIN=... -DCLQ_W_SCALE=...", and for bfloat16
 * " -DCLQ_W_BF16=1" */
enum { CLQI_WEIGHTS_OPTIONS_BYTES = 96 };
void clqi_weights_options(const clq_weights *w, char options[CLQI_WEIGHTS_OPTIONS_BYTES]);

/* Four tensors, eight arguments: codes (units of 4 bytes), scales, minima, zero points; what the
 * format lacks is NULL. */
void clqi_arg_weights(clqi_launch *launch, const clq_weights *w);

/* Bytes of `rows` rows with their planes. */
double clqi_weights_row_bytes(const clq_weights *w, double rows);

#endif
