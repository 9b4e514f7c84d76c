/* LayerNorm and RMSNorm: what all their kernels compute, and the forms that do it.
 *
 *   s = alpha * residual + x + bias     rounded to residual's type, written back if wanted
 *   t = s * factor
 *   y = (t - mean) * rstd * gamma + beta   (RMSNorm: no mean)
 *
 * Statistics. 128 lanes (element i in lane i mod 128) run over blocks of 1024
 * elements, 8 to a lane; the lanes of a block fold neighbours first, and blocks
 * merge in ascending order, their sum compensated. LayerNorm: Welford on
 * t - pivot, with the mean of the row's first 128 elements as the pivot, merged by
 * Chan's formula; what is left of the row after whole 128s comes last, in two
 * passes. RMSNorm: sums of squares. Every form does just this, so all give the
 * same bits.
 *
 * The file that includes this sets
 *   CLQ_CENTERED    1: LayerNorm, 0: RMSNorm
 *   CLQ_NORM_KERNEL(form)   the kernel's name
 * and the host what lib/norm_elements.h and lib/emit.h read, and
 *   CLQ_FORM        the one form that is wanted of those that are not for CPUs, for compilers
 *                   take seconds over each: 1 warp, 2 group, 3 stream; 0: all that the device may
 *                   have */
#ifndef CLQ_LIB_NORM_H
#define CLQ_LIB_NORM_H

#ifndef CLQ_FORM
#define CLQ_FORM 0
#endif

#include "lib/norm_elements.h"
#include "lib/norm_stats.h"

#if CLQ_ON_CPU
#include "lib/norm_rows.h"
#else
#include "lib/norm_quads.h" /* here, for a file's text stands where it is first named */
#if CLQ_FORM == 0 || CLQ_FORM == 3
#include "lib/norm_stream.h"
#endif
#if CLQ_FORM != 3
#include "lib/norm_warp.h"
#endif
#endif

#endif
