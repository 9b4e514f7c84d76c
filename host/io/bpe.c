#include "io/bpe.h"

#include <string.h>

#include "runtime/memory.h"
#include "runtime/status.h"

struct clqi_bpe_rule {
  uint64_t pair;
  uint32_t rank; /* NO_RANK: the slot is free */
  int32_t result;
};

/* Up to this many symbols a scan for the lowest rank beats a heap. */
enum { SHORT_PIECE = 40 };
#define NO_RANK   UINT32_MAX
#define NO_SYMBOL UINT32_MAX

clq_status clqi_bpe_rules_create(size_t count, uint64_t seed, clqi_bpe_rules *rules) {
  *rules = (clqi_bpe_rules){0};
  CLQI_REQUIRE(count <= CLQI_BPE_MAX_RULES, "tokenizer: %zu merges, at most %d are supported",
               count, CLQI_BPE_MAX_RULES);
  unsigned bits = 4;
  while ((size_t)1 << bits < 2 * count) {
    ++bits;
  }
  const size_t slots = (size_t)1 << bits;
  rules->slots = clqi_malloc(slots * sizeof *rules->slots);
  if (rules->slots == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "tokenizer: out of memory for %zu merges", count);
  }
  for (size_t i = 0; i < slots; ++i) {
    rules->slots[i] = (struct clqi_bpe_rule){0, NO_RANK, 0};
  }
  rules->seed = seed;
  rules->shift = 64 - bits;
  rules->mask = slots - 1;
  return CLQ_OK;
}

void clqi_bpe_rules_destroy(clqi_bpe_rules *rules) {
  clqi_free(rules->slots);
  *rules = (clqi_bpe_rules){0};
}

/* The pair's rule, or the free slot where it would stand. */
static inline struct clqi_bpe_rule *slot_of(const clqi_bpe_rules *rules, int32_t left,
                                            int32_t right) {
  const uint64_t pair = ((uint64_t)(uint32_t)left << 32) | (uint32_t)right;
  /* Fibonacci hashing of the folded pair: both halves reach the high bits. */
  const uint64_t seeded = pair ^ rules->seed;
  const uint64_t hash = (seeded ^ (seeded >> 29)) * UINT64_C(0x9E3779B97F4A7C15);
  size_t at = (size_t)(hash >> rules->shift);
  while (rules->slots[at].rank != NO_RANK && rules->slots[at].pair != pair) {
    at = (at + 1) & rules->mask;
  }
  return &rules->slots[at];
}

bool clqi_bpe_rules_add(clqi_bpe_rules *rules, int32_t left, int32_t right, uint32_t rank,
                        int32_t result) {
  struct clqi_bpe_rule *slot = slot_of(rules, left, right);
  if (slot->rank != NO_RANK) {
    return false;
  }
  *slot = (struct clqi_bpe_rule){((uint64_t)(uint32_t)left << 32) | (uint32_t)right, rank, result};
  return true;
}

void clqi_bpe_scratch_free(clqi_bpe_scratch *scratch) {
  clqi_free(scratch->next);
  clqi_free(scratch->prev);
  clqi_free(scratch->heap);
  *scratch = (clqi_bpe_scratch){0};
}

static size_t merge_short(const clqi_bpe_rules *rules, int32_t *ids, size_t count) {
  /* rank[i], result[i]: of the pair (i, i + 1). */
  uint32_t rank[SHORT_PIECE];
  int32_t result[SHORT_PIECE];
  for (size_t i = 0; i + 1 < count; ++i) {
    const struct clqi_bpe_rule *rule = slot_of(rules, ids[i], ids[i + 1]);
    rank[i] = rule->rank;
    result[i] = rule->result;
  }
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      best = rank[i] < rank[best] ? i : best;
    }
    if (rank[best] == NO_RANK) {
      break;
    }
    ids[best] = result[best];
    --count;
    for (size_t i = best + 1; i < count; ++i) {
      ids[i] = ids[i + 1];
      rank[i - 1] = rank[i];
      result[i - 1] = result[i];
    }
    const size_t first = best == 0 ? 0 : best - 1;
    for (size_t i = first; i <= best && i + 1 < count; ++i) {
      const struct clqi_bpe_rule *rule = slot_of(rules, ids[i], ids[i + 1]);
      rank[i] = rule->rank;
      result[i] = rule->result;
    }
  }
  return count;
}

