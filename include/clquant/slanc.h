/** @file slanc.h
 *  Scales for norms that sum squares in half precision, from weights alone: SLaNC (Salmani,
 *  Trukhanov, Soloveychik, "SLaNC: Static LayerNorm Calibration", arXiv 2410.10553, with the
 *  formulas of the authors' own code).
 *
 *  A norm does not change when its input is divided by s and its epsilon by s^2, so s may be chosen
 *  to bring the sum of squares into the range of a half, whose largest number is 65504. s is what
 *  the weights before the norm make of a row that the norm before them left, on average:
 *
 *      first norm of a model        1
 *      norm after attention         || (P W_V + I) D ||_F
 *      norm after a gated MLP       || W_down W_up D ||_F  || W_gate D ||_2
 *      norm after a standard MLP    mean|gamma|  || W_fc1 ||_2  || W_fc2 ||_2
 *
 *  D = diag(gamma) of the norm that feeds the sub-layer. These are expectations and not bounds:
 *  after attention and a gated MLP they aim at a sum of squares near 1, after a standard MLP at one
 *  of at most the row's width, and a row 256 times as long as s still overflows. (In SmolLM2-135M
 *  tokens with massive activations reach 284 s in two norms, and 225 s with powers of two.)
 *
 *  Where query heads share key-value heads, head h meets the rows of W_V of head
 *  h / (heads / kv_heads). (The authors' code repeats W_V as a whole instead, which pairs heads
 *  with the wrong rows; without sharing the two agree.)
 *
 *  All matrices are f32 in host memory, dense, [out, in] with `in` fastest, and only read. Biases
 *  have no part in the formulas. Products are summed in blocks of 256 in f32 and beyond in double;
 *  the result is within 1e-5 of the formula, the same whatever the number of threads. Spectral
 *  norms come from Lanczos steps with a fixed start, until a singular value is known to lie within
 *  1e-6, or after 1000 steps; they err to the low side.
 *
 *  Errors: CLQ_INVALID_ARGUMENT for a NULL matrix, an extent below 1, heads that do not share
 * evenly, a matrix that holds NaN or an infinity, and a scale past 2^126; CLQ_OUT_OF_HOST_MEMORY.
 * The result is untouched then. */
#ifndef CLQUANT_SLANC_H
#define CLQUANT_SLANC_H

#include <clquant/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum clq_slanc_rounding {
  CLQ_SLANC_EXACT = 0,
  /** To a power of two, up, so that multiplying by 1/s rounds nothing but what becomes subnormal,
   *  and rows have no less room than with the exact scale. */
  CLQ_SLANC_POWER_OF_TWO = 1
} clq_slanc_rounding;

typedef struct clq_slanc_attention_args {
  const float *gamma; /**< [width] of the norm before the attention; NULL: ones */
  const float *value; /**< W_V [kv_heads * head_dim, width] */
  const float *out;   /**< P, the output projection [width, heads * head_dim] */
  int64_t width;
  int64_t heads;
  int64_t kv_heads; /**< divides heads */
  int64_t head_dim;
  clq_slanc_rounding rounding;
} clq_slanc_attention_args;

/** s of the norm behind an attention with its residual. 1 if it is below 2^-126. */
CLQ_API CLQ_NODISCARD clq_status clq_slanc_attention(const clq_slanc_attention_args *args,
                                                     float *scale);

typedef struct clq_slanc_mlp_args {
  const float *gamma; /**< [width] of the norm before the MLP; NULL: ones */
  const float *gate;  /**< [hidden, width]; NULL: a standard MLP */
  const float *up;    /**< [hidden, width], fc1 of a standard MLP */
  const float *down;  /**< [width, hidden], fc2 of a standard MLP */
  int64_t width;
  int64_t hidden;
  clq_slanc_rounding rounding;
} clq_slanc_mlp_args;

/** s of the norm behind a feed-forward block. 1 if it is below 2^-126. */
CLQ_API CLQ_NODISCARD clq_status clq_slanc_mlp(const clq_slanc_mlp_args *args, float *scale);

/** The scales of all norms of a model, in the order of their use: @p count = 2 * layers + 1.
 *  Those of layer i are [2 i] (before the attention; 1 in the first layer) and [2 i + 1] (before
 *  the MLP); the last is that of the output norm. Reads the weights back from the device, a layer
 *  at a time; after an error the scales that were done have been written. */
CLQ_API CLQ_NODISCARD clq_status clq_slanc_model(const clq_model *model,
                                                 clq_slanc_rounding rounding, int64_t count,
                                                 float *scales);

#ifdef __cplusplus
}
#endif
#endif
