/* Element types as the host names them in build options (-DCLQ_X=2), by the
 * numbers of clq_dtype, and what depends on them:
 *   CLQ_T(type)           the type of an element in memory
 *   CLQ_ROW_LOAD(type)    of lib/rows.h; also CLQ_ROW_STORE, CLQ_ROW_KEEP, CLQ_ROW_STREAM
 *   CLQ_QUAD_LOAD(type)   of lib/quads.h, CLQ_QUAD_STORE(type) */
#ifndef CLQ_LIB_TYPES_H
#define CLQ_LIB_TYPES_H

#define CLQ_F32 1
#define CLQ_F16 2
#define CLQ_BF16 3
#define CLQ_I8 4
#define CLQ_U8 5
#define CLQ_I32 6
#define CLQ_U16 7

#define CLQ_PASTE_(a, b) a##b
#define CLQ_PASTE(a, b) CLQ_PASTE_(a, b)

#define CLQ_T_0 char /* of an absent tensor */
#define CLQ_T_1 float
#define CLQ_T_2 half
#define CLQ_T_3 ushort
#define CLQ_T_4 char
#define CLQ_T_5 uchar
#define CLQ_T_6 int
#define CLQ_T_7 ushort
#define CLQ_T(type) CLQ_PASTE(CLQ_T_, type)

#define CLQ_NAME_1 f32
#define CLQ_NAME_2 f16
#define CLQ_NAME_3 bf16
#define CLQ_NAME_4 i8
#define CLQ_NAME_5 u8
#define CLQ_NAME_6 i32
#define CLQ_NAME_7 u16
#define CLQ_NAMED(prefix, type) CLQ_PASTE(prefix, CLQ_PASTE(CLQ_NAME_, type))

#define CLQ_ROW_LOAD(type) CLQ_NAMED(clq_row_load_, type)
#define CLQ_ROW_STORE(type) CLQ_NAMED(clq_row_store_, type)
#define CLQ_ROW_STREAM(type) CLQ_NAMED(clq_row_stream_, type)
#define CLQ_ROW_KEEP(type) CLQ_NAMED(clq_row_keep_, type)
#define CLQ_QUAD_LOAD(type) CLQ_NAMED(clq_quad_load_, type)
#define CLQ_QUAD_STORE(type) CLQ_NAMED(clq_quad_store_, type)

#endif
