#include "norm.h"

extern const bench_op bench_op_rmsnorm;
const bench_op bench_op_rmsnorm = {.name = "rmsnorm",
                                   .words = norm_words,
                                   .word_count = NORM_WORDS,
                                   .state_bytes = sizeof(norm_state),
                                   .op = CLQ_OP_RMSNORM,
                                   .prepare = norm_prepare,
                                   .reset = norm_reset,
                                   .check = norm_check,
                                   .peer = &norm_unfused};
