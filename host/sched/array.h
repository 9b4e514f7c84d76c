/* Arrays that grow one element at a time. */
#ifndef CLQI_SCHED_ARRAY_H
#define CLQI_SCHED_ARRAY_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

/* Room for one more element of *array (a pointer to elements of element_bytes); capacity doubles.
 * The array is kept when this fails. */
clq_status clqi_array_reserve(void *array, int32_t count, int32_t *capacity, size_t element_bytes);

#endif
