/* Softmax of rows of floats. With t = scale * x, plus the mask's number if it has any,
 *   m = max t;  e = exp(t - m), which without a mask is exp(fma(x, scale, -m))
 *   out = e * (1 / sum of e),  or t - m - log(sum of e),  or e with the sum beside it. */
#include "lib/input.h"
#include "lib/softmax.h"

/* Not 0: the most elements of a row that a CPU keeps the exponentials of, where `out` cannot. */
#ifndef CLQ_KEEP
#define CLQ_KEEP 0
#endif

/* t, or x where there is no mask, for F floats: u8 masks hide, others are added. */
#if CLQ_MASK == CLQ_U8
#define MASKED(F, I, v, scale, mask) select((v) * (scale), (F)(-CLQ_INF), (I)((mask) == 0))
#elif CLQ_MASK
#define MASKED(F, I, v, scale, mask) fma(v, (F)(scale), mask)
#endif

/* From t, or x, to what exp is taken of. */
#if CLQ_MASK
#define DOWN(F, t, scale, origin) ((t) - (origin))
#else
#define DOWN(F, t, scale, origin) fma(t, (F)(scale), (F)(-(origin)))
#endif

/* The largest t from that of the row, whose signs were turned for a negative scale. */
#define LARGEST(most, sign, scale) (CLQ_MASK ? (most) : (most) * ((sign) * (scale)))

#if CLQ_ON_CPU

typedef struct row_of {
  const __global clq_x *x;
  const __global clq_mask *mask;
  float scale;
} row_of;

static inline float16 logits(const row_of *r, long i, long end) {
  const float16 v = CLQ_ROW_LOAD_X(r->x, i, end);
#if CLQ_MASK
  return MASKED(float16, int16, v, r->scale, CLQ_ROW_LOAD(CLQ_MASK)(r->mask, i, end));
#else
  return v;
#endif
}

static inline float16 larger(float16 a, float16 b) { return b > a ? b : a; }

static inline float16 only_inside(float16 v, float other, long i, long end) {
  return i + 16 <= end ? v
                       : as_float16((as_int16(v) & clq_mask16(i, end)) |
                                    (as_int16((float16)other) & ~clq_mask16(i, end)));
}

static inline float largest_of(const row_of *r, long n, float sign) {
  float16 m[4] = {(float16)(-CLQ_INF), (float16)(-CLQ_INF), (float16)(-CLQ_INF),
                  (float16)(-CLQ_INF)};
#define STEP(i, end, j) \
  m[j] = larger(m[j], only_inside(logits(r, i, end) * (CLQ_MASK ? 1.0f : sign), -CLQ_INF, i, end));
  CLQ_WALK(STEP, n)
#undef STEP
  return clq_fold_max16(larger(larger(m[0], m[1]), larger(m[2], m[3])));
}

static inline float16 exponentials(const row_of *r, float origin, long i, long end) {
  const float16 e = clq_exp_down16(DOWN(float16, logits(r, i, end), r->scale, origin));
  return only_inside(e, 0.0f, i, end);
}

static inline void softmax_row(const row_of *r, __global clq_out *out, __global float *total, long n,
                               long cols, clq_affine a) {
  const float sign = r->scale < 0.0f ? -1.0f : 1.0f;
  const float m = LARGEST(largest_of(r, n, sign), sign, r->scale);
  const float origin = clq_origin_of(m);
#if CLQ_KEEP
  float kept[CLQ_KEEP];
#endif
  float16 lanes[4] = {(float16)0.0f, (float16)0.0f, (float16)0.0f, (float16)0.0f};
#define STEP(i, end, j)                                   \
  {                                                       \
    const float16 e = exponentials(r, origin, i, end);    \
    KEEP(e, i, end)                                       \
    lanes[j] += e;                                        \
  }
#if CLQ_FINISH == CLQ_EXPONENTIALS || (CLQ_FINISH == CLQ_PROBABILITIES && CLQ_OUT == CLQ_F32)
#define KEEP(e, i, end) CLQ_PUT16(e, i, end, out, a);
#define KEPT(i, end)    clq_row_load_f32(out, i, end)
#elif CLQ_KEEP
#define KEEP(e, i, end) vstore16(e, 0, kept + (i));
#define KEPT(i, end)    vload16(0, kept + (i))
#else
#define KEEP(e, i, end)
#define KEPT(i, end) exponentials(r, origin, i, end)
#endif
  CLQ_WALK(STEP, n)
#undef STEP
  const float sum = clq_sum_of_lanes(lanes);
#if CLQ_FINISH == CLQ_EXPONENTIALS
  total[0] = sum;
#elif CLQ_FINISH == CLQ_LOGARITHMS
  const float log_sum = clq_log_of(sum);
#define STEP(i, end, j)                                                                     \
  CLQ_PUT16(DOWN(float16, logits(r, i, end), r->scale, origin) - log_sum, i, end, out, a);
  CLQ_WALK(STEP, n)
#undef STEP
#else
  const float factor = clq_factor_of(m, sum);
#define STEP(i, end, j) CLQ_PUT16(KEPT(i, end) * factor, i, end, out, a);
  CLQ_WALK(STEP, n)
#undef STEP
#endif
  clq_hide_rest(out, n, cols, a);
}

