/* The constants of DeepNorm and Sub-LN; no device. */
#include <criterion/criterion.h>

#include <clquant/block.h>

#include "device.h"

/* Worked out apart from the library, to four places. */
Test(block_constants, deepnorm_constants_are_the_papers) {
  const struct {
    int64_t encoder, decoder;
    clq_stack stack;
    double alpha, beta;
  } cases[] = {
      {12, 0, CLQ_STACK_ENCODER_ONLY, 2.2134, 0.3195},
      {8, 0, CLQ_STACK_ENCODER_ONLY, 2.0, 0.3536},
      {1, 0, CLQ_STACK_ENCODER_ONLY, 1.1892, 0.5946},
      {0, 24, CLQ_STACK_DECODER_ONLY, 2.6321, 0.2686},
      {0, 100, CLQ_STACK_DECODER_ONLY, 3.7606, 0.1880},
      {0, 1000, CLQ_STACK_DECODER_ONLY, 6.6874, 0.1057},
      {6, 6, CLQ_STACK_ENCODER_OF_BOTH, 1.4180, 0.4970},
      {6, 6, CLQ_STACK_DECODER_OF_BOTH, 2.0598, 0.3433},
      {16, 1, CLQ_STACK_ENCODER_OF_BOTH, 1.62, 0.435},
      {1, 65536, CLQ_STACK_ENCODER_OF_BOTH, 1.62, 0.435},
      {5, 27, CLQ_STACK_DECODER_OF_BOTH, 3.0, 0.2357},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    float alpha;
    float beta;
    test_ok(clq_deepnorm(cases[i].encoder, cases[i].decoder, cases[i].stack, &alpha, &beta));
    cr_expect_float_eq(alpha, cases[i].alpha, 1e-4, "case %zu: alpha %g", i, alpha);
    cr_expect_float_eq(beta, cases[i].beta, 1e-4, "case %zu: beta %g", i, beta);
  }
}

Test(block_constants, sub_ln_constants_are_the_papers) {
  const struct {
    int64_t encoder, decoder;
    clq_stack stack;
    double gain;
  } cases[] = {
      {12, 0, CLQ_STACK_ENCODER_ONLY, 1.7827},
      {0, 24, CLQ_STACK_DECODER_ONLY, 1.9675},
      {12, 6, CLQ_STACK_ENCODER_OF_BOTH, 1.7498},
      {12, 6, CLQ_STACK_DECODER_OF_BOTH, 1.7001},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    float gain;
    test_ok(clq_sub_ln(cases[i].encoder, cases[i].decoder, cases[i].stack, &gain));
    cr_expect_float_eq(gain, cases[i].gain, 1e-4, "case %zu: %g", i, gain);
  }
}

Test(block_constants, constants_refuse_counts_without_a_stack) {
  float alpha;
  float beta;
  const struct {
    int64_t encoder, decoder;
    clq_stack stack;
    const char *part;
  } cases[] = {
      {1, 1, (clq_stack)0, "stack is 0"},
      {1, 1, (clq_stack)5, "stack is 5"},
      {0, 0, CLQ_STACK_ENCODER_ONLY, "encoder_layers is 0, expected 1 or more"},
      {12, 12, CLQ_STACK_ENCODER_ONLY, "decoder_layers is 12, expected 0"},
      {12, 0, CLQ_STACK_DECODER_ONLY, "encoder_layers is 12, expected 0"},
      {0, 6, CLQ_STACK_DECODER_OF_BOTH, "encoder_layers is 0, expected 1 or more"},
      {6, -1, CLQ_STACK_ENCODER_OF_BOTH, "decoder_layers is -1, expected 1 or more"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    test_fails(clq_deepnorm(cases[i].encoder, cases[i].decoder, cases[i].stack, &alpha, &beta),
               CLQ_INVALID_ARGUMENT, cases[i].part);
    test_fails(clq_sub_ln(cases[i].encoder, cases[i].decoder, cases[i].stack, &alpha),
               CLQ_INVALID_ARGUMENT, cases[i].part);
  }
  test_fails(clq_deepnorm(1, 0, CLQ_STACK_ENCODER_ONLY, NULL, &beta), CLQ_INVALID_ARGUMENT, "NULL");
  test_fails(clq_deepnorm(1, 0, CLQ_STACK_ENCODER_ONLY, &alpha, NULL), CLQ_INVALID_ARGUMENT,
             "NULL");
  test_fails(clq_sub_ln(1, 0, CLQ_STACK_ENCODER_ONLY, NULL), CLQ_INVALID_ARGUMENT, "NULL");
}
