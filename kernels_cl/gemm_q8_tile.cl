/* out[M, N] = x[M, K] * W[N, K]^T with int8 activations, for CPUs: one
 * work-item computes CLQ_ROWS rows times `tiles` tiles of 16 columns with wide
 * vectors. Launch: (row blocks, column blocks), work-groups of one.
 *
 * Weights as host/quant/weights.h packs them. Over each group of elements that
 * share an x scale and a w scale, products are summed exactly in int32; groups
 * are added in ascending order:
 *   x scale per group:  c = fma(float(acc) * xs, ws, c); c = fma(xs * float(sum), wmin, c)
 *   x scale per token:  c = fma(float(acc), ws, c);      c = fma(float(sum), wmin, c);  out = c * xs
 * whatever the row block, the back end or the number of rows is. */
#include "lib/dot.h"
#include "lib/tensor.h"
#include "lib/tile.h"
#include "lib/weights.h"

#ifndef CLQ_ROWS
#define CLQ_ROWS 8 /* rows of a work-item: 1, 2, 4 or 8 */
#endif
#ifndef CLQ_X_GROUPED
#define CLQ_X_GROUPED 1 /* 1: x scales per `group` elements; 0: per token */
#endif
#ifndef CLQ_X_SUM
#define CLQ_X_SUM 0 /* 1: x_sum holds the sum of the codes of every group */
#endif
#ifndef CLQ_GROUP
#define CLQ_GROUP 32 /* elements summed in int32, a multiple of 8; 0: as `group` says */
#endif
#ifndef CLQ_CHUNK
#define CLQ_CHUNK 2048 /* most elements of K between two loads of c, a multiple of 32, at least the group */
#endif
#if CLQ_GROUP
#define GROUP CLQ_GROUP
#define CHUNK_GROUPS (CLQ_CHUNK / CLQ_GROUP)
#else
#define GROUP group
#define CHUNK_GROUPS (CLQ_CHUNK / 8)
#endif

/* The weights enter the product unsigned, off by OFFSET; OFFSET * sum(x) is
 * taken off before the products are added. */
#if CLQ_W_BITS == 8
#define OFFSET 128
#else
#define OFFSET CLQ_W_OFFSET
#endif
#define NEED_SUM (OFFSET || CLQ_W_ZERO || CLQ_W_MIN)

#define UNROLL __attribute__((opencl_unroll_hint))

/* acc + u8(w) * s8(*a), *a being four codes of one row for all 16 columns. */
static inline int16 dot_step(int16 acc, uint16 w, const int *a) {
#if CLQ_DOT_VNNI
  __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*a));
  return acc;
#elif CLQ_W_BITS == 4
  return clq_dot4x16_u7s8(acc, w, *a);
#else
  return clq_dot4x16_u8s8(acc, w, *a);
#endif
}

/* Four codes at p, those at and behind `left` zero. */
static inline int load_codes(__global const char *p, int left) {
  if (left >= 4) {
    return as_int(vload4(0, p));
  }
  int v = 0;
  for (int j = 0; j < left; j++) {
    v |= (int)(uchar)p[j] << (8 * j);
  }
  return v;
}

/* 32 codes as eight words, those at and behind `left` zero. */
static inline int8 load_codes32(__global const char *p, int left) {
  if (left >= 32) {
    return (int8)(as_int4(vload16(0, p)), as_int4(vload16(1, p)));
  }
  int v[8];
  for (int i = 0; i < 8; i++) {
    v[i] = load_codes(p + 4 * i, left - 4 * i);
  }
  return vload8(0, v);
}

static inline int8 sum_bytes(int8 acc, int8 v) {
#if CLQ_DOT_VNNI
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"((int8)0x01010101), "v"(v));
  return acc;
#else
  return acc + (((v << 24) >> 24) + ((v << 16) >> 24) + ((v << 8) >> 24) + (v >> 24));
#endif
}

#if CLQ_ROWS == 8
/* t[i] = the i-th words of a[0] .. a[7]. */
static inline void transpose8(const int8 *a, __private int8 *t) {
  const long8 p = as_long8((int16)(a[0], a[1]).s08192a3b4c5d6e7f);
  const long8 q = as_long8((int16)(a[2], a[3]).s08192a3b4c5d6e7f);
  const long8 r = as_long8((int16)(a[4], a[5]).s08192a3b4c5d6e7f);
  const long8 s = as_long8((int16)(a[6], a[7]).s08192a3b4c5d6e7f);
  UNROLL for (int h = 0; h < 2; h++) {
    const long4 p4 = h ? p.hi : p.lo, q4 = h ? q.hi : q.lo;
    const long4 r4 = h ? r.hi : r.lo, s4 = h ? s.hi : s.lo;
    t[4 * h] = as_int8((long4)(p4.s0, q4.s0, r4.s0, s4.s0));
    t[4 * h + 1] = as_int8((long4)(p4.s1, q4.s1, r4.s1, s4.s1));
    t[4 * h + 2] = as_int8((long4)(p4.s2, q4.s2, r4.s2, s4.s2));
    t[4 * h + 3] = as_int8((long4)(p4.s3, q4.s3, r4.s3, s4.s3));
  }
}
#endif

