/* Plain C references, one for every operator: slow, obvious, and the same
 * result as the device to the bit where the operator's contract says so. Those
 * of operators with structs of their own have headers beside this one. They
 * take dense host arrays; quantities are named as in clquant/ops.h. Built with
 * -ffp-contract=off. */
#ifndef CLQI_REF_REF_H
#define CLQI_REF_REF_H

#include <stdbool.h>
#include <stdint.h>

#include <clquant/ops.h>
#include <clquant/quantize.h>
#include <clquant/tensor.h>

/* One row or group of n elements: codes, scale, and the sum of the codes returned. */
int32_t clqi_ref_quantize_group(const float *x, int64_t n, int8_t *codes, float *scale);

/* [rows, cols]; group == cols for one scale a row. sums may be NULL. */
void clqi_ref_quantize(const float *x, int64_t rows, int64_t cols, int64_t group, int8_t *codes,
                       float *scales, int32_t *sums);

/* The code of x in [lo, lo + 255]: rint(x * mult) + zero, saturated. */
int32_t clqi_ref_affine_code(float x, float mult, int32_t zero, int32_t lo);

/* One row or group of n elements: asymmetric codes, scale and zero point, the sum returned. */
int32_t clqi_ref_quantize_asymmetric(const float *x, int64_t n, int32_t lo, int32_t *codes,
                                     float *scale, int32_t *zero);

/* x = scale * (code - zero) with scales at row * row_step + col / group; zeros may be NULL. */
void clqi_ref_dequantize(const int8_t *codes, const float *scales, const int32_t *zeros,
                         int64_t rows, int64_t cols, int64_t row_step, int64_t group, float *out);

/* out = activation(x) * up, n elements; up may be NULL. */
void clqi_ref_activate(const float *x, clq_activation activation, const float *up, int64_t n,
                       float *out);

/* out[i] = table[codes[i]], n elements of so many bytes. */
void clqi_ref_lookup(const uint8_t *codes, int64_t n, const void *table, size_t element_bytes,
                     void *out);

/* out = a + b, n elements. */
void clqi_ref_add(const float *a, const float *b, int64_t n, float *out);

/* out [rows, cols] f32. residual may be NULL; it is replaced by x + residual, rounded through
 * `storage`. gamma and beta may be NULL. All that these operators can: ref/norm.h. */
void clqi_ref_rmsnorm(const float *x, float *residual, const float *gamma, float eps, int64_t rows,
                      int64_t cols, clq_dtype storage, float *out);
void clqi_ref_layernorm(const float *x, float *residual, const float *gamma, const float *beta,
                        float eps, int64_t rows, int64_t cols, clq_dtype storage, float *out);

/* A weight matrix as clq_weights_pack takes one part of it; group at least 1 for plain codes. */
typedef struct clqi_ref_weights {
  clq_format format;
  int64_t rows; /* N */
  int64_t cols; /* K */
  int64_t group;
  const void *data;
  const void *scales;
  const uint8_t *zeros;
  const void *mins;
  clq_dtype scale_dtype; /* 0: f32 */
  const int32_t *order;  /* [cols] column at each position; NULL: 0, 1, 2, ... */
} clqi_ref_weights;

/* Element k, a position, of row n as f32, rounded once. */
float clqi_ref_weight(const clqi_ref_weights *w, int64_t n, int64_t k);

/* The column of W at position k. */
static inline int64_t clqi_ref_column(const clqi_ref_weights *w, int64_t k) {
  return w->order == 0 ? k : w->order[k];
}

/* out[r] = row ids[r] of w; a row of zeros for an id that is none. Returns the number of those. */
int64_t clqi_ref_embedding(const int32_t *ids, int64_t rows, const clqi_ref_weights *w, float *out);

/* A row of a table in one of the formats of clq_rows_quantize, as f32. */
void clqi_ref_table_row(const uint8_t *bytes, clq_row_format format, int64_t cols, float *out);

/* Tables one behind the other, with their rows and the bytes of each. */
typedef struct clqi_ref_table {
  const uint8_t *bytes;
  clq_row_format format; /* 0: no table */
  int64_t rows, stride;
} clqi_ref_table;

/* The same as clqi_ref_embedding of tables; map may be NULL. */
int64_t clqi_ref_embedding_tables(const int32_t *ids, int64_t rows,
                                  const clqi_ref_table tables[CLQ_MOST_TABLES], const int32_t *map,
                                  int64_t map_rows, int64_t cols, float *out);

/* out = x W^T, one fma per element of K, ascending. */
void clqi_ref_gemm_f32(const float *x, int64_t x_stride, int64_t rows, const clqi_ref_weights *w,
                       float *out, int64_t out_stride);

/* Rows of codes, `stride` elements apart, as activations. A scale, and a zero point unless `zero`
 * is NULL, for every `group` elements of a row, [rows, ceil(K / group)]; group 0: for a row,
 * [rows]. */
typedef struct clqi_ref_codes {
  const void *codes;
  clq_dtype dtype; /* CLQ_I8 or CLQ_U8 */
  int64_t rows, stride, group;
  const float *scale;
  const int32_t *zero;
} clqi_ref_codes;

/* out = x W^T. With weights that are codes: summed by groups, the shorter of x's and W's, in
 * ascending order. With weights of floats: as clqi_ref_gemm_f32 of the floats that x stands for. */
void clqi_ref_gemm_codes(const clqi_ref_codes *x, const clqi_ref_weights *w, float *out,
                         int64_t out_stride);

/* The same of int8 codes without zero points. */
void clqi_ref_gemm_q8(const int8_t *x, int64_t x_stride, const float *x_scale, int64_t x_group,
                      int64_t rows, const clqi_ref_weights *w, float *out, int64_t out_stride);

#endif
