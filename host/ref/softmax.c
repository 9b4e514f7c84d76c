#include "ref/softmax.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "ref/math.h"

enum { LANES = 64 };

void clqi_ref_softmax(const float *x, int64_t cols, double scale, double *out) {
  double largest = (double)-INFINITY;
  for (int64_t i = 0; i < cols; ++i) {
    largest = fmax(largest, (double)x[i] * scale);
  }
  const double origin = largest == (double)-INFINITY ? 0.0 : largest;
  double sum = 0.0;
  for (int64_t i = 0; i < cols; ++i) {
    out[i] = exp((double)x[i] * scale - origin);
    sum += out[i];
  }
  for (int64_t i = 0; i < cols; ++i) {
    out[i] = sum == 0.0 ? 0.0 : out[i] / sum;
  }
}

/* Element i is added in lane i mod 64; lanes fold neighbours first. */
static float fold(const float lanes[LANES]) {
  const float a = clqi_ref_fold_add(lanes, 16) + clqi_ref_fold_add(lanes + 16, 16);
  const float b = clqi_ref_fold_add(lanes + 32, 16) + clqi_ref_fold_add(lanes + 48, 16);
  return a + b;
}

/* lib/softmax.h */
static float log_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits += 0x3f800000U - 0x3f3504f3U;
  const int32_t k = (int32_t)(bits >> 23) - 127;
  const uint32_t significand = (bits & 0x007fffffU) + 0x3f3504f3U;
  float f;
  memcpy(&f, &significand, sizeof f);
  f -= 1.0f;
  const float s = clqi_ref_div(f, 2.0f + f);
  const float z = s * s;
  const float w = z * z;
  const float series =
      z * fmaf(w, 0x1.23d3dcp-2f, 0x1.555554p-1f) + w * fmaf(w, 0x1.f13c4cp-3f, 0x1.999c26p-2f);
  const float half_square = 0.5f * f * f;
  const float n = (float)k;
  const float y = fmaf(s, half_square + series, n * 0x1.7f7d1cp-20f) - half_square + f;
  return x < INFINITY ? fmaf(n, 0x1.62e4p-1f, y) : x;
}

static void hide_rest(const clqi_ref_softmax_row *row, float *out) {
  for (int64_t i = row->visible; i < row->cols; ++i) {
    out[i] = row->log ? -INFINITY : 0.0f;
  }
}

/* What exp is taken of: before the largest comes off, and after. */
static float logit(const clqi_ref_softmax_row *row, float x, float scale, int64_t i) {
  return row->shown != NULL  ? (row->shown[i] == 0 ? -INFINITY : x * scale)
         : row->mask != NULL ? fmaf(x, scale, row->mask[i])
                             : x;
}
static float down(const clqi_ref_softmax_row *row, float t, float scale, float origin) {
  return row->shown != NULL || row->mask != NULL ? t - origin : fmaf(t, scale, -origin);
}

void clqi_ref_softmax_float(const float *x, float scale, const clqi_ref_softmax_row *row,
                            float *out) {
  const bool masked = row->shown != NULL || row->mask != NULL;
  const float sign = !masked && scale < 0.0f ? -1.0f : 1.0f;
  float most = -INFINITY;
  for (int64_t i = 0; i < row->visible; ++i) {
    const float v = logit(row, x[i], scale, i) * sign;
    most = v > most ? v : most;
  }
  const float m = masked ? most : most * (sign * scale);
  const float origin = m == -INFINITY ? 0.0f : m;
  float lanes[LANES] = {0};
  for (int64_t i = 0; i < row->visible; ++i) {
    const float e = clqi_ref_exp(down(row, logit(row, x[i], scale, i), scale, origin));
    lanes[i % LANES] += e;
    if (!row->log) {
      out[i] = e;
    }
  }
  const float sum = fold(lanes);
  const float factor = m == -INFINITY && sum == 0.0f ? 0.0f : clqi_ref_div(1.0f, sum);
  const float log_sum = log_of(sum);
  for (int64_t i = 0; i < row->visible; ++i) {
    if (row->log) {
      out[i] = down(row, logit(row, x[i], scale, i), scale, origin) - log_sum;
    } else if (row->sum == NULL) {
      out[i] *= factor;
    }
  }
  if (row->sum != NULL) {
    *row->sum = sum;
  }
  hide_rest(row, out);
}

/* --- codes --- */

static uint32_t fixed(float e, float one, float most) {
  const float v = rintf(e * one);
  return (uint32_t)(v < most ? v : most);
}

static int64_t steps_of(float a, float step) {
  const float n = clqi_ref_div(a, step);
  return n < 0x1p+30f ? (int64_t)n : INT64_C(1) << 30;
}

static int64_t largest(int64_t a, int64_t b) { return a > b ? a : b; }

