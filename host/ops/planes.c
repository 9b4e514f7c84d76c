#include "ops/planes.h"

#include <math.h>
#include <string.h>

enum { MOST_OF_A_SUM = INT32_MAX / 255 };

clq_status clqi_check_codes(const char *op, const char *arg, const clq_tensor *t, unsigned dtypes) {
  CLQI_TRY(clqi_check_tensor(op, arg, t, 2, dtypes));
  if (t->quant.per != 0 && t->quant.per != CLQ_PER_TENSOR && t->quant.per != CLQ_PER_TOKEN) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "%s: quant.per of %s is %d, offered: 0, CLQ_PER_TENSOR (1), CLQ_PER_TOKEN (3)",
                     op, arg, (int)t->quant.per);
  }
  return CLQ_OK;
}

clq_status clqi_check_planes(const char *op, const clq_tensor *out, const clq_tensor *x,
                             float out_scale, int32_t out_zero) {
  CLQI_TRY(clqi_check_tensor(op, "out", out, 2, CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8)));
  CLQI_TRY(clqi_check_extent(op, "out", out, 0, x->shape[0], "rows of x"));
  CLQI_TRY(clqi_check_extent(op, "out", out, 1, x->shape[1], "cols of x"));
  if (out->quant.per == 0) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_check_quant(op, "out", out, CLQI_GR(CLQ_PER_TENSOR) | CLQI_GR(CLQ_PER_TOKEN), 0));
  CLQI_REQUIRE(out->quant.per == CLQ_PER_TOKEN || out->quant.sum == NULL,
               "%s: sums are one a row, so out must be per token to have them", op);
  CLQI_REQUIRE(isfinite(out_scale) && out_scale > 0.0f,
               "%s: out_scale is %g, expected a positive number for quant.scale of out", op,
               (double)out_scale);
  CLQI_REQUIRE(out->quant.zero != NULL || out_zero == 0,
               "%s: out_zero is %d, expected 0: out has no quant.zero", op, (int)out_zero);
  if (out->quant.per == CLQ_PER_TOKEN && out->shape[1] > MOST_OF_A_SUM) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "%s: quant.sum of out is of %lld codes, offered: up to %d, which fit an int32",
                     op, (long long)out->shape[1], MOST_OF_A_SUM);
  }
  return CLQ_OK;
}

void clqi_code_range(const clq_tensor *out, int32_t *low, int32_t *high) {
  const bool is_signed = out->dtype == CLQ_I8;
  const bool symmetric = out->quant.per != 0 && out->quant.zero == NULL;
  *low = !is_signed ? 0 : symmetric ? -127 : -128;
  *high = is_signed ? 127 : 255;
}

void clqi_arg_planes(clqi_launch *launch, const clq_tensor *out, float out_scale,
                     int32_t out_zero) {
  /* Of an edge per tensor the plane of sums is there but has one element. */
  const bool has_sum = out->quant.per == CLQ_PER_TOKEN;
  int32_t scale_bits = 0;
  memcpy(&scale_bits, &out_scale, sizeof scale_bits);
  clqi_arg_scale(launch, out);
  clqi_arg_zero(launch, out);
  clqi_arg_buffer(launch, has_sum ? out->quant.sum : NULL, out->quant.sum_offset, sizeof(cl_int));
  clqi_arg_i32(launch, out->quant.per == CLQ_PER_TOKEN);
  clqi_arg_i32(launch, scale_bits);
  clqi_arg_i32(launch, out_zero);
}
