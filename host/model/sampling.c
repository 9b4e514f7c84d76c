#include "model/sampling.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "ops/sample.h"
#include "runtime/memory.h"
#include "runtime/status.h"

struct clq_sampler {
  clq_sampling sampling;
  size_t vocabulary;
  uint64_t draws;
  uint64_t *keys; /* vocabulary; NULL if greedy */
};

/* --- Philox4x32-10: Salmon and others, SC 2011; lib/philox.h. ------------------ */

void clqi_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c[4];
  uint32_t k[2] = {key[0], key[1]};
  memcpy(c, counter, sizeof c);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = (uint64_t)0xd2511f53U * c[0];
    const uint64_t b = (uint64_t)0xcd9e8d57U * c[2];
    const uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b,
                              (uint32_t)(a >> 32) ^ c[3] ^ k[1], (uint32_t)a};
    memcpy(c, next, sizeof c);
    k[0] += 0x9e3779b9U;
    k[1] += 0xbb67ae85U;
  }
  memcpy(out, c, sizeof c);
}

/* The upper half of a product of 128 bits. */
static uint64_t mul_high(uint64_t a, uint64_t b) {
  const uint64_t low = (a & UINT32_MAX) * (b & UINT32_MAX);
  const uint64_t mid = (a >> 32) * (b & UINT32_MAX) + (low >> 32);
  const uint64_t other = (a & UINT32_MAX) * (b >> 32) + (mid & UINT32_MAX);
  return (a >> 32) * (b >> 32) + (mid >> 32) + (other >> 32);
}

/* Uniform among 0 .. total - 1. */
static uint64_t draw_below(const clq_sampler *s, uint64_t total) {
  cl_int state[CLQI_SAMPLER_STATE];
  clqi_sampler_state(s, state);
  const uint32_t counter[4] = {(uint32_t)state[2], (uint32_t)state[3], 0, 0};
  uint32_t random[4];
  clqi_philox(counter, (const uint32_t[]){(uint32_t)state[0], (uint32_t)state[1]}, random);
  return mul_high(((uint64_t)random[0] << 32) | random[1], total);
}

/* --- The object. -------------------------------------------------------------- */

clq_status clq_sampler_create(const clq_sampling *sampling, int64_t vocabulary, clq_sampler **out) {
  static const clq_sampling greedy;
  CLQI_REQUIRE(out != NULL, "sampling: the result pointer is NULL");
  *out = NULL;
  sampling = sampling == NULL ? &greedy : sampling;
  CLQI_TRY(clqi_sampling_check(sampling));
  CLQI_REQUIRE(vocabulary > 0 && vocabulary <= CLQI_MAX_VOCABULARY,
               "sampling: vocabulary is %lld, expected 1 to 2^23", (long long)vocabulary);
  clq_sampler *sampler = clqi_calloc(1, sizeof *sampler);
  if (sampler == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "sampling: out of memory");
  }
  sampler->sampling = *sampling;
  sampler->vocabulary = (size_t)vocabulary;
  if (sampling->temperature > 0) {
    sampler->keys = clqi_calloc(sampler->vocabulary, sizeof *sampler->keys);
    if (sampler->keys == NULL) {
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
    clqi_free(sampler->keys);
    clqi_free(sampler);
  }
}

const clq_sampling *clqi_sampler_settings(const clq_sampler *sampler) { return &sampler->sampling; }

int64_t clqi_sampler_vocabulary(const clq_sampler *sampler) { return (int64_t)sampler->vocabulary; }

void clqi_sampler_state(const clq_sampler *sampler, cl_int state[CLQI_SAMPLER_STATE]) {
  const uint64_t words[2] = {sampler->sampling.seed, sampler->draws};
  for (int i = 0; i < CLQI_SAMPLER_STATE; ++i) {
    const uint32_t half = (uint32_t)(words[i / 2] >> (32 * (i % 2)));
    memcpy(&state[i], &half, sizeof half);
  }
}

