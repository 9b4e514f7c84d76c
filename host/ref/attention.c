#include "ref/attention.h"

#include <math.h>
#include <stddef.h>

#include "ref/math.h"

static double load(const clqi_ref_attention *r, const void *cache, int64_t i) {
  return r->cache_dtype == CLQ_F16 ? (double)clqi_ref_f32_from_f16(((const uint16_t *)cache)[i])
                                   : (double)((const float *)cache)[i];
}

static double key_at(const clqi_ref_attention *r, int64_t head, int64_t key, int64_t d) {
  if (r->cache != NULL) {
    float scale;
    const float x = clqi_ref_cache_k(r->cache, (clqi_ref_token){r->sequence, head, key}, d, &scale);
    return (double)x * (double)scale;
  }
  const int64_t start = (head * r->capacity + key / 16 * 16) * r->head_dim;
  return load(r, r->k_cache, start + d * 16 + key % 16);
}

static double value_at(const clqi_ref_attention *r, int64_t head, int64_t key, int64_t d) {
  if (r->cache != NULL) {
    float scale;
    const float x = clqi_ref_cache_v(r->cache, (clqi_ref_token){r->sequence, head, key}, d, &scale);
    return (double)x * (double)scale;
  }
  return load(r, r->v_cache, (head * r->capacity + key) * r->head_dim + d);
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
static double scores(const clqi_ref_attention *r, const float *q, int64_t head, span seen) {
  const double scale = r->scale == 0.0 ? 1.0 / sqrt((double)r->head_dim) : r->scale;
  double largest = (double)-INFINITY;
  for (int64_t j = seen.begin; j < seen.end; ++j) {
    double s = 0.0;
    for (int64_t d = 0; d < r->head_dim; ++d) {
      s += (double)q[d] * key_at(r, head, j, d);
    }
    r->scratch[j] = s * scale;
    largest = fmax(largest, r->scratch[j]);
  }
  return largest;
}

static void line(const clqi_ref_attention *r, const float *q, int64_t head, span seen,
                 double *out) {
  const double largest = scores(r, q, head, seen);
  const double origin = largest == (double)-INFINITY ? 0.0 : largest;
  double sum = 0.0;
  for (int64_t j = seen.begin; j < seen.end; ++j) {
    r->scratch[j] = exp(r->scratch[j] - origin);
    sum += r->scratch[j];
  }
  for (int64_t d = 0; d < r->head_dim; ++d) {
    double o = 0.0;
    for (int64_t j = seen.begin; j < seen.end; ++j) {
      o += r->scratch[j] * value_at(r, head, j, d);
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
      line(r, r->q + at, kv, seen, r->out + at);
    }
  }
  return bad;
}
