/* What clq_sample chooses, by brute force: all tokens are sorted. */
#ifndef CLQI_REF_SAMPLE_H
#define CLQI_REF_SAMPLE_H

#include <stdint.h>

#include <clquant/ops.h>

/* The ids of all `count` logits, the largest first, of equal ones the lowest id first. */
void clqi_ref_sample_order(const float *logits, int64_t count, int32_t *ids);
/* The token of the draw number `draws` under the settings, whose seed counts; -1 where the logits
 * do not allow one. order: scratch, [count]. */
int32_t clqi_ref_sample(const float *logits, int64_t count, const clq_sampling *sampling,
                        uint64_t draws, int32_t *order);

#endif
