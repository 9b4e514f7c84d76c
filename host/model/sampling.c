#include "model/sampling.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include <clquant/model.h>

#include "runtime/memory.h"
#include "runtime/status.h"

typedef struct candidate {
  float logit;
  int32_t id;
} candidate;

struct clq_sampler {
  clq_sampling sampling;
  clqi_pcg32 rng;
  size_t vocabulary;
  candidate *candidates; /* vocabulary; NULL if greedy */
};

/* --- PCG32: O'Neill, PCG, 2014; pcg-random.org, pcg_basic.c. ------------------ */

void clqi_pcg32_seed(clqi_pcg32 *rng, uint64_t seed) {
  rng->state = 0;
  rng->increment = (UINT64_C(54) << 1) | 1;
  (void)clqi_pcg32_next(rng);
  rng->state += seed;
  (void)clqi_pcg32_next(rng);
}

uint32_t clqi_pcg32_next(clqi_pcg32 *rng) {
  const uint64_t state = rng->state;
  rng->state = state * UINT64_C(6364136223846793005) + rng->increment;
  const uint32_t shifted = (uint32_t)(((state >> 18) ^ state) >> 27);
  const uint32_t rotation = (uint32_t)(state >> 59);
  return (shifted >> rotation) | (shifted << ((32 - rotation) & 31));
}

/* Uniform in [0, 1), a multiple of 2^-53. */
static double uniform(clqi_pcg32 *rng) {
  const uint64_t high = clqi_pcg32_next(rng);
  const uint64_t low = clqi_pcg32_next(rng);
  return (double)(((high << 32) | low) >> 11) * 0x1p-53;
}

/* --- Creation. ---------------------------------------------------------------- */

static clq_status check(const clq_sampling *s) {
  CLQI_REQUIRE(s->temperature >= 0 && isfinite(s->temperature),
               "sampling: temperature is %g, expected a number from 0", (double)s->temperature);
  CLQI_REQUIRE(s->top_k >= 0, "sampling: top_k is %d, expected 0 (off) or more", (int)s->top_k);
  CLQI_REQUIRE(s->top_p >= 0, "sampling: top_p is %g, expected 0 (off) to 1", (double)s->top_p);
  CLQI_REQUIRE(s->min_p >= 0 && s->min_p <= 1, "sampling: min_p is %g, expected 0 (off) to 1",
               (double)s->min_p);
  return CLQ_OK;
}

clq_status clq_sampler_create(const clq_sampling *sampling, int64_t vocabulary, clq_sampler **out) {
  static const clq_sampling greedy;
  CLQI_REQUIRE(out != NULL, "sampling: the result pointer is NULL");
  *out = NULL;
  sampling = sampling == NULL ? &greedy : sampling;
  CLQI_TRY(check(sampling));
  CLQI_REQUIRE(vocabulary > 0 && vocabulary <= INT32_MAX,
               "sampling: vocabulary is %lld, expected 1 to 2^31 - 1", (long long)vocabulary);
  clq_sampler *sampler = clqi_calloc(1, sizeof *sampler);
  if (sampler == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "sampling: out of memory");
  }
  sampler->sampling = *sampling;
  sampler->vocabulary = (size_t)vocabulary;
  clqi_pcg32_seed(&sampler->rng, sampling->seed);
  if (sampling->temperature > 0) {
    sampler->candidates = clqi_calloc(sampler->vocabulary, sizeof *sampler->candidates);
    if (sampler->candidates == NULL) {
      clq_sampler_destroy(sampler);
      return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "sampling: out of memory for %lld candidates",
                       (long long)vocabulary);
    }
  }
  *out = sampler;
  return CLQ_OK;
}

void clq_sampler_destroy(clq_sampler *sampler) {
  if (sampler != NULL) {
    clqi_free(sampler->candidates);
    clqi_free(sampler);
  }
}

/* --- Order. ------------------------------------------------------------------- */

static bool before(candidate a, candidate b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* A heap's root is its first (best_first) or its last candidate in that order. */
static bool above(candidate a, candidate b, bool best_first) {
  return best_first ? before(a, b) : before(b, a);
}

static void sift_down(candidate *heap, size_t size, size_t at, bool best_first) {
  const candidate moved = heap[at];
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= size) {
      break;
    }
    if (child + 1 < size && above(heap[child + 1], heap[child], best_first)) {
      ++child;
    }
    if (!above(heap[child], moved, best_first)) {
      break;
    }
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = moved;
}

static void make_heap(candidate *heap, size_t size, bool best_first) {
  for (size_t i = size / 2; i-- > 0;) {
    sift_down(heap, size, i, best_first);
  }
}

/* Leaves the first k <= count candidates in out, in no order. Almost all of a
 * large vocabulary fails one comparison with the worst kept so far. */
