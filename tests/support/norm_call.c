#include "norm_call.h"

void test_norm(const test_device *device, bool centered, clq_norm_cast cast,
               const clq_layernorm_args *args) {
  if (centered) {
    test_ok(clq_layernorm(device->stream, args));
    return;
  }
  test_ok(clq_rmsnorm(device->stream, &(clq_rmsnorm_args){.x = args->x,
                                                          .residual = args->residual,
                                                          .bias = args->bias,
                                                          .gamma = args->gamma,
                                                          .column_scale = args->column_scale,
                                                          .exponent = args->exponent,
                                                          .rstd = args->rstd,
                                                          .out = args->out,
                                                          .eps = args->eps,
                                                          .alpha = args->alpha,
                                                          .x_scale = args->x_scale,
                                                          .cast = cast,
                                                          .keep_residual = args->keep_residual}));
}
