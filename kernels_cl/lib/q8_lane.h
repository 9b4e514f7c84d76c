/* What the GPU forms of integer GEMM share: one column a lane. The including
 * file sets CLQ_X_WORDS. */
#ifndef CLQ_LIB_Q8_LANE_H
#define CLQ_LIB_Q8_LANE_H

#include "lib/dot.h"
#include "lib/weights.h"

#define NEED_SUM (CLQ_W_OFFSET || CLQ_W_ZERO || CLQ_W_MIN)

/* Four codes at p, those at and behind `left` zero. */
static inline uint load_codes(__global const char *p, int left) {
#if CLQ_X_WORDS
  return left > 0 ? *(__global const uint *)p : 0u;
#else
  uint v = 0;
  for (int j = 0; j < min(left, 4); j++) {
    v |= (uint)(uchar)p[j] << (8 * j);
  }
  return v;
#endif
}

/* acc + the products of eight elements of this lane's column, at w, with the codes a and b. */
static inline int dot_step8(__global const uint *w, uint a, uint b, int acc) {
#if CLQ_W_BITS == 4
  const uint v = w[0];
  return clq_dot4_u8s8((v >> 4) & 0x0f0f0f0fu, b, clq_dot4_u8s8(v & 0x0f0f0f0fu, a, acc));
#else
  return clq_dot4_i8(w[16], b, clq_dot4_i8(w[0], a, acc));
#endif
}

#endif
