/* Which tensors share bytes. */
#ifndef CLQI_OPS_OVERLAP_H
#define CLQI_OPS_OVERLAP_H

#include "ops/op.h"

/* Can an element of one be an element of the other? Of two views of one buffer or edge, whose
 * extents are known to be sane. Sees that column ranges of one matrix are apart; where dimensions
 * are interleaved in another way, the answer is yes. Planes are not looked at. */
bool clqi_views_overlap(const clq_tensor *a, const clq_tensor *b);

/* No output overlaps another argument, in buffers or in edges, unless it is `out` and lies exactly
 * upon an input that op->in_place names, as the same buffer object. Sub-buffers are seen as the
 * pieces of their buffer that they are; two buffers made from one piece of host memory are not. */
clq_status clqi_op_check_overlap(const clqi_op *op, const void *args);

#endif
