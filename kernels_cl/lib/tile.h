/* Tiles of matrices on CPUs: eight rows side by side, sixteen columns in a vector. */
#ifndef CLQ_LIB_TILE_H
#define CLQ_LIB_TILE_H

#include "lib/bytes.h"
#include "lib/product.h"

#define CLQ_UNROLL __attribute__((opencl_unroll_hint))
/* Compiling is part of the time to the first token. */
#define CLQ_ONCE __attribute__((opencl_unroll_hint(1)))

#define CLQ_TILE_ROWS 8

/* Vectors at any address of an element; vload16 and vstore16 come in pieces from some compilers. */
typedef float clq_float16_at __attribute__((ext_vector_type(16), aligned(4)));

/* `left` partial sums at p, or 16 if there are more; the others zero. A result that is not f32 holds
 * none: the host then has all of K in one chunk. */
static inline float16 clq_load_columns(__global const clq_out *p, int left) {
  float16 c = 0.0f;
#if CLQ_OUT == CLQ_F32
  if (left >= 16) {
    return *(__global const clq_float16_at *)p;
  }
  for (int j = 0; j < left; j++) {
    ((float *)&c)[j] = p[j];
  }
#endif
  return c;
}

/* Codes are stored by lib/epilogue.h. */
static inline void clq_store_columns(float16 c, __global clq_out *p, int left) {
  if (left >= 16) {
#if CLQ_OUT == CLQ_F32
    *(__global clq_float16_at *)p = c;
#elif CLQ_OUT == CLQ_F16
    clq_store_half16(c, 0, p);
#elif CLQ_OUT == CLQ_BF16
    vstore16(clq_bf16_from_f32_16(c), 0, p);
#endif
    return;
  }
  for (int j = 0; j < left; j++) {
    CLQ_STORE_OUT(((const float *)&c)[j], j, p);
  }
}

/* t[i] = the i-th words of a[0] .. a[7]. */
static inline void clq_transpose8(const int8 *a, int8 *t) {
  const long8 p = as_long8((int16)(a[0], a[1]).s08192a3b4c5d6e7f);
  const long8 q = as_long8((int16)(a[2], a[3]).s08192a3b4c5d6e7f);
  const long8 r = as_long8((int16)(a[4], a[5]).s08192a3b4c5d6e7f);
  const long8 s = as_long8((int16)(a[6], a[7]).s08192a3b4c5d6e7f);
  CLQ_UNROLL for (int h = 0; h < 2; h++) {
    const long4 p4 = h ? p.hi : p.lo, q4 = h ? q.hi : q.lo;
    const long4 r4 = h ? r.hi : r.lo, s4 = h ? s.hi : s.lo;
    t[4 * h] = as_int8((long4)(p4.s0, q4.s0, r4.s0, s4.s0));
    t[4 * h + 1] = as_int8((long4)(p4.s1, q4.s1, r4.s1, s4.s1));
    t[4 * h + 2] = as_int8((long4)(p4.s2, q4.s2, r4.s2, s4.s2));
    t[4 * h + 3] = as_int8((long4)(p4.s3, q4.s3, r4.s3, s4.s3));
  }
}

/* Rows side by side: out[i][r] = word i of row r, xor `flip`, for `words` words of which the first
 * `bytes` bytes are there, the rest zero. Rows behind the last one repeat it. */
static inline void clq_pack_rows(__global const char *p, long stride, int last, int words, int bytes,
                             uint flip, int8 *out) {
  const int whole = bytes / 32 * 8;
  int i = 0;
  for (; i < min(words, whole); i += 8) {
    int8 a[8], t[8];
    CLQ_UNROLL for (int r = 0; r < 8; r++) {
      __global const char *row = p + min(r, last) * stride + 4 * i;
      a[r] = (int8)(as_int4(vload16(0, row)), as_int4(vload16(1, row)));
    }
    clq_transpose8(a, t);
    CLQ_UNROLL for (int j = 0; j < 8; j++) {
      out[i + j] = t[j] ^ (int8)(int)flip;
    }
  }
  CLQ_ONCE for (; i < words; i++) {
    CLQ_ONCE for (int r = 0; r < CLQ_TILE_ROWS; r++) {
      ((int *)&out[i])[r] = clq_load_bytes(p + min(r, last) * stride + 4 * i, bytes - 4 * i, flip);
    }
  }
}

#endif
