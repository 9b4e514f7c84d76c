#include "ref/pool.h"

#include <math.h>

#include "ref/math.h"

enum { LANES = 256 };

/* Sum of `count` floats `stride` apart, divided by their number; of one it is that. */
static float mean_of(const float *x, int64_t count, int64_t stride) {
  float sum = x[0];
  float rest = 0.0f;
  for (int64_t r = 1; r < count; ++r) {
    const float v = x[r * stride];
    const float next = sum + v;
    const float part = next - sum;
    rest += (sum - (next - part)) + (v - part);
    sum = next;
  }
  return count == 1 ? sum : clqi_ref_div(sum + (isnan(rest) ? 0.0f : rest), (float)count);
}

static void normalize(float *v, int64_t cols, float eps) {
  float lanes[LANES] = {0};
  for (int64_t c = 0; c < cols; ++c) {
    lanes[c % LANES] = fmaf(v[c], v[c], lanes[c % LANES]);
  }
  const float length = clqi_ref_sqrt(clqi_ref_fold_add(lanes, LANES));
  for (int64_t c = 0; c < cols; ++c) {
    v[c] = clqi_ref_div(v[c], length < eps ? eps : length);
  }
}

int64_t clqi_ref_pool(const float *x, const int32_t *starts, int64_t sequences,
                      const clqi_ref_pool_of *of, float *out) {
  int64_t unknown = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    int64_t begin = starts[s];
    int64_t end = starts[s + 1];
    const bool known = begin >= 0 && begin <= end && end <= of->rows;
    unknown += !known;
    end = known ? end : begin;
    if (of->pooling == CLQ_POOL_FIRST && end > begin) {
      end = begin + 1;
    } else if (of->pooling == CLQ_POOL_LAST && end > begin) {
      begin = end - 1;
    }
    float *v = out + s * of->cols;
    for (int64_t c = 0; c < of->cols; ++c) {
      v[c] = end > begin ? mean_of(x + begin * of->cols + c, end - begin, of->cols) : 0.0f;
    }
    if (of->normalize) {
      normalize(v, of->cols, of->eps);
    }
  }
  return unknown;
}
