#include "ops/table.h"

extern const clqi_op clqi_op_rmsnorm;

const clqi_op *const clqi_op_table[] = {
    [CLQ_OP_RMSNORM] = &clqi_op_rmsnorm,
};
const size_t clqi_op_count = CLQI_COUNT(clqi_op_table);
