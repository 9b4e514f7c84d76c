/* Packed weights as floats, for a library that multiplies those:
 *   floats[k, n] = W[first + n, k]
 * dense, `cols` columns from `first` on, both multiples of 16; what is behind the last row of W is 0.
 * Weights are rounded once (lib/weights.h), to the bits that the other forms of GEMM multiply by, and
 * stand at the columns of x that they belong to, whatever their order.
 * Launch: (columns padded to the work-group, blocks of 32 elements of K), work-groups of one row. */
#include "lib/order.h"
#include "lib/tensor.h"
#include "lib/weights.h"

__kernel void gemm_f32_weights(CLQ_TENSOR(const clq_stored, w), CLQ_TENSOR(const clq_scale, ws),
                               CLQ_TENSOR(const clq_scale, wm), CLQ_TENSOR(const uchar, wz),
                               CLQ_TENSOR(float, floats), const int first, const int cols,
                               const int depth, const int group CLQ_ORDER_ARGS) {
  CLQ_AT(const clq_stored, w);
  CLQ_AT(const clq_scale, ws);
  CLQ_AT(const clq_scale, wm);
  CLQ_AT(const uchar, wz);
  CLQ_AT(float, floats);
  CLQ_ORDER_AT

  const int n = (int)get_global_id(0);
  const int k0 = (int)get_global_id(1) * 32;
  const int k1 = min(k0 + 32, depth);
  if (n >= cols) {
    return;
  }
  const long tile = (first + n) / 16;
  const int lane = n % 16;
#if CLQ_W_BITS >= 16
  for (int k = k0; k < k1; k++) {
    floats[(long)CLQ_COLUMN(k) * cols + n] = clq_load_weight((tile * depth + k) * 16 + lane, w);
  }
#else
  __global const uint *wt = w + tile * CLQ_W_TILE_WORDS((depth + 31) & ~31) + lane;
  const int groups = (depth + group - 1) / group;
  for (int k = k0; k < k1; k += CLQ_W_PER_WORD) {
    const uint word = clq_word(wt, k);
    const long q = (tile * groups + k / group) * 16 + lane;
    const float s = clq_load_scale(q, ws);
#if CLQ_W_ZERO
    const float shift = (float)wz[q];
#elif CLQ_W_MIN
    const float shift = clq_load_scale(q, wm);
#else
    const float shift = -CLQ_W_OFFSET * s;
#endif
    for (int j = 0; j < min(CLQ_W_PER_WORD, k1 - k); j++) {
      floats[(long)CLQ_COLUMN(k + j) * cols + n] =
          CLQ_W_VALUE(CLQ_W_CODE(float, int, word, j), s, shift);
    }
  }
#endif
}
