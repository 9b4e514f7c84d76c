#include <clquant/block.h>

#include <math.h>

#include "runtime/status.h"

static clq_status check(const char *name, int64_t encoder_layers, int64_t decoder_layers,
                        clq_stack stack) {
  CLQI_REQUIRE(stack >= CLQ_STACK_ENCODER_ONLY && stack <= CLQ_STACK_DECODER_OF_BOTH,
               "%s: stack is %d, expected one of clq_stack (1 to 4)", name, (int)stack);
  const bool no_encoder = stack == CLQ_STACK_DECODER_ONLY;
  const bool no_decoder = stack == CLQ_STACK_ENCODER_ONLY;
  CLQI_REQUIRE(no_encoder ? encoder_layers == 0 : encoder_layers >= 1,
               "%s: encoder_layers is %lld, expected %s", name, (long long)encoder_layers,
               no_encoder ? "0" : "1 or more");
  CLQI_REQUIRE(no_decoder ? decoder_layers == 0 : decoder_layers >= 1,
               "%s: decoder_layers is %lld, expected %s", name, (long long)decoder_layers,
               no_decoder ? "0" : "1 or more");
  return CLQ_OK;
}

clq_status clq_deepnorm(int64_t encoder_layers, int64_t decoder_layers, clq_stack stack,
                        float *alpha, float *beta) {
  const double n = (double)encoder_layers;
  const double m = (double)decoder_layers;
  CLQI_REQUIRE(alpha != NULL && beta != NULL, "deepnorm: a result pointer is NULL");
  CLQI_TRY(check("deepnorm", encoder_layers, decoder_layers, stack));
  if (stack == CLQ_STACK_ENCODER_OF_BOTH) {
    const double depth = pow(n, 1.0 / 4) * pow(m, 1.0 / 16);
    *alpha = (float)(0.81 * depth);
    *beta = (float)(0.87 / depth);
    return CLQ_OK;
  }
  const double layers = stack == CLQ_STACK_ENCODER_ONLY ? n : m;
  const double sublayers = stack == CLQ_STACK_DECODER_OF_BOTH ? 3 * layers : 2 * layers;
  *alpha = (float)pow(sublayers, 1.0 / 4);
  *beta = (float)pow(4 * sublayers, -1.0 / 4);
  return CLQ_OK;
}

clq_status clq_sub_ln(int64_t encoder_layers, int64_t decoder_layers, clq_stack stack,
                      float *gain) {
  const double n = (double)encoder_layers;
  const double m = (double)decoder_layers;
  CLQI_REQUIRE(gain != NULL, "sub_ln: the result pointer is NULL");
  CLQI_TRY(check("sub_ln", encoder_layers, decoder_layers, stack));
  const double square = stack == CLQ_STACK_ENCODER_ONLY      ? log(2 * n)
                        : stack == CLQ_STACK_DECODER_ONLY    ? log(2 * m)
                        : stack == CLQ_STACK_ENCODER_OF_BOTH ? log(3 * m) * log(2 * n) / 3
                                                             : log(3 * m);
  *gain = (float)sqrt(square);
  return CLQ_OK;
}
