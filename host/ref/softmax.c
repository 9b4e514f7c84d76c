#include "ref/softmax.h"

#include <math.h>

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

/* m is -inf for a row of nothing else, which gives zeros. */
static float factor_of(float m, float sum, float one) {
  return m == -INFINITY && sum == 0.0f ? 0.0f : clqi_ref_div(one, sum);
}

void clqi_ref_softmax_f32(const float *x, int64_t cols, float scale, float *out) {
  float most = -INFINITY;
  for (int64_t i = 0; i < cols; ++i) {
    const float v = scale < 0.0f ? -x[i] : x[i];
    most = v > most ? v : most;
  }
  const float m = (scale < 0.0f ? -most : most) * scale;
  const float origin = m == -INFINITY ? 0.0f : m;
  float lanes[LANES] = {0};
  for (int64_t i = 0; i < cols; ++i) {
    out[i] = clqi_ref_exp(fmaf(x[i], scale, -origin));
    lanes[i % LANES] += out[i];
  }
  const float factor = factor_of(m, fold(lanes), 1.0f);
  for (int64_t i = 0; i < cols; ++i) {
    out[i] *= factor;
  }
}

typedef struct row_table {
  float exp[256]; /* of -D * step */
  int largest;    /* code */
  float sum;
} row_table;

static void make_table(row_table *t, const int8_t *x, int64_t cols, float step) {
  for (int d = 0; d < 256; ++d) {
    const int high_part = d & ~15;
    const float high = clqi_ref_exp((float)-high_part * step);
    const float low = clqi_ref_exp((float)-(d - high_part) * step);
    t->exp[d] = high * low;
  }
  t->largest = -128;
  for (int64_t i = 0; i < cols; ++i) {
    t->largest = x[i] > t->largest ? x[i] : t->largest;
  }
  float lanes[LANES] = {0};
  for (int64_t i = 0; i < cols; ++i) {
    lanes[i % LANES] += t->exp[t->largest - x[i]];
  }
  t->sum = fold(lanes);
}

void clqi_ref_softmax_i8_f32(const int8_t *x, int64_t cols, float step, float *out) {
  row_table t;
  make_table(&t, x, cols, step);
  const float factor = factor_of(0.0f, t.sum, 1.0f);
  for (int64_t i = 0; i < cols; ++i) {
    out[i] = t.exp[t.largest - x[i]] * factor;
  }
}

void clqi_ref_softmax_i8_u8(const int8_t *x, int64_t cols, float step, uint8_t *out) {
  row_table t;
  make_table(&t, x, cols, step);
  const float factor = factor_of(0.0f, t.sum, 256.0f);
  for (int64_t i = 0; i < cols; ++i) {
    const float p = t.exp[t.largest - x[i]] * factor;
    out[i] = isnan(p) ? 0 : (uint8_t)rintf(p < 255.0f ? p : 255.0f);
  }
}