void clqi_sampler_count(clq_sampler *sampler, int64_t tokens) {
  sampler->draws += sampler->keys == NULL ? 0 : (uint64_t)tokens;
}

/* --- Order: the same keys as lib/sample.h. -------------------------------------- */

static uint64_t key_of(float logit, size_t id) {
  uint32_t bits;
  memcpy(&bits, &logit, sizeof bits);
  const uint32_t magnitude = bits & 0x7fffffffU;
  const uint32_t order = 0x80000000U + ((bits >> 31) != 0 ? 0U - magnitude : magnitude);
  return ((uint64_t)order << 32) | (uint32_t) ~(uint32_t)id;
}

static size_t id_of(uint64_t key) { return (uint32_t) ~(uint32_t)key; }

/* A heap's root is its largest (largest_first) or its smallest key. */
static void sift_down(uint64_t *heap, size_t size, size_t at, bool largest_first) {
  const uint64_t moved = heap[at];
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= size) {
      break;
    }
    if (child + 1 < size && (heap[child + 1] > heap[child]) == largest_first) {
      ++child;
    }
    if ((heap[child] > moved) != largest_first) {
      break;
    }
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = moved;
}

static void make_heap(uint64_t *heap, size_t size, bool largest_first) {
  for (size_t i = size / 2; i-- > 0;) {
    sift_down(heap, size, i, largest_first);
  }
}

/* Leaves the first k < count candidates in heap, the last of them at heap[0]. Almost all of a large
 * vocabulary fails one comparison. */
static void select_top(const float *logits, size_t count, size_t k, uint64_t *heap) {
  for (size_t i = 0; i < k; ++i) {
    heap[i] = key_of(logits[i], i);
  }
  make_heap(heap, k, false);
  for (size_t i = k; i < count; ++i) {
    const uint64_t key = key_of(logits[i], i);
    if (key > heap[0]) {
      heap[0] = key;
      sift_down(heap, k, 0, false);
    }
  }
}

/* --- Weights. ------------------------------------------------------------------- */

/* clq_exp_down of lib/math.h, for x of at most 0. */
static float exp_down(float x) {
  if (x < -0x1.5d589ep+6f) {
    return 0.0f;
  }
  const float t = fmaf(x, 0x1.715476p+0f, 0x1.8p+23f);
  const float n = t - 0x1.8p+23f;
  float r = fmaf(n, -0x1.62e400p-1f, x);
  r = fmaf(n, -0x1.7f7d1cp-20f, r);
  float p = fmaf(0x1.6a4b36p-10f, r, 0x1.12398ep-7f);
  p = fmaf(p, r, 0x1.5558b2p-5f);
  p = fmaf(p, r, 0x1.555492p-3f);
  p = fmaf(p, r, 0x1.fffffcp-2f);
  p = fmaf(p, r, 1.0f);
  p = fmaf(p, r, 1.0f);
  uint32_t bits;
  uint32_t shift;
  memcpy(&bits, &p, sizeof bits);
  memcpy(&shift, &t, sizeof shift);
  bits += shift << 23;
  memcpy(&p, &bits, sizeof p);
  return p;
}

static uint64_t weight(float logit, float largest, float inverse) {
  return (uint64_t)(exp_down((logit - largest) * inverse) * 0x1p40f);
}

/* --- Sampling. ---------------------------------------------------------------- */

typedef struct row {
  const float *logits;
  size_t count;
  float largest;
  clqi_sampling how;
} row;

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

/* p of it, at least one candidate's. */
static uint64_t wanted_mass(uint64_t total, uint64_t top_p) {
  const uint64_t wanted = (total >> 32) * top_p + (((total & UINT32_MAX) * top_p) >> 32);
  return wanted > 1 ? wanted : 1;
}

enum { BINS = 512 };

/* Distances from the largest logit in steps of 1/16: a candidate before another is in no later bin.
 */
static int bin_of(const row *r, size_t i) {
  return (int)fminf((r->largest - r->logits[i]) * 16.0f, BINS - 1);
}

