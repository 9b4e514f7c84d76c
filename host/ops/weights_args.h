/* How kernels receive packed weights (kernels_cl/lib/weights.h). */
#ifndef CLQI_OPS_WEIGHTS_ARGS_H
#define CLQI_OPS_WEIGHTS_ARGS_H

#include "quant/weights.h"
#include "runtime/launch.h"

/* "-DCLQ_W_BITS=... -DCLQ_W_TABLE=... -DCLQ_W_ZERO=... -DCLQ_W_MIN=... -DCLQ_W_SCALE=...
 * -DCLQ_W_SUPER=...", for bfloat16 " -DCLQ_W_BF16=1", with an order " -DCLQ_W_ORDER=1" */
enum { CLQI_WEIGHTS_OPTIONS_BYTES = 128 };
void clqi_weights_options(const clq_weights *w, char options[CLQI_WEIGHTS_OPTIONS_BYTES]);

/* Four tensors, eight arguments: codes (units of 4 bytes), scales, minima, zero points; what the
 * format lacks is NULL. */
void clqi_arg_weights(clqi_launch *launch, const clq_weights *w);

/* CLQ_ORDER_ARGS of lib/order.h: none without an order. */
void clqi_arg_order(clqi_launch *launch, const clq_weights *w);

/* Bytes of `rows` rows with their planes. */
double clqi_weights_row_bytes(const clq_weights *w, double rows);

#endif
