#include "ref/attention.h"

#include <math.h>

#include "ref/math.h"

static double load(const clqi_ref_attention *r, const void *cache, int64_t i) {
  return r->cache_dtype == CLQ_F16 ? (double)clqi_ref_f32_from_f16(((const uint16_t *)cache)[i])
                                   : (double)((const float *)cache)[i];
}

/* Keys begin .. end - 1. */
typedef struct span {
  int64_t begin, end;
} span;

static span keys_seen(const clqi_ref_attention *r, int64_t row) {
  const int64_t at = r->position + row;
  const int64_t end = r->bidirectional ? r->keys : at + 1;
  if (r->position < 0 || end < 0 || end > r->capacity) {
    return (span){0, -1};
  }
  if (r->window == 0) {
    return (span){0, end};
  }
  span seen = {0, end};
  while (seen.begin < seen.end && seen.begin <= at - r->window) {
    ++seen.begin;
  }
  while (seen.end > seen.begin && seen.end - 1 >= at + r->window) {
    --seen.end;
  }
  return seen;
}

/* Scores of the keys seen; returns the largest that is a number. */
static double scores(const clqi_ref_attention *r, const float *q, int64_t start, span seen) {
  const double scale = r->scale == 0.0 ? 1.0 / sqrt((double)r->head_dim) : r->scale;
  double largest = (double)-INFINITY;
  for (int64_t j = seen.begin; j < seen.end; ++j) {
    const int64_t at = start + j / 16 * 16 * r->head_dim + j % 16;
    double s = 0.0;
    for (int64_t d = 0; d < r->head_dim; ++d) {
      s += (double)q[d] * load(r, r->k_cache, at + d * 16);
    }
    r->scratch[j] = s * scale;
    largest = fmax(largest, r->scratch[j]);
  }
  return largest;
}

static void line(const clqi_ref_attention *r, const float *q, int64_t start, span seen,
                 double *out) {
  const double largest = scores(r, q, start, seen);
  const double origin = largest == (double)-INFINITY ? 0.0 : largest;
  double sum = 0.0;
  for (int64_t j = seen.begin; j < seen.end; ++j) {
    r->scratch[j] = exp(r->scratch[j] - origin);
    sum += r->scratch[j];
  }
  for (int64_t d = 0; d < r->head_dim; ++d) {
    double o = 0.0;
    for (int64_t j = seen.begin; j < seen.end; ++j) {
      o += r->scratch[j] * load(r, r->v_cache, start + j * r->head_dim + d);
    }
    out[d] = sum == 0.0 ? 0.0 : o / sum;
  }
}

int64_t clqi_ref_attention_run(const clqi_ref_attention *r) {
  int64_t bad = 0;
  for (int64_t row = 0; row < r->rows; ++row) {
    const span seen = keys_seen(r, row);
    bad += seen.end < 0 ? 1 : 0;
    for (int64_t head = 0; head < r->heads; ++head) {
      const int64_t at = (row * r->heads + head) * r->head_dim;
      const int64_t kv = head / (r->heads / r->kv_heads);
      line(r, r->q + at, kv * r->capacity * r->head_dim, seen, r->out + at);
    }
  }
  return bad;
}
