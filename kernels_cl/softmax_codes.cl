/* Softmax of rows of int8 codes. D = max - code is 0 .. 255, so exp comes from a table that is exact
 * for the dequantized logits up to the rounding of its entries; a zero point cancels in D. With step =
 * x's scale * the caller's scale, T(D) by CLQ_EXP:
 *
 *   CLQ_EXP_TWO_LEVEL      high[D / 16] * low[D % 16],  high[a] = exp(-16 a step), low[b] = exp(-b step)
 *   CLQ_EXP_F32            exp(-D step)
 *   CLQ_EXP_Q30            rint(2^30 exp(-D step))
 *   CLQ_EXP_U16            min(rint(2^16 exp(-D step)), 65535)
 *   CLQ_EXP_U16_TWO_LEVEL  the same of high and low, rint(high * low / 2^16), halves up
 *   CLQ_EXP_IBERT          i-exp (arXiv 2101.01321), in steps of 2^-16, ln 2 / step to the nearest
 *   CLQ_EXP_IVIT           shift-exp (arXiv 2207.01405), of 15 doublings
 *
 * With CLQ_PERMUTE_X86 what a D becomes in the end is looked up too where `out` is of bytes, 64 at once,
 * and so are the entries of CLQ_EXP_U16; rows without a mask.
 *
 * From Q30 on entries are integers and their sum is exact; the first two add floats as
 * lib/softmax.h says. out = T(D) * (1 / sum), or T(D) as a number between 0 and 1 and the sum of
 * those beside it. */
#include "lib/types.h"

#ifndef CLQ_X
#define CLQ_X CLQ_I8
#endif
typedef CLQ_T(CLQ_X) clq_x;

#include "lib/permute.h"
#include "lib/softmax.h"

#define CLQ_EXP_TWO_LEVEL 0
#define CLQ_EXP_F32 1
#define CLQ_EXP_Q30 2
#define CLQ_EXP_U16 3
#define CLQ_EXP_U16_TWO_LEVEL 4
#define CLQ_EXP_IBERT 5
#define CLQ_EXP_IVIT 6
#ifndef CLQ_EXP
#define CLQ_EXP CLQ_EXP_TWO_LEVEL
#endif

#define INTEGERS (CLQ_EXP >= CLQ_EXP_Q30)
#define TWO_LEVELS (CLQ_EXP == CLQ_EXP_TWO_LEVEL || CLQ_EXP == CLQ_EXP_U16_TWO_LEVEL)
#define LOWEST (CLQ_X == CLQ_U8 ? 0 : -128)
#define LOOK_UP_64 (CLQ_PERMUTE_X86 && !CLQ_MASK)
#define LOOK_UP_OUT (LOOK_UP_64 && CLQ_FINISH == CLQ_PROBABILITIES && (CLQ_OUT == CLQ_U8 || CLQ_OUT == CLQ_I8))
#define LOOK_UP_ENTRIES (LOOK_UP_64 && CLQ_EXP == CLQ_EXP_U16)
/* Elements from which on it pays to make a table of a row's results. */
#define LEAST_FOR_TABLE 256

#if INTEGERS
typedef uint entry;
typedef uint16 entry16;
typedef ulong total_t;
#define AS_FLOAT(e) ((float)(e))
#define AS_FLOAT16(e) convert_float16(e)
#define AS_ENTRY16 as_uint16
#else
typedef float entry;
typedef float16 entry16;
typedef float total_t;
#define AS_FLOAT(e) (e)
#define AS_FLOAT16(e) (e)
#define AS_ENTRY16 as_float16
#endif

/* Steps of 1/step, and of its square, as an integer: floor(a / step), at most 2^30. */
static inline long steps_of(float a, float step) {
  const float n = clq_div(a, step);
  return n < 0x1p+30f ? (long)n : 1L << 30;
}

static inline uint fixed(float e, float one, float most) {
  const float v = rint(e * one);
  return (uint)(v < most ? v : most);
}

/* r (r + b) + c, whose largest value c stands for 1, halved for every ln 2 that D reaches. A step
 * below 2^-20 counts as that. */
