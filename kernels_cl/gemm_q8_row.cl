/* out[M, N] = x[M, K] * W[N, K]^T with int8 activations for few rows (one, as a
 * rule), for CPUs: one work-item computes a row's `tiles` tiles of 16 columns,
 * which lie behind one another in memory: a stream of weights at the rate of
 * memory. Launch: (rows, column blocks), work-groups of one.
 * Weights, groups and the order of additions: as gemm_q8_tile.cl. */
#include "lib/gemm_args.h"
#include "lib/q8.h"

/* Asks for the cache line 8 KiB on: the processor alone looks no further than a page ahead, which
 * left a third of the memory's rate unused. Past the end it asks for nothing. */
static inline void fetch_ahead(__global const uint *w) {
#if CLQ_HAS_X86_AVX2
  __asm__ volatile("prefetcht0 %0" : : "m"(w[2048]));
#endif
}

/* A group that is one block of known length. */
#define CLQ_ONE_BLOCK (CLQ_SUM_GROUP && CLQ_SUM_GROUP <= CLQ_Q8_BLOCK_K)
#if CLQ_ONE_BLOCK
#define CLQ_UNROLL_GROUP CLQ_UNROLL
#else
#define CLQ_UNROLL_GROUP
#endif

static inline int sum_words(const int *code, int words) {
  int8 s = 0;
  int i = 0;
  CLQ_ONCE for (; i + 8 <= words; i += 8) {
    s = clq_sum_codes(s, vload8(0, code + i));
  }
  int sum = (s.s0 + s.s1 + s.s2 + s.s3) + (s.s4 + s.s5 + s.s6 + s.s7);
  CLQ_ONCE for (; i < words; i++) {
    sum += clq_sum_codes((int8)0, (int8)code[i]).s0;
  }
  return sum;
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_q8_row(
    CLQ_GEMM_Q8_ARGS, const int tiles) {
  CLQ_GEMM_Q8_AT

  const int span = clq_sum_group(group); /* elements summed in int32 */
  const int padded = (depth + 31) & ~31;
  const int groups = (depth + span - 1) / span;
  const int w_groups = (groups + w_ratio - 1) / w_ratio;
  const int chunk_groups = CLQ_CHUNK / span;
  const int t0 = (int)get_global_id(1) * tiles;
  const int t1 = min(t0 + tiles, (cols + 15) / 16);
  const long m = (long)get_global_id(0);
  __global const char *row = x + m * x_stride;

  int code[CLQ_Q8_X_WORDS(CLQ_CHUNK)] __attribute__((aligned(64)));
  int sum[CLQ_CHUNK_GROUPS];
  float scale[CLQ_CHUNK_GROUPS];
#if CLQ_X_AFFINE
  int zero[CLQ_CHUNK_GROUPS];
  const int ones = CLQ_Q8_ONES;
#endif

  for (int g0 = 0; g0 < groups; g0 += chunk_groups) {
    const int g1 = min(g0 + chunk_groups, groups);
    const int k0 = g0 * span;
    const int k1 = min(g1 * span, padded);
    const int words = (k1 - k0) / 4;
    const int whole = CLQ_W_ORDER ? 0 : (min(k1, depth) - k0) / 4;
    int i = 0;
    CLQ_ONCE for (; i + 8 <= whole; i += 8) {
      __global const char *p = row + k0 + 4 * i;
      vstore8((int8)(as_int4(vload16(0, p)), as_int4(vload16(1, p))) ^ (int8)(int)CLQ_X_FLIP, 0,
              code + i);
    }
    CLQ_ONCE for (; i < words; i++) {
      code[i] = CLQ_LOAD_CODES(row, k0 + 4 * i, depth - k0 - 4 * i);
    }
    CLQ_ONCE for (int g = 0; g < g1 - g0; g++) {
      const long at = clq_x_at(m, g0 + g, groups);
      const int elements = clq_group_depth(g0 + g, span, depth);
#if CLQ_Q8_NEED_SUM && CLQ_X_SUM
      sum[g] = x_sum[at] - CLQ_X_SHIFT * elements;
#elif CLQ_Q8_NEED_SUM
      sum[g] = sum_words(code + g * (span / 4), min(span, k1 - k0 - g * span) / 4);
#else
      sum[g] = 0;
#endif
#if CLQ_X_AFFINE
      zero[g] = clq_x_offset(x_zero, at);
      sum[g] -= zero[g] * elements;
#endif
#if CLQ_X_GROUPED
      scale[g] = xs[at];
#endif
    }

#if CLQ_Q8_WIDE
    for (i = words - 1; i >= 0; i--) {
      const char4 codes = as_char4(code[i]);
      code[2 * i] = as_int(convert_short2(codes.even));
      code[2 * i + 1] = as_int(convert_short2(codes.odd));
    }
#endif

    for (int t = t0; t < t1; t++) {
      const int left = cols - t * 16;
      __global clq_out *o = out + m * out_stride + t * 16;
      __global const uint *b = w + t * CLQ_W_TILE_WORDS(padded);
      long q = ((long)t * w_groups + g0 / w_ratio) * 16;
      int w_part = g0 % w_ratio;
      float16 c = g0 > 0 ? clq_load_columns(o, left) : (float16)0.0f;
      const int *a = code;
      for (int g = 0; g < g1 - g0; g++) {
#if CLQ_W_ZERO
        int16 acc = -(convert_int16(vload16(0, wz + q)) * sum[g]);
#else
        int16 acc = -CLQ_Q8_OFFSET * sum[g];
#endif
        const int end = CLQ_SUM_GROUP ? CLQ_SUM_GROUP : min(span, k1 - k0 - g * span);
#if CLQ_X_AFFINE
        int16 w_sum = CLQ_Q8_HIDDEN * (clq_group_depth(g0 + g, span, depth) - end);
#endif
        for (int block = 0; block < end; block += CLQ_Q8_BLOCK_K) {
          /* A chain for each step, so that none need wait for another. */
          clq_columns part[CLQ_Q8_STEPS];
          CLQ_UNROLL for (int s = 0; s < CLQ_Q8_STEPS; s++) {
            part[s] = CLQ_Q8_NO_COLUMNS;
          }
#if CLQ_X_AFFINE
          clq_columns w_codes = CLQ_Q8_NO_COLUMNS;
#endif
          const int block_end = CLQ_ONE_BLOCK ? CLQ_SUM_GROUP : min(end, block + CLQ_Q8_BLOCK_K);
          CLQ_UNROLL_GROUP for (int k = block; k < block_end; k += 8) {
            const int at = k0 + g * span + k;
            CLQ_UNROLL for (int s = 0; s < CLQ_Q8_STEPS; s++) {
              part[s] = clq_step(part[s], clq_step_weights(b, at, s), a + s);
#if CLQ_X_AFFINE
              w_codes = clq_step(w_codes, clq_step_weights(b, at, s), &ones);
#endif
            }
            CLQ_UNROLL for (int s = 0; s < (CLQ_W_BITS + 3) / 4; s++) {
              fetch_ahead(b + (long)at / 8 * (4 * CLQ_W_BITS) + 16 * s);
            }
            a += CLQ_Q8_STEPS;
          }
          CLQ_UNROLL for (int s = 0; s < CLQ_Q8_STEPS; s++) {
            acc += clq_steps_sum(part[s]);
          }
#if CLQ_X_AFFINE
          w_sum += clq_steps_sum(w_codes);
#endif
        }
#if CLQ_X_AFFINE
        acc -= w_sum * zero[g];
#endif
        const float16 s = clq_load_scale16(q, ws);
#if CLQ_X_GROUPED
        c = fma(convert_float16(acc) * scale[g], s, c);
#else
        c = fma(convert_float16(acc), s, c);
#endif
#if CLQ_W_MIN && CLQ_X_GROUPED
        c = fma((float16)(scale[g] * (float)sum[g]), clq_load_scale16(q, wm), c);
#elif CLQ_W_MIN
        c = fma((float16)(float)sum[g], clq_load_scale16(q, wm), c);
#endif
        if (++w_part == w_ratio) {
          w_part = 0;
          q += 16;
        }
      }
#if !CLQ_X_GROUPED
      if (g1 == groups) {
        c = c * xs[m];
      }
#endif
      CLQ_PUT16(c, m, t * 16, o, g1 == groups);
    }
  }
}
