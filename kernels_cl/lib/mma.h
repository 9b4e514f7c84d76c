/* Integer matrix products of a warp of 32, on tensor cores where there are such:
 *   clq_mma_s8(c, a, b, scratch)   c[16, 8] += a[16, 32] * b[32, 8], bytes of b signed
 *   clq_mma_u8(c, a, b, scratch)   the same, bytes of b unsigned
 * a is signed, c int32, exact. What a lane holds, with row = lane / 4 and quad = lane % 4:
 *   a[4]  words of four bytes of K: rows row and row + 8 at byte 4 * quad, then the same two rows
 *         at byte 16 + 4 * quad
 *   b[2]  of column row: bytes 4 * quad and on, and 16 + 4 * quad and on
 *   c[4]  columns 2 * quad and 2 * quad + 1 of row `row`, then of row + 8
 * That is the layout of PTX's mma.m16n8k32 (PTX ISA, "Matrix Fragments for mma.m16n8k32").
 *
 * Back end: CLQ_MMA_NVIDIA (compute capability 8.0 and later), or none: through local memory,
 * which shows what the kernels do where no such unit is. scratch: CLQ_MMA_SCRATCH words a warp, in
 * local memory. Every work-item of the group makes the call, at uniform top level. */
#ifndef CLQ_LIB_MMA_H
#define CLQ_LIB_MMA_H

#include "lib/dot.h"
#include "lib/traits.h"

#ifndef CLQ_MMA_NVIDIA
#define CLQ_MMA_NVIDIA (CLQ_HAS_NVIDIA_MMA && CLQ_HAS_NVIDIA_PTX)
#endif

#if CLQ_MMA_NVIDIA

#define CLQ_MMA_SCRATCH 1
#define CLQ_MMA_UNROLL _Pragma("unroll") /* before loops over fragments, which are registers */

#define CLQ_DEFINE_MMA(NAME, TYPE)                                                         \
  CLQ_INLINE void NAME(int *c, const uint *a, const uint *b, __local uint *scratch) {      \
    __asm__("mma.sync.aligned.m16n8k32.row.col.s32.s8." TYPE ".s32 "                       \
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"              \
            : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                               \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));           \
  }
CLQ_DEFINE_MMA(clq_mma_s8, "s8")
CLQ_DEFINE_MMA(clq_mma_u8, "u8")

#else

#define CLQ_MMA_SCRATCH (32 * 6)
#define CLQ_MMA_UNROLL _Pragma("nounroll")

/* Word k of row r of a, of column n of b. */
#define CLQ_MMA_A(r, k) scratch[6 * (4 * ((r) & 7) + ((k) & 3)) + (r) / 8 + 2 * ((k) / 4)]
#define CLQ_MMA_B(n, k) scratch[6 * (4 * (n) + ((k) & 3)) + 4 + (k) / 4]

#define CLQ_DEFINE_MMA(NAME, DOT)                                                          \
  CLQ_INLINE void NAME(int *c, const uint *a, const uint *b, __local uint *scratch) {      \
    const int lane = (int)get_local_id(0) & 31;                                            \
    for (int i = 0; i < 4; i++) scratch[6 * lane + i] = a[i];                              \
    for (int i = 0; i < 2; i++) scratch[6 * lane + 4 + i] = b[i];                          \
    barrier(CLK_LOCAL_MEM_FENCE);                                                          \
    for (int i = 0; i < 4; i++) {                                                          \
      const int r = lane / 4 + 8 * (i / 2), n = 2 * (lane & 3) + (i & 1);                  \
      for (int k = 0; k < 8; k++) c[i] = DOT(CLQ_MMA_B(n, k), CLQ_MMA_A(r, k), c[i]);      \
    }                                                                                      \
    barrier(CLK_LOCAL_MEM_FENCE);                                                          \
  }
CLQ_DEFINE_MMA(clq_mma_s8, clq_dot4_i8)
CLQ_DEFINE_MMA(clq_mma_u8, clq_dot4_u8s8)

#endif

#endif
