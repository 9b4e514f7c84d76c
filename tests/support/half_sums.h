/* What a norm computes where sums live in half precision: every product and every sum is rounded to
 * a half. Halves are their bits. */
#ifndef CLQ_TESTS_HALF_SUMS_H
#define CLQ_TESTS_HALF_SUMS_H

#include <stdbool.h>
#include <stdint.h>

/* x * scale, rounded. */
void test_half_scale(const uint16_t *x, int64_t n, float scale, uint16_t *out);

/* The sum of squares with element i in lane i % lanes, lanes (a power of two) folded as a tree. */
float test_half_sum_of_squares(const uint16_t *x, int64_t n, int lanes);

/* The same with one f32 accumulator, in order; and exactly. */
float test_float_sum_of_squares(const uint16_t *x, int64_t n);
double test_exact_sum_of_squares(const uint16_t *x, int64_t n);

typedef enum test_half_mode {
  TEST_HALF_ALL,    /* mean, epsilon and their sum are halves too */
  TEST_HALF_SUMS,   /* they are f32 */
  TEST_HALF_RESUMS, /* and a sum outside [2^-8, inf) is taken again with x_scale moved by 2^8 */
} test_half_mode;

/* RMSNorm of x, which is multiplied by x_scale on load: squares summed in half in 64 lanes. */
void test_half_rmsnorm(const uint16_t *x, int64_t n, float x_scale, float eps, test_half_mode mode,
                       uint16_t *out);

#endif