/* The candidates of the bin in which top-p's last one is, and the mass that is wanted of them. */
static size_t gather(const row *r, uint64_t *keys, uint64_t *wanted) {
  uint64_t bins[BINS] = {0};
  uint64_t total = 0;
  for (size_t i = 0; i < r->count; ++i) {
    const uint64_t w = weight(r->logits[i], r->largest, 1.0f);
    bins[bin_of(r, i)] += w;
    total += w;
  }
  uint64_t left = wanted_mass(total, r->how.top_p);
  int bin = 0;
  for (; bins[bin] < left; ++bin) {
    left -= bins[bin];
  }
  size_t count = 0;
  for (size_t i = 0; i < r->count; ++i) {
    if (bin_of(r, i) == bin) {
      keys[count++] = key_of(r->logits[i], i);
    }
  }
  *wanted = left;
  return count;
}

/* The last candidate of those that make up the wanted mass. */
static uint64_t last_of_mass(const row *r, uint64_t *keys, size_t count, uint64_t wanted) {
  uint64_t last = 0;
  uint64_t sum = 0;
  make_heap(keys, count, true);
  while (count > 0 && sum < wanted) {
    last = keys[0];
    sum += weight(r->logits[id_of(last)], r->largest, 1.0f);
    keys[0] = keys[--count];
    if (count > 0) {
      sift_down(keys, count, 0, true);
    }
  }
  return last;
}

/* The last candidate that top-k and top-p keep. */
static uint64_t last_kept(const row *r, uint64_t *keys) {
  const size_t k = (size_t)r->how.top_k;
  const bool few = k < r->count;
  if (few) {
    select_top(r->logits, r->count, k, keys);
  }
  if (r->how.top_p == 0) {
    return few ? keys[0] : 0;
  }
  uint64_t wanted = 0;
  if (!few) {
    const size_t count = gather(r, keys, &wanted);
    return last_of_mass(r, keys, count, wanted);
  }
  for (size_t i = 0; i < k; ++i) {
    wanted += weight(r->logits[id_of(keys[i])], r->largest, 1.0f);
  }
  return last_of_mass(r, keys, k, wanted_mass(wanted, r->how.top_p));
}

/* What candidate i weighs in the draw. */
static uint64_t drawn(const row *r, uint64_t last, size_t i) {
  const float logit = r->logits[i];
  const bool kept = key_of(logit, i) >= last && exp_down(logit - r->largest) >= r->how.min_p;
  return kept ? weight(logit, r->largest, r->how.inverse) : 0;
}

static size_t draw(const clq_sampler *sampler, const row *r, uint64_t last) {
  uint64_t total = 0;
  for (size_t i = 0; i < r->count; ++i) {
    total += drawn(r, last, i);
  }
  const uint64_t target = draw_below(sampler, total);
  size_t i = 0;
  for (uint64_t sum = drawn(r, last, 0); sum <= target; sum += drawn(r, last, i)) {
    ++i;
  }
  return i;
}

clq_status clq_sampler_sample(clq_sampler *sampler, const float *logits, int64_t count,
                              int32_t *id) {
  CLQI_REQUIRE(sampler != NULL && logits != NULL && id != NULL, "sampling: an argument is NULL");
  CLQI_REQUIRE(count > 0 && count <= (int64_t)sampler->vocabulary,
               "sampling: %lld logits, expected 1 to %zu", (long long)count, sampler->vocabulary);
  size_t largest = 0;
  CLQI_TRY(find_largest(logits, (size_t)count, &largest));
  if (sampler->keys == NULL) {
    *id = (int32_t)largest;
    return CLQ_OK;
  }
  const row r = {.logits = logits,
                 .count = (size_t)count,
                 .largest = logits[largest],
                 .how = clqi_sampling_of(&sampler->sampling, count)};
  *id = (int32_t)draw(sampler, &r, last_kept(&r, sampler->keys));
  clqi_sampler_count(sampler, 1);
  return CLQ_OK;
}
