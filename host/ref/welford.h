/* C twin of kernels_cl/lib/welford.h, with Welford's update and the general merge: what the norms
 * do by vectors. */
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

/* Of a row of a power of two elements, relative to its first, merged neighbours first. */
clqi_ref_welford clqi_ref_welford_row(const float *x, int cols);

#endif