static inline uint i_exp(int d, float step) {
  const float s = step > 0x1p-20f ? step : 0x1p-20f;
  const int ln2 = max((int)rint(clq_div(0x1.62e43p-1f, s)), 1);
  const long b = steps_of(0x1.5a89ap+1f, s);
  const long c = max((long)clq_div(clq_div(0x1.656404p+1f, s), s), 1L);
  const int z = d / ln2;
  const long r = z * ln2 - d;
  const long p = max(r * (r + b) + c, 0L);
  return z > 16 ? 0u : (uint)((p * 65535 + c / 2) / c) >> z;
}

static inline uint shift_exp(int d, float step) {
  float steps = ceil(clq_div(1.0f, step));
  steps = steps < 65535.0f ? steps : 65535.0f;
  const int one = (int)(steps > 1.0f ? steps : 1.0f);
  int x = -d;
  x += (x >> 1) - (x >> 4);
  x = max(x, -15 * one);
  const int q = -x / one;
  const int r = x + one * q;
  return (uint)((r >> 1) + one) << (15 - q);
}

/* T(D), where one table has it. */
static inline entry entry_of(int d, float step) {
#if CLQ_EXP == CLQ_EXP_TWO_LEVEL
  return clq_exp((float)(-16 * (d >> 4)) * step) * clq_exp((float)-(d & 15) * step);
#elif CLQ_EXP == CLQ_EXP_F32
  return clq_exp((float)-d * step);
#elif CLQ_EXP == CLQ_EXP_Q30
  return fixed(clq_exp((float)-d * step), 0x1p+30f, 0x1p+30f);
#elif CLQ_EXP == CLQ_EXP_U16
  return fixed(clq_exp((float)-d * step), 0x1p+16f, 65535.0f);
#elif CLQ_EXP == CLQ_EXP_U16_TWO_LEVEL
  const uint high = fixed(clq_exp((float)(-16 * (d >> 4)) * step), 0x1p+16f, 65535.0f);
  const uint low = fixed(clq_exp((float)-(d & 15) * step), 0x1p+16f, 65535.0f);
  return (high * low + 32768u) >> 16;
#elif CLQ_EXP == CLQ_EXP_IBERT
  return i_exp(d, step);
#else
  return shift_exp(d, step);
#endif
}

/* What T(0) counts for when exponentials are the result. */
static inline float unit_of(float step) {
#if CLQ_EXP == CLQ_EXP_Q30
  return 0x1p-30f;
#elif CLQ_EXP == CLQ_EXP_IVIT
  return clq_div(1.0f, (float)shift_exp(0, step));
#else
  return INTEGERS ? 0x1p-16f : 1.0f;
#endif
}

/* What entries are multiplied by; NaN where the step is no number. */
static inline float factor_of(float step, float sum, bool any) {
#if CLQ_FINISH == CLQ_EXPONENTIALS
  const float factor = unit_of(step);
#else
  const float factor = any ? clq_factor_of(0.0f, sum) : 0.0f;
#endif
  return fabs(step) < CLQ_INF ? factor : CLQ_NAN;
}

#if CLQ_ON_CPU

#if CLQ_X == CLQ_I8
typedef char16 x16;
#define AS_X16 as_char16
#else
typedef uchar16 x16;
#define AS_X16 as_uchar16
#endif

typedef struct row_of {
  const __global clq_x *x;
  const __global clq_mask *mask;
  int top;
#if TWO_LEVELS
  entry16 high, low;
#else
  entry table[256] __attribute__((aligned(64)));
#endif
#if LOOK_UP_ENTRIES
  clq_bytes256 low_bytes, high_bytes; /* of the table's entries */
#endif
} row_of;

#define LANES ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))

/* from[lane % 16]. */
#if CLQ_HAS_X86_AVX512
static inline float16 pick(float16 from, int16 lane) {
  float16 r;
  __asm__("vpermps %2, %1, %0" : "=v"(r) : "v"(lane), "v"(from));
  return r;
}
#else
static inline float16 pick(float16 from, int16 lane) {
  return shuffle(from, as_uint16(lane & 15));
}
#endif

