#include "ops/norm.h"

static const clqi_field fields[] = {
    CLQI_FIELD(clq_rmsnorm_args, x, CLQI_IN, false),
    CLQI_FIELD(clq_rmsnorm_args, residual, CLQI_INOUT, true),
    CLQI_FIELD(clq_rmsnorm_args, bias, CLQI_IN, true),
    CLQI_FIELD(clq_rmsnorm_args, gamma, CLQI_IN, true),
    CLQI_FIELD(clq_rmsnorm_args, column_scale, CLQI_IN, true),
    CLQI_FIELD(clq_rmsnorm_args, exponent, CLQI_IN, true),
    CLQI_FIELD(clq_rmsnorm_args, rstd, CLQI_OUT, true),
    CLQI_FIELD(clq_rmsnorm_args, out, CLQI_OUT, false),
};

static clqi_norm norm_of(const clq_rmsnorm_args *a) {
  static const clq_tensor none;
  return (clqi_norm){.name = "rmsnorm",
                     .centered = false,
                     .x = &a->x,
                     .residual = &a->residual,
                     .bias = &a->bias,
                     .gamma = &a->gamma,
                     .column_scale = &a->column_scale,
                     .exponent = &a->exponent,
                     .rstd = &a->rstd,
                     .beta = &none,
                     .mean = &none,
                     .out = &a->out,
                     .eps = a->eps,
                     .alpha = a->alpha,
                     .x_scale = a->x_scale,
                     .keep_residual = a->keep_residual,
                     .cast = a->cast};
}

CLQI_NORM_OP(rmsnorm, clq_rmsnorm_args);

clq_status clq_rmsnorm(clq_stream *stream, const clq_rmsnorm_args *args) {
  return clqi_op_run(stream, &clqi_op_rmsnorm, args);
}
