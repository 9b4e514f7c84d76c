/* Reference of pool. */
#ifndef CLQI_REF_POOL_H
#define CLQI_REF_POOL_H

#include "ref/ref.h"

typedef struct clqi_ref_pool_of {
  int64_t rows, cols; /* of x */
  clq_pooling pooling;
  bool normalize;
  float eps;
} clqi_ref_pool_of;

/* out [sequences, cols] of x [rows, cols] and starts [sequences + 1], as floats before they are
 * rounded to another type. Returns how many sequences have starts that are none. */
int64_t clqi_ref_pool(const float *x, const int32_t *starts, int64_t sequences,
                      const clqi_ref_pool_of *of, float *out);

#endif
