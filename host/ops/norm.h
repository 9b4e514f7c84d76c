/* What clq_layernorm and clq_rmsnorm share: their arguments under one roof, checks, choice of a
 * form, launch. */
#ifndef CLQI_OPS_NORM_H
#define CLQI_OPS_NORM_H

#include "ops/emit.h"

/* The forms, in the order of preference: where each stands in an operator's table of variants, and
 * the CLQ_FORM of lib/norm.h (rows: that of CPUs, which has none). */
typedef enum clqi_norm_form {
  CLQI_NORM_ROWS,
  CLQI_NORM_WARP,
  CLQI_NORM_GROUP,
  CLQI_NORM_STREAM,
  CLQI_NORM_FORMS
} clqi_norm_form;

/* An absent tensor is all zero. */
typedef struct clqi_norm {
  const char *name;
  bool centered; /* layernorm */
  const clq_tensor *x, *residual, *bias, *gamma, *beta, *column_scale, *exponent, *mean, *rstd,
      *out;
  float eps, alpha, x_scale;
  clq_norm_cast cast;
  const clqi_variant *variants; /* [CLQI_NORM_FORMS] */
} clqi_norm;

clq_status clqi_norm_check(const clqi_norm *n);
clq_status clqi_norm_launch(clqi_emitter *emitter, const clqi_norm *n);

/* Why not one warp, or one work-group, with the row in registers; NULL: it fits. `norm` is a
 * clqi_norm. */
const char *clqi_norm_fits_warp(const clq_context *context, const void *norm);
const char *clqi_norm_fits_group(const clq_context *context, const void *norm);

/* The forms of lib/norm_rows.h, norm_warp.h and norm_stream.h, for the table of an operator. */
#define CLQI_NORM_VARIANTS(op)                             \
  [CLQI_NORM_ROWS] = {.name = #op "_rows",                 \
                      .kernel = CLQI_KERNEL_##op##_rows,   \
                      .needs = CLQI_BIT(CPU)},             \
  [CLQI_NORM_WARP] = {.name = #op "_warp",                 \
                      .kernel = CLQI_KERNEL_##op##_warp,   \
                      .options = "-DCLQ_FORM=1",           \
                      .fits = clqi_norm_fits_warp},        \
  [CLQI_NORM_GROUP] = {.name = #op "_group",               \
                       .kernel = CLQI_KERNEL_##op##_group, \
                       .options = "-DCLQ_FORM=2",          \
                       .fits = clqi_norm_fits_group},      \
  [CLQI_NORM_STREAM] = {                                   \
      .name = #op "_stream", .kernel = CLQI_KERNEL_##op##_stream, .options = "-DCLQ_FORM=3"}

#endif
