/* The activation that the host names as CLQ_ACTIVATION, by the number of clq_activation:
 *   CLQ_RELU       0 where v < 0, else v
 *   CLQ_GELU       (v / 2) * (1 + erf(v * 2^-1/2))
 *   CLQ_GELU_TANH  (v / 2) * (1 + tanh(v * fma(v * v, 0.0356774, 0.797885)))
 *   CLQ_SILU       v * sigmoid(v)
 * NaN gives NaN; so does -Inf but for CLQ_RELU. The C twin is clqi_ref_activation. Who activates
 * includes lib/math.h. */
#ifndef CLQ_LIB_ACTIVATION_H
#define CLQ_LIB_ACTIVATION_H

#define CLQ_RELU 1
#define CLQ_GELU 2
#define CLQ_GELU_TANH 3
#define CLQ_SILU 4

#ifndef CLQ_ACTIVATION
#define CLQ_ACTIVATION 0 /* none */
#endif

#pragma OPENCL FP_CONTRACT OFF

/* Of v of type F, whose functions in lib/math.h end in S. */
#if CLQ_ACTIVATION == CLQ_RELU
#define CLQ_ACTIVATE(F, S, v) ((v) < (F)0.0f ? (F)0.0f : (v))
#elif CLQ_ACTIVATION == CLQ_GELU
#define CLQ_ACTIVATE(F, S, v) (((v) * 0.5f) * (1.0f + clq_erf##S((v) * 0x1.6a09e6p-1f)))
#elif CLQ_ACTIVATION == CLQ_GELU_TANH
#define CLQ_ACTIVATE(F, S, v)                                                              \
  (((v) * 0.5f) *                                                                          \
   (1.0f + clq_tanh##S((v) * fma((v) * (v), (F)0x1.2444f2p-5f, (F)0x1.988454p-1f))))
#elif CLQ_ACTIVATION == CLQ_SILU
#define CLQ_ACTIVATE(F, S, v) ((v) * clq_sigmoid##S(v))
#else
#define CLQ_ACTIVATE(F, S, v) (v)
#endif

#endif
