/* out[M, N] = x[M, K] * W[N, K]^T with activations of i8 or u8, for CPUs: one
 * work-item computes `row_tiles` tiles of CLQ_TILE_ROWS rows by `tiles` tiles of 16
 * columns with wide vectors. Launch: (row blocks, column blocks), work-groups
 * of one.
 *
 * Weights as host/quant/weights.h packs them. Over each group of elements that
 * share an x scale and a w scale (the shorter of x's groups and w's), products are
 * summed exactly in int32; groups are added in ascending order:
 *   x scale per group:  c = fma(float(acc) * xs, ws, c); c = fma(xs * float(sum), wmin, c)
 *   x scale per token:  c = fma(float(acc), ws, c);      c = fma(float(sum), wmin, c);  out = c * xs
 * acc and sum are those of codes less their zero points, of x and W both; whatever the tiles, the
 * back end or the number of rows are.
 *
 * K is taken in chunks, so that the rows of x, laid side by side, stay in the
 * first cache while all column tiles pass, and the column tiles' weights in the
 * second while all row tiles pass. Partial sums wait in an `out` of f32 meanwhile.
 * Codes whose bits lie in two rows, or four to a byte, cost more to take out than nibbles, as do those of
 * a table but for one look-up of 64 codes: of these a column tile's chunk is decoded once for
 * CLQ_ROW_TILES tiles of x, which then wait in the second cache (CLQ_PANEL), with the scales and minima
 * of super-blocks. */
#include "lib/gemm_args.h"
#include "lib/q8.h"

#ifndef CLQ_BLOCK
#define CLQ_BLOCK 8 /* rows computed at once: 8 where there are 32 vector registers, else 4 */
#endif
#ifndef CLQ_ROW_TILES
#define CLQ_ROW_TILES (CLQ_CHUNK > 4096 ? 1 : 8) /* most tiles of rows that weights are decoded for */
#endif
#define CLQ_PANEL (CLQ_W_TABLE ? !CLQ_DOT_VNNI : CLQ_W_BITS < 8 && CLQ_W_BITS != 4)
#define X_TILES (CLQ_PANEL ? CLQ_ROW_TILES : 1)

/* A column tile's chunk of weights, decoded. */
#define CLQ_PANEL_SCALES (CLQ_PANEL && CLQ_W_SUPER)
typedef struct w_panel {
  int16 code[CLQ_PANEL ? CLQ_CHUNK / 4 + 8 : 1]; /* from a multiple of 32 on */
  float16 scale[CLQ_PANEL_SCALES ? CLQ_CHUNK_GROUPS + 1 : 1];
  float16 min[CLQ_PANEL_SCALES && CLQ_W_MIN ? CLQ_CHUNK_GROUPS + 1 : 1];
} w_panel;
#if CLQ_PANEL_SCALES
#define CLQ_TILE_SCALE(i, q) panel->scale[i]
#define CLQ_TILE_MIN(i, q) panel->min[i]
#else
#define CLQ_TILE_SCALE(i, q) clq_load_scale16(q, ws)
#define CLQ_TILE_MIN(i, q) clq_load_scale16(q, wm)
#endif

/* One row tile of one chunk: four codes of each row side by side, and what each
 * group needs of each row. */
typedef struct x_tile {
  int8 code[CLQ_Q8_X_WORDS(CLQ_CHUNK)];
  int8 fix[CLQ_CHUNK_GROUPS];     /* where the sum of products starts; with zero points: the factor
                                     that they are subtracted with */
  float8 scale[CLQ_CHUNK_GROUPS + 1]; /* one for CLQ_X_RATIO groups, the first of which began in the
                                         chunk before, perhaps */
  float8 lift[CLQ_CHUNK_GROUPS]; /* the minimum's factor */
#if CLQ_X_AFFINE
  int8 zero[CLQ_CHUNK_GROUPS + 1]; /* as the scales; one, if a row has one scale */
#endif
} x_tile;

/* Planes of x, in the order in which they are packed, and whether this program packs one. */
enum { CODES, SCALES, SUMS, ZEROS, PLANES };
static inline bool is_packed(int plane) {
  return plane == CODES    ? !CLQ_W_ORDER
         : plane == SCALES ? CLQ_X_GROUPED
         : plane == SUMS   ? CLQ_Q8_NEED_SUM && CLQ_X_SUM
                           : CLQ_X_ZERO;
}

