/* LayerNorm and RMSNorm in integers alone, from codes to codes: the same bits on every device.
 *
 *   q' = (q - zero) << exponent          i8, u8: |q'| <= 255 << 7;  i32: saturated to 2^21
 *   S = sum q', Q = sum q'^2             exact in 64 bits
 *   k = S / n rounded, r = S - k n       |r| <= n / 2;  RMSNorm: k = r = 0
 *   P = sum (q' - k)^2 = Q - k (S + r)   exact; the sum over the exact mean is M = P - r^2 / n
 *   T = (M + n eps) * 2^(2g)             g such that T lies in 2^57 .. 2^61
 *   R = floor(sqrt(T)),  factor = 2^59 / R rounded
 *   c = (q' - mean) * 2^g rounded        |c| <= R + 1, since c^2 is one term of T
 *   u = c * factor * 2^-29               (q' - mean) / sqrt(M + n eps), 30 fraction bits
 *   y = (u * multiplier + (bias << (shift - 16))) >> shift, then saturated
 *
 * All shifts to the right round half up. sqrt(n) of the standard deviation is in the multiplier.
 *
 * Nothing overflows. The host admits n <= 2^17 with i32, 2^23 with codes, and n eps <= 2^58:
 *   |S| <= 2^38; Q, P <= n * max q'^2 + n / 4 <= 2^59 + 2^15; |k (S + r)| <= 2^60.
 *   b, the highest bit of P + n eps, is at most 59, so g = (59 - b) / 2 is not negative, and
 *   (P + n eps) * 2^(2g) lies in 2^58 .. 2^60. The mean is off k by at most 1/2, and so is every
 *   integer off the mean by at least as much: r^2 / n <= M, P <= 2 M. So T >= 2^57 (or nothing but
 *   eps below 1 is there), T < 2^60 + 2^58, R lies in 2^28.5 .. 2^30.2, factor in 2^28.8 .. 2^30.5.
 *   |c factor| <= (R + 1) (2^59 / R + 1/2) < 2^60; |u| <= 2^30 + 3.
 *   |u multiplier| < 2^62; bias << (shift - 16) is at most 2^61 with shift <= 46.
 * Steps of one element so multiply 32 by 32 bits only. */
#include "lib/fold.h"
#include "lib/planes.h"
#include "lib/tensor.h"
#include "lib/traits.h"
#include "lib/types.h"

/* The type of the input: CLQ_I8, CLQ_U8, CLQ_I32; of the output: CLQ_I8, CLQ_U8. */
#ifndef CLQ_X
#define CLQ_X CLQ_I8
#endif
#ifndef CLQ_OUT
#define CLQ_OUT CLQ_I8
#endif

#if CLQ_X == CLQ_I8
typedef char x_t;
#define ZERO_LOW -128
#define ZERO_HIGH 127
#elif CLQ_X == CLQ_U8
typedef uchar x_t;
#define ZERO_LOW 0
#define ZERO_HIGH 255
#else
typedef int x_t;
#define ZERO_LOW 0
#define ZERO_HIGH 0
#endif

#if CLQ_OUT == CLQ_I8
typedef char out_t;
#else
typedef uchar out_t;
#endif

#define WIDEST (1 << 21) /* of q' from i32 */
#define MOST_EXPONENT 7

/* n eps = eps_sum * 2^-eps_shift. low, high: what codes saturate to. */
#define INTEGER_NORM_ARGS                                                                          \
  CLQ_TENSOR(const x_t, x), CLQ_TENSOR(const int, zero), CLQ_TENSOR(const char, exponent),         \
      CLQ_TENSOR(const int, multiplier), CLQ_TENSOR(const int, bias), CLQ_TENSOR(out_t, out),      \
      const long cols, const long x_stride, const long out_stride, const long eps_sum,             \
      const int eps_shift, const int is_layer, const int shift, const int low, const int high,     \
      CLQ_PLANES_ARGS

/* --- one row's numbers --- */

/* Of a row's q'. */
typedef struct row_sums {
  long total;
  long squares;
} row_sums;

typedef struct row_norm {
  int factor;
  int up;      /* g */
  uint offset; /* mean * 2^g */
} row_norm;

/* Rounded down; b > 0. */
static inline long divide_down(long a, long b) {
  const long q = a / b;
  return q - (a < q * b ? 1 : 0);
}

/* a / b rounded half up; b > 0. */
static inline long divide_round(long a, long b) { return divide_down(2 * a + b, 2 * b); }

/* x * 2^by, fraction dropped; x >= 0. */
static inline long scaled(long x, int by) {
  return by >= 0 ? x << by : by > -63 ? x >> -by : 0;
}

/* floor(sqrt(x)) for 0 <= x < 2^62: digit by digit, so there is no question of convergence. */
static inline long square_root(long x) {
  long root = 0;
  for (long bit = 1L << 60; bit != 0; bit >>= 2) {
    const long trial = root + bit;
    const bool fits = x >= trial;
    x -= fits ? trial : 0;
    root = (root >> 1) + (fits ? bit : 0);
  }
  return root;
}

