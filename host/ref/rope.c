#include "ref/rope.h"

#include <math.h>
#include <stdbool.h>

#include "ref/math.h"

static void rotate(const clqi_ref_rope *r, const float *x, const float *angles, float *y) {
  const int64_t pairs = r->dims / 2;
  for (int64_t i = 0; i < pairs; ++i) {
    const bool halves = r->layout == CLQ_ROPE_HALF;
    const int64_t first = halves ? i : 2 * i;
    const int64_t second = halves ? i + pairs : 2 * i + 1;
    const float a = x[first];
    const float b = x[second];
    const float c = angles[2 * i];
    const float s = angles[2 * i + 1];
    y[first] = fmaf(a, c, -(b * s));
    y[second] = fmaf(b, c, a * s);
  }
  for (int64_t d = r->dims; d < r->head_dim; ++d) {
    y[d] = x[d];
  }
}

static void store(const clqi_ref_rope *r, void *cache, int64_t i, float x) {
  if (r->cache_dtype == CLQ_F16) {
    ((uint16_t *)cache)[i] = clqi_ref_f16_from_f32(x);
  } else {
    ((float *)cache)[i] = x;
  }
}

static void append(const clqi_ref_rope *r, int64_t row, int64_t head, int64_t position,
                   const float *rotated) {
  const float *v = r->v + (row * r->kv_heads + head) * r->head_dim;
  const int64_t start = head * r->capacity * r->head_dim;
  for (int64_t d = 0; d < r->head_dim; ++d) {
    const int64_t block = position / 16 * 16 * r->head_dim;
    store(r, r->k_cache, start + block + d * 16 + position % 16, rotated[d]);
    store(r, r->v_cache, start + position * r->head_dim + d, v[d]);
  }
}

int64_t clqi_ref_rope_run(const clqi_ref_rope *r) {
  int64_t bad = 0;
  for (int64_t row = 0; row < r->rows; ++row) {
    const int64_t p = r->position + row;
    if (p < 0 || p >= r->positions || (r->k != NULL && p >= r->capacity)) {
      ++bad;
      continue;
    }
    const float *angles = r->table + p * r->dims;
    for (int64_t head = 0; head < r->heads; ++head) {
      const int64_t at = (row * r->heads + head) * r->head_dim;
      rotate(r, r->q + at, angles, r->out + at);
    }
    for (int64_t head = 0; r->k != NULL && head < r->kv_heads; ++head) {
      float rotated[256] = {0};
      rotate(r, r->k + (row * r->kv_heads + head) * r->head_dim, angles, rotated);
      append(r, row, head, p, rotated);
    }
  }
  return bad;
}
