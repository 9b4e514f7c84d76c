/* C twin of kernels_cl/lib/welford.h; the contracts stand there. */
#ifndef CLQI_REF_WELFORD_H
#define CLQI_REF_WELFORD_H

typedef struct clqi_ref_welford {
  float n;
  float mean;
  float m2;
} clqi_ref_welford;

clqi_ref_welford clqi_ref_welford_add(clqi_ref_welford w, float d);
clqi_ref_welford clqi_ref_welford_merge(clqi_ref_welford a, clqi_ref_welford b);
clqi_ref_welford clqi_ref_welford_merge_equal(clqi_ref_welford a, clqi_ref_welford b);
float clqi_ref_welford_variance(clqi_ref_welford w);

/* Of a row relative to its first element, dealt to `lanes` states in turn and
 * merged neighbours first; equal: by the equal-count merge. */
clqi_ref_welford clqi_ref_welford_row(const float *x, int cols, int lanes, int equal);

#endif
