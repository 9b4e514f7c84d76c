#include "ops/table.h"

extern const clqi_op clqi_op_gemm;
extern const clqi_op clqi_op_layernorm;
extern const clqi_op clqi_op_rmsnorm;
extern const clqi_op clqi_op_rope;
extern const clqi_op clqi_op_attention;
extern const clqi_op clqi_op_softmax;
extern const clqi_op clqi_op_sample;
extern const clqi_op clqi_op_quantize;
extern const clqi_op clqi_op_dequantize;
extern const clqi_op clqi_op_activate;
extern const clqi_op clqi_op_add;
extern const clqi_op clqi_op_embedding;
extern const clqi_op clqi_op_integer_norm;
extern const clqi_op clqi_op_pool;
extern const clqi_op clqi_op_lookup;
extern const clqi_op clqi_op_integer_add;
extern const clqi_op clqi_op_integer_gelu;

const clqi_op *const clqi_op_table[] = {
    [CLQ_OP_RMSNORM] = &clqi_op_rmsnorm,
    [CLQ_OP_GEMM] = &clqi_op_gemm,
    [CLQ_OP_ROPE] = &clqi_op_rope,
    [CLQ_OP_ATTENTION] = &clqi_op_attention,
    [CLQ_OP_SOFTMAX] = &clqi_op_softmax,
    [CLQ_OP_SAMPLE] = &clqi_op_sample,
    [CLQ_OP_QUANTIZE] = &clqi_op_quantize,
    [CLQ_OP_DEQUANTIZE] = &clqi_op_dequantize,
    [CLQ_OP_ACTIVATE] = &clqi_op_activate,
    [CLQ_OP_ADD] = &clqi_op_add,
    [CLQ_OP_EMBEDDING] = &clqi_op_embedding,
    [CLQ_OP_LAYERNORM] = &clqi_op_layernorm,
    [CLQ_OP_INTEGER_NORM] = &clqi_op_integer_norm,
    [CLQ_OP_POOL] = &clqi_op_pool,
    [CLQ_OP_LOOKUP] = &clqi_op_lookup,
    [CLQ_OP_INTEGER_ADD] = &clqi_op_integer_add,
    [CLQ_OP_INTEGER_GELU] = &clqi_op_integer_gelu,
};
const size_t clqi_op_count = CLQI_COUNT(clqi_op_table);
