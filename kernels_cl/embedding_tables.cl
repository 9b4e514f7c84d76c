/* Gather of rows from up to four tables in buffers of the caller's, one behind the other: position p
 * is row p of the first, or of the second p less the rows of the first, and so on. An id is a
 * position, or with CLQ_MAP an index into a map of positions.
 *
 * The host sets CLQ_TABLE0 .. CLQ_TABLE3, what a row of each is:
 *   0 no table; CLQ_F32, CLQ_F16, CLQ_BF16
 *   4, 5, 6   a fused row of FBGEMM's: codes of 8, 4, 2 bits, least significant bits first, and
 *             behind them a scale and a bias, f32 with 8 bits, else f16; nothing is aligned */
#include "lib/device_error.h"
#include "lib/emit.h"
#include "lib/quads.h"
#include "lib/tensor.h"
#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

#ifndef CLQ_TABLE0
#define CLQ_TABLE0 4
#endif
#ifndef CLQ_TABLE1
#define CLQ_TABLE1 0
#endif
#ifndef CLQ_TABLE2
#define CLQ_TABLE2 0
#endif
#ifndef CLQ_TABLE3
#define CLQ_TABLE3 0
#endif
#ifndef CLQ_MAP
#define CLQ_MAP 0
#endif

#define FUSED_8 4
#define FUSED_4 5
#define FUSED_2 6

#define HAS(format)                                                                             \
  (CLQ_TABLE0 == (format) || CLQ_TABLE1 == (format) || CLQ_TABLE2 == (format) || CLQ_TABLE3 == (format))
/* Whether row r is of this format, as a constant where no table is or all are. */
#define IS(r, f) (HAS(f) && (r)->format == (f))

/* A table: its bytes, the bytes from row to row, the position behind its last. */
#define TABLE_ARGS(t) CLQ_TENSOR(const uchar, table##t), const long stride##t, const long end##t
#define EMBEDDING_ARGS                                                                          \
  CLQ_TENSOR(const int, ids), CLQ_TENSOR(const int, map), TABLE_ARGS(0), TABLE_ARGS(1),         \
      TABLE_ARGS(2), TABLE_ARGS(3), CLQ_OUT_ARGS, const long id_count, const long cols,         \
      __global int *error_word

typedef struct table_row {
  const __global uchar *bytes; /* NULL: no row, but zeros */
  int format;
  float scale, bias; /* of codes */
} table_row;

/* Little-endian, as the host that wrote it and every device that is supported. */
static inline uint bytes2(const __global uchar *p) { return (uint)p[0] | (uint)p[1] << 8; }
static inline uint bytes4(const __global uchar *p) { return bytes2(p) | bytes2(p + 2) << 16; }

/* What the bits of a half stand for. */
static inline float half_of(uint h) {
  const uint size = h & 0x7fffu;
  const float small = (float)size * 0x1p-24f;
  const uint normal = (size << 13) + ((size >= 0x7c00u ? 224u : 112u) << 23);
  return as_float((size < 0x400u ? as_uint(small) : normal) | (h & 0x8000u) << 16);
}

static inline table_row row_of(const __global uchar *bytes, int format, long cols) {
  table_row r;
  r.bytes = bytes;
  r.format = format;
  r.scale = r.bias = 0.0f;
  if (format == FUSED_8) {
    r.scale = as_float(bytes4(bytes + cols));
    r.bias = as_float(bytes4(bytes + cols + 4));
  } else if (format == FUSED_4 || format == FUSED_2) {
    const __global uchar *behind = bytes + (format == FUSED_4 ? (cols + 1) / 2 : (cols + 3) / 4);
    r.scale = half_of(bytes2(behind));
    r.bias = half_of(bytes2(behind + 2));
  }
  return r;
}

static inline table_row no_row(void) {
  table_row r;
  r.bytes = 0;
  r.format = 0;
  r.scale = r.bias = 0.0f;
  return r;
}