#if LOOK_UP_64
static inline clq_bytes256 bytes_of(const uchar16 *bytes) {
  clq_bytes256 t;
  for (int i = 0; i < 4; i++) {
    t.v[i] = ((const uint16 *)bytes)[i];
  }
  return t;
}

/* D of 64 elements. */
static inline uint16 down64(const row_of *r, long i) {
  return clq_sub_bytes64((uint16)((uint)(r->top & 255) * 0x01010101u),
                         clq_load_bytes64((const __global uchar *)r->x + i));
}
#endif

static inline void make_table(row_of *r, float step) {
#if CLQ_EXP == CLQ_EXP_TWO_LEVEL
  r->high = clq_exp16(convert_float16(-16 * LANES) * step);
  r->low = clq_exp16(convert_float16(-LANES) * step);
#elif CLQ_EXP == CLQ_EXP_U16_TWO_LEVEL
  uint high[16], low[16];
  for (int i = 0; i < 16; i++) {
    high[i] = fixed(clq_exp((float)(-16 * i) * step), 0x1p+16f, 65535.0f);
    low[i] = fixed(clq_exp((float)-i * step), 0x1p+16f, 65535.0f);
  }
  r->high = vload16(0, high);
  r->low = vload16(0, low);
#elif CLQ_EXP == CLQ_EXP_U16
#if LOOK_UP_ENTRIES
  uchar16 low[16] __attribute__((aligned(64))), high[16] __attribute__((aligned(64)));
#endif
  for (int i = 0; i < 16; i++) {
    /* Rounded as rint does it: below 2^22 by adding 1.5 * 2^23. */
    const float16 v = clq_exp16(convert_float16(-16 * i - LANES) * step) * 0x1p+16f + 0x1.8p+23f;
    const uint16 n = as_uint16(v) - (uint16)0x4b400000u;
    const uint16 e = min(n, 65535u);
    ((uint16 *)r->table)[i] = e;
#if LOOK_UP_ENTRIES
    low[i] = convert_uchar16(e & 255u);
    high[i] = convert_uchar16(e >> 8);
#endif
  }
#if LOOK_UP_ENTRIES
  r->low_bytes = bytes_of(low);
  r->high_bytes = bytes_of(high);
#endif
#else
  for (int d = 0; d < 256; d++) {
    r->table[d] = entry_of(d, step);
  }
#endif
}

static inline entry16 entries(const row_of *r, int16 d) {
#if TWO_LEVELS
  const entry16 product = AS_ENTRY16(pick(as_float16(r->high), d >> 4)) *
                          AS_ENTRY16(pick(as_float16(r->low), d));
#if INTEGERS
  return (product + 32768u) >> 16;
#else
  return product;
#endif
#else
  entry e[16];
  int at[16];
  vstore16(d & 255, 0, at);
  for (int k = 0; k < 16; k++) {
    e[k] = r->table[at[k]];
  }
  return vload16(0, e);
#endif
}

/* All ones for elements that count. */
static inline int16 shown(const row_of *r, long i, long end) {
  const int16 inside = i + 16 <= end ? (int16)-1 : clq_mask16(i, end);
#if CLQ_MASK
  return inside & (CLQ_ROW_LOAD(CLQ_MASK)(r->mask, i, end) != 0);
#else
  return inside;
#endif
}

static inline entry16 exponentials(const row_of *r, long i, long end) {
  const entry16 e = entries(r, r->top - CLQ_ROW_LOAD(CLQ_X)(r->x, i, end));
  return CLQ_MASK || i + 16 > end ? AS_ENTRY16(as_int16(e) & shown(r, i, end)) : e;
}