static void sift_down(uint64_t *heap, size_t size, size_t at) {
  const uint64_t value = heap[at];
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= size) {
      break;
    }
    if (child + 1 < size && heap[child + 1] < heap[child]) {
      ++child;
    }
    if (value <= heap[child]) {
      break;
    }
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = value;
}

static void push(uint64_t *heap, size_t *size, uint64_t value) {
  size_t at = (*size)++;
  while (at > 0 && heap[(at - 1) / 2] > value) {
    heap[at] = heap[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  heap[at] = value;
}

static uint64_t pop(uint64_t *heap, size_t *size) {
  const uint64_t top = heap[0];
  heap[0] = heap[--*size];
  if (*size > 0) {
    sift_down(heap, *size, 0);
  }
  return top;
}

/* n symbols start with at most n - 1 entries, and each of at most n - 1 merges
 * takes one and adds two. */
enum { HEAP_PER_SYMBOL = 2 };

static clq_status reserve(clqi_bpe_scratch *scratch, size_t count) {
  if (count <= scratch->capacity) {
    return CLQ_OK;
  }
  clqi_bpe_scratch_free(scratch);
  scratch->next = clqi_calloc(count, sizeof *scratch->next);
  scratch->prev = clqi_calloc(count, sizeof *scratch->prev);
  scratch->heap = clqi_calloc(count, HEAP_PER_SYMBOL * sizeof *scratch->heap);
  if (scratch->next == NULL || scratch->prev == NULL || scratch->heap == NULL) {
    clqi_bpe_scratch_free(scratch);
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "tokenizer: out of memory for a word of %zu bytes",
                     count);
  }
  scratch->capacity = count;
  return CLQ_OK;
}

static size_t merge_long(const clqi_bpe_rules *rules, clqi_bpe_scratch *scratch, int32_t *ids,
                         uint32_t count) {
  uint32_t *next = scratch->next;
  uint32_t *prev = scratch->prev;
  uint64_t *heap = scratch->heap;
  size_t heap_size = 0;
  for (uint32_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? i + 1 : NO_SYMBOL;
    prev[i] = i > 0 ? i - 1 : NO_SYMBOL;
    const uint32_t rank = i + 1 < count ? slot_of(rules, ids[i], ids[i + 1])->rank : NO_RANK;
    if (rank != NO_RANK) {
      heap[heap_size++] = ((uint64_t)rank << 32) | i;
    }
  }
  for (size_t i = heap_size / 2; i-- > 0;) {
    sift_down(heap, heap_size, i);
  }
  while (heap_size > 0) {
    const uint64_t top = pop(heap, &heap_size);
    const uint32_t left = (uint32_t)top;
    const uint32_t right = ids[left] < 0 ? NO_SYMBOL : next[left];
    if (right == NO_SYMBOL) {
      continue;
    }
    const struct clqi_bpe_rule *rule = slot_of(rules, ids[left], ids[right]);
    if (rule->rank != (uint32_t)(top >> 32)) {
      continue; /* a neighbour has changed since; its own entry follows */
    }
    ids[left] = rule->result;
    ids[right] = -1;
    next[left] = next[right];
    if (next[left] != NO_SYMBOL) {
      prev[next[left]] = left;
      const uint32_t rank = slot_of(rules, ids[left], ids[next[left]])->rank;
      if (rank != NO_RANK) {
        push(heap, &heap_size, ((uint64_t)rank << 32) | left);
      }
    }
    if (prev[left] != NO_SYMBOL) {
      const uint32_t rank = slot_of(rules, ids[prev[left]], ids[left])->rank;
      if (rank != NO_RANK) {
        push(heap, &heap_size, ((uint64_t)rank << 32) | prev[left]);
      }
    }
  }
  size_t merged = 0;
  for (uint32_t i = 0; i != NO_SYMBOL; i = next[i]) {
    ids[merged++] = ids[i];
  }
  return merged;
}

clq_status clqi_bpe_merge(const clqi_bpe_rules *rules, clqi_bpe_scratch *scratch, int32_t *ids,
                          size_t count, size_t *merged) {
  if (count <= SHORT_PIECE) {
    *merged = merge_short(rules, ids, count);
    return CLQ_OK;
  }
  CLQI_TRY(reserve(scratch, count));
  *merged = merge_long(rules, scratch, ids, (uint32_t)count);
  return CLQ_OK;
}