/* One work-item for a few rows. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void softmax_float_rows(
    CLQ_SOFTMAX_ARGS, const long rows_per_item) {
  const long begin = (long)get_global_id(0) * rows_per_item;
  const long end = min(begin + rows_per_item, rows);
  CLQ_OUT_AFFINE(a);
  for (long row = begin; row < end; row++) {
    row_of r;
    r.x = x_base + x_start + row * x_row;
    r.mask = CLQ_MASK_OF(row);
    r.scale = scale;
    softmax_row(&r, out_base + out_start + row * out_row, CLQ_PLANE(sum, row), CLQ_VISIBLE(row), cols,
                a);
  }
  CLQ_PUT_OUT_SCALE(begin == 0)
}

#else

/* One work-group of 64 a row. */
__kernel __attribute__((reqd_work_group_size(CLQ_WORK_ITEMS, 1, 1))) void softmax_float_group(
    CLQ_SOFTMAX_ARGS) {
  __local float scratch[CLQ_WORK_ITEMS];
  const int lid = (int)get_local_id(0);
  const long row = (long)get_group_id(0);
  const __global clq_x *x = x_base + x_start + row * x_row;
  const __global clq_mask *mask = CLQ_MASK_OF(row);
  __global clq_out *out = out_base + out_start + row * out_row;
  CLQ_OUT_AFFINE(a);
  const long n = CLQ_VISIBLE(row);
  const float sign = scale < 0.0f ? -1.0f : 1.0f;
#if CLQ_MASK == CLQ_U8
#define LOGIT(i) (mask[i] == 0 ? -CLQ_INF : CLQ_LOAD_X(i, x) * scale)
#elif CLQ_MASK == CLQ_F16
#define LOGIT(i) fma(CLQ_LOAD_X(i, x), scale, clq_load_half(i, mask))
#elif CLQ_MASK == CLQ_BF16
#define LOGIT(i) fma(CLQ_LOAD_X(i, x), scale, clq_f32_from_bf16(mask[i]))
#elif CLQ_MASK
#define LOGIT(i) fma(CLQ_LOAD_X(i, x), scale, mask[i])
#else
#define LOGIT(i) CLQ_LOAD_X(i, x)
#endif
#define DOWN_AT(i) DOWN(float, LOGIT(i), scale, origin)

  float most = -CLQ_INF;
  for (long i = lid; i < n; i += CLQ_WORK_ITEMS) {
    const float v = LOGIT(i) * (CLQ_MASK ? 1.0f : sign);
    most = v > most ? v : most;
  }
  const float m = LARGEST(clq_group_max(most, lid, scratch), sign, scale);
  const float origin = clq_origin_of(m);
  float part = 0.0f;
  for (long i = lid; i < n; i += CLQ_WORK_ITEMS) {
    const float e = clq_exp_down(DOWN_AT(i));
#if CLQ_FINISH == CLQ_EXPONENTIALS
    CLQ_PUT(e, i, out, a);
#endif
    part += e;
  }
  const float total = clq_group_sum(part, lid, scratch);
#if CLQ_FINISH == CLQ_EXPONENTIALS
  if (lid == 0) {
    sum_base[sum_start + row] = total;
  }
#elif CLQ_FINISH == CLQ_LOGARITHMS
  const float log_sum = clq_log_of(total);
  for (long i = lid; i < n; i += CLQ_WORK_ITEMS) {
    CLQ_PUT(DOWN_AT(i) - log_sum, i, out, a);
  }
#else
  const float factor = clq_factor_of(m, total);
  for (long i = lid; i < n; i += CLQ_WORK_ITEMS) {
    CLQ_PUT(clq_exp_down(DOWN_AT(i)) * factor, i, out, a);
  }
#endif
  clq_hide_rest(out, n, cols, lid, a);
  CLQ_PUT_OUT_SCALE(row == 0 && lid == 0)
}

#endif
