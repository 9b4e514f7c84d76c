/* Arithmetic on sizes that cannot wrap unseen. Every size that comes from a
 * caller or a file goes through these. Each returns false on overflow and
 * leaves *out unspecified. */
#ifndef CLQI_RUNTIME_CHECKED_H
#define CLQI_RUNTIME_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool clqi_add_size(size_t a, size_t b, size_t *out) {
  return !__builtin_add_overflow(a, b, out);
}

static inline bool clqi_mul_size(size_t a, size_t b, size_t *out) {
  return !__builtin_mul_overflow(a, b, out);
}

/* *out = a * b + c */
static inline bool clqi_mul_add_size(size_t a, size_t b, size_t c, size_t *out) {
  return clqi_mul_size(a, b, out) && clqi_add_size(*out, c, out);
}

/* Rounds up to a multiple of alignment (a power of two). */
static inline bool clqi_align_size(size_t value, size_t alignment, size_t *out) {
  if (!clqi_add_size(value, alignment - 1, out)) {
    return false;
  }
  *out &= ~(alignment - 1);
  return true;
}

static inline bool clqi_mul_i64(int64_t a, int64_t b, int64_t *out) {
  return !__builtin_mul_overflow(a, b, out);
}

static inline bool clqi_add_i64(int64_t a, int64_t b, int64_t *out) {
  return !__builtin_add_overflow(a, b, out);
}

/* Quotient rounded up; a >= 0, b > 0; cannot overflow. */
static inline int64_t clqi_div_up(int64_t a, int64_t b) { return a / b + (a % b != 0); }

#endif
