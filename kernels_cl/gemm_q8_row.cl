/* out[M, N] = x[M, K] * W[N, K]^T with int8 activations for few rows (one, as a
 * rule), for CPUs: one work-item computes a row's `tiles` tiles of 16 columns,
 * which lie behind one another in memory: a stream of weights at the rate of
 * memory. Launch: (rows, column blocks), work-groups of one.
 * Weights, groups and the order of additions: as gemm_q8_tile.cl. */
#include "lib/q8.h"
#include "lib/tensor.h"
#include "lib/tile.h"

#ifndef CLQ_CHUNK
#define CLQ_CHUNK 2048 /* most elements of K at a time, a multiple of 32, at least the group */
#endif

#if CLQ_GROUP
#define CHUNK_GROUPS (CLQ_CHUNK / CLQ_GROUP)
#else
#define CHUNK_GROUPS (CLQ_CHUNK / 8)
#endif

/* Asks for the cache line 8 KiB on: the processor alone looks no further than a page ahead, which
 * left a third of the memory's rate unused. Past the end it asks for nothing. */
static inline void fetch_ahead(__global const uint *w) {
#if CLQ_HAS_X86_AVX2
  __asm__ volatile("prefetcht0 %0" : : "m"(w[2048]));
#endif
}

static inline int sum_words(const int *code, int words) {
  int8 s = 0;
  int i = 0;
  ONCE for (; i + 8 <= words; i += 8) {
    s = sum_codes(s, vload8(0, code + i));
  }
  int sum = (s.s0 + s.s1 + s.s2 + s.s3) + (s.s4 + s.s5 + s.s6 + s.s7);
  ONCE for (; i < words; i++) {
    sum += sum_codes((int8)0, (int8)code[i]).s0;
  }
  return sum;
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_q8_row(
    CLQ_TENSOR(const char, x), CLQ_TENSOR(const float, xs), CLQ_TENSOR(const int, x_sum),
    CLQ_TENSOR(const uint, w), CLQ_TENSOR(const clq_scale, ws), CLQ_TENSOR(const half, wm),
    CLQ_TENSOR(const uchar, wz), CLQ_TENSOR(clq_out, out), const long x_stride,
    const long out_stride, const int rows, const int cols, const int depth, const int group,
    const int w_ratio, const int tiles) {
  CLQ_AT(const char, x);
  CLQ_AT(const float, xs);
  CLQ_AT(const int, x_sum);
  CLQ_AT(const uint, w);
  CLQ_AT(const clq_scale, ws);
  CLQ_AT(const half, wm);
  CLQ_AT(const uchar, wz);
  CLQ_AT(clq_out, out);

  const int padded = (depth + 31) & ~31;
  const int groups = (depth + GROUP - 1) / GROUP;
  const int w_groups = (groups + w_ratio - 1) / w_ratio;
  const int chunk_groups = CLQ_CHUNK / GROUP;
  const int t0 = (int)get_global_id(1) * tiles;
  const int t1 = min(t0 + tiles, (cols + 15) / 16);
  const long m = (long)get_global_id(0);
  __global const char *row = x + m * x_stride;

  int code[X_WORDS(CLQ_CHUNK)] __attribute__((aligned(64)));
  int sum[CHUNK_GROUPS];
  float scale[CHUNK_GROUPS];

  for (int g0 = 0; g0 < groups; g0 += chunk_groups) {
    const int g1 = min(g0 + chunk_groups, groups);
    const int k0 = g0 * GROUP;
    const int k1 = min(g1 * GROUP, padded);
    const int words = (k1 - k0) / 4;
    const int whole = (min(k1, depth) - k0) / 4;
    int i = 0;
    ONCE for (; i + 8 <= whole; i += 8) {
      __global const char *p = row + k0 + 4 * i;
      vstore8((int8)(as_int4(vload16(0, p)), as_int4(vload16(1, p))), 0, code + i);
    }
    ONCE for (; i < words; i++) {
      code[i] = clq_load_bytes(row + k0 + 4 * i, depth - k0 - 4 * i);
    }
    ONCE for (int g = 0; g < g1 - g0; g++) {
#if NEED_SUM && CLQ_X_SUM
      sum[g] = x_sum[m * groups + g0 + g];
#elif NEED_SUM
      sum[g] = sum_words(code + g * (GROUP / 4), min(GROUP, k1 - k0 - g * GROUP) / 4);
#else
      sum[g] = 0;
#endif
#if CLQ_X_GROUPED
      scale[g] = xs[m * groups + g0 + g];
#endif
    }

#if WIDE
    for (i = words - 1; i >= 0; i--) {
      const char4 codes = as_char4(code[i]);
      code[2 * i] = as_int(convert_short2(codes.even));
      code[2 * i + 1] = as_int(convert_short2(codes.odd));
    }
#endif

    for (int t = t0; t < t1; t++) {
      const int left = cols - t * 16;
      __global clq_out *o = out + m * out_stride + t * 16;
      __global const uint *b = w + ((long)t * padded + k0) / CLQ_W_PER_WORD * 16;
      long q = ((long)t * w_groups + g0 / w_ratio) * 16;
      int part = g0 % w_ratio;
      float16 c = g0 > 0 ? clq_load_columns(o, left) : (float16)0.0f;
      const int *a = code;
      for (int g = 0; g < g1 - g0; g++) {
#if CLQ_W_ZERO
        int16 acc = -(convert_int16(vload16(0, wz + q)) * sum[g]);
#else
        int16 acc = -OFFSET * sum[g];
#endif
        const int end = CLQ_GROUP ? CLQ_GROUP : min(GROUP, k1 - k0 - g * GROUP);
        for (int block = 0; block < end; block += BLOCK_K) {
          /* A chain for each step, so that none need wait for another. */
          columns part[STEPS];
          UNROLL for (int s = 0; s < STEPS; s++) {
            part[s] = NO_COLUMNS;
          }
          const int block_end = min(end, block + BLOCK_K);
          for (int k = block; k < block_end; k += 8) {
            UNROLL for (int s = 0; s < STEPS; s++) {
              part[s] = step(part[s], step_weights(b, s), a + s);
            }
            UNROLL for (int s = 0; s < W_WORDS_PER_8; s += 16) {
              fetch_ahead(b + s);
            }
            b += W_WORDS_PER_8;
            a += STEPS;
          }
          UNROLL for (int s = 0; s < STEPS; s++) {
            acc += steps_sum(part[s]);
          }
        }
        const float16 s = clq_load_scale16(ws + q);
#if CLQ_X_GROUPED
        c = fma(convert_float16(acc) * scale[g], s, c);
#else
        c = fma(convert_float16(acc), s, c);
#endif
#if CLQ_W_MIN && CLQ_X_GROUPED
        c = fma((float16)(scale[g] * (float)sum[g]), clq_load_half16(0, wm + q), c);
#elif CLQ_W_MIN
        c = fma((float16)(float)sum[g], clq_load_half16(0, wm + q), c);
#endif
        if (++part == w_ratio) {
          part = 0;
          q += 16;
        }
      }
#if !CLQ_X_GROUPED
      if (g1 == groups) {
        c = c * xs[m];
      }
#endif
      clq_store_columns(c, o, left);
    }
  }
}
