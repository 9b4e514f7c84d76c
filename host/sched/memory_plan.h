/* Where edges lie in one arena. A region is alive from the node that first
 * writes it to the last node that touches it; two regions alive at one node get
 * bytes of their own, others may share. Node numbers stand for the order in
 * which the nodes run: with several queues, the caller must widen lifetimes
 * until that is true.
 *
 * Greedy by size with best fit (Pisarchyk and Lee, "Efficient memory management
 * for deep neural net inference", 2020). */
#ifndef CLQI_SCHED_MEMORY_PLAN_H
#define CLQI_SCHED_MEMORY_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct clqi_region {
  int32_t first; /* node, 0 and up */
  int32_t last;  /* node, not before first */
  size_t bytes;  /* 0: takes no place */
  size_t offset; /* result: a multiple of the alignment */
} clqi_region;

/* In bytes, every region rounded up to the alignment. */
typedef struct clqi_memory_totals {
  size_t arena;       /* end of the last region */
  size_t naive;       /* sum of all regions */
  size_t lower_bound; /* most bytes alive at one node */
} clqi_memory_totals;

/* Sets the offsets. alignment: a power of two. The same regions give the same
 * offsets, whatever ran before. CLQ_INVALID_ARGUMENT (a lifetime that ends before
 * it begins, a sum beyond size_t), CLQ_OUT_OF_HOST_MEMORY. */
clq_status clqi_memory_plan(clqi_region *regions, uint32_t count, size_t alignment,
                            clqi_memory_totals *totals);

#endif
