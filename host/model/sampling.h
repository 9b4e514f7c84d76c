/* Choosing the next token from logits, on the host; kernels_cl/sample.cl does the same on a device.
 *
 * The filters' order is llama.cpp's: top-k, top-p, min-p, temperature. Candidates stand in the
 * order "larger logit first, of equal ones the lower id": top-k   keeps the first k; top-p   of
 * these, as many as are needed for their probabilities (softmax over top-k's survivors at
 * temperature 1) to reach p, at least one; min-p   those whose probability is at least min_p times
 * the largest. Of the survivors' softmax(logit / temperature) one is drawn: the first, by ids, at
 * which the sum of probabilities passes a random number.
 *
 * The same ids everywhere: a probability is an integer, 2^40 * exp(logit - largest) rounded down,
 * the exp that of lib/math.h, so that sums are exact in any order. The number is that of
 * Philox4x32-10 under the seed as key and the count of draws before as counter; greedy takes none,
 * nor does a draw that is refused.
 *
 * A draw allocates nothing; -Inf is never drawn. O(count) with no filter, plus O(log) per candidate
 * that a filter looks at. */
#ifndef CLQI_MODEL_SAMPLING_H
#define CLQI_MODEL_SAMPLING_H

#include <stdint.h>

#include <clquant/model.h>

/* Philox4x32-10, here for its test. */
void clqi_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* How the sampler draws, and for how many logits. */
const clq_sampling *clqi_sampler_settings(const clq_sampler *sampler);
int64_t clqi_sampler_vocabulary(const clq_sampler *sampler);

enum { CLQI_SAMPLER_STATE = 4 };
/* Seed and number of draws, as clq_sample_args has them in `state`. */
void clqi_sampler_state(const clq_sampler *sampler, cl_int state[CLQI_SAMPLER_STATE]);
/* So many tokens were drawn on a device. */
void clqi_sampler_count(clq_sampler *sampler, int64_t tokens);

#endif
