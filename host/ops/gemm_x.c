#include "ops/gemm_x.h"

#include <stdio.h>

#include "quant/weights.h"
#include "runtime/checked.h"

static const char NAME[] = "gemm";

enum {
  STEP = 8,         /* elements that kernels take at a time */
  MAX_GROUP = 32768 /* summed in int32: 9 bits each, zero points taken off, are 2^31 then */
};

static bool weights_are_codes(const clq_weights *w) { return w->bits < 16; }

bool clqi_gemm_is_integer(const clq_gemm_args *args) {
  return clqi_is_codes(&args->x) && weights_are_codes(args->weights);
}

static bool is_grouped(const clq_tensor *x) { return x->quant.per == CLQ_PER_GROUP; }

/* Several groups in a row. */
static bool has_groups(const clq_tensor *x) {
  return is_grouped(x) && x->quant.group < x->shape[1];
}

static clq_status check_groups(const clq_gemm_args *a) {
  const clq_weights *w = a->weights;
  const int64_t group = a->x.quant.group;
  if (is_grouped(&a->x) && w->has_order) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "gemm: the weights have an order of columns, which does not go with x per "
                     "group: with them x must be floats, or codes per token");
  }
  if (has_groups(&a->x) && group % STEP != 0) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "gemm: the group of x is %lld, offered: a multiple of %d, or K and more",
                     (long long)group, STEP);
  }
  if (has_groups(&a->x) && w->groups > 1 && w->group % group != 0 && group % w->group != 0) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "gemm: the group of the weights is %lld, which with x per group of %lld must "
                     "be a multiple or a divisor of %lld; x per token goes with any",
                     (long long)w->group, (long long)group, (long long)group);
  }
  const int64_t summed = clqi_gemm_sums_of(a).group;
  if (summed > MAX_GROUP) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "gemm: the group of the weights is %lld, whose products may not fit an int32; "
                     "offered: groups of up to %d, of the weights or of x",
                     (long long)w->group, MAX_GROUP);
  }
  return CLQ_OK;
}

clq_status clqi_gemm_check_x(const clq_gemm_args *args) {
  const unsigned floats = CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_BF16);
  const unsigned codes = CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8);
  CLQI_TRY(clqi_check_tensor(NAME, "x", &args->x, 2, floats | codes));
  CLQI_TRY(clqi_check_extent(NAME, "x", &args->x, 1, args->weights->cols, "K of the weights"));
  CLQI_TRY(
      clqi_check_quant(NAME, "x", &args->x, CLQI_GR(CLQ_PER_TOKEN) | CLQI_GR(CLQ_PER_GROUP), 0));
  return clqi_gemm_is_integer(args) ? check_groups(args) : CLQ_OK;
}

/* A single group ends with the padding, so that kernels may step in words. */
clqi_gemm_sums clqi_gemm_sums_of(const clq_gemm_args *args) {
  const clq_weights *w = args->weights;
  const clq_tensor *x = &args->x;
  const int64_t w_group = w->groups <= 1 ? w->padded_cols : w->group;
  const int64_t x_group = has_groups(x) ? x->quant.group : w->padded_cols;
  const int64_t group = x_group < w_group ? x_group : w_group;
  return (clqi_gemm_sums){.group = group,
                          .x_ratio = is_grouped(x) ? clqi_div_up(x_group, group) : 1,
                          .w_ratio = clqi_div_up(w_group, group)};
}

/* Whether the sums that came with x are those that the kernel needs. */
static bool sums_serve(const clq_gemm_args *a) {
  return a->x.quant.sum != NULL &&
         (is_grouped(&a->x) ? clqi_gemm_sums_of(a).x_ratio == 1 : a->weights->groups == 1);
}

void clqi_gemm_x_options(const clq_gemm_args *args, char options[CLQI_GEMM_X_OPTIONS_BYTES]) {
  const clq_tensor *x = &args->x;
  const char *zero = x->quant.zero != NULL ? " -DCLQ_X_ZERO=1" : "";
  if (!clqi_gemm_is_integer(args)) {
    (void)snprintf(options, CLQI_GEMM_X_OPTIONS_BYTES, "-DCLQ_X=%d%s", (int)x->dtype, zero);
    return;
  }
  (void)snprintf(options, CLQI_GEMM_X_OPTIONS_BYTES,
                 "-DCLQ_X_GROUPED=%d -DCLQ_X_RATIO=%d -DCLQ_X_SUM=%d%s%s", is_grouped(x),
                 (int)clqi_gemm_sums_of(args).x_ratio, sums_serve(args),
                 x->dtype == CLQ_U8 ? " -DCLQ_X=5" : "", zero);
}

int32_t clqi_gemm_x_group(const clq_gemm_args *args) {
  return (int32_t)(has_groups(&args->x) ? args->x.quant.group : args->x.shape[1]);
}

double clqi_gemm_x_bytes(const clq_gemm_args *args) {
  const clq_tensor *x = &args->x;
  const double planes = x->quant.zero != NULL ? 8.0 : 4.0;
  return (double)x->shape[0] * (double)x->shape[1] * (double)clq_dtype_bytes(x->dtype) +
         planes * (double)clqi_scale_count(x, x->shape[0], x->shape[1]);
}
