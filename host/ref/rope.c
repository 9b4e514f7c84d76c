#include "ref/rope.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "ref/math.h"
#include "ref/ref.h"

enum { MOST_DIMS = 256 };

/* One head, normalized if there are gains, and turned. */
static void turn(const clqi_ref_rope *r, const float *x, const float *gains, const float *angles,
                 float *y) {
  float t[MOST_DIMS] = {0};
  const int64_t pairs = angles == NULL ? 0 : r->dims / 2;
  if (gains != NULL) {
    clqi_ref_rmsnorm(x, NULL, gains, r->eps, 1, r->head_dim, CLQ_F32, t);
  } else {
    memcpy(t, x, (size_t)r->head_dim * sizeof *t);
  }
  for (int64_t i = 0; i < pairs; ++i) {
    const bool halves = r->layout == CLQ_ROPE_HALF;
    const int64_t first = halves ? i : 2 * i;
    const int64_t second = halves ? i + pairs : 2 * i + 1;
    const float a = t[first];
    const float b = t[second];
    const float c = angles[2 * i];
    const float s = angles[2 * i + 1];
    y[first] = fmaf(a, c, -(b * s));
    y[second] = fmaf(b, c, a * s);
  }
  for (int64_t d = r->dims; d < r->head_dim; ++d) {
    y[d] = t[d];
  }
}

static void one_row(const clqi_ref_rope *r, int64_t sequence, int64_t row, int64_t p) {
  const float *angles = r->table != NULL ? r->table + p * r->dims : NULL;
  for (int64_t head = 0; r->q != NULL && head < r->heads; ++head) {
    const int64_t at = (row * r->heads + head) * r->head_dim;
    turn(r, r->q + at, r->q_gamma, angles, r->out + at);
  }
  for (int64_t head = 0; r->k != NULL && head < r->kv_heads; ++head) {
    const int64_t at = (row * r->kv_heads + head) * r->head_dim;
    const clqi_ref_token token = {sequence, head, p};
    float y[MOST_DIMS] = {0};
    turn(r, r->k + at, r->k_gamma, angles, y);
    clqi_ref_cache_put_k(&r->cache, token, y);
    clqi_ref_cache_put_v(&r->cache, token, r->v + at);
  }
}

int64_t clqi_ref_rope_run(const clqi_ref_rope *r) {
  int64_t bad = 0;
  for (int64_t s = 0; s < r->sequences; ++s) {
    const int64_t each = r->rows / r->sequences;
    const int64_t begin = r->starts == NULL ? s * each : r->starts[s];
    const int64_t end = r->starts == NULL ? begin + each : r->starts[s + 1];
    for (int64_t row = begin; row < end; ++row) {
      const int64_t p = (r->position == NULL ? 0 : r->position[s]) + row - begin;
      if (p < 0 || (r->table != NULL && p >= r->positions) ||
          (r->k != NULL && p >= r->cache.capacity)) {
        ++bad;
      } else {
        one_row(r, s, row, p);
      }
    }
  }
  return bad;
}
