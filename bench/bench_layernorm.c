#include "norm.h"

extern const bench_op bench_op_layernorm;
const bench_op bench_op_layernorm = {.name = "layernorm",
                                     .words = norm_words,
                                     .word_count = NORM_WORDS,
                                     .state_bytes = sizeof(norm_state),
                                     .op = CLQ_OP_LAYERNORM,
                                     .prepare = norm_prepare,
                                     .reset = norm_reset,
                                     .check = norm_check,
                                     .peer = &norm_unfused};
