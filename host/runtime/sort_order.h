/* Sorting of indices, without memory and without a bad case. */
#ifndef CLQI_RUNTIME_SORT_ORDER_H
#define CLQI_RUNTIME_SORT_ORDER_H

#include <stddef.h>
#include <stdint.h>

/* <0, 0, >0 as the thing with index a comes before, with or after b. */
typedef int (*clqi_order_fn)(const void *context, uint32_t a, uint32_t b);

/* Sorts order[0..count) ascending. Not stable: compare the indices last. n log n
 * comparisons whatever the input, and no allocation; the C library's qsort
 * promises neither, and may allocate past the caller's hooks. */
void clqi_sort_order(uint32_t *order, size_t count, clqi_order_fn compare, const void *context);

#endif
