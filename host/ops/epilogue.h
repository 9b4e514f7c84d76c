/* What follows a product in the same launch: outlier columns, bias, activation, gate, residual,
 * codes with given scales (lib/epilogue.h). */
#ifndef CLQI_OPS_EPILOGUE_H
#define CLQI_OPS_EPILOGUE_H

#include "ops/op.h"

/* The optional members of clq_gemm_args, and out, against a product of [rows, cols]. */
clq_status clqi_check_epilogue(const clq_gemm_args *args, int64_t rows, int64_t cols);

/* Can `out` hold what is not yet the end of a sum, until its work-item comes back to it? Not if it
 * would round that, and not if the residual lies there. Buffers are known. */
bool clqi_out_holds_sums(const clq_gemm_args *args);

/* Nothing follows the product but rounding to a float `out`. */
bool clqi_epilogue_is_plain(const clq_gemm_args *args);

/* "-DCLQ_OUT=n ..." as lib/epilogue.h reads it; nothing of what is absent. */
enum { CLQI_EPILOGUE_OPTIONS_BYTES = 128 };
void clqi_epilogue_options(const clq_gemm_args *args, char options[CLQI_EPILOGUE_OPTIONS_BYTES]);

/* CLQ_EPILOGUE_ARGS: none where nothing is asked for. */
void clqi_arg_epilogue(clqi_launch *launch, const clq_gemm_args *args);

/* Bytes that must move besides the product's operands: out and what is added and multiplied. */
double clqi_epilogue_bytes(const clq_gemm_args *args);
/* Additions and multiplications besides the product; an activation counts as one. */
double clqi_epilogue_ops(const clq_gemm_args *args);

#endif
