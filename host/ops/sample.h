/* The settings of a draw as the kernels of sample and the sampler of host/model take them. */
#ifndef CLQI_OPS_SAMPLE_H
#define CLQI_OPS_SAMPLE_H

#include <clquant/ops.h>

#include <stdbool.h>

/* Of more the sum of weights could pass 2^64. */
enum { CLQI_MAX_VOCABULARY = 1 << 23 };

typedef struct clqi_sampling {
  bool greedy;
  int64_t top_k;  /* from 1; the vocabulary where it is off */
  uint64_t top_p; /* times 2^32; 0: off */
  float min_p;
  float inverse; /* 1 / temperature, a normal number */
} clqi_sampling;

/* CLQ_INVALID_ARGUMENT for settings out of range. */
clq_status clqi_sampling_check(const clq_sampling *sampling);
clqi_sampling clqi_sampling_of(const clq_sampling *sampling, int64_t vocabulary);

#endif
