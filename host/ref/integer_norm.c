#include "ref/integer_norm.h"

#include <stddef.h>

enum { WIDEST = 1 << 21, MOST_EXPONENT = 7, UNIT_BITS = 30 };

uint64_t clqi_ref_integer_sqrt(uint64_t n) {
  if (n == 0) {
    return 0;
  }
  int bits = 0;
  for (uint64_t rest = n; rest != 0; rest >>= 1) {
    ++bits;
  }
  /* At least sqrt(n), so that every step falls until floor(sqrt(n)) is reached. */
  uint64_t root = (uint64_t)1 << ((bits + 1) / 2);
  uint64_t next = (root + n / root) / 2;
  while (next < root && next > 0) {
    root = next;
    next = (root + n / root) / 2;
  }
  return root;
}

static int64_t clamped(int64_t x, int64_t low, int64_t high) {
  return x < low ? low : x > high ? high : x;
}

int32_t clqi_ref_integer_norm_value(clq_dtype dtype, int32_t code, int32_t zero, int8_t exponent) {
  const int within = exponent < 0 ? 0 : exponent > MOST_EXPONENT ? MOST_EXPONENT : exponent;
  const int64_t factor = (int64_t)1 << within;
  switch (dtype) {
    case CLQ_I8: return (int32_t)((code - clamped(zero, -128, 127)) * factor);
    case CLQ_U8: return (int32_t)((code - clamped(zero, 0, 255)) * factor);
    default: return (int32_t)clamped(code * factor, -WIDEST, WIDEST);
  }
}

/* a / b rounded down; b > 0. */
static int64_t divide_down(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* Halves up. */
static int64_t divide_round(int64_t a, int64_t b) { return divide_down(2 * a + b, 2 * b); }
static int64_t shift_round(int64_t x, int bits) {
  return divide_down(x + ((int64_t)1 << (bits - 1)), (int64_t)1 << bits);
}

/* floor(x * 2^by), x >= 0. */
static int64_t scaled(int64_t x, int64_t by) { return by >= 0 ? x << by : by > -63 ? x >> -by : 0; }

/* How a row is normalized: u = ((value << up) - mean) * factor, 29 bits dropped. */
typedef struct row_norm {
  int up;
  int64_t mean;
  int64_t factor;
} row_norm;

/* k: the mean, rounded; r: what the sum exceeds n k by; p: the sum of squares around k. */
static row_norm norm_of(const clqi_ref_integer_norm *norm, int64_t k, int64_t r, int64_t p) {
  const int64_t n = norm->cols;
  const int64_t eps = n * norm->eps;
  int bits = 0; /* of p and eps, but for the highest */
  for (int64_t rest = p + scaled(eps, -(int64_t)norm->eps_shift); rest > 1; rest >>= 1) {
    ++bits;
  }
  row_norm result = {.up = (59 - bits) / 2};
  const int64_t one = (int64_t)1 << result.up;
  /* floor(r^2 * 4^up / n), digit by digit in base 2^up. */
  const int64_t whole = r * r / n;
  const int64_t first = r * r % n * one / n;
  const int64_t second = r * r % n * one % n * one / n;
  const int64_t spread = (p - whole) * one * one - first * one - second;
  const int64_t t = spread + scaled(eps, 2 * (int64_t)result.up - norm->eps_shift);
  const int64_t root = (int64_t)clqi_ref_integer_sqrt((uint64_t)t);
  result.mean = k * one + divide_round(r * one, n);
  result.factor = p == 0 ? 0 : divide_round((int64_t)1 << 59, root);
  return result;
}

int32_t clqi_ref_integer_norm_row(const clqi_ref_integer_norm *norm, const int32_t *values,
                                  int32_t *codes) {
  int64_t total = 0;
  for (int64_t i = 0; i < norm->cols; ++i) {
    total += values[i];
  }
  const int64_t k = norm->is_layer ? divide_round(total, norm->cols) : 0;
  const int64_t r = norm->is_layer ? total - k * norm->cols : 0;
  int64_t p = 0;
  for (int64_t i = 0; i < norm->cols; ++i) {
    p += (values[i] - k) * (values[i] - k);
  }
  const row_norm row = norm_of(norm, k, r, p);
  int64_t sum = 0;
  for (int64_t i = 0; i < norm->cols; ++i) {
    const int64_t centred = values[i] * ((int64_t)1 << row.up) - row.mean;
    const int64_t unit = shift_round(centred * row.factor, 59 - UNIT_BITS);
    const int64_t bias = norm->bias == NULL ? 0 : norm->bias[i];
    const int64_t y = unit * norm->multiplier[i] + bias * ((int64_t)1 << (norm->shift - 16));
    codes[i] = (int32_t)clamped(shift_round(y, norm->shift), norm->low, norm->high);
    sum += codes[i];
  }
  return (int32_t)sum;
}