static void select_top(const float *logits, size_t count, size_t k, candidate *out) {
  for (size_t i = 0; i < k; ++i) {
    out[i] = (candidate){logits[i], (int32_t)i};
  }
  if (k == count) {
    return;
  }
  make_heap(out, k, false);
  for (size_t i = k; i < count; ++i) {
    const candidate next = {logits[i], (int32_t)i};
    if (before(next, out[0])) {
      out[0] = next;
      sift_down(out, k, 0, false);
    }
  }
}

/* --- Sampling. ---------------------------------------------------------------- */

/* Index of the largest logit, the first of equal ones. */
static clq_status find_largest(const float *logits, size_t count, size_t *largest) {
  size_t best = 0;
  for (size_t i = 0; i < count; ++i) {
    if (isnan(logits[i]) || logits[i] == INFINITY) {
      return clqi_fail(
          CLQ_INVALID_ARGUMENT,
          "sampling: logit of token %zu is %s: the model file may be damaged, or its activations "
          "overflow",
          i, isnan(logits[i]) ? "NaN" : "infinite");
    }
    best = logits[i] > logits[best] ? i : best;
  }
  CLQI_REQUIRE(logits[best] != -INFINITY,
               "sampling: every logit is -Inf; if you mask tokens, leave one");
  *largest = best;
  return CLQ_OK;
}

static double mass(const candidate *candidates, size_t count, double largest) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    sum += exp((double)candidates[i].logit - largest);
  }
  return sum;
}

/* Applies top-p and min-p: puts the survivors in order at the front and returns
 * their number. The rest is only ordered as far as was needed to know. */
static size_t keep_prefix(candidate *candidates, size_t count, const clq_sampling *s,
                          double largest) {
  const bool use_top_p = s->top_p > 0 && s->top_p < 1;
  const double wanted = use_top_p ? (double)s->top_p * mass(candidates, count, largest) : HUGE_VAL;
  const double floor = (double)s->min_p;
  make_heap(candidates, count, true);
  /* The heap gives the best first; they gather at the back, then turn over. */
  size_t left = count;
  double sum = 0;
  while (left > 0 && sum < wanted) {
    const candidate best = candidates[0];
    const double weight = exp((double)best.logit - largest);
    if (weight < floor) {
      break;
    }
    sum += weight;
    --left;
    candidates[0] = candidates[left];
    sift_down(candidates, left, 0, true);
    candidates[left] = best;
  }
  const size_t kept = count - left;
  for (size_t i = 0; i < (count + 1) / 2; ++i) {
    const candidate front = candidates[i];
    candidates[i] = candidates[count - 1 - i];
    candidates[count - 1 - i] = front;
  }
  return kept;
}

/* Inverse of the cumulative distribution at one uniform number. */
static int32_t draw(clq_sampler *sampler, const candidate *candidates, size_t count,
                    double largest) {
  const double temperature = (double)sampler->sampling.temperature;
  double total = 0;
  for (size_t i = 0; i < count; ++i) {
    total += exp(((double)candidates[i].logit - largest) / temperature);
  }
  const double target = uniform(&sampler->rng) * total;
  double sum = 0;
  int32_t chosen = candidates[0].id;
  for (size_t i = 0; i < count && sum <= target; ++i) {
    const double weight = exp(((double)candidates[i].logit - largest) / temperature);
    sum += weight;
    /* Only what can be drawn: rounding may leave the sum below the target. */
    chosen = weight > 0 ? candidates[i].id : chosen;
  }
  return chosen;
}

clq_status clq_sampler_sample(clq_sampler *sampler, const float *logits, int64_t count,
                              int32_t *id) {
  CLQI_REQUIRE(sampler != NULL && logits != NULL && id != NULL, "sampling: an argument is NULL");
  CLQI_REQUIRE(count > 0 && count <= (int64_t)sampler->vocabulary,
               "sampling: %lld logits, expected 1 to %zu", (long long)count, sampler->vocabulary);
  const size_t n = (size_t)count;
  size_t largest = 0;
  CLQI_TRY(find_largest(logits, n, &largest));
  const clq_sampling *s = &sampler->sampling;
  if (!(s->temperature > 0)) {
    *id = (int32_t)largest;
    return CLQ_OK;
  }
  const double top = (double)logits[largest];
  size_t kept = s->top_k > 0 && (size_t)s->top_k < n ? (size_t)s->top_k : n;
  select_top(logits, n, kept, sampler->candidates);
  if (kept < n || (s->top_p > 0 && s->top_p < 1) || s->min_p > 0) {
    kept = keep_prefix(sampler->candidates, kept, s, top);
  }
  *id = draw(sampler, sampler->candidates, kept, top);
  return CLQ_OK;
}
