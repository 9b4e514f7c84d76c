/* Softmax of rows, as clq_softmax defines it. */
#ifndef CLQI_REF_SOFTMAX_H
#define CLQI_REF_SOFTMAX_H

#include <stdbool.h>
#include <stdint.h>

#include <clquant/ops.h>

/* softmax(scale * x) of one row in double. */
void clqi_ref_softmax(const float *x, int64_t cols, double scale, double *out);

/* One row of `cols` elements, of which the first `visible` count, and what becomes of it. */
typedef struct clqi_ref_softmax_row {
  int64_t cols, visible;
  const float *mask;    /* NULL: none */
  const uint8_t *shown; /* the same of u8 */
  bool log;
  float *sum; /* NULL: exponentials are divided */
} clqi_ref_softmax_row;

/* The same operations in the same order as the kernels, so the same bits; `out` before it is
 * rounded to a type of fewer bits (of u8: times 256). `codes` is i8 or u8 as `dtype` says; step:
 * their scale
 * * the caller's, rounded once. */
void clqi_ref_softmax_float(const float *x, float scale, const clqi_ref_softmax_row *row,
                            float *out);
void clqi_ref_softmax_codes(const void *codes, clq_dtype dtype, float step, clq_exp exp,
                            const clqi_ref_softmax_row *row, float *out);

/* 256 p as u8. */
uint8_t clqi_ref_softmax_u8(float p);
/* 65536 e as u16. */
uint16_t clqi_ref_softmax_u16(float e);

#endif
