/* Byte-pair merging: a sequence of token ids shrinks by replacing neighbours
 * that a merge rule names, lowest rank first, of equal rank the leftmost. */
#ifndef CLQI_IO_BPE_H
#define CLQI_IO_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clquant/status.h>

/* Rules (left, right) -> (rank, result), by open addressing. */
typedef struct clqi_bpe_rules {
  struct clqi_bpe_rule *slots;
  uint64_t seed;
  unsigned shift;
  size_t mask;
} clqi_bpe_rules;

enum { CLQI_BPE_MAX_RULES = 1 << 26 };

/* Room for `count` <= CLQI_BPE_MAX_RULES rules. Where they lie depends on the seed, nothing else
 * does: see random_seed in tokenizer_create.c. */
clq_status clqi_bpe_rules_create(size_t count, uint64_t seed, clqi_bpe_rules *rules);
void clqi_bpe_rules_destroy(clqi_bpe_rules *rules);

/* Adds a rule; false if the pair has one already. Not more than create was
 * told. rank < UINT32_MAX. */
bool clqi_bpe_rules_add(clqi_bpe_rules *rules, int32_t left, int32_t right, uint32_t rank,
                        int32_t result);

/* Working memory of one caller; all zero is an empty one. */
typedef struct clqi_bpe_scratch {
  uint32_t *next; /* per symbol: the following and the preceding live symbol */
  uint32_t *prev;
  uint64_t *heap; /* rank << 32 | symbol */
  size_t capacity;
} clqi_bpe_scratch;
void clqi_bpe_scratch_free(clqi_bpe_scratch *scratch);

/* Merges ids[0..count) in place; *merged is the new count. Quadratic only below
 * a small fixed length, O(n log n) above. count < UINT32_MAX. */
clq_status clqi_bpe_merge(const clqi_bpe_rules *rules, clqi_bpe_scratch *scratch, int32_t *ids,
                          size_t count, size_t *merged);

#endif
