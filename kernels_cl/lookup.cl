/* Codes of 8 bits through a table of 256 entries: out = table[x as a byte without sign]. Entries are
 * bits that are passed on, of one byte, two or four.
 *
 * out may be x where both are of a byte: every code is read before its place is written. */
#include "lib/fold.h"
#include "lib/planes.h"
#include "lib/rows.h"
#include "lib/tensor.h"
#include "lib/traits.h"
#include "lib/types.h"

/* The type of the output. */
#ifndef CLQ_OUT
#define CLQ_OUT CLQ_I8
#endif
/* 1: a table of bytes stays in registers (lib/permute.h). */
#ifndef CLQ_PERMUTE_X86
#define CLQ_PERMUTE_X86 0
#endif
#include "lib/permute.h"

#define OUT_IS_CODES (CLQ_OUT == CLQ_I8 || CLQ_OUT == CLQ_U8)

#if OUT_IS_CODES
typedef uchar entry_t;
typedef uchar4 entry4_t;
#elif CLQ_OUT == CLQ_F32
typedef uint entry_t;
typedef uint4 entry4_t;
#else
typedef ushort entry_t;
typedef ushort4 entry4_t;
#endif

#define LOOKUP_ARGS                                                                          \
  CLQ_TENSOR(const uchar, x), CLQ_TENSOR(const entry_t, table), CLQ_TENSOR(entry_t, out),    \
      const long cols, const long x_stride, const long out_stride, CLQ_PLANES_ARGS

#define LOOKUP_AT(row)                                          \
  const __global uchar *x = x_base + x_start + (row) * x_stride; \
  CLQ_AT(const entry_t, table);                                 \
  __global entry_t *out = out_base + out_start + (row) * out_stride

#if CLQ_ON_CPU

#if OUT_IS_CODES
static inline int row_sum(const __global entry_t *codes, long cols) {
  int16 sum = (int16)0;
  for (long i = 0; i < cols; i += 16) {
    sum += CLQ_ROW_LOAD(CLQ_OUT)((const __global CLQ_T(CLQ_OUT) *)codes, i, cols);
  }
  return clq_fold_add16i(sum);
}
#else
#define row_sum(codes, cols) 0
#endif

/* One work-item a row. */
__kernel void lookup_rows(LOOKUP_ARGS) {
  const long row = get_global_id(0);
  LOOKUP_AT(row);
  long i = 0;
#if CLQ_PERMUTE_X86
  const clq_bytes256 entries = clq_load_bytes256(table);
  for (; i + 64 <= cols; i += 64) {
    clq_store_bytes64(clq_permute64(&entries, clq_load_bytes64(x + i)), out + i);
  }
#endif
  for (; i < cols; ++i) {
    out[i] = table[x[i]];
  }
  CLQ_PUBLISH(row, sum_base != 0 ? row_sum(out, cols) : 0);
}

#else

#include "lib/warp.h"

#define CLQ_GROUP 256 /* the most work-items of a group */
#define ENTRIES 256

/* One work-group a row, whose work-items take neighbouring quads. */
__kernel void lookup_group(LOOKUP_ARGS) {
  __local entry_t entries[ENTRIES];
  __local int scratch[CLQ_GROUP];
  const long row = get_group_id(0);
  LOOKUP_AT(row);
  for (uint i = (uint)get_local_id(0); i < ENTRIES; i += (uint)get_local_size(0)) {
    entries[i] = table[i];
  }
  barrier(CLK_LOCAL_MEM_FENCE);

  int sum = 0;
  for (long i = 4 * (long)get_local_id(0); i < cols; i += 4 * (long)get_local_size(0)) {
    if (i + 4 <= cols) {
      const uchar4 q = vload4(0, x + i);
      const entry4_t y = (entry4_t)(entries[q.x], entries[q.y], entries[q.z], entries[q.w]);
      vstore4(y, 0, out + i);
#if OUT_IS_CODES
      const int4 codes = CLQ_OUT == CLQ_I8 ? convert_int4(as_char4(y)) : convert_int4(y);
      sum += (codes.x + codes.y) + (codes.z + codes.w);
#endif
    } else {
      for (long k = i; k < cols; ++k) {
        const entry_t y = entries[x[k]];
        out[k] = y;
        sum += CLQ_OUT == CLQ_I8 ? (int)as_char((uchar)y) : (int)y;
      }
    }
  }
  sum = clq_group_reduce_addi(sum, scratch);
  if (get_local_id(0) == 0) {
    CLQ_PUBLISH(row, sum);
  }
}

#endif
