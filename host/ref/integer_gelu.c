#include "ref/integer_add.h"

/* Rounds half up. */
static int64_t shift_right(int64_t x, int by) { return (x + ((int64_t)1 << (by - 1))) >> by; }

int32_t clqi_ref_integer_gelu(const clq_integer_gelu_args *args, int32_t x, int32_t low,
                              int32_t high) {
  const int64_t bend = 1854931;  /* 1.769 * 2^20 */
  const int64_t factor = 302829; /* 0.2888 * 2^20 */
  const int64_t one = (int64_t)1 << 29;
  const int64_t exact = (int64_t)x - args->x_zero;
  const int64_t q = exact < -INT32_MAX ? -INT32_MAX : exact;
  const int64_t t = shift_right((q < 0 ? -q : q) * args->x_multiplier, args->x_shift);
  const int64_t short_of = t < bend ? bend - t : 0;
  const int64_t square = shift_right(short_of * short_of, 11);
  const int64_t erf = one - shift_right(factor * square, 20);
  const int64_t scaled = shift_right(q * args->value_multiplier, args->value_shift);
  const int64_t v = scaled > INT32_MAX ? INT32_MAX : scaled < -INT32_MAX ? -INT32_MAX : scaled;
  const int64_t code = shift_right(v * (q < 0 ? one - erf : one + erf), 45) + args->out_zero;
  return code < low ? low : code > high ? high : (int32_t)code;
}
