#include "ref/norm.h"

#include <math.h>
#include <stdlib.h>

#include "ref/math.h"
#include "ref/welford.h"

enum { CHUNK = 128, BLOCK = 1024 };

float clqi_ref_rounded(float x, clq_dtype type) {
  switch (type) {
    case CLQ_F16: return clqi_ref_f32_from_f16(clqi_ref_f16_from_f32(x));
    case CLQ_BF16: return clqi_ref_f32_from_bf16(clqi_ref_bf16_from_f32(x));
    default: return x;
  }
}

/* The first chunk, zeros behind the row's end. */
static float pivot_of(const float *t, int64_t cols) {
  float lanes[CHUNK] = {0};
  const int64_t n = cols < CHUNK ? cols : CHUNK;
  for (int64_t i = 0; i < n; ++i) {
    lanes[i] = t[i];
  }
  return clqi_ref_div(clqi_ref_fold_add(lanes, CHUNK) + 0.0f, (float)n);
}

/* Whole chunks of one block: each lane by Welford's method, then neighbours first. */
static clqi_ref_welford block_of(const float *t, int64_t chunks, float pivot) {
  clqi_ref_welford lanes[CHUNK] = {{0}};
  for (int l = 0; l < CHUNK; ++l) {
    clqi_ref_welford w = {0};
    for (int64_t k = 0; k < chunks; ++k) {
      w = clqi_ref_welford_add(w, t[k * CHUNK + l] - pivot);
    }
    lanes[l] = w;
  }
  for (int width = CHUNK; width > 1; width /= 2) {
    for (int l = 0; l < width / 2; ++l) {
      lanes[l] = clqi_ref_welford_merge_equal(lanes[2 * l], lanes[2 * l + 1]);
    }
  }
  return lanes[0];
}

/* n < CHUNK elements, in two passes. */
static clqi_ref_welford rest_of(const float *t, int64_t n, float pivot) {
  float d[CHUNK] = {0};
  for (int64_t i = 0; i < n; ++i) {
    d[i] = t[i] - pivot;
  }
  const float mean = clqi_ref_div(clqi_ref_fold_add(d, CHUNK) + 0.0f, (float)n);
  for (int64_t i = 0; i < n; ++i) {
    d[i] = (d[i] - mean) * (d[i] - mean);
  }
  return (clqi_ref_welford){(float)n, mean, clqi_ref_fold_add(d, CHUNK)};
}

/* The blocks so far: m2 and mean with what their additions rounded off. */
typedef struct total {
  clqi_ref_welford w;
  float low;
  float mean_low;
} total;

static void keep_all(float *a, float *low, float x) {
  const float s = *a + x;
  const float b = s - *a;
  *low += (*a - (s - b)) + (x - b);
  *a = s;
}

static void join(total *t, clqi_ref_welford block) {
  if (!(t->w.n > 0.0f)) {
    t->w = block;
    return;
  }
  const float n = t->w.n + block.n;
  const float share = clqi_ref_div(block.n, n);
  const float delta = (block.mean - t->w.mean) - t->mean_low;
  keep_all(&t->w.m2, &t->low, block.m2);
  keep_all(&t->w.m2, &t->low, (delta * delta) * (t->w.n * share));
  keep_all(&t->w.mean, &t->mean_low, delta * share);
  t->w.n = n;
}

static total centered_sum(const float *t, int64_t cols, float pivot) {
  total all = {{0}, 0.0f, 0.0f};
  const int64_t whole = cols / CHUNK * CHUNK;
  for (int64_t b = 0; b < whole; b += BLOCK) {
    const int64_t chunks = (whole - b < BLOCK ? whole - b : BLOCK) / CHUNK;
    join(&all, block_of(t + b, chunks, pivot));
  }
  if (whole < cols) {
    join(&all, rest_of(t + whole, cols - whole, pivot));
  }
  return all;
}

static total sum_of_squares(const float *t, int64_t cols) {
  total all = {{0}, 0.0f, 0.0f};
  for (int64_t b = 0; b < cols; b += BLOCK) {
    float lanes[CHUNK] = {0};
    for (int64_t i = b; i < cols && i < b + BLOCK; ++i) {
      lanes[i % CHUNK] = fmaf(t[i], t[i], lanes[i % CHUNK]);
    }
    keep_all(&all.w.m2, &all.low, clqi_ref_fold_add(lanes, CHUNK));
  }
  return all;
}

clqi_ref_norm_stats clqi_ref_norm_row_stats(const float *t, int64_t cols, bool centered,
                                            float eps) {
  clqi_ref_norm_stats s = {0};
  s.pivot = centered ? pivot_of(t, cols) : 0.0f;
  const total all = centered ? centered_sum(t, cols, s.pivot) : sum_of_squares(t, cols);
  s.mean = all.w.mean + all.mean_low;
  s.variance = clqi_ref_div(all.w.m2 + (isnan(all.low) ? 0.0f : all.low), (float)cols);
  s.rstd = clqi_ref_rsqrt(s.variance + eps);
  return s;
}

/* t of one row; the sum is kept in residual. */
static void enter(const clqi_ref_norm *n, const float *x, float *residual, int64_t cols, float *t) {
  for (int64_t i = 0; i < cols; ++i) {
    float s = n->bias == NULL ? x[i] : x[i] + n->bias[i];
    if (residual != NULL) {
      s = clqi_ref_rounded(fmaf(n->alpha, residual[i], s), n->residual_type);
      residual[i] = s;
    }
    t[i] = n->x_scale == 1.0f ? s : s * n->x_scale;
  }
}

static float leave(const clqi_ref_norm *n, const clqi_ref_norm_stats *s, float t, int64_t i) {
  float y = n->centered ? ((t - s->pivot) - s->mean) * s->rstd : t * s->rstd;
  const bool llama = n->cast == CLQ_CAST_LLAMA;
  y = llama ? clqi_ref_rounded(y, n->round) : y;
  if (n->gamma != NULL && n->cast == CLQ_CAST_GEMMA) {
    y *= n->gamma[i] + 1.0f;
  } else if (n->gamma != NULL && n->beta != NULL) {
    y = fmaf(y, n->gamma[i], n->beta[i]);
  } else if (n->gamma != NULL) {
    y *= n->gamma[i];
  } else if (n->beta != NULL) {
    y += n->beta[i];
  }
  return llama && n->gamma != NULL ? clqi_ref_rounded(y, n->round) : y;
}

void clqi_ref_norm_rows(const clqi_ref_norm *n, int64_t rows, int64_t cols, float *out, float *mean,
                        float *rstd) {
  float *t = calloc((size_t)cols, sizeof *t);
  for (int64_t r = 0; t != NULL && r < rows; ++r) {
    enter(n, n->x + r * cols, n->residual == NULL ? NULL : n->residual + r * cols, cols, t);
    const clqi_ref_norm_stats s =
        clqi_ref_norm_row_stats(t, cols, n->centered, n->eps * n->x_scale * n->x_scale);
    for (int64_t i = 0; i < cols; ++i) {
      out[r * cols + i] = leave(n, &s, t[i], i);
    }
    if (mean != NULL) {
      mean[r] = clqi_ref_div(s.pivot + s.mean, n->x_scale);
    }
    if (rstd != NULL) {
      rstd[r] = s.rstd * n->x_scale;
    }
  }
  free(t);
}
