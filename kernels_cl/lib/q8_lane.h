/* What the GPU forms of integer GEMM share: one column a lane. */
#ifndef CLQ_LIB_Q8_LANE_H
#define CLQ_LIB_Q8_LANE_H

#include "lib/bytes.h"
#include "lib/dot.h"
#include "lib/gemm_args.h"
#include "lib/order.h"
#include "lib/weights.h"

#ifndef CLQ_X_WORDS
#define CLQ_X_WORDS 0 /* 1: rows of x start at multiples of 4 bytes, K is one of 4 */
#endif

#define CLQ_NEED_SUM (CLQ_W_OFFSET != 0 || CLQ_W_ZERO || CLQ_W_MIN)

/* CLQ_LOAD_WORD(row, k, left): CLQ_LOAD_CODES of lib/order.h, as a word where that can be. */
#if CLQ_X_WORDS && !CLQ_W_ORDER
static inline uint clq_load_word(__global const char *p, int left) {
  return left > 0 ? *(__global const uint *)p ^ CLQ_X_FLIP : 0u;
}
#define CLQ_LOAD_WORD(row, k, left) clq_load_word((row) + (k), left)
#else
#define CLQ_LOAD_WORD(row, k, left) ((uint)CLQ_LOAD_CODES(row, k, left))
#endif

/* acc + the products of eight elements of this lane's column w, from k on, with the codes a and b. */
static inline int clq_dot_step8(__global const uint *w, int k, uint a, uint b, int acc) {
  const uint p = clq_codes(w, k, 0), q = clq_codes(w, k, 1);
#if CLQ_W_SIGNED
  return clq_dot4_i8(q, b, clq_dot4_i8(p, a, acc));
#else
  return clq_dot4_u8s8(q, b, clq_dot4_u8s8(p, a, acc));
#endif
}

/* sum + the codes of x in a and b. */
static inline int clq_sum_step8(uint a, uint b, int sum) {
  return clq_dot4_i8(b, 0x01010101u, clq_dot4_i8(a, 0x01010101u, sum));
}

/* The sum of the codes of x that share scale i, as kernels take them; `depth` of them. */
static inline int clq_given_sum(__global const int *x_sum, long i, int depth) {
  return x_sum[i] - CLQ_X_SHIFT * depth;
}

#endif