/* The largest code that counts, LOWEST - 1 for none. */
static inline int largest_of(const row_of *r, long n) {
  int16 most = (int16)(LOWEST - 1);
  long i = 0;
#if LOOK_UP_64
  uint16 m = (uint16)((uint)(LOWEST & 255) * 0x01010101u);
  for (; i + 64 <= n; i += 64) {
    const uint16 v = clq_load_bytes64((const __global uchar *)r->x + i);
    m = CLQ_X == CLQ_I8 ? clq_max_i8x64(m, v) : clq_max_u8x64(m, v);
  }
  if (i > 0) {
    const uint4 quarters[4] = {m.lo.lo, m.lo.hi, m.hi.lo, m.hi.hi};
    for (int j = 0; j < 4; j++) {
      most = max(most, convert_int16(AS_X16(quarters[j])));
    }
  }
#elif !CLQ_MASK
  x16 m = (x16)LOWEST;
  for (; i + 64 <= n; i += 64) {
    m = max(max(m, max(vload16(0, r->x + i), vload16(1, r->x + i))),
            max(vload16(2, r->x + i), vload16(3, r->x + i)));
  }
  most = i > 0 ? convert_int16(m) : most;
#endif
  for (; i < n; i += 16) {
    const int16 codes = CLQ_ROW_LOAD(CLQ_X)(r->x, i, n);
    most = max(most, select((int16)(LOWEST - 1), codes, shown(r, i, n)));
  }
  return clq_fold_max16i(most);
}

/* The entries' sum in the first elements, a multiple of 64. */
#if LOOK_UP_ENTRIES
static inline ulong sum_looked_up(const row_of *r, long n) {
  ulong8 low = 0, high = 0;
  for (long i = 0; i < n; i += 64) {
    const uint16 d = down64(r, i);
    low += clq_sum_bytes64(clq_permute64(&r->low_bytes, d));
    high += clq_sum_bytes64(clq_permute64(&r->high_bytes, d));
  }
  const ulong8 sums = low + (high << 8);
  const ulong4 s4 = sums.lo + sums.hi;
  return (s4.x + s4.y) + (s4.z + s4.w);
}
#endif

/* Results of the first elements, a multiple of 64. */
#if LOOK_UP_OUT
static inline void put_looked_up(const row_of *r, float factor, clq_affine a, long n,
                                 __global clq_out *out) {
  uchar16 codes[16] __attribute__((aligned(64)));
  for (int i = 0; i < 16; i++) {
#if TWO_LEVELS
    const entry16 e = entries(r, 16 * i + LANES);
#else
    const entry16 e = ((const entry16 *)r->table)[i];
#endif
    const int16 code = clq_stored16(AS_FLOAT16(e) * factor, a);
    codes[i] = convert_uchar16(code & 255);
  }
  const clq_bytes256 table = bytes_of(codes);
  for (long i = 0; i < n; i += 64) {
    clq_store_bytes64(clq_permute64(&table, down64(r, i)), (__global uchar *)out + i);
  }
}
#endif

static inline void softmax_row(row_of *r, float step, __global clq_out *out,
                               __global float *total_out, long n, long cols, clq_affine a) {
  r->top = largest_of(r, n);
#if INTEGERS
#if LOOK_UP_ENTRIES
  const long summed = n & ~63L;
  const ulong before = sum_looked_up(r, summed);
#else
  const long summed = 0;
  const ulong before = 0;
#endif
  ulong16 sums = (ulong16)0;
#define STEP(i, end, j) sums += convert_ulong16(exponentials(r, i, end));
  CLQ_WALK_FROM(STEP, summed, n)
#undef STEP
  const ulong8 s8 = sums.lo + sums.hi;
  const ulong4 s4 = s8.lo + s8.hi;
  const float sum = (float)(before + ((s4.x + s4.y) + (s4.z + s4.w)));
#else
  float16 lanes[4] = {(float16)0.0f, (float16)0.0f, (float16)0.0f, (float16)0.0f};
#define STEP(i, end, j) lanes[j] += exponentials(r, i, end);
  CLQ_WALK(STEP, n)
#undef STEP
  const float sum = clq_sum_of_lanes(lanes);
#endif
  const float factor = factor_of(step, sum, r->top >= LOWEST);
#if CLQ_FINISH == CLQ_EXPONENTIALS
  total_out[0] = sum * factor;
#endif
  long put = 0;
#if LOOK_UP_OUT
  if (n >= LEAST_FOR_TABLE) {
    put = n & ~63L;
    put_looked_up(r, factor, a, put, out);
  }
#endif
#define STEP(i, end, j) \
  CLQ_PUT16(AS_FLOAT16(exponentials(r, i, end)) * factor, i, end, out, a);
  CLQ_WALK_FROM(STEP, put, n)
#undef STEP
  clq_hide_rest(out, n, cols, a);
}

