/* Activations of a float GEMM on CPUs, of 16 bits or codes in memory, as floats. */
#ifndef CLQ_LIB_X_FLOATS_H
#define CLQ_LIB_X_FLOATS_H

#include "lib/gemm_args.h"
#include "lib/half.h"
#include "lib/tile.h"

/* Words as clq_pack_rows lays them, each of two or four elements of a row, become floats, two or four
 * for each, in the same place. Words of f32 stay. */
static inline void clq_x_widen(int8 *x, int words) {
#if CLQ_X == CLQ_F16
  for (int i = words - 1; i >= 0; i--) {
    const uint8 word = as_uint8(x[i]);
    const float16 f = clq_f32_from_f16_16(
        (ushort16)(convert_ushort8(word & 0xffffu), convert_ushort8(word >> 16)));
    x[2 * i] = as_int8(f.lo);
    x[2 * i + 1] = as_int8(f.hi);
  }
#elif CLQ_X == CLQ_BF16
  for (int i = words - 1; i >= 0; i--) {
    const uint8 word = as_uint8(x[i]);
    x[2 * i] = as_int8(word << 16);
    x[2 * i + 1] = as_int8(word & 0xffff0000u);
  }
#elif CLQ_X == CLQ_I8
  for (int i = words - 1; i >= 0; i--) {
    const int8 word = x[i];
    x[4 * i] = as_int8(convert_float8((word << 24) >> 24));
    x[4 * i + 1] = as_int8(convert_float8((word << 16) >> 24));
    x[4 * i + 2] = as_int8(convert_float8((word << 8) >> 24));
    x[4 * i + 3] = as_int8(convert_float8(word >> 24));
  }
#elif CLQ_X == CLQ_U8
  for (int i = words - 1; i >= 0; i--) {
    const int8 word = x[i];
    x[4 * i] = as_int8(convert_float8(word & 255));
    x[4 * i + 1] = as_int8(convert_float8((word >> 8) & 255));
    x[4 * i + 2] = as_int8(convert_float8((word >> 16) & 255));
    x[4 * i + 3] = as_int8(convert_float8((word >> 24) & 255));
  }
#endif
}

#if CLQ_X != CLQ_F32

/* out[i] = element i of the row at p, for `depth` elements. */
static inline void clq_x_row(__global const clq_x *p, int depth, float *out) {
  int k = 0;
  for (; k + 16 <= depth; k += 16) {
#if CLQ_X == CLQ_F16
    vstore16(clq_load_half16(0, p + k), 0, out + k);
#elif CLQ_X_CODES
    vstore16(convert_float16(vload16(0, p + k)), 0, out + k);
#else
    vstore16(clq_f32_from_bf16_16(vload16(0, p + k)), 0, out + k);
#endif
  }
  CLQ_ONCE for (; k < depth; k++) {
    out[k] = CLQ_LOAD_X(k, p);
  }
}

#endif

#if CLQ_X_CODES

/* Codes as floats become what they stand for: one row, m, of `depth` elements. */
static inline void clq_x_scale_row(__global const float *xs, __global const int *x_zero, long m,
                                   int depth, int group, float *row) {
  const int groups = (depth + group - 1) / group;
  for (int g = 0; g < groups; g++) {
    const float s = xs[m * groups + g];
    const float zero = CLQ_X_ZERO ? (float)x_zero[m * groups + g] : 0.0f;
    const int end = min((g + 1) * group, depth);
    for (int k = g * group; k < end; k++) {
      row[k] = (row[k] - zero) * s;
    }
  }
}

/* The same of the rows from m on side by side, of the elements k0 .. k1 - 1. */
static inline void clq_x_scale_rows(__global const float *xs, __global const int *x_zero, int m,
                                    int last, int k0, int k1, int depth, int group, int8 *x) {
  const int groups = (depth + group - 1) / group;
  for (int k = k0; k < k1;) {
    float8 s, zero = 0.0f;
    CLQ_ONCE for (int r = 0; r < CLQ_TILE_ROWS; r++) {
      const long i = (long)min(m + r, last) * groups + k / group;
      ((float *)&s)[r] = xs[i];
#if CLQ_X_ZERO
      ((float *)&zero)[r] = (float)x_zero[i];
#endif
    }
    const int end = min((k / group + 1) * group, k1);
    for (; k < end; k++) {
      x[k - k0] = as_int8((as_float8(x[k - k0]) - zero) * s);
    }
  }
}

#endif

#endif
