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

float clqi_ref_welford_variance(clqi_ref_welford w) {
  return w.n > 0.0f ? clqi_ref_div(w.m2, w.n) : 0.0f;
}

/* Lanes first .. first + count - 1. */
static clqi_ref_welford fold(const float *x, int cols, int lanes, int equal, int first, int count) {
  if (count == 1) {
    clqi_ref_welford w = {0.0f, 0.0f, 0.0f};
    for (int i = first; i < cols; i += lanes) {
      w = clqi_ref_welford_add(w, x[i] - x[0]);
    }
    return w;
  }
  int left = 1;
  while (left * 2 < count) {
    left *= 2;
  }
  const clqi_ref_welford a = fold(x, cols, lanes, equal, first, left);
  const clqi_ref_welford b = fold(x, cols, lanes, equal, first + left, count - left);
  return equal != 0 ? clqi_ref_welford_merge_equal(a, b) : clqi_ref_welford_merge(a, b);
}

clqi_ref_welford clqi_ref_welford_row(const float *x, int cols, int lanes, int equal) {
  return fold(x, cols, lanes, equal, 0, lanes);
}
