/* Walking a row 16 elements at a time, the form that CPUs want: one work-item
 * takes a row, and the last, partial step reads zeros and writes nothing past
 * the end. Offsets count elements; no alignment is needed.
 *
 *   float16 clq_row_load_f32|f16|bf16(p, i, end)   p[i .. i+15], 0 at end and beyond
 *   int16   clq_row_load_i8|u8|i32(p, i, end)
 *   clq_row_store_f32|f16|bf16(float16 x, p, i, end)
 *   clq_row_store_i8|u8|u16(int16 codes, p, i, end)
 *
 *   float16 clq_row_keep_f32|f16|bf16(x, p, i, end)  stores as well, and returns what was stored
 *
 *   clq_row_stream_…                               the same for results that are not
 *                                                  read soon: with CLQ_STREAM=1 they go
 *                                                  past the caches, where the compiler
 *                                                  can and the address is aligned */
#ifndef CLQ_LIB_ROWS_H
#define CLQ_LIB_ROWS_H

#include "lib/half.h"
#include "lib/types.h"

#ifndef CLQ_STREAM
#define CLQ_STREAM 0
#endif

#if CLQ_STREAM && defined(__has_builtin)
#if __has_builtin(__builtin_nontemporal_store)
#define CLQ_STREAM_IF_ALIGNED(V, x, p)                   \
  if (((ulong)(p) & (sizeof(V) - 1)) == 0) {             \
    __builtin_nontemporal_store((x), (__global V *)(p)); \
    return;                                              \
  }
#endif
#endif
#ifndef CLQ_STREAM_IF_ALIGNED
#define CLQ_STREAM_IF_ALIGNED(V, x, p)
#endif

/* p[0 .. 15] = x. pocl takes a vstore16 apart, one of bytes into 16 stores that cost more than
 * computing them; a packed structure needs no alignment either and is stored at once. */
#define CLQ_DEFINE_STORE(NAME, T, V)                             \
  typedef struct __attribute__((packed)) clq_packed_##NAME {     \
    V v;                                                         \
  } clq_packed_##NAME;                                           \
  static inline void clq_store_##NAME(V x, __global T *p) {      \
    ((__global clq_packed_##NAME *)p)->v = x;                    \
  }                                                              \
  static inline void clq_stream_##NAME(V x, __global T *p) {     \
    CLQ_STREAM_IF_ALIGNED(V, x, p)                               \
    clq_store_##NAME(x, p);                                      \
  }
CLQ_DEFINE_STORE(f32, float, float16)
CLQ_DEFINE_STORE(b16, ushort, ushort16)
CLQ_DEFINE_STORE(i8, char, char16)
CLQ_DEFINE_STORE(u8, uchar, uchar16)

/* E: element after conversion, V: 16 of them. */
#define CLQ_DEFINE_ROW_LOAD(NAME, T, E, V, LOAD16, LOAD1)                            \
  static inline V clq_row_load_##NAME(const __global T *p, long i, long end) {       \
    if (i + 16 <= end) {                                                             \
      return LOAD16(p + i);                                                          \
    }                                                                                \
    E v[16];                                                                         \
    for (int k = 0; k < 16; ++k) {                                                   \
      v[k] = i + k < end ? LOAD1(p + i + k) : (E)0;                                  \
    }                                                                                \
    return vload16(0, v);                                                            \
  }
#define CLQ_LOAD16(p) vload16(0, (p))
#define CLQ_LOAD16_F16(p) clq_load_half16(0, (p))
#define CLQ_LOAD16_BF16(p) clq_f32_from_bf16_16(vload16(0, (p)))
#define CLQ_LOAD16_INT(p) convert_int16(vload16(0, (p)))
#define CLQ_LOAD1(p) (*(p))
#define CLQ_LOAD1_F16(p) vload_half(0, (p))
#define CLQ_LOAD1_BF16(p) clq_f32_from_bf16(*(p))
CLQ_DEFINE_ROW_LOAD(f32, float, float, float16, CLQ_LOAD16, CLQ_LOAD1)
CLQ_DEFINE_ROW_LOAD(f16, half, float, float16, CLQ_LOAD16_F16, CLQ_LOAD1_F16)
CLQ_DEFINE_ROW_LOAD(bf16, ushort, float, float16, CLQ_LOAD16_BF16, CLQ_LOAD1_BF16)
CLQ_DEFINE_ROW_LOAD(i8, char, int, int16, CLQ_LOAD16_INT, CLQ_LOAD1)
CLQ_DEFINE_ROW_LOAD(u8, uchar, int, int16, CLQ_LOAD16_INT, CLQ_LOAD1)
CLQ_DEFINE_ROW_LOAD(i32, int, int, int16, CLQ_LOAD16, CLQ_LOAD1)

