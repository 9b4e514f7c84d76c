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

static const clqi_variant variants[CLQI_NORM_FORMS] = {CLQI_NORM_VARIANTS(layernorm)};

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
                     .variants = variants};
}

static clq_status infer(void *args) {
  clq_layernorm_args *a = args;
  clqi_infer_shape(&a->out, &a->x);
  return CLQ_OK;
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clqi_norm n = norm_of(args);
  return clqi_norm_check(&n);
}

static bool empty(const void *args) {
  return clqi_no_elements(&((const clq_layernorm_args *)args)->x);
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clqi_norm n = norm_of(args);
  return clqi_norm_launch(emitter, &n);
}

const clqi_op clqi_op_layernorm = {
    .name = "layernorm",
    .args_bytes = sizeof(clq_layernorm_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .in_place = "x",
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_layernorm(clq_stream *stream, const clq_layernorm_args *args) {
  return clqi_op_run(stream, &clqi_op_layernorm, args);
}
