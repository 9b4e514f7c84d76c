/* The tensor types of GGUF files: ids, names, block sizes. */
#ifndef CLQI_IO_GGML_TYPES_H
#define CLQI_IO_GGML_TYPES_H

#include <stdint.h>

/* X(ENUM, name, id, elements per block, bytes per block) */
#define CLQI_GGML_TYPES(X)           \
  X(F32, "f32", 0, 1, 4)             \
  X(F16, "f16", 1, 1, 2)             \
  X(Q4_0, "q4_0", 2, 32, 18)         \
  X(Q4_1, "q4_1", 3, 32, 20)         \
  X(Q5_0, "q5_0", 6, 32, 22)         \
  X(Q5_1, "q5_1", 7, 32, 24)         \
  X(Q8_0, "q8_0", 8, 32, 34)         \
  X(Q8_1, "q8_1", 9, 32, 36)         \
  X(Q2_K, "q2_k", 10, 256, 84)       \
  X(Q3_K, "q3_k", 11, 256, 110)      \
  X(Q4_K, "q4_k", 12, 256, 144)      \
  X(Q5_K, "q5_k", 13, 256, 176)      \
  X(Q6_K, "q6_k", 14, 256, 210)      \
  X(Q8_K, "q8_k", 15, 256, 292)      \
  X(IQ2_XXS, "iq2_xxs", 16, 256, 66) \
  X(IQ2_XS, "iq2_xs", 17, 256, 74)   \
  X(IQ3_XXS, "iq3_xxs", 18, 256, 98) \
  X(IQ1_S, "iq1_s", 19, 256, 50)     \
  X(IQ4_NL, "iq4_nl", 20, 32, 18)    \
  X(IQ3_S, "iq3_s", 21, 256, 110)    \
  X(IQ2_S, "iq2_s", 22, 256, 82)     \
  X(IQ4_XS, "iq4_xs", 23, 256, 136)  \
  X(I8, "i8", 24, 1, 1)              \
  X(I16, "i16", 25, 1, 2)            \
  X(I32, "i32", 26, 1, 4)            \
  X(I64, "i64", 27, 1, 8)            \
  X(F64, "f64", 28, 1, 8)            \
  X(IQ1_M, "iq1_m", 29, 256, 56)     \
  X(BF16, "bf16", 30, 1, 2)          \
  X(TQ1_0, "tq1_0", 34, 256, 54)     \
  X(TQ2_0, "tq2_0", 35, 256, 66)     \
  X(MXFP4, "mxfp4", 39, 32, 17)      \
  X(NVFP4, "nvfp4", 40, 64, 36)      \
  X(Q1_0, "q1_0", 41, 128, 18)

/* X(name, id): ids that older files may carry and GGML no longer reads. */
#define CLQI_GGML_REMOVED_TYPES(X) \
  X("q4_2", 4)                     \
  X("q4_3", 5)                     \
  X("q4_0_4_4", 31)                \
  X("q4_0_4_8", 32)                \
  X("q4_0_8_8", 33)                \
  X("iq4_nl_4_4", 36)              \
  X("iq4_nl_4_8", 37)              \
  X("iq4_nl_8_8", 38)

#define CLQI_GGML_ENUM(token, name, id, elements, bytes) CLQI_GGML_##token = (id),
typedef enum clqi_ggml_type { CLQI_GGML_TYPES(CLQI_GGML_ENUM) } clqi_ggml_type;
#undef CLQI_GGML_ENUM

typedef struct clqi_ggml_type_info {
  clqi_ggml_type id;
  const char *name;        /* lower case: "q4_1" */
  uint32_t block_elements; /* consecutive elements of a row that share a block, >= 1 */
  uint32_t block_bytes;    /* >= 1 */
} clqi_ggml_type_info;

/* NULL for an id that is unknown or removed. */
const clqi_ggml_type_info *clqi_ggml_type_find(uint32_t id);

/* Name of a removed type, else NULL. */
const char *clqi_ggml_removed_type_name(uint32_t id);

#endif
