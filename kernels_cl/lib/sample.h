/* What the kernels of sample share: the order of tokens, their weights, and where a row's random
 * number comes from. All sums are of integers and exact, so every form gives the same ids, those of
 * clq_sampler (host/model/sampling.c).
 *
 * A token's key is larger the earlier it stands in "larger logit first, of equal ones the lower id":
 * the logit's order in the upper half, ~id in the lower. No token has the key 0. */
#ifndef CLQ_LIB_SAMPLE_H
#define CLQ_LIB_SAMPLE_H

#include "lib/device_error.h"
#include "lib/math.h"
#include "lib/philox.h"
#include "lib/rows.h"
#include "lib/tensor.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

#define CLQ_INFINITE 0x7f800000 /* the order of +inf */
#define CLQ_NO_TOKEN ~0UL

/* out NULL: nothing is drawn. state: uint[4] a row, seed and draws made; NULL: seed + row, none.
 * counters: count numbers a row. top_k from 1 to cols; wanted: top_p * 2^32, 0 for off; inverse:
 * 1 / temperature; greedy: no number is taken. */
#define CLQ_SAMPLE_ARGS                                                                          \
  CLQ_TENSOR(const float, logits), CLQ_TENSOR(int, out), CLQ_TENSOR(uint, state),                \
      CLQ_TENSOR(int, counters), __global int *error_word, const long rows, const long cols,     \
      const long logits_row, const long state_row, const long counters_row, const long count,    \
      const long top_k, const long top_p, const float min_p, const float inverse,                \
      const int greedy, const long seed

/* Floats as integers of the same order; both zeros are 0. */
#define CLQ_DEFINE_ORDER(F, I, S)                                     \
  static inline I clq_order##S(F x) {                                 \
    const I bits = as_##I(x), sign = bits >> 31;                      \
    return ((bits & 0x7fffffff) ^ sign) - sign;                       \
  }                                                                   \
  static inline F clq_float_of##S(I order) {                          \
    const I sign = order >> 31;                                       \
    return as_##F(((order ^ sign) - sign) | (sign & (I)(int)0x80000000)); \
  }
CLQ_DEFINE_ORDER(float, int, )
CLQ_DEFINE_ORDER(float16, int16, 16)

/* NaN or +inf. */
static inline bool clq_bad_order(int order) {
  return order >= CLQ_INFINITE || order < -CLQ_INFINITE;
}

static inline ulong clq_key(int order, long id) {
  return (ulong)((uint)order ^ 0x80000000u) << 32 | (uint)~(uint)id;
}
static inline int clq_key_order(ulong key) { return (int)((uint)(key >> 32) ^ 0x80000000u); }
static inline int clq_key_id(ulong key) { return (int)~(uint)key; }

/* exp of minus the distance from the largest logit, in units of 2^-40, rounded down. */
static inline ulong clq_weight(float logit, float largest, float inverse) {
  return (ulong)(clq_exp_down((logit - largest) * inverse) * 0x1p40f);
}

/* a * b / 2^32, b < 2^32, rounded down in its lower part. */
static inline ulong clq_share(ulong a, ulong b) {
  return (a >> 32) * b + (((a & 0xffffffffUL) * b) >> 32);
}

/* The mass that top-p asks for, at least one token's. */
static inline ulong clq_wanted_mass(ulong total, long top_p) {
  const ulong wanted = clq_share(total, (ulong)top_p);
  return wanted > 1 ? wanted : 1;
}

/* A weight below half of this is too small to be among top-p's: all such tokens together do not make
 * up what top-p leaves out. */
static inline ulong clq_top_p_floor(ulong total, ulong wanted, long cols) {
  return (total - wanted) / (ulong)cols;
}

/* Uniform among 0 .. total - 1. state: NULL, or the row's. */
static inline ulong clq_draw(const __global uint *state, long seed, long row, ulong total) {
  const ulong s = (ulong)seed + (ulong)row;
  const uint2 key = state == 0 ? (uint2)((uint)s, (uint)(s >> 32)) : (uint2)(state[0], state[1]);
  const uint2 draws = state == 0 ? (uint2)0u : (uint2)(state[2], state[3]);
  const uint4 r = clq_philox((uint4)(draws, 0u, 0u), key);
  return mul_hi((ulong)r.x << 32 | r.y, total);
}

/* What follows a draw that gave a token. */
static inline void clq_count_draw(__global uint *state, int greedy, __global int *counters,
                                  long count) {
  if (state != 0 && !greedy) {
    state[2]++;
    state[3] += state[2] == 0;
  }
  for (long i = 0; counters != 0 && i < count; i++) {
    counters[i]++;
  }
}

/* bad: the first token of the row whose logit is NaN or +inf, or CLQ_NO_TOKEN. False if nothing can be
 * chosen; that is reported. */
static inline bool clq_can_choose(ulong bad, int largest, const __global float *x, long row,
                                  __global int *error_word) {
  if (bad != CLQ_NO_TOKEN) {
    clq_device_error(error_word,
                     x[bad] != x[bad] ? CLQ_ERROR_SAMPLE_NAN : CLQ_ERROR_SAMPLE_INFINITE, (int)bad);
    return false;
  }
  if (largest == -CLQ_INFINITE) {
    clq_device_error(error_word, CLQ_ERROR_SAMPLE_NOTHING, (int)row);
    return false;
  }
  return true;
}

#endif
