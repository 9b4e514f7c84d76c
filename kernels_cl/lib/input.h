/* The type of a kernel's input, which the host sets as CLQ_X: CLQ_F32, CLQ_F16 or
 * CLQ_BF16; of gemm also CLQ_I8 and CLQ_U8. */
#ifndef CLQ_LIB_INPUT_H
#define CLQ_LIB_INPUT_H

#include "lib/types.h"

#ifndef CLQ_X
#define CLQ_X CLQ_F32
#endif

typedef CLQ_T(CLQ_X) clq_x;
#define CLQ_ROW_LOAD_X CLQ_ROW_LOAD(CLQ_X)
#define CLQ_ROW_STORE_X CLQ_ROW_STORE(CLQ_X)
#define CLQ_QUAD_LOAD_X CLQ_QUAD_LOAD(CLQ_X)
#define CLQ_QUAD_STORE_X CLQ_QUAD_STORE(CLQ_X)

#if CLQ_X == CLQ_F16
#define CLQ_LOAD_X(i, p) clq_load_half(i, p)
#define CLQ_STORE_X(x, i, p) clq_store_half(x, i, p)
#elif CLQ_X == CLQ_BF16
#define CLQ_LOAD_X(i, p) clq_f32_from_bf16((p)[i])
#define CLQ_STORE_X(x, i, p) ((p)[i] = clq_bf16_from_f32(x))
#else
#define CLQ_LOAD_X(i, p) ((p)[i])
#define CLQ_STORE_X(x, i, p) ((p)[i] = (x))
#endif

#endif
