/* What clq_layernorm and clq_rmsnorm share: their arguments under one roof, checks, choice of a
 * form, launch. */
#ifndef CLQI_OPS_NORM_H
#define CLQI_OPS_NORM_H

#include "ops/emit.h"

/* An absent tensor is all zero. */
typedef struct clqi_norm {
  const char *name;
  bool centered; /* layernorm */
  const clq_tensor *x, *residual, *bias, *gamma, *beta, *column_scale, *exponent, *mean, *rstd,
      *out;
  float eps, alpha, x_scale;
  int32_t keep_residual;
  clq_norm_cast cast;
} clqi_norm;

clq_status clqi_norm_check(const clqi_norm *n);
clq_status clqi_norm_launch(clqi_emitter *emitter, const clqi_norm *n);

/* The operator's entry clqi_op_NAME, of a file that has `fields` of its argument struct ARGS and a
 * function norm_of that makes a clqi_norm of one. */
#define CLQI_NORM_OP(NAME, ARGS)                                                             \
  static clq_status infer(void *args) {                                                      \
    clqi_infer_shape(&((ARGS *)args)->out, &((ARGS *)args)->x);                              \
    return CLQ_OK;                                                                           \
  }                                                                                          \
  static clq_status check(const clq_context *context, const void *args) {                    \
    (void)context;                                                                           \
    const clqi_norm n = norm_of(args);                                                       \
    return clqi_norm_check(&n);                                                              \
  }                                                                                          \
  static bool empty(const void *args) { return clqi_no_elements(&((const ARGS *)args)->x); } \
  static clq_status launch(clqi_emitter *emitter, const void *args) {                        \
    const clqi_norm n = norm_of(args);                                                       \
    return clqi_norm_launch(emitter, &n);                                                    \
  }                                                                                          \
  const clqi_op clqi_op_##NAME = {.name = #NAME,                                             \
                                  .args_bytes = sizeof(ARGS),                                \
                                  .fields = fields,                                          \
                                  .field_count = CLQI_COUNT(fields),                         \
                                  .in_place = "x",                                           \
                                  .infer = infer,                                            \
                                  .check = check,                                            \
                                  .empty = empty,                                            \
                                  .launch = launch}

#endif
