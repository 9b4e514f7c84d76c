/* Sorting of indices, without memory and without a bad case, and looking up in what is sorted. */
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

/* <0, 0, >0 as what is looked for comes before, is, or comes after the thing with this index. */
typedef int (*clqi_against_fn)(const void *wanted, uint32_t index);

/* An index of order[0..count), which is sorted, whose thing is wanted; UINT32_MAX if none is. */
uint32_t clqi_find_in_order(const uint32_t *order, size_t count, clqi_against_fn against,
                            const void *wanted);

#endif