/* Rows m0 .. (the last one again past the end), elements k0 .. k1 - 1, k1 - k0 a
 * multiple of 8, as words xp[k / 4][row]; elements from `depth` on are zero. */
static inline void pack_rows(__global const char *x, long stride, int m0, int rows, int k0, int k1,
                             int depth, __private int (*xp)[CLQ_ROWS]) {
  int k = k0;
#if CLQ_ROWS == 8
  for (; k + 32 <= k1; k += 32) {
    int8 a[8], t[8];
    UNROLL for (int r = 0; r < 8; r++) {
      a[r] = load_codes32(x + (long)min(m0 + r, rows - 1) * stride + k, depth - k);
    }
    transpose8(a, t);
    UNROLL for (int i = 0; i < 8; i++) {
      vstore8(t[i], (k - k0) / 4 + i, &xp[0][0]);
    }
  }
#elif CLQ_ROWS == 1
  for (; k + 32 <= k1; k += 32) {
    vstore8(load_codes32(x + (long)m0 * stride + k, depth - k), (k - k0) / 32, &xp[0][0]);
  }
#endif
  for (; k < k1; k += 4) {
    for (int r = 0; r < CLQ_ROWS; r++) {
      xp[(k - k0) / 4][r] =
          load_codes(x + (long)min(m0 + r, rows - 1) * stride + k, depth - k);
    }
  }
}

