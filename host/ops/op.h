/* What every operator offers, in one table. Immediate calls, graphs, plans and
 * "is it supported" all read this table, so they cannot disagree.
 *
 * An operator's file (host/ops/<name>.c) defines `const clqi_op clqi_op_<name>`
 * and the public function `clq_<name>`, which is one line:
 *     return clqi_op_run(stream, &clqi_op_<name>, args); */
#ifndef CLQI_OPS_OP_H
#define CLQI_OPS_OP_H

#include <clquant/ops.h>

#include "runtime/launch.h"

typedef enum clqi_role { CLQI_IN, CLQI_OUT, CLQI_INOUT } clqi_role;

/* One clq_tensor member of an argument struct. */
typedef struct clqi_field {
  const char *name;
  size_t offset;
  clqi_role role;
  bool optional;
} clqi_field;

/* Of every argument struct; a test holds the table to it. */
enum { CLQI_MAX_ARGS_BYTES = 2048 };

typedef struct clqi_op {
  const char *name;
  size_t args_bytes; /* at most CLQI_MAX_ARGS_BYTES */
  const clqi_field *fields;
  size_t field_count;
  /* Names of the inputs upon which the field `out` may lie exactly, "a b"; NULL: none. */
  const char *in_place;
  /* An output's scales and zero points are written too where rows share them; else those are
   * inputs: see clqi_planes_given. */
  bool writes_planes;
  /* Gives output tensors whose shape is all zero the shape they must have. */
  clq_status (*infer)(void *args);
  /* Everything but buffers: dtypes, shapes, strides, alignment, quantization. Buffers (sizes,
   * presence) are checked by clqi_op_run through `fields`. */
  clq_status (*check)(const clq_context *context, const void *args);
  /* Nothing to do: no launch, success. Called after check. */
  bool (*empty)(const void *args);
  /* choose and launch; args are checked and every needed buffer is there. */
  clq_status (*launch)(clqi_emitter *emitter, const void *args);
} clqi_op;

/* The table, indexed by clq_op; NULL for a number that is no operator. */
const clqi_op *clqi_op_find(clq_op op);

#define CLQI_FIELD(type, member, role, optional) \
  { #member, offsetof(type, member), role, optional }
#define CLQI_COUNT(array) (sizeof(array) / sizeof((array)[0]))

static inline clq_tensor *clqi_field_tensor(const clqi_field *field, void *args) {
  return (clq_tensor *)(void *)((char *)args + field->offset);
}
static inline const clq_tensor *clqi_field_const(const clqi_field *field, const void *args) {
  return (const clq_tensor *)(const void *)((const char *)args + field->offset);
}

/* check -> choose -> launch, now, on the stream. */
clq_status clqi_op_run(clq_stream *stream, const clqi_op *op, const void *args);

/* The same for each of an array of argument structs; all are checked before the first is launched.
 * A failure names the index. */
clq_status clqi_op_run_all(clq_stream *stream, const clqi_op *op, const void *args, int32_t count);

/* The part of the checks that plans share with immediate calls: infer (on a copy the caller
 * owns), then check. */
clq_status clqi_op_prepare(const clq_context *context, const clqi_op *op, void *args);

/* A tensor that is no edge has its buffers, and lies inside them; `op` and `arg` name it in the
 * sentence. `planes_given`: its scales and zero points are read, also where it is written. */
clq_status clqi_check_buffers(const clq_context *context, const char *op, const char *arg,
                              clqi_role role, bool planes_given, const clq_tensor *t);

/* Every tensor that is no edge has its buffers, and lies inside them. For work that is not empty.
 */
clq_status clqi_op_check_buffers(const clq_context *context, const clqi_op *op, const void *args);

/* --- helpers for check functions; `op` and `arg` name things in the sentence --- */

/* Is the tensor given at all? */
static inline bool clqi_present(const clq_tensor *t) {
  return t->mem != NULL || t->value != 0 || t->dtype != 0;
}

/* Quantized to bytes. */
static inline bool clqi_is_codes(const clq_tensor *t) {
  return t->dtype == CLQ_I8 || t->dtype == CLQ_U8;
}
/* Row stride in elements of a tensor of `dims` dimensions (dense unless given). */
int64_t clqi_stride(const clq_tensor *t, int dims, int dim);
/* Dimensions in use: up to the last that is not zero; at least one. Those of the operator, once it
 * has checked the tensor, unless that is empty. */
int clqi_used_dims(const clq_tensor *t);

/* Bytes from the first element to behind the last; 0 for an empty tensor. CLQ_INVALID_ARGUMENT
 * ("the size overflows") for one that no memory can hold. */
clq_status clqi_extent_bytes(const clq_tensor *t, uint64_t *bytes);
/* Product of the first dims-1 dimensions, and the last. */
int64_t clqi_rows(const clq_tensor *t, int dims);

/* dtype among `allowed` (or-ed CLQI_DT bits), shape with `dims` dimensions >= 0 and no more,
 * strides as tensor.h has them, offset a multiple of the element, no word on quantization that
 * would be passed over. */
#define CLQI_DT(dtype) (1U << (dtype))
clq_status clqi_check_tensor(const char *op, const char *arg, const clq_tensor *t, int dims,
                             unsigned allowed);
/* shape[dim] == expected; the sentence says whose it is, e.g. "cols of x". */
clq_status clqi_check_extent(const char *op, const char *arg, const clq_tensor *t, int dim,
                             int64_t expected, const char *whose);
/* A float tensor is not quantized; an i8 output has scale (per token or group) etc.
 * allowed: or-ed CLQI_GR bits of granularities; group_fixed: 0 for any group, else the only one. */
#define CLQI_GR(per) (1U << (per))
/* Of activations per group: what GEMM reads, and attention and a model's decoder write. */
enum { CLQI_ACTS_GROUP = 32 };
clq_status clqi_check_quant(const char *op, const char *arg, const clq_tensor *t, unsigned allowed,
                            int32_t group_fixed);
/* Scales and zero points that rows share are inputs, of an output too. */
static inline bool clqi_scales_given(const clq_tensor *t) {
  return t->quant.per == CLQ_PER_TENSOR || t->quant.per == CLQ_PER_CHANNEL;
}
/* Whether the operator reads the scales and zero points of a tensor, also of an output. */
static inline bool clqi_planes_given(const clqi_op *op, const clq_tensor *t) {
  return clqi_scales_given(t) && !op->writes_planes;
}
/* Number of scales (and zero points), or of sums, of the tensor seen as [rows, cols]. */
int64_t clqi_scale_count(const clq_tensor *t, int64_t rows, int64_t cols);
int64_t clqi_sum_count(const clq_tensor *t, int64_t rows, int64_t cols);

#endif
