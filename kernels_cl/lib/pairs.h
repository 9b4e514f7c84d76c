/* Products of 32 bits by 32 in wide vectors: an int16 seen as eight longs, its integers at even and
 * at odd places. The multiply instructions of CPUs take just these, so nothing moves between lanes. */
#ifndef CLQ_LIB_PAIRS_H
#define CLQ_LIB_PAIRS_H

/* Sign extended; at_even also says of a long that it is an integer. */
static inline long8 clq_at_even(long8 v) { return (v << 32L) >> 32L; }
static inline long8 clq_at_odd(long8 v) { return v >> 32L; }

/* The low halves of both, back in their places. */
static inline int16 clq_join_pairs(long8 even, long8 odd) {
  return as_int16((even & 0xffffffffL) | (odd << 32L));
}

#endif