/* The names are those of the head, in small letters. */
static inline row_norm norm_of(row_sums s, long n, bool is_layer, long eps_sum, int eps_shift) {
  const long k = is_layer ? divide_round(s.total, n) : 0;
  const long r = is_layer ? s.total - k * n : 0;
  const long p = s.squares - (is_layer ? k * (s.total + r) : 0);
  const long b = 63 - (long)clz((p + scaled(eps_sum, -eps_shift)) | 1L);
  row_norm norm;
  const int up = (int)((59 - b) >> 1);
  norm.up = up;
  /* r^2 / n * 2^(2g), by long division: the remainder is below n <= 2^23. */
  const long whole = r * r / n;
  const long first = (r * r - whole * n) << up;
  const long digit = first / n;
  const long second = ((first - digit * n) << up) / n;
  const long t = (((p - whole) << up) << up) - (digit << up) - second +
                 scaled(eps_sum, 2 * up - eps_shift);
  /* In a constant row every c is 0, whatever eps. */
  norm.factor = p == 0 ? 0 : (int)divide_round(1L << 59, max(square_root(t), 1L));
  norm.offset = ((uint)(int)k << up) + (uint)(int)divide_round(r * (1L << up), n);
  return norm;
}

/* --- elements --- */

/* What a row is read from. */
typedef struct input_row {
  const __global x_t *x;
  const __global char *exponent; /* or NULL */
  int zero;
  long cols;
} input_row;

#define INPUT_ROW(row)                                                                             \
  {x_base + x_start + (row) * x_stride, CLQ_PLANE(exponent, 0),                                    \
   zero_base == 0 ? 0 : clamp(zero_base[zero_start], ZERO_LOW, ZERO_HIGH), cols}

#if CLQ_X == CLQ_I32
#define SATURATED(v, INTN) clamp((v), (INTN)-WIDEST, (INTN)WIDEST)
#else
#define SATURATED(v, INTN) (v)
#endif
/* q' of codes, of integers or of vectors of them; and (q' - mean) * 2^g. */
#define VALUE_OF(q, zero, exponent, INTN, AS_INTN, AS_UINTN)                                       \
  SATURATED(AS_INTN(AS_UINTN(SATURATED((q) - (zero), INTN))                                        \
                    << AS_UINTN(clamp((exponent), (INTN)0, (INTN)MOST_EXPONENT))),                 \
            INTN)
#define CENTRED(v, norm, AS_INTN, AS_UINTN)                                                        \
  AS_INTN((AS_UINTN(v) << (uint)(norm).up) - (norm).offset)

/* What all elements of a row share after the square root. */
typedef struct affine {
  long factor;
  long bias_unit; /* 1 << (shift - 16) */
  long rounding;  /* 1 << (shift - 1) */
  long shift, low, high;
} affine;

static inline affine affine_of(row_norm norm, int shift, int low, int high) {
  affine a;
  a.factor = norm.factor;
  a.bias_unit = 1 << (shift - 16);
  a.rounding = 1L << (shift - 1);
  a.shift = shift;
  a.low = low;
  a.high = high;
  return a;
}

/* u and y of the head; c, multiplier and bias are longs that hold integers. */
#define UNIT_OF(c, a) (((c) * (a).factor + (1L << 28)) >> 29L)
#define CODE_OF(u, multiplier, bias, a, LONGN)                                                     \
  clamp(((u) * (multiplier) + (bias) * (a).bias_unit + (a).rounding) >> (a).shift,                 \
        (LONGN)((a).low), (LONGN)((a).high))

#if CLQ_ON_CPU

#include "lib/pairs.h"
#include "lib/rows.h"

static inline int16 code16(int16 v, int16 multiplier, int16 bias, row_norm norm, affine a) {
  const long8 c = as_long8(CENTRED(v, norm, as_int16, as_uint16));
  const long8 m = as_long8(multiplier);
  const long8 b = as_long8(bias);
  const long8 even_unit = clq_at_even(UNIT_OF(clq_at_even(c), a));
  const long8 odd_unit = clq_at_even(UNIT_OF(clq_at_odd(c), a));
  const long8 even = CODE_OF(even_unit, clq_at_even(m), clq_at_even(b), a, long8);
  const long8 odd = CODE_OF(odd_unit, clq_at_odd(m), clq_at_odd(b), a, long8);
  return clq_join_pairs(even, odd);
}

static inline long8 square_pairs(int16 v) {
  const long8 p = as_long8(v);
  return clq_at_even(p) * clq_at_even(p) + clq_at_odd(p) * clq_at_odd(p);
}

static inline long fold_long8(long8 v) {
  const long4 b = v.lo + v.hi;
  const long2 c = b.lo + b.hi;
  return c.x + c.y;
}

/* p[i .. i+15] as integers; elements at end and beyond are `rest` and are not read. */
#define DEFINE_LOAD(NAME, T)                                                                       \
  static inline int16 NAME(const __global T *p, long i, long end, T rest) {                        \
    if (i + 16 <= end) {                                                                           \
      return convert_int16(vload16(0, p + i));                                                     \
    }                                                                                              \
    T v[16];                                                                                       \
    for (int k = 0; k < 16; ++k) {                                                                 \
      v[k] = i + k < end ? p[i + k] : rest;                                                        \
    }                                                                                              \
    return convert_int16(vload16(0, v));                                                           \
  }
