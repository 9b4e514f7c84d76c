/* What operators share that end in lib/emit.h: a row of floats, or int8 codes
 * with scales and sums. */
#ifndef CLQI_OPS_EMIT_H
#define CLQI_OPS_EMIT_H

#include "ops/op.h"

enum { CLQI_OPTIONS_BYTES = 256 };

/* Build options from a format; cut at CLQI_OPTIONS_BYTES. */
void clqi_options(char options[CLQI_OPTIONS_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* An output whose shape is all zero takes that of the input. */
void clqi_infer_shape(clq_tensor *out, const clq_tensor *like);

/* `out` is f32 or f16, or i8 per token or per group, [rows, cols]. */
clq_status clqi_check_output(const char *op, const clq_tensor *out, int64_t rows, int64_t cols);

/* "-DCLQ_OUT=n" as lib/emit.h reads it. */
const char *clqi_emit_option(const clq_tensor *out);

/* Elements that share a scale: the group, or cols. */
int64_t clqi_emit_group(const clq_tensor *out, int64_t cols);

/* Bytes that the output must move, planes included. */
double clqi_emit_bytes(const clq_tensor *out, int64_t rows, int64_t cols);

#endif
