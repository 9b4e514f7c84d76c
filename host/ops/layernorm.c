#include "ops/norm.h"

static const clqi_field fields[] = {
    CLQI_FIELD(clq_layernorm_args, x, CLQI_IN, false),
    CLQI_FIELD(clq_layernorm_args, residual, CLQI_INOUT, true),
    CLQI_FIELD(clq_layernorm_args, bias, CLQI_IN, true),
    CLQI_FIELD(clq_layernorm_args, gamma, CLQI_IN, true),
    CLQI_FIELD(clq_layernorm_args, beta, CLQI_IN, true),
    CLQI_FIELD(clq_layernorm_args, column_scale, CLQI_IN, true),
    CLQI_FIELD(clq_layernorm_args, exponent, CLQI_IN, true),
    CLQI_FIELD(clq_layernorm_args, mean, CLQI_OUT, true),
    CLQI_FIELD(clq_layernorm_args, rstd, CLQI_OUT, true),
    CLQI_FIELD(clq_layernorm_args, out, CLQI_OUT, false),
};

static clqi_norm norm_of(const clq_layernorm_args *a) {
  return (clqi_norm){.name = "layernorm",
                     .centered = true,
                     .x = &a->x,
                     .residual = &a->residual,
                     .bias = &a->bias,
                     .gamma = &a->gamma,
                     .beta = &a->beta,
                     .column_scale = &a->column_scale,
                     .exponent = &a->exponent,
                     .mean = &a->mean,
                     .rstd = &a->rstd,
                     .out = &a->out,
                     .eps = a->eps,
                     .alpha = a->alpha,
                     .x_scale = a->x_scale,
                     .keep_residual = a->keep_residual};
}

CLQI_NORM_OP(layernorm, clq_layernorm_args);

clq_status clq_layernorm(clq_stream *stream, const clq_layernorm_args *args) {
  return clqi_op_run(stream, &clqi_op_layernorm, args);
}
