/* The table of operators, indexed by clq_op. */
#ifndef CLQI_OPS_TABLE_H
#define CLQI_OPS_TABLE_H

#include "ops/op.h"

extern const clqi_op *const clqi_op_table[];
extern const size_t clqi_op_count;

#endif