/* Sums of the codes of `words` consecutive words, for each row. */
static inline void sum_rows(const int (*xp)[CLQ_ROWS], int words, __private int *sums) {
#if CLQ_ROWS == 8
  int8 s = 0;
  for (int i = 0; i < words; i++) {
    s = sum_bytes(s, vload8(i, &xp[0][0]));
  }
  vstore8(s, 0, sums);
#elif CLQ_ROWS == 1
  int8 s = 0;
  int i = 0;
  for (; i + 8 <= words; i += 8) {
    s = sum_bytes(s, vload8(0, &xp[i][0]));
  }
  int sum = (s.s0 + s.s1 + s.s2 + s.s3) + (s.s4 + s.s5 + s.s6 + s.s7);
  for (; i < words; i++) {
    sum += sum_bytes((int8)0, (int8)xp[i][0]).s0;
  }
  sums[0] = sum;
#else
  for (int r = 0; r < CLQ_ROWS; r++) {
    int sum = 0;
    for (int i = 0; i < words; i++) {
      sum += sum_bytes((int8)0, (int8)xp[i][r]).s0;
    }
    sums[r] = sum;
  }
#endif
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_q8_tile(
    CLQ_TENSOR(const char, x), CLQ_TENSOR(const float, xs), CLQ_TENSOR(const int, x_sum),
    CLQ_TENSOR(const uint, w), CLQ_TENSOR(const clq_scale, ws), CLQ_TENSOR(const half, wm),
    CLQ_TENSOR(const uchar, wz), CLQ_TENSOR(float, out), const long x_stride,
    const long out_stride, const int rows, const int cols, const int depth, const int group,
    const int w_ratio, const int tiles, const int row_tiles) {
  CLQ_AT(const char, x);
  CLQ_AT(const float, xs);
  CLQ_AT(const int, x_sum);
  CLQ_AT(const uint, w);
  CLQ_AT(const clq_scale, ws);
  CLQ_AT(const half, wm);
  CLQ_AT(const uchar, wz);
  CLQ_AT(float, out);

  const int padded = (depth + 31) & ~31;
  const int groups = (depth + GROUP - 1) / GROUP;
  const int w_groups = (groups + w_ratio - 1) / w_ratio;
  const int chunk_groups = CLQ_CHUNK / GROUP;
  const int column_tiles = (cols + 15) / 16;
  const int t0 = (int)get_global_id(1) * tiles;
  const int t1 = min(t0 + tiles, column_tiles);

  /* This row tile's activations of one chunk: four codes of each row side by
   * side, and what each group needs of each row. */
  int xp[CLQ_CHUNK / 4][CLQ_ROWS] __attribute__((aligned(64)));
  int fix[CHUNK_GROUPS][CLQ_ROWS];
  float scale[CHUNK_GROUPS][CLQ_ROWS];
  float lift[CHUNK_GROUPS][CLQ_ROWS];

  for (int tile = 0; tile < row_tiles; tile++) {
    const int m0 = ((int)get_global_id(0) * row_tiles + tile) * CLQ_ROWS;
    if (m0 >= rows) {
      break;
    }
    const int live = min(rows - m0, CLQ_ROWS);
    for (int g0 = 0; g0 < groups; g0 += chunk_groups) {
      const int g1 = min(g0 + chunk_groups, groups);
      const int k0 = g0 * GROUP;
      const int k1 = min(g1 * GROUP, padded);
      pack_rows(x, x_stride, m0, rows, k0, k1, depth, xp);
      for (int g = g0; g < g1; g++) {
        int sum[CLQ_ROWS];
#if NEED_SUM && !CLQ_X_SUM
        sum_rows(xp + (g - g0) * (GROUP / 4), (min((g + 1) * GROUP, k1) - g * GROUP) / 4, sum);
#endif
        UNROLL for (int r = 0; r < CLQ_ROWS; r++) {
          const long i = (long)min(m0 + r, rows - 1) * groups + g;
#if NEED_SUM && CLQ_X_SUM
          sum[r] = x_sum[i];
#elif !NEED_SUM
          sum[r] = 0;
#endif
          fix[g - g0][r] = CLQ_W_ZERO ? sum[r] : -OFFSET * sum[r];
#if CLQ_X_GROUPED
          scale[g - g0][r] = xs[i];
          lift[g - g0][r] = xs[i] * (float)sum[r];
#else
          lift[g - g0][r] = (float)sum[r];
#endif
        }
      }

      for (int t = t0; t < t1; t++) {
        const int left = cols - t * 16;
        __global float *o = out + m0 * out_stride + t * 16;
        float16 c[CLQ_ROWS];
        UNROLL for (int r = 0; r < CLQ_ROWS; r++) {
          c[r] = g0 > 0 && r < live ? clq_load_columns(o + r * out_stride, left) : (float16)0.0f;
        }
        __global const uint *wt =
            w + ((long)t * (padded / CLQ_W_PER_WORD) + k0 / CLQ_W_PER_WORD) * 16;
        const int *xt = &xp[0][0];
        long q = ((long)t * w_groups + g0 / w_ratio) * 16;
        int part = g0 % w_ratio;
        for (int g = g0; g < g1; g++) {
          int16 acc[CLQ_ROWS];
#if CLQ_W_ZERO
          const int16 zero = convert_int16(vload16(0, wz + q));
#endif
          UNROLL for (int r = 0; r < CLQ_ROWS; r++) {
#if CLQ_W_ZERO
            acc[r] = -(zero * fix[g - g0][r]);
#elif NEED_SUM
            acc[r] = fix[g - g0][r];
#else
            acc[r] = 0;
#endif
          }
#if CLQ_GROUP
          UNROLL for (int k = 0; k < GROUP; k += 8) {
#else
          const int end = min((g + 1) * GROUP, padded) - g * GROUP;
          for (int k = 0; k < end; k += 8) {
#endif
#if CLQ_W_BITS == 4
            const uint16 b = vload16(0, wt);
            const uint16 lo = b & 0x0f0f0f0fu;
            const uint16 hi = (b >> 4) & 0x0f0f0f0fu;
#else
            const uint16 lo = vload16(0, wt) ^ 0x80808080u;
            const uint16 hi = vload16(1, wt) ^ 0x80808080u;
#endif
            wt += 16 * 8 / CLQ_W_PER_WORD;
            UNROLL for (int r = 0; r < CLQ_ROWS; r++) {
              acc[r] = dot_step(acc[r], lo, xt + r);
            }
            UNROLL for (int r = 0; r < CLQ_ROWS; r++) {
              acc[r] = dot_step(acc[r], hi, xt + CLQ_ROWS + r);
            }
            xt += 2 * CLQ_ROWS;
          }
          const float16 s = clq_load_scale16(ws + q);
#if CLQ_W_MIN
          const float16 least = clq_load_half16(0, wm + q);
#endif
          UNROLL for (int r = 0; r < CLQ_ROWS; r++) {
#if CLQ_X_GROUPED
            c[r] = fma(convert_float16(acc[r]) * scale[g - g0][r], s, c[r]);
#else
            c[r] = fma(convert_float16(acc[r]), s, c[r]);
#endif
#if CLQ_W_MIN
            c[r] = fma((float16)lift[g - g0][r], least, c[r]);
#endif
          }
          if (++part == w_ratio) {
            part = 0;
            q += 16;
          }
        }
        UNROLL for (int r = 0; r < CLQ_ROWS; r++) {
#if !CLQ_X_GROUPED
          if (g1 == groups) {
            c[r] = c[r] * xs[min(m0 + r, rows - 1)];
          }
#endif
          if (r < live) {
            clq_store_columns(c[r], o + r * out_stride, left);
          }
        }
      }
    }
  }
}
