/* out[M, N] = x[M, K] * W[N, K]^T with float activations, for CPUs: one
 * work-item computes `row_tiles` tiles of CLQ_ROWS rows times `tiles` tiles of
 * 16 columns with wide vectors. Launch: (row blocks, column blocks),
 * work-groups of one.
 *
 * Each result is one chain of fma over K in ascending order, on weights that
 * are rounded once (lib/weights.h); neither the tiling nor the number of rows
 * shows in the bits. */
#include "lib/gemm_args.h"
#include "lib/tile.h"
#include "lib/x_floats.h"

#ifndef CLQ_ROWS
#define CLQ_ROWS 8 /* 8, or 1: a form without tiles of rows */
#endif
#ifndef CLQ_ROW_TILES
#define CLQ_ROW_TILES 16 /* most row tiles of a work-item */
#endif
#ifndef CLQ_CHUNK
#define CLQ_CHUNK 512 /* elements of K whose weights lie unpacked; of one row, unless it is of f32:
                         at least all */
#endif
#define COLUMN_TILES 4 /* side by side when there is one row: independent chains */

/* One tile of 16 columns while K passes. */
typedef struct tile_cursor {
  __global const clq_stored *w; /* the tile's first */
  __global const clq_scale *ws;
  __global const clq_scale *wm;
  __global const uchar *wz;
  long group; /* the next one's place in these */
  float16 scale, shift;
} tile_cursor;

/* Reads scale and shift of the group that starts here, and steps on. */
static inline void next_group(tile_cursor *t) {
  t->scale = clq_load_scale16(t->group, t->ws);
#if CLQ_W_ZERO
  t->shift = convert_float16(vload16(0, t->wz + t->group));
#elif CLQ_W_MIN
  t->shift = clq_load_scale16(t->group, t->wm);
#else
  t->shift = -CLQ_W_OFFSET * t->scale;
#endif
  t->group += 16;
}

/* CLQ_STEP elements of K as floats, from k on. */
#if CLQ_W_BITS < 16
#define CLQ_STEP CLQ_W_PER_WORD
#else
#define CLQ_STEP 1
#endif
static inline void next_weights(tile_cursor *t, int k, float16 *v) {
#if CLQ_W_BITS >= 16
  v[0] = clq_load_weight16(t->w + (long)k * 16);
#else
  const uint16 word = clq_word16(t->w, k);
  CLQ_UNROLL for (int j = 0; j < CLQ_STEP; j++) {
    v[j] = CLQ_W_VALUE(CLQ_W_CODE(float16, int16, word, j), t->scale, t->shift);
  }
#endif
}

