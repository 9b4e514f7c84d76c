/* Walking a row four elements at a time, the form that GPUs want: neighbouring
 * work-items take neighbouring quads. A quad that reaches past the end reads
 * zeros there and writes nothing; one that begins past it is all zeros. Offsets
 * count elements; no alignment is needed. Functions are those of lib/rows.h, on
 * float4 and int4. */
#ifndef CLQ_LIB_QUADS_H
#define CLQ_LIB_QUADS_H

#include "lib/half.h"
#include "lib/types.h"

#define CLQ_DEFINE_QUAD_LOAD(NAME, T, E, V, LOAD4, LOAD1)                              \
  static inline V clq_quad_load_##NAME(const __global T *p, long i, long end) {        \
    if (i + 4 <= end) {                                                                \
      return LOAD4(p + i);                                                             \
    }                                                                                  \
    return (V)(i < end ? LOAD1(p + i) : (E)0, i + 1 < end ? LOAD1(p + i + 1) : (E)0,   \
               i + 2 < end ? LOAD1(p + i + 2) : (E)0, (E)0);                           \
  }
#define CLQ_LOAD4(p) vload4(0, (p))
#define CLQ_LOAD4_F16(p) vload_half4(0, (p))
#define CLQ_LOAD4_BF16(p) clq_f32_from_bf16_4(vload4(0, (p)))
#define CLQ_LOAD4_INT(p) convert_int4(vload4(0, (p)))
#define CLQ_QUAD_LOAD1(p) (*(p))
#define CLQ_QUAD_LOAD1_F16(p) vload_half(0, (p))
#define CLQ_QUAD_LOAD1_BF16(p) clq_f32_from_bf16(*(p))
CLQ_DEFINE_QUAD_LOAD(f32, float, float, float4, CLQ_LOAD4, CLQ_QUAD_LOAD1)
CLQ_DEFINE_QUAD_LOAD(f16, half, float, float4, CLQ_LOAD4_F16, CLQ_QUAD_LOAD1_F16)
CLQ_DEFINE_QUAD_LOAD(bf16, ushort, float, float4, CLQ_LOAD4_BF16, CLQ_QUAD_LOAD1_BF16)
CLQ_DEFINE_QUAD_LOAD(i8, char, int, int4, CLQ_LOAD4_INT, CLQ_QUAD_LOAD1)
CLQ_DEFINE_QUAD_LOAD(u8, uchar, int, int4, CLQ_LOAD4_INT, CLQ_QUAD_LOAD1)
CLQ_DEFINE_QUAD_LOAD(i32, int, int, int4, CLQ_LOAD4, CLQ_QUAD_LOAD1)

#define CLQ_DEFINE_QUAD_STORE(NAME, T, V, STORE4, STORE1)                              \
  static inline void clq_quad_store_##NAME(V x, __global T *p, long i, long end) {     \
    if (i + 4 <= end) {                                                                \
      STORE4(x, p + i);                                                                \
      return;                                                                          \
    }                                                                                  \
    if (i < end) STORE1(x.x, p + i);                                                   \
    if (i + 1 < end) STORE1(x.y, p + i + 1);                                           \
    if (i + 2 < end) STORE1(x.z, p + i + 2);                                           \
  }
#define CLQ_STORE4(x, p) vstore4((x), 0, (p))
#define CLQ_STORE4_F16(x, p) vstore_half4_rte((x), 0, (p))
#define CLQ_STORE4_BF16(x, p) vstore4(clq_bf16_from_f32_4(x), 0, (p))
#define CLQ_STORE4_I8(x, p) vstore4(convert_char4(x), 0, (p))
#define CLQ_STORE4_U8(x, p) vstore4(convert_uchar4(x), 0, (p))
#define CLQ_QUAD_STORE1(x, p) (*(p) = (x))
#define CLQ_QUAD_STORE1_F16(x, p) vstore_half_rte((x), 0, (p))
#define CLQ_QUAD_STORE1_BF16(x, p) (*(p) = clq_bf16_from_f32(x))
#define CLQ_QUAD_STORE1_I8(x, p) (*(p) = (char)(x))
#define CLQ_QUAD_STORE1_U8(x, p) (*(p) = (uchar)(x))
CLQ_DEFINE_QUAD_STORE(f32, float, float4, CLQ_STORE4, CLQ_QUAD_STORE1)
CLQ_DEFINE_QUAD_STORE(f16, half, float4, CLQ_STORE4_F16, CLQ_QUAD_STORE1_F16)
CLQ_DEFINE_QUAD_STORE(bf16, ushort, float4, CLQ_STORE4_BF16, CLQ_QUAD_STORE1_BF16)
CLQ_DEFINE_QUAD_STORE(i8, char, int4, CLQ_STORE4_I8, CLQ_QUAD_STORE1_I8)
CLQ_DEFINE_QUAD_STORE(u8, uchar, int4, CLQ_STORE4_U8, CLQ_QUAD_STORE1_U8)

/* All ones for those of the elements i .. i+3 that lie before end. */
static inline int4 clq_mask4(long i, long end) {
  return (int4)(0, 1, 2, 3) < (int4)(int)clamp(end - i, 0L, 4L);
}

#endif
