#include "ref/integer_add.h"

int32_t clqi_ref_doubling_high_mul(int32_t a, int32_t b) {
  if (a == INT32_MIN && b == INT32_MIN) {
    return INT32_MAX;
  }
  const int64_t product = (int64_t)a * b;
  const int64_t nudge = product >= 0 ? (int64_t)1 << 30 : 1 - ((int64_t)1 << 30);
  return (int32_t)((product + nudge) / ((int64_t)1 << 31));
}

int32_t clqi_ref_rounding_divide(int32_t x, int exponent) {
  const int32_t mask = (int32_t)(((int64_t)1 << exponent) - 1);
  const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
  return (x >> exponent) + ((x & mask) > threshold ? 1 : 0);
}

static int32_t rescale(int32_t x, int32_t multiplier, int32_t shift) {
  return clqi_ref_rounding_divide(clqi_ref_doubling_high_mul(x, multiplier), shift);
}

static int64_t sum_of(const clq_integer_add_args *p, int32_t a, int32_t b) {
  switch (p->mode) {
    case CLQ_ADD_GEMMLOWP:
      return rescale(rescale(a * (1 << 20), p->a_multiplier, p->a_shift) +
                         rescale(b * (1 << 20), p->b_multiplier, p->b_shift),
                     p->out_multiplier, p->out_shift);
    case CLQ_ADD_SINGLE_ROUNDING:
      return ((int64_t)a * p->a_multiplier + (int64_t)b * p->b_multiplier +
              ((int64_t)1 << (p->out_shift - 1))) >>
             p->out_shift;
    default: return a + b;
  }
}

int32_t clqi_ref_integer_add(const clq_integer_add_args *args, int32_t a, int32_t b, int32_t low,
                             int32_t high) {
  const int64_t code = sum_of(args, a - args->a_zero, b - args->b_zero) + args->out_zero;
  return code < low ? low : code > high ? high : (int32_t)code;
}
