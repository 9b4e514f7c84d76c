/* The type of a matrix product, which the host sets as CLQ_OUT: CLQ_F32; CLQ_F16 or CLQ_BF16, the
 * f32 result rounded once, ties to even; CLQ_I8 or CLQ_U8, codes (lib/epilogue.h). */
#ifndef CLQ_LIB_PRODUCT_H
#define CLQ_LIB_PRODUCT_H

#include "lib/half.h"
#include "lib/types.h"

#ifndef CLQ_OUT
#define CLQ_OUT CLQ_F32
#endif

typedef CLQ_T(CLQ_OUT) clq_out;

#if CLQ_OUT == CLQ_F16
#define CLQ_STORE_OUT(x, i, p) clq_store_half(x, i, p)
#elif CLQ_OUT == CLQ_BF16
#define CLQ_STORE_OUT(x, i, p) ((p)[i] = clq_bf16_from_f32(x))
#else
#define CLQ_STORE_OUT(x, i, p) ((p)[i] = (x))
#endif

#endif