/* Which of a tile's scales is that of group g of the chunk from group g0 on, which of its zero
 * points. */
static inline int scale_at(int g0, int g) {
  return (g0 % CLQ_X_RATIO + g) / CLQ_X_RATIO;
}
static inline int zero_at(int g0, int g) {
  return CLQ_X_GROUPED ? scale_at(g0, g) : 0;
}

/* c += x * W for the groups g0 .. g1 - 1, `depth` elements in all from k0 on, of which x has the first
 * `there`: CLQ_BLOCK rows from row r0 of the tile on, 16 columns, whose scales, minima and zero points
 * are the elements from `plane` on. */
static inline void multiply(const x_tile *x, int r0, int g0, int g1, int k0, int depth, int there,
                            int group, __global const uint *w, const w_panel *panel,
                            __global const clq_scale *ws, __global const clq_scale *wm,
                            __global const uchar *wz, long plane, int w_ratio,
                            float16 *sums) {
  float16 c[CLQ_BLOCK];
  CLQ_UNROLL for (int r = 0; r < CLQ_BLOCK; r++) {
    c[r] = sums[r];
  }
  const int span = clq_sum_group(group);
  const int *a = (const int *)x->code + r0;
#if CLQ_X_AFFINE
  const int ones = CLQ_Q8_ONES;
#endif
  long q = plane + g0 / w_ratio * 16;
  int w_group = 0;
  int w_part = g0 % w_ratio;
  for (int g = 0; g < g1 - g0; g++) {
    const int *fix = (const int *)&x->fix[g] + r0;
    const float *scale = (const float *)&x->scale[scale_at(g0, g)] + r0;
    const float *lift = (const float *)&x->lift[g] + r0;
    int16 acc[CLQ_BLOCK];
#if CLQ_W_ZERO
    const int16 zero = convert_int16(vload16(0, wz + q));
#endif
    CLQ_UNROLL for (int r = 0; r < CLQ_BLOCK; r++) {
#if CLQ_W_ZERO
      acc[r] = -(zero * fix[r]);
#elif CLQ_Q8_NEED_SUM
      acc[r] = fix[r];
#else
      acc[r] = 0;
#endif
    }
    const int end = CLQ_SUM_GROUP ? CLQ_SUM_GROUP : min(span, depth - g * span);
#if CLQ_X_AFFINE
    int16 w_sum = CLQ_Q8_HIDDEN * (min(span, there - g * span) - end);
#endif
    CLQ_ONCE for (int block = 0; block < end; block += CLQ_Q8_HALVES ? CLQ_Q8_BLOCK_K : end) {
#if CLQ_Q8_HALVES
      clq_columns part[CLQ_BLOCK];
      CLQ_UNROLL for (int r = 0; r < CLQ_BLOCK; r++) {
        part[r] = CLQ_Q8_NO_COLUMNS;
      }
#else
      clq_columns *part = acc;
#endif
#if CLQ_X_AFFINE
      clq_columns w_codes = CLQ_Q8_NO_COLUMNS;
#endif
      const int block_end = CLQ_Q8_HALVES ? min(end, block + CLQ_Q8_BLOCK_K) : end;
#if CLQ_SUM_GROUP && CLQ_SUM_GROUP <= 32
      CLQ_UNROLL
#else
      CLQ_ONCE
#endif
      for (int k = block; k < block_end; k += 8) {
        CLQ_UNROLL for (int s = 0; s < CLQ_Q8_STEPS; s++) {
          const int at = g * span + k;
          const clq_columns v = CLQ_PANEL
                                    ? clq_waiting_weights(panel->code + ((k0 & 31) + at) / 4, s)
                                    : clq_step_weights(w, k0 + at, s);
          CLQ_UNROLL for (int r = 0; r < CLQ_BLOCK; r++) {
            part[r] = clq_step(part[r], v, a + s * CLQ_TILE_ROWS + r);
          }
#if CLQ_X_AFFINE
          w_codes = clq_step(w_codes, v, &ones);
#endif
        }
        a += CLQ_Q8_STEPS * CLQ_TILE_ROWS;
      }
#if CLQ_Q8_HALVES
      CLQ_UNROLL for (int r = 0; r < CLQ_BLOCK; r++) {
        acc[r] += clq_steps_sum(part[r]);
      }
#endif
#if CLQ_X_AFFINE
      w_sum += clq_steps_sum(w_codes);
#endif
    }
#if CLQ_X_AFFINE
    const int *offset = (const int *)&x->zero[zero_at(g0, g)] + r0;
    CLQ_UNROLL for (int r = 0; r < CLQ_BLOCK; r++) {
      acc[r] -= w_sum * offset[r];
    }
#endif
    const float16 s = CLQ_TILE_SCALE(w_group, q);
#if CLQ_W_MIN
    const float16 least = CLQ_TILE_MIN(w_group, q);
#endif
    CLQ_UNROLL for (int r = 0; r < CLQ_BLOCK; r++) {
#if CLQ_X_GROUPED
      c[r] = fma(convert_float16(acc[r]) * scale[r], s, c[r]);
#else
      c[r] = fma(convert_float16(acc[r]), s, c[r]);
#endif
#if CLQ_W_MIN
      c[r] = fma((float16)lift[r], least, c[r]);
#endif
    }
    if (++w_part == w_ratio) {
      w_part = 0;
      w_group++;
      q += 16;
    }
  }
  CLQ_UNROLL for (int r = 0; r < CLQ_BLOCK; r++) {
    sums[r] = c[r];
  }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_q8_tile(
    CLQ_GEMM_Q8_ARGS, const int tiles, const int row_tiles) {
  CLQ_GEMM_Q8_AT

  const int span = clq_sum_group(group); /* elements summed in int32 */
  const int padded = (depth + 31) & ~31;
  const int groups = (depth + span - 1) / span;
  const int w_groups = (groups + w_ratio - 1) / w_ratio;
  const int chunk_groups = CLQ_CHUNK / span;
  const int t0 = (int)get_global_id(1) * tiles;
  const int t1 = min(t0 + tiles, (cols + 15) / 16);
  const int first = (int)get_global_id(0) * row_tiles * CLQ_TILE_ROWS;
  const int end = min(first + row_tiles * CLQ_TILE_ROWS, rows);

  x_tile xt[X_TILES];
#if CLQ_PANEL
  w_panel decoded;
  const w_panel *const panel = &decoded;
#else
  const w_panel *const panel = 0;
#endif

  for (int g0 = 0; g0 < groups; g0 += chunk_groups) {
    const int g1 = min(g0 + chunk_groups, groups);
    const int k0 = g0 * span;
    const int k1 = min(g1 * span, padded);
    const int there = min(k1, depth) - k0; /* elements of K, without padding */
    for (int m = first; m < end; m += X_TILES * CLQ_TILE_ROWS) {
      const int m1 = min(m + X_TILES * CLQ_TILE_ROWS, end);
      CLQ_ONCE for (int mi = m; mi < m1; mi += CLQ_TILE_ROWS) {
        x_tile *xi = &xt[(mi - m) / CLQ_TILE_ROWS];
#if CLQ_W_ORDER
        CLQ_ONCE for (int i = 0; i < (k1 - k0) / 4; i++) {
          CLQ_ONCE for (int r = 0; r < CLQ_TILE_ROWS; r++) {
            __global const char *row = x + min(mi + r, rows - 1) * x_stride;
            const int k = k0 + 4 * i;
            ((int *)&xi->code[i])[r] = CLQ_LOAD_CODES(row, k, depth - k);
          }
        }
#endif
        /* Codes, scales, sums and zero points, in a loop so that they share the code that packs
         * them. */
        CLQ_ONCE for (int plane = 0; plane < PLANES; plane++) {
          if (!is_packed(plane)) {
            continue;
          }
          const bool of_rows = CLQ_X_GROUPED ? false : plane == ZEROS;
          const int gx = of_rows ? 0 : g0 / CLQ_X_RATIO;
          const int scales = of_rows ? 1 : scale_at(g0, g1 - g0 - 1) + 1;
          const int words = plane == CODES ? (k1 - k0) / 4 : scales;
          const int bytes = plane == CODES ? there : 4 * words;
          const long stride = plane == CODES ? x_stride : of_rows ? 4 : 4L * clq_x_groups(groups);
          __global const char *from = plane == CODES    ? x + k0
                                      : plane == SCALES ? (__global const char *)(xs + gx)
                                      : plane == SUMS   ? (__global const char *)(x_sum + gx)
                                                        : (__global const char *)(x_zero + gx);
#if CLQ_X_AFFINE
          int8 *zeros = xi->zero;
#else
          int8 *zeros = xi->fix;
#endif
          int8 *to = plane == CODES    ? xi->code
                     : plane == SCALES ? (int8 *)xi->scale
                     : plane == SUMS   ? xi->fix
                                       : zeros;
          clq_pack_rows(from + mi * stride, stride, rows - 1 - mi, words, bytes,
                        plane == CODES ? CLQ_X_FLIP : 0u, to);
        }
#if CLQ_X_AFFINE
        CLQ_ONCE for (int i = 0; i <= zero_at(g0, g1 - g0 - 1); i++) {
          xi->zero[i] = (CLQ_X_ZERO ? xi->zero[i] : 0) - CLQ_X_SHIFT;
        }
#endif
#if CLQ_Q8_NEED_SUM
        CLQ_ONCE for (int g = 0; g < g1 - g0; g++) {
#if CLQ_X_AFFINE
          const int elements = min(span, there - g * span);
#endif
#if CLQ_X_SUM
          int8 sum = xi->fix[g];
#if CLQ_X_SHIFT
          sum -= CLQ_X_SHIFT * elements;
#endif
#else
          int8 sum = 0;
          const int i1 = min((g + 1) * span, k1 - k0) / 4;
          CLQ_ONCE for (int i = g * (span / 4); i < i1; i++) {
            sum = clq_sum_codes(sum, xi->code[i]);
          }
#endif
#if CLQ_X_AFFINE
          sum -= xi->zero[zero_at(g0, g)] * elements;
#endif
          xi->fix[g] = CLQ_W_ZERO ? sum : -CLQ_Q8_OFFSET * sum;
          xi->lift[g] =
              CLQ_X_GROUPED ? xi->scale[scale_at(g0, g)] * convert_float8(sum) : convert_float8(sum);
        }
#endif
#if CLQ_Q8_WIDE
        for (int i = (k1 - k0) / 4 - 1; i >= 0; i--) {
          const short16 codes = as_short16(xi->code[i]);
          xi->code[2 * i] = as_int8((codes << (short)8) >> (short)8);
          xi->code[2 * i + 1] = as_int8(codes >> (short)8);
        }
#endif
      }
      for (int t = t0; t < t1; t++) {
        const int left = cols - t * 16;
        const long plane = (long)t * w_groups * 16;
        __global const uint *words = w + t * CLQ_W_TILE_WORDS(padded);
#if CLQ_PANEL
        const int start = k0 & ~31;
        CLQ_ONCE for (int k = start; k < k1; k += 32) {
          CLQ_UNROLL for (int i = 0; i < 8; i++) {
            clq_keep_weights(clq_four_weights(words + CLQ_W_BLOCK(k), i / 2 * 8, i % 2),
                             &decoded.code[(k - start) / 4 + i]);
          }
        }
#endif
#if CLQ_PANEL_SCALES
        const long w_first = plane + g0 / w_ratio * 16;
        CLQ_ONCE for (int i = 0; i <= (g1 - 1) / w_ratio - g0 / w_ratio; i++) {
          decoded.scale[i] = clq_load_scale16(w_first + 16 * i, ws);
#if CLQ_W_MIN
          decoded.min[i] = clq_load_scale16(w_first + 16 * i, wm);
#endif
        }
#endif
        CLQ_ONCE for (int r0 = m; r0 < m1; r0 += CLQ_BLOCK) {
          __global clq_out *o = out + r0 * out_stride + t * 16;
          const int live = min(end - r0, CLQ_BLOCK);
          float16 c[CLQ_BLOCK];
          CLQ_ONCE for (int r = 0; r < CLQ_BLOCK; r++) {
            const bool partial = g0 > 0 && r < live;
            c[r] = partial ? clq_load_columns(o + r * out_stride, left) : (float16)0.0f;
          }
          multiply(&xt[(r0 - m) / CLQ_TILE_ROWS], (r0 - m) % CLQ_TILE_ROWS, g0, g1, k0, k1 - k0, there,
                   group, words, panel, ws, wm, wz, plane, w_ratio, c);
          CLQ_ONCE for (int r = 0; r < live; r++) {
#if !CLQ_X_GROUPED
            if (g1 == groups) {
              c[r] = c[r] * xs[r0 + r];
            }
#endif
            CLQ_PUT16(c[r], r0 + r, t * 16, o + r * out_stride, g1 == groups);
          }
        }
      }
    }
  }
}