static uint32_t i_exp(int d, float step) {
  const float s = step > 0x1p-20f ? step : 0x1p-20f;
  const int ln2 = (int)largest((int64_t)rintf(clqi_ref_div(0x1.62e43p-1f, s)), 1);
  const int64_t b = steps_of(0x1.5a89ap+1f, s);
  const int64_t c = largest((int64_t)clqi_ref_div(clqi_ref_div(0x1.656404p+1f, s), s), 1);
  const int z = d / ln2;
  const int64_t r = (int64_t)z * ln2 - d;
  const int64_t p = largest(r * (r + b) + c, 0);
  return z > 16 ? 0U : (uint32_t)((p * 65535 + c / 2) / c) >> z;
}

/* floor(x / 2^n). */
static int shifted(int x, int n) { return x >= 0 ? x >> n : -((-x + (1 << n) - 1) >> n); }

static uint32_t shift_exp(int d, float step) {
  float steps = ceilf(clqi_ref_div(1.0f, step));
  steps = steps < 65535.0f ? steps : 65535.0f;
  const int one = (int)(steps > 1.0f ? steps : 1.0f);
  int x = -d;
  x += shifted(x, 1) - shifted(x, 4);
  x = x < -15 * one ? -15 * one : x;
  const int q = -x / one;
  const int r = x + one * q;
  return (uint32_t)(shifted(r, 1) + one) << (15 - q);
}

/* T(d) of integers. */
static uint32_t integer_of(int d, float step, clq_exp exp) {
  switch (exp) {
    case CLQ_EXP_Q30: return fixed(clqi_ref_exp((float)-d * step), 0x1p+30f, 0x1p+30f);
    case CLQ_EXP_U16: return fixed(clqi_ref_exp((float)-d * step), 0x1p+16f, 65535.0f);
    case CLQ_EXP_U16_TWO_LEVEL:
      return (fixed(clqi_ref_exp((float)-(d & ~15) * step), 0x1p+16f, 65535.0f) *
                  fixed(clqi_ref_exp((float)-(d & 15) * step), 0x1p+16f, 65535.0f) +
              32768U) >>
             16;
    case CLQ_EXP_IBERT: return i_exp(d, step);
    default: return shift_exp(d, step);
  }
}

static float float_of(int d, float step, clq_exp exp) {
  return exp == CLQ_EXP_F32
             ? clqi_ref_exp((float)-d * step)
             : clqi_ref_exp((float)-(d & ~15) * step) * clqi_ref_exp((float)-(d & 15) * step);
}

static float unit_of(float step, clq_exp exp) {
  return exp < CLQ_EXP_Q30     ? 1.0f
         : exp == CLQ_EXP_Q30  ? 0x1p-30f
         : exp == CLQ_EXP_IVIT ? clqi_ref_div(1.0f, (float)shift_exp(0, step))
                               : 0x1p-16f;
}

void clqi_ref_softmax_codes(const void *codes, clq_dtype dtype, float step, clq_exp exp,
                            const clqi_ref_softmax_row *row, float *out) {
  const bool integers = exp >= CLQ_EXP_Q30;
  int top = -129;
  for (int64_t i = 0; i < row->visible; ++i) {
    const int code = dtype == CLQ_U8 ? ((const uint8_t *)codes)[i] : ((const int8_t *)codes)[i];
    const bool counts = row->shown == NULL || row->shown[i] != 0;
    top = counts && code > top ? code : top;
  }
  float lanes[LANES] = {0};
  uint64_t total = 0;
  for (int64_t i = 0; i < row->visible; ++i) {
    const int code = dtype == CLQ_U8 ? ((const uint8_t *)codes)[i] : ((const int8_t *)codes)[i];
    const bool counts = row->shown == NULL || row->shown[i] != 0;
    const uint32_t n = counts && integers ? integer_of(top - code, step, exp) : 0;
    out[i] = integers ? (float)n : counts ? float_of(top - code, step, exp) : 0.0f;
    total += n;
    lanes[i % LANES] += out[i];
  }
  const float sum = integers ? (float)total : fold(lanes);
  const bool number = fabsf(step) < INFINITY;
  const float factor = !number            ? NAN
                       : row->sum != NULL ? unit_of(step, exp)
                       : top < -128       ? 0.0f
                                          : clqi_ref_div(1.0f, sum);
  for (int64_t i = 0; i < row->visible; ++i) {
    out[i] *= factor;
  }
  if (row->sum != NULL) {
    *row->sum = sum * factor;
  }
  hide_rest(row, out);
}

uint8_t clqi_ref_softmax_u8(float p) {
  const float steps = p * 256.0f;
  return isnan(p) ? 0 : (uint8_t)rintf(steps < 255.0f ? steps : 255.0f);
}

uint16_t clqi_ref_softmax_u16(float e) {
  const float v = rintf(e * 65536.0f);
  return isnan(v) ? 0 : (uint16_t)(v > 65535.0f ? 65535.0f : v);
}
