/* The type of a matrix product, which the host sets as CLQ_OUT: CLQ_F32, or
 * CLQ_F16, the f32 result rounded once, ties to even. */
#ifndef CLQ_LIB_PRODUCT_H
#define CLQ_LIB_PRODUCT_H

#include "lib/half.h"
#include "lib/types.h"

#ifndef CLQ_OUT
#define CLQ_OUT CLQ_F32
#endif

#if CLQ_OUT == CLQ_F16
typedef half clq_out;
#define CLQ_STORE_OUT(x, i, p) clq_store_half(x, i, p)
#else
typedef float clq_out;
#define CLQ_STORE_OUT(x, i, p) ((p)[i] = (x))
#endif

#endif
