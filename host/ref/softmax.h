/* Softmax of rows, as clq_softmax defines it. */
#ifndef CLQI_REF_SOFTMAX_H
#define CLQI_REF_SOFTMAX_H

#include <stdint.h>

/* softmax(scale * x) of one row in double. */
void clqi_ref_softmax(const float *x, int64_t cols, double scale, double *out);

/* The same operations in the same order as the kernels, so the same bits. */
void clqi_ref_softmax_f32(const float *x, int64_t cols, float scale, float *out);

/* One row of int8 codes; step = the row's scale * the caller's, rounded once. The same bits. */
void clqi_ref_softmax_i8_f32(const int8_t *x, int64_t cols, float step, float *out);
void clqi_ref_softmax_i8_u8(const int8_t *x, int64_t cols, float step, uint8_t *out);

#endif