/* V: 16 of E. */
#define CLQ_DEFINE_ROW_STORE(NAME, T, E, V, TO16, B, TO1)                            \
  static inline void clq_row_rest_##NAME(V x, __global T *p, long i, long end) {     \
    E v[16];                                                                         \
    vstore16(x, 0, v);                                                               \
    for (int k = 0; i + k < end; ++k) {                                              \
      TO1(v[k], p + i + k);                                                          \
    }                                                                                \
  }                                                                                  \
  static inline void clq_row_store_##NAME(V x, __global T *p, long i, long end) {    \
    if (i + 16 <= end) {                                                             \
      clq_store_##B(TO16(x), (__global CLQ_BITS_##B *)(p + i));                      \
    } else {                                                                         \
      clq_row_rest_##NAME(x, p, i, end);                                             \
    }                                                                                \
  }                                                                                  \
  static inline void clq_row_stream_##NAME(V x, __global T *p, long i, long end) {   \
    if (i + 16 <= end) {                                                             \
      clq_stream_##B(TO16(x), (__global CLQ_BITS_##B *)(p + i));                     \
    } else {                                                                         \
      clq_row_rest_##NAME(x, p, i, end);                                             \
    }                                                                                \
  }
/* BACK: V of TO16(V). */
#define CLQ_DEFINE_ROW_KEEP(NAME, T, V, BITS, TO16, BACK, B)                         \
  static inline V clq_row_keep_##NAME(V x, __global T *p, long i, long end) {        \
    const BITS bits = TO16(x);                                                       \
    if (i + 16 <= end) {                                                             \
      clq_store_##B(bits, (__global CLQ_BITS_##B *)(p + i));                         \
    } else {                                                                         \
      clq_row_rest_##NAME(x, p, i, end);                                             \
    }                                                                                \
    return BACK(bits);                                                               \
  }
#define CLQ_BITS_f32 float
#define CLQ_BITS_b16 ushort
#define CLQ_BITS_i8 char
#define CLQ_BITS_u8 uchar
#define CLQ_STORE1(x, p) (*(p) = (x))
#define CLQ_STORE1_F16(x, p) vstore_half_rte((x), 0, (p))
#define CLQ_STORE1_BF16(x, p) (*(p) = clq_bf16_from_f32(x))
#define CLQ_STORE1_I8(x, p) (*(p) = (char)(x))
#define CLQ_STORE1_U8(x, p) (*(p) = (uchar)(x))
#define CLQ_STORE1_U16(x, p) (*(p) = (ushort)(x))
CLQ_DEFINE_ROW_STORE(f32, float, float, float16, , f32, CLQ_STORE1)
CLQ_DEFINE_ROW_STORE(f16, half, float, float16, clq_f16_from_f32_16, b16, CLQ_STORE1_F16)
CLQ_DEFINE_ROW_STORE(bf16, ushort, float, float16, clq_bf16_from_f32_16, b16, CLQ_STORE1_BF16)
CLQ_DEFINE_ROW_KEEP(f32, float, float16, float16, , , f32)
CLQ_DEFINE_ROW_KEEP(f16, half, float16, ushort16, clq_f16_from_f32_16, clq_f32_from_f16_16, b16)
CLQ_DEFINE_ROW_KEEP(bf16, ushort, float16, ushort16, clq_bf16_from_f32_16, clq_f32_from_bf16_16,
                    b16)
CLQ_DEFINE_ROW_STORE(i8, char, int, int16, convert_char16, i8, CLQ_STORE1_I8)
CLQ_DEFINE_ROW_STORE(u16, ushort, int, int16, convert_ushort16, b16, CLQ_STORE1_U16)
CLQ_DEFINE_ROW_STORE(u8, uchar, int, int16, convert_uchar16, u8, CLQ_STORE1_U8)

/* Elements before the first at a multiple of 16 of them, at most end. */
static inline long clq_row_head(ulong address, ulong element_bytes, long end) {
  return min((long)(-(address / element_bytes) & 15), end);
}

/* All ones for those of the elements i .. i+15 that lie before end. */
static inline int16 clq_mask16(long i, long end) {
  const int16 k = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return k < (int16)(int)min(end - i, 16L);
}

#endif
