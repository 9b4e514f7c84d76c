/* The float type of a kernel's input, which the host sets as CLQ_X: CLQ_OUT_F32
 * or CLQ_OUT_F16. */
#ifndef CLQ_LIB_INPUT_H
#define CLQ_LIB_INPUT_H

#include "lib/emit.h"

#ifndef CLQ_X
#define CLQ_X CLQ_OUT_F32
#endif

#if CLQ_X == CLQ_OUT_F16
typedef half clq_x;
#define CLQ_LOAD_X(i, p) clq_load_half(i, p)
#define CLQ_STORE_X(x, i, p) clq_store_half(x, i, p)
#define CLQ_ROW_LOAD_X clq_row_load_f16
#define CLQ_ROW_STORE_X clq_row_store_f16
#define CLQ_QUAD_LOAD_X clq_quad_load_f16
#define CLQ_QUAD_STORE_X clq_quad_store_f16
#else
typedef float clq_x;
#define CLQ_LOAD_X(i, p) ((p)[i])
#define CLQ_STORE_X(x, i, p) ((p)[i] = (x))
#define CLQ_ROW_LOAD_X clq_row_load_f32
#define CLQ_ROW_STORE_X clq_row_store_f32
#define CLQ_QUAD_LOAD_X clq_quad_load_f32
#define CLQ_QUAD_STORE_X clq_quad_store_f32
#endif

#endif