/* sums += x W: x is [depth][rows of the tile]. */
static inline void multiply(const float *x, const float16 *w, int depth, float16 *sums) {
  float16 c[CLQ_TILE_ROWS];
  CLQ_UNROLL for (int r = 0; r < CLQ_TILE_ROWS; r++) {
    c[r] = sums[r];
  }
  for (int k = 0; k < depth; k++) {
    CLQ_UNROLL for (int r = 0; r < CLQ_TILE_ROWS; r++) {
      c[r] = fma((float16)x[k * CLQ_TILE_ROWS + r], w[k], c[r]);
    }
  }
  CLQ_UNROLL for (int r = 0; r < CLQ_TILE_ROWS; r++) {
    sums[r] = c[r];
  }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_f32_tile(
    CLQ_GEMM_F32_ARGS, const int tiles, const int row_tiles) {
  CLQ_GEMM_F32_AT

  const int groups = (depth + group - 1) / group;
  const long words = CLQ_W_BITS < 16 ? CLQ_W_TILE_WORDS((depth + 31) & ~31) : 16L * depth; /* of a tile */
  const int t0 = (int)get_global_id(1) * tiles;
  const int t1 = min(t0 + tiles, (cols + 15) / 16);
  const int first = (int)get_global_id(0) * row_tiles * CLQ_ROWS;

#if CLQ_ROWS == 1
  for (int m = first; m < min(first + row_tiles, rows); m++) {
#if CLQ_X == CLQ_F32
    __global const float *row = x + (long)m * x_stride;
#else
    float row[CLQ_CHUNK];
    clq_x_row(x + (long)m * x_stride, depth, row);
#if CLQ_X_CODES
    clq_x_scale_row(xs, x_zero, m, depth, x_group, row);
#endif
#endif
    for (int t = t0; t < t1; t += COLUMN_TILES) {
      tile_cursor cursor[COLUMN_TILES];
      float16 c[COLUMN_TILES];
      CLQ_UNROLL for (int i = 0; i < COLUMN_TILES; i++) {
        const long at = min(t + i, t1 - 1);
        cursor[i] = (tile_cursor){w + at * words, ws, wm, wz, at * groups * 16, 0.0f, 0.0f};
        c[i] = 0.0f;
      }
      int k = 0;
      for (int g = 0; g < groups; g++) {
        const int end = min((g + 1) * group, depth);
#if CLQ_W_BITS < 16
        CLQ_UNROLL for (int i = 0; i < COLUMN_TILES; i++) {
          next_group(&cursor[i]);
        }
#endif
        for (; k + CLQ_STEP <= end; k += CLQ_STEP) {
          CLQ_UNROLL for (int i = 0; i < COLUMN_TILES; i++) {
            float16 v[CLQ_STEP];
            next_weights(&cursor[i], k, v);
            CLQ_UNROLL for (int j = 0; j < CLQ_STEP; j++) {
              c[i] = fma((float16)row[CLQ_COLUMN(k + j)], v[j], c[i]);
            }
          }
        }
        if (k < end) {
          CLQ_ONCE for (int i = 0; i < COLUMN_TILES; i++) {
            float16 v[CLQ_STEP];
            next_weights(&cursor[i], k, v);
            CLQ_ONCE for (int j = 0; k + j < end; j++) {
              c[i] = fma((float16)row[CLQ_COLUMN(k + j)], v[j], c[i]);
            }
          }
          k = end;
        }
      }
      CLQ_UNROLL for (int i = 0; i < COLUMN_TILES; i++) {
        if (t + i < t1) {
          CLQ_PUT16(c[i], m, (t + i) * 16, out + (long)m * out_stride + (t + i) * 16, true);
        }
      }
    }
  }
#else
  int8 xp[CLQ_ROW_TILES][CLQ_CHUNK]; /* bits of f32: element k of the tile's rows */
  float16 panel[CLQ_CHUNK];
  const int end = min(first + row_tiles * CLQ_TILE_ROWS, rows);
  for (int k0 = 0; k0 < depth; k0 += CLQ_CHUNK) {
    const int k1 = min(k0 + CLQ_CHUNK, depth);
    CLQ_ONCE for (int i = 0; first + i * CLQ_TILE_ROWS < end; i++) {
      const long m = first + i * CLQ_TILE_ROWS;
#if CLQ_W_ORDER
      CLQ_ONCE for (int k = k0; k < k1; k++) {
        CLQ_ONCE for (int r = 0; r < CLQ_TILE_ROWS; r++) {
          ((float *)&xp[i][k - k0])[r] = CLQ_X_VALUE(min(m + r, rows - 1L), CLQ_COLUMN(k));
        }
      }
#else
      const int bytes = (k1 - k0) * (int)sizeof(clq_x);
      clq_pack_rows((__global const char *)(x + m * x_stride + k0), (long)sizeof(clq_x) * x_stride,
                    rows - 1 - (int)m, (bytes + 3) / 4, bytes, 0, xp[i]);
      clq_x_widen(xp[i], (bytes + 3) / 4);
#if CLQ_X_CODES
      clq_x_scale_rows(xs, x_zero, (int)m, rows - 1, k0, k1, depth, x_group, xp[i]);
#endif
#endif
    }
    for (int t = t0; t < t1; t++) {
      tile_cursor cursor = {
          w + t * words, ws, wm, wz, ((long)t * groups + k0 / group) * 16, 0.0f, 0.0f};
      int left = 0;
      CLQ_ONCE for (int k = k0; k < k1; k += CLQ_STEP) {
#if CLQ_W_BITS < 16
        if (left == 0) {
          next_group(&cursor);
          left = group - k % group;
        }
        left -= CLQ_STEP;
#endif
        next_weights(&cursor, k, &panel[k - k0]);
      }
      CLQ_ONCE for (int i = 0; first + i * CLQ_TILE_ROWS < end; i++) {
        const int m0 = first + i * CLQ_TILE_ROWS;
        const int live = min(end - m0, CLQ_TILE_ROWS);
        __global clq_out *o = out + (long)m0 * out_stride + t * 16;
        float16 sums[CLQ_TILE_ROWS];
        CLQ_ONCE for (int r = 0; r < CLQ_TILE_ROWS; r++) {
          const bool partial = k0 > 0 && r < live;
          sums[r] = partial ? clq_load_columns(o + r * out_stride, cols - t * 16) : (float16)0.0f;
        }
        multiply((const float *)xp[i], panel, k1 - k0, sums);
        CLQ_ONCE for (int r = 0; r < live; r++) {
          CLQ_PUT16(sums[r], m0 + r, t * 16, o + r * out_stride, k1 == depth);
        }
      }
    }
  }
#endif
}
