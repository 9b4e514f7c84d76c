/* Columns of x as the weights count them (host/quant/weights.h): where the weights bring an order,
 * which the host says with CLQ_W_ORDER, position k of K is column order[k] of x. Without one
 * nothing of it is in a kernel.
 *
 *   CLQ_COLUMN(k)                 the column of x at position k
 *   CLQ_LOAD_CODES(row, k, left)  four codes of x from position k on, as kernels take them
 *                                 (lib/gemm_args.h), those at and behind `left` zero
 *   CLQ_LOAD_EACH                 before a loop over rows that does so: too long to be unrolled
 *                                 unasked, and registers have no index */
#ifndef CLQ_LIB_ORDER_H
#define CLQ_LIB_ORDER_H

#include "lib/bytes.h"
#include "lib/tensor.h"

#ifndef CLQ_W_ORDER
#define CLQ_W_ORDER 0
#endif

#if CLQ_W_ORDER
#define CLQ_ORDER_ARGS , CLQ_TENSOR(const int, order)
#define CLQ_ORDER_AT CLQ_AT(const int, order);
#define CLQ_COLUMN(k) order[k]
#define CLQ_LOAD_EACH __attribute__((opencl_unroll_hint))
#define CLQ_LOAD_CODES(row, k, left) clq_gather_bytes(row, order + (k), left, CLQ_X_FLIP)
#else
#define CLQ_ORDER_ARGS
#define CLQ_ORDER_AT
#define CLQ_COLUMN(k) (k)
#define CLQ_LOAD_EACH
#define CLQ_LOAD_CODES(row, k, left) clq_load_bytes((row) + (k), left, CLQ_X_FLIP)
#endif

#endif
