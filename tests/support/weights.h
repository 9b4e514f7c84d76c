/* Random weight matrices in every format, as files would hold them. */
#ifndef CLQ_TESTS_WEIGHTS_H
#define CLQ_TESTS_WEIGHTS_H

#include "device.h"
#include "ref/ref.h"

typedef struct test_weights {
  clqi_ref_weights ref; /* its pointers belong to this struct, but for the order */
  bool whole_row;       /* group 0 in the description */
} test_weights;

/* group: plain codes only; 0 for one scale a row. with_zeros: plain codes only. Scales are finite,
 * of both signs, and include zero. */
test_weights test_weights_new(test_random *random, clq_format format, int64_t rows, int64_t cols,
                              int64_t group, bool with_zeros);
/* Plain codes with what may stand beside them. */
typedef enum test_beside { TEST_SCALES, TEST_ZEROS, TEST_MINS } test_beside;
test_weights test_plain_weights_new(test_random *random, clq_format format, int64_t rows,
                                    int64_t cols, int64_t group, test_beside beside,
                                    clq_dtype scale_dtype);
void test_weights_free(test_weights *weights);

/* Packs it as a single part. */
clq_weights *test_weights_pack(const test_device *device, const test_weights *weights);

#endif
