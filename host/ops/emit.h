/* What operators share that make rows: checks, build options and arguments of an output of floats,
 * or of i8 or u8 codes with scales, zero points and sums; and launches over rows. */
#ifndef CLQI_OPS_EMIT_H
#define CLQI_OPS_EMIT_H

#include "ops/op.h"
#include "ops/variant.h"

/* An output whose shape is all zero takes that of the input. */
void clqi_infer_shape(clq_tensor *out, const clq_tensor *like);

/* `out` is a float, or i8 or u8 quantized in any way that lib/emit.h has, [rows, cols]. */
clq_status clqi_check_output(const char *op, const clq_tensor *out, int64_t rows, int64_t cols);

/* "-DCLQ_OUT=n -DCLQ_CODES=n" as lib/emit.h reads it. */
const char *clqi_emit_option(const clq_tensor *out);

/* " -DCLQ_STREAM=1" where the variant is for CPUs and `out` is more than a quarter of the device's
 * last cache: written past it then, what was read stays. Else "". */
const char *clqi_stream_option(const clq_context *context, const clqi_variant *variant,
                               const clq_tensor *out);

/* Codes whose scales belong to 4, 8, ... 128 columns, less than the row: work-items that are
 * neighbours find them together. */
bool clqi_near_groups(const clq_tensor *out);

/* " -DCLQ_SHARE=n" as lib/emit_group.h reads it; "" where the variant is for CPUs. */
const char *clqi_share_option(const clqi_variant *variant, const clq_tensor *out);

/* The arguments CLQ_OUT_ARGS of lib/emit.h. */
void clqi_arg_out(clqi_launch *launch, const clq_tensor *out, int64_t cols);

/* Elements that share a scale: the group, or cols. */
int64_t clqi_emit_group(const clq_tensor *out, int64_t cols);

/* Nothing to do? `t` is [rows, cols]. */
static inline bool clqi_no_elements(const clq_tensor *t) {
  return t->shape[0] == 0 || t->shape[1] == 0;
}

/* Work-items of a group: `most`, halved, but not below 32, until the device can run as many of this
 * kernel. */
size_t clqi_group_size(const clqi_launch *launch, size_t most);

/* The end of a launch over rows: one work-item a row where the variant is for CPUs, else a
 * work-group a row (lib/emit_group.h). */
clq_status clqi_launch_rows(clqi_launch *launch, const clqi_variant *variant, int64_t rows,
                            double bytes, double ops);

/* The same where a row's groups do not depend on each other: more work-groups share a row unless
 * `out` has one scale for it. Adds the last argument of that kernel, `const long chunk`: the
 * columns of one work-group. */
clq_status clqi_launch_chunks(clqi_launch *launch, const clqi_variant *variant,
                              const clq_tensor *out, double bytes, double ops);

/* The same with one work-item an element: dimension 0 counts columns, rounded up, 1 rows. */
clq_status clqi_launch_elements(clqi_launch *launch, const clqi_variant *variant, int64_t rows,
                                int64_t cols, double bytes, double ops);

/* Bytes that the output must move, planes included. */
double clqi_emit_bytes(const clq_tensor *out, int64_t rows, int64_t cols);

#endif