/* One work-item for a few rows. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void softmax_codes_rows(
    CLQ_SOFTMAX_ARGS, CLQ_TENSOR(const float, x_scale), const int per_token,
    const long rows_per_item) {
  const long begin = (long)get_global_id(0) * rows_per_item;
  const long end = min(begin + rows_per_item, rows);
  CLQ_OUT_AFFINE(a);
  row_of r;
  for (long row = begin; row < end; row++) {
    const float step = x_scale_base[x_scale_start + (per_token ? row : 0)] * scale;
    if (per_token || row == begin) {
      make_table(&r, step);
    }
    r.x = x_base + x_start + row * x_row;
    r.mask = CLQ_MASK_OF(row);
    softmax_row(&r, step, out_base + out_start + row * out_row, CLQ_PLANE(sum, row),
                CLQ_VISIBLE(row), cols, a);
  }
  CLQ_PUT_OUT_SCALE(begin == 0)
}

#else

static inline ulong group_sum_of_integers(ulong x, int lid, __local ulong *scratch) {
  scratch[lid] = x;
  barrier(CLK_LOCAL_MEM_FENCE);
  ulong sum = 0;
  for (int i = 0; i < CLQ_WORK_ITEMS; i++) {
    sum += scratch[i];
  }
  return sum;
}

/* One work-group of 64 a row. */
__kernel __attribute__((reqd_work_group_size(CLQ_WORK_ITEMS, 1, 1))) void softmax_codes_group(
    CLQ_SOFTMAX_ARGS, CLQ_TENSOR(const float, x_scale), const int per_token) {
  __local float scratch[CLQ_WORK_ITEMS];
  __local entry table[256];
#if INTEGERS
  __local ulong sums[CLQ_WORK_ITEMS];
#endif
  const int lid = (int)get_local_id(0);
  const long row = (long)get_group_id(0);
  const float step = x_scale_base[x_scale_start + (per_token ? row : 0)] * scale;
  const __global clq_x *x = x_base + x_start + row * x_row;
  __global clq_out *out = out_base + out_start + row * out_row;
  CLQ_OUT_AFFINE(a);
  const long n = CLQ_VISIBLE(row);
#if CLQ_MASK
  const __global clq_mask *mask = CLQ_MASK_OF(row);
#define SHOWN(i) (mask[i] != 0)
#else
#define SHOWN(i) true
#endif
  for (int d = lid; d < 256; d += CLQ_WORK_ITEMS) {
    table[d] = entry_of(d, step);
  }
  int most = LOWEST - 1;
  for (long i = lid; i < n; i += CLQ_WORK_ITEMS) {
    most = SHOWN(i) ? max(most, (int)x[i]) : most;
  }
  const int top = (int)clq_group_max((float)most, lid, scratch);
#define ENTRY(i) (SHOWN(i) ? table[top - x[i]] : 0)
  total_t part = 0;
  for (long i = lid; i < n; i += CLQ_WORK_ITEMS) {
    part += ENTRY(i);
  }
#if INTEGERS
  const float sum = (float)group_sum_of_integers(part, lid, sums);
#else
  const float sum = clq_group_sum(part, lid, scratch);
#endif
  const float factor = factor_of(step, sum, top >= LOWEST);
#if CLQ_FINISH == CLQ_EXPONENTIALS
  if (lid == 0) {
    sum_base[sum_start + row] = sum * factor;
  }
#endif
  for (long i = lid; i < n; i += CLQ_WORK_ITEMS) {
    CLQ_PUT(AS_FLOAT(ENTRY(i)) * factor, i, out, a);
  }
  clq_hide_rest(out, n, cols, lid, a);
  CLQ_PUT_OUT_SCALE(row == 0 && lid == 0)
}

#endif
