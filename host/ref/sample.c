#include "ref/sample.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "ref/math.h"

/* --- order: a merge sort --- */

static void merge(const float *logits, const int32_t *from, int64_t first, int64_t middle,
                  int64_t end, int32_t *to) {
  int64_t a = first;
  int64_t b = middle;
  for (int64_t i = first; i < end; ++i) {
    /* Of equal ones that of the first half, whose ids are lower. */
    const bool take_a = b >= end || (a < middle && logits[from[a]] >= logits[from[b]]);
    to[i] = take_a ? from[a++] : from[b++];
  }
}

void clqi_ref_sample_order(const float *logits, int64_t count, int32_t *ids) {
  int32_t *spare = malloc((size_t)count * sizeof *spare);
  if (spare == NULL) {
    abort();
  }
  for (int64_t i = 0; i < count; ++i) {
    ids[i] = (int32_t)i;
  }
  for (int64_t width = 1; width < count; width *= 2) {
    for (int64_t first = 0; first < count; first += 2 * width) {
      const int64_t middle = first + width < count ? first + width : count;
      const int64_t end = middle + width < count ? middle + width : count;
      merge(logits, ids, first, middle, end, spare);
    }
    for (int64_t i = 0; i < count; ++i) {
      ids[i] = spare[i];
    }
  }
  free(spare);
}

/* --- the random number --- */

static uint64_t philox(uint64_t seed, uint64_t draws) {
  uint32_t c0 = (uint32_t)draws;
  uint32_t c1 = (uint32_t)(draws >> 32);
  uint32_t c2 = 0;
  uint32_t c3 = 0;
  uint32_t k0 = (uint32_t)seed;
  uint32_t k1 = (uint32_t)(seed >> 32);
  for (int i = 0; i < 10; ++i) {
    const uint64_t a = UINT64_C(0xd2511f53) * c0;
    const uint64_t b = UINT64_C(0xcd9e8d57) * c2;
    c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
    c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)b;
    c3 = (uint32_t)a;
    k0 += 0x9e3779b9U;
    k1 += 0xbb67ae85U;
  }
  return ((uint64_t)c0 << 32) | c1;
}

/* random * total / 2^64, bit by bit. */
static uint64_t scaled(uint64_t random, uint64_t total) {
  uint64_t result = 0;
  for (int bit = 0; bit < 64; ++bit) {
    /* Half of result + total or of result; the sum stays below 2^64, for both are below 2^63. */
    result = (result + (((random >> bit) & 1) != 0 ? total : 0)) >> 1;
  }
  return result;
}

/* --- the draw --- */

static uint64_t weight(float distance, float inverse) {
  return (uint64_t)(clqi_ref_exp(distance * inverse) * 0x1p40f);
}

static float inverse_of(float temperature) {
  return fminf(fmaxf(1.0f / temperature, FLT_MIN), FLT_MAX);
}

/* How many of the first k in order top-p keeps. */
static int64_t count_top_p(const float *logits, const int32_t *order, int64_t k, float top_p) {
  const float largest = logits[order[0]];
  uint64_t total = 0;
  for (int64_t i = 0; i < k; ++i) {
    total += weight(logits[order[i]] - largest, 1.0f);
  }
  const uint64_t p =
      (uint64_t)((double)top_p * 0x1p32) > 0 ? (uint64_t)((double)top_p * 0x1p32) : 1;
  const uint64_t wanted = (total >> 32) * p + (((total & UINT32_MAX) * p) >> 32);
  int64_t kept = 0;
  for (uint64_t sum = 0; kept == 0 || (kept < k && sum < wanted); ++kept) {
    sum += weight(logits[order[kept]] - largest, 1.0f);
  }
  return kept;
}

int32_t clqi_ref_sample(const float *logits, int64_t count, const clq_sampling *sampling,
                        uint64_t draws, int32_t *order) {
  for (int64_t i = 0; i < count; ++i) {
    if (isnan(logits[i]) || logits[i] == INFINITY) {
      return -1;
    }
  }
  clqi_ref_sample_order(logits, count, order);
  const float largest = logits[order[0]];
  if (largest == -INFINITY) {
    return -1;
  }
  if (!(sampling->temperature > 0.0f)) {
    return order[0];
  }
  const float inverse = inverse_of(sampling->temperature);
  int64_t kept = sampling->top_k > 0 && sampling->top_k < count ? sampling->top_k : count;
  if (sampling->top_p > 0.0f && sampling->top_p < 1.0f) {
    kept = count_top_p(logits, order, kept, sampling->top_p);
  }
  uint64_t *weights = calloc((size_t)count, sizeof *weights);
  if (weights == NULL) {
    abort();
  }
  uint64_t total = 0;
  for (int64_t i = 0; i < kept; ++i) {
    const float distance = logits[order[i]] - largest;
    if (clqi_ref_exp(distance) >= sampling->min_p) {
      weights[order[i]] = weight(distance, inverse);
      total += weights[order[i]];
    }
  }
  const uint64_t target = scaled(philox(sampling->seed, draws), total);
  int32_t id = 0;
  for (uint64_t sum = weights[0]; sum <= target; sum += weights[id]) {
    ++id;
  }
  free(weights);
  return id;
}
