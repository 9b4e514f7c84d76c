/* Arrays that grow. */
#ifndef CLQI_RUNTIME_ARRAY_H
#define CLQI_RUNTIME_ARRAY_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

/* Room for `more` elements behind the first `count` of *array (a pointer to elements of
 * element_bytes); the capacity at least doubles. CLQ_OUT_OF_HOST_MEMORY keeps the array. */
clq_status clqi_array_reserve(void *array, int64_t count, int64_t more, int64_t *capacity,
                              size_t element_bytes);

#endif
