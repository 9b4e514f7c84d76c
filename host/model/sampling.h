/* Choosing the next token from logits.
 *
 * The filters' order is llama.cpp's: top-k, top-p, min-p, temperature. Each
 * keeps a prefix of the candidates in the order "larger logit first, of equal
 * ones the lower id":
 *   top-k   the first k;
 *   top-p   of these, as many as are needed for their probabilities (softmax
 *           over top-k's survivors at temperature 1) to reach p, at least one;
 *   min-p   those whose probability is at least min_p times the largest.
 * The survivors' softmax(logit / temperature) is then drawn from: in that order
 * if a filter is on, in the order of ids if none is.
 *
 * Reproducible: one draw takes two numbers of a PCG32 (XSH-RR 64/32, sequence
 * 54), seeded as its reference implementation does; greedy takes none. Sums are
 * in double; the C library's exp is the only part that may differ elsewhere.
 *
 * A draw allocates nothing. One that is refused takes no number; -Inf is never drawn. O(count) with
 * no filter, plus O(log) per candidate that a filter looks at. */
#ifndef CLQI_MODEL_SAMPLING_H
#define CLQI_MODEL_SAMPLING_H

#include <stdint.h>

/* PCG32, here for its test. */
typedef struct clqi_pcg32 {
  uint64_t state;
  uint64_t increment;
} clqi_pcg32;
void clqi_pcg32_seed(clqi_pcg32 *rng, uint64_t seed);
uint32_t clqi_pcg32_next(clqi_pcg32 *rng);

#endif
