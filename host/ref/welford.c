#include "ref/welford.h"

#include <math.h>

#include "ref/math.h"

clqi_ref_welford clqi_ref_welford_add(clqi_ref_welford w, float d) {
  const float n = w.n + 1.0f;
  const float delta = d - w.mean;
  const float mean = fmaf(delta, clqi_ref_div(1.0f, n), w.mean);
  return (clqi_ref_welford){n, mean, fmaf(delta, d - mean, w.m2)};
}

clqi_ref_welford clqi_ref_welford_merge(clqi_ref_welford a, clqi_ref_welford b) {
  const float n = a.n + b.n;
  const float share = n > 0.0f ? clqi_ref_div(b.n, n) : 0.0f;
  const float delta = b.mean - a.mean;
  return (clqi_ref_welford){n, fmaf(delta, share, a.mean),
                            fmaf(delta * delta, a.n * share, a.m2 + b.m2)};
}

clqi_ref_welford clqi_ref_welford_merge_equal(clqi_ref_welford a, clqi_ref_welford b) {
  const float delta = b.mean - a.mean;
  return (clqi_ref_welford){a.n + b.n, 0.5f * (a.mean + b.mean),
                            fmaf(delta * delta, 0.5f * a.n, a.m2 + b.m2)};
}

/* Elements first .. first + count - 1. */
static clqi_ref_welford fold(const float *x, int first, int count) {
  if (count == 1) {
    return (clqi_ref_welford){1.0f, x[first] - x[0], 0.0f};
  }
  return clqi_ref_welford_merge_equal(fold(x, first, count / 2),
                                      fold(x, first + count / 2, count / 2));
}

clqi_ref_welford clqi_ref_welford_row(const float *x, int cols) { return fold(x, 0, cols); }