#define TRY_TABLE(t, begin)                                                                     \
  if (CLQ_TABLE##t && p < end##t) {                                                             \
    r = row_of(table##t##_base + table##t##_start + (p - (begin)) * stride##t, CLQ_TABLE##t, cols); \
  } else

/* Declares r, the row of id `row`; an id or an entry of the map that is none is said once. */
#define FIND_ROW(r, row, says)                                                                  \
  const long id = ids_base[ids_start + (row)];                                                  \
  const bool known = id >= 0 && id < id_count;                                                  \
  const long p = !known ? -1 : CLQ_MAP ? map_base[map_start + id] : id;                         \
  table_row r = no_row();                                                                       \
  if (p < 0) {                                                                                  \
  } else                                                                                        \
    TRY_TABLE(0, 0L) TRY_TABLE(1, end0) TRY_TABLE(2, end1) TRY_TABLE(3, end2) {                 \
    }                                                                                           \
  if (r.bytes == 0 && (says)) {                                                                 \
    clq_device_error(error_word, known ? CLQ_ERROR_EMBEDDING_MAP : CLQ_ERROR_EMBEDDING_ID,      \
                     (int)id);                                                                  \
  }

/* Elements k .. k + 3, k a multiple of 4; those at end and beyond are zeros. */
CLQ_INLINE float4 row_values(const table_row *r, long k, long end) {
  if (r->bytes == 0 || k >= end) {
    return (float4)0.0f;
  }
  if (IS(r, CLQ_F32)) {
    return clq_quad_load_f32((const __global float *)r->bytes, k, end);
  }
  if (IS(r, CLQ_F16)) {
    return clq_quad_load_f16((const __global half *)r->bytes, k, end);
  }
  if (IS(r, CLQ_BF16)) {
    return clq_quad_load_bf16((const __global ushort *)r->bytes, k, end);
  }
  int4 codes;
  if (IS(r, FUSED_8)) {
    codes = clq_quad_load_u8(r->bytes, k, end);
  } else if (IS(r, FUSED_4)) {
    const uint word =
        (uint)r->bytes[k / 2] | (k + 2 < end ? (uint)r->bytes[k / 2 + 1] << 8 : 0u);
    codes = (int4)((int)(word & 15u), (int)(word >> 4 & 15u), (int)(word >> 8 & 15u),
                   (int)(word >> 12));
  } else {
    const uint word = r->bytes[k / 4];
    codes = (int4)((int)(word & 3u), (int)(word >> 2 & 3u), (int)(word >> 4 & 3u), (int)(word >> 6));
  }
  const float4 v = fma(convert_float4(codes), (float4)r->scale, (float4)r->bias);
  return as_float4(as_int4(v) & clq_mask4(k, end));
}

#if CLQ_ON_CPU

/* Elements k .. k + 15, of codes all at once where there are so many. */
CLQ_INLINE float16 row_values16(const table_row *r, long k, long end) {
  if (r->bytes != 0 && k + 16 <= end) {
    if (IS(r, CLQ_F32)) {
      return clq_row_load_f32((const __global float *)r->bytes, k, k + 16);
    }
    if (IS(r, CLQ_F16)) {
      return clq_row_load_f16((const __global half *)r->bytes, k, k + 16);
    }
    if (IS(r, CLQ_BF16)) {
      return clq_row_load_bf16((const __global ushort *)r->bytes, k, k + 16);
    }
    uchar16 codes;
    if (IS(r, FUSED_8)) {
      codes = vload16(0, r->bytes + k);
    } else if (IS(r, FUSED_4)) {
      const uchar8 two = vload8(0, r->bytes + k / 2);
      codes.even = two & (uchar8)15;
      codes.odd = two >> (uchar8)4;
    } else {
      const uchar4 four = vload4(0, r->bytes + k / 4);
      codes = four.s0000111122223333;
      codes >>= (uchar16)(0, 2, 4, 6, 0, 2, 4, 6, 0, 2, 4, 6, 0, 2, 4, 6);
      codes &= (uchar16)3;
    }
    return fma(convert_float16(codes), (float16)r->scale, (float16)r->bias);
  }
  return (float16)(row_values(r, k, end), row_values(r, k + 4, end), row_values(r, k + 8, end),
                   row_values(r, k + 12, end));
}

/* One work-item a row of out. */
__kernel void embedding_tables_rows(EMBEDDING_ARGS) {
  const long row = get_global_id(0);
  FIND_ROW(r, row, true)
  CLQ_OUT_ROW(o, row, 0L, cols);
#define VALUE(i, end) row_values16(&r, (i), (end))
  CLQ_EMIT_ROW(VALUE, cols, o)
}

#else

#include "lib/emit_group.h"

/* One work-group for `chunk` columns of a row: all of it, or a multiple of the group. */
__kernel void embedding_tables_group(EMBEDDING_ARGS, const long chunk) {
  const long row = get_group_id(0);
  const long begin = (long)get_group_id(1) * chunk;
  const long width = min(chunk, cols - begin);
  FIND_ROW(r, row, begin == 0 && get_local_id(0) == 0)
  CLQ_OUT_ROW(o, row, begin, cols);
  CLQ_EMIT_SCRATCH(scratch);
#define VALUE(i, end) row_values(&r, begin + (i), begin + (end))
  CLQ_EMIT_ROW_GROUP(VALUE, width, o, scratch)
}

#endif