DEFINE_LOAD(load_x, x_t)
DEFINE_LOAD(load_char, char)
DEFINE_LOAD(load_int, int)

CLQ_INLINE int16 value16(const input_row *r, long i) {
  const int16 exponent = r->exponent != 0 ? load_char(r->exponent, i, r->cols, 0) : (int16)0;
  return VALUE_OF(load_x(r->x, i, r->cols, (x_t)r->zero), (int16)r->zero, exponent, int16, as_int16,
                  as_uint16);
}

CLQ_INLINE row_sums sums_of(const input_row *r) {
  enum { BLOCK = 4096 }; /* columns whose q' (2^21) sum to 2^29 in each of 16 lanes */
  row_sums s;
  s.total = 0;
  long8 squares = (long8)0;
  for (long begin = 0; begin < r->cols; begin += BLOCK) {
    const long end = min(begin + BLOCK, r->cols);
    int16 sums = (int16)0;
    if (CLQ_X != CLQ_I32 && r->exponent == 0) {
      int16 small = (int16)0; /* squares of at most 255 */
      for (long i = begin; i < end; i += 16) {
        const int16 v = value16(r, i);
        sums += v;
        small += v * v;
      }
      squares += clq_at_even(as_long8(small)) + clq_at_odd(as_long8(small));
    } else {
      for (long i = begin; i < end; i += 16) {
        const int16 v = value16(r, i);
        sums += v;
        squares += square_pairs(v);
      }
    }
    s.total += fold_long8(clq_at_even(as_long8(sums)) + clq_at_odd(as_long8(sums)));
  }
  s.squares = fold_long8(squares);
  return s;
}

/* One work-item a row. */
__kernel void integer_norm_rows(INTEGER_NORM_ARGS) {
  const long row = get_global_id(0);
  const input_row r = INPUT_ROW(row);
  CLQ_AT(const int, multiplier);
  const __global int *bias = CLQ_PLANE(bias, 0);
  __global out_t *out = out_base + out_start + row * out_stride;
  const row_norm norm = norm_of(sums_of(&r), cols, is_layer != 0, eps_sum, eps_shift);
  const affine a = affine_of(norm, shift, low, high);

  int16 codes = (int16)0;
  for (long i = 0; i < cols; i += 16) {
    const int16 b = bias != 0 ? load_int(bias, i, cols, 0) : (int16)0;
    const int16 y = code16(value16(&r, i), load_int(multiplier, i, cols, 0), b, norm, a);
    /* Beyond the end multiplier and bias are 0, and so is the code. */
    codes += y;
    CLQ_ROW_STORE(CLQ_OUT)(y, out, i, cols);
  }
  CLQ_PUBLISH(row, clq_fold_add16i(codes));
}

#else

#include "lib/warp.h"

#define CLQ_GROUP 256 /* the most work-items of a group */

CLQ_DEFINE_TREE(long2, tree_add, CLQ_MERGE_ADD)

CLQ_INLINE int value(const input_row *r, long i) {
  return VALUE_OF((int)r->x[i], r->zero, r->exponent != 0 ? (int)r->exponent[i] : 0, int, as_int,
                  as_uint);
}

/* To all of the work-group, whose work-items take neighbouring elements. */
CLQ_INLINE row_sums sums_of(const input_row *r, __local long2 *scratch) {
  long2 mine = (long2)0;
  for (long i = get_local_id(0); i < r->cols; i += get_local_size(0)) {
    const long v = value(r, i);
    mine += (long2)(v, v * v);
  }
  scratch[get_local_id(0)] = mine;
  const long2 all = tree_add(scratch, (uint)get_local_size(0));
  row_sums s;
  s.total = all.x;
  s.squares = all.y;
  return s;
}

/* One work-group a row. */
__kernel void integer_norm_group(INTEGER_NORM_ARGS) {
  __local long2 sums[CLQ_GROUP];
  __local int scratch[CLQ_GROUP];
  const long row = get_group_id(0);
  const input_row r = INPUT_ROW(row);
  CLQ_AT(const int, multiplier);
  const __global int *bias = CLQ_PLANE(bias, 0);
  __global out_t *out = out_base + out_start + row * out_stride;
  const row_norm norm = norm_of(sums_of(&r, sums), cols, is_layer != 0, eps_sum, eps_shift);
  const affine a = affine_of(norm, shift, low, high);

  int codes = 0;
  for (long i = get_local_id(0); i < cols; i += get_local_size(0)) {
    const int c = CENTRED(value(&r, i), norm, as_int, as_uint);
    const int u = (int)UNIT_OF((long)c, a);
    const long b = bias != 0 ? bias[i] : 0;
    const int y = (int)CODE_OF((long)u, (long)multiplier[i], b, a, long);
    codes += y;
    out[i] = (out_t)y;
  }
  codes = clq_group_reduce_addi(codes, scratch);
  if (get_local_id(0) == 0) {
    CLQ_PUBLISH(row, codes);
  }
}

#endif
