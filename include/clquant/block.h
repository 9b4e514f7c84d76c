/** @file block.h
 *  Where the norms of a transformer stand: records, around sublayers that the caller records, the
 *  norms of one residual stream, each with the sum before it fused into it. No sum is a node of its
 *  own. F is a sublayer (attention, MLP), N a norm, h the stream:
 *
 *      Pre-LN     h = h + F(N(h))            and one more N behind the last sublayer
 *      Post-LN    h = N(h + F(h))
 *      DeepNorm   h = N(alpha h + F(h))      alpha from clq_deepnorm
 *      Sub-LN     h = h + F(N(h)),           F with a norm in front of its output projection
 *
 *  The same calls record any of them:
 *
 *      clq_block b = { .graph = g, .kind = CLQ_BLOCK_SUB_LN, .stream = h };
 *      for (int i = 0; i < layers; i++) {
 *        clq_tensor x, y = clq_graph_edge(...), a = ..., z = ...;
 *        clq_block_read(&b, &norm[i], &x);               // x = N(h), or h
 *        ... nodes that make z of x ...
 *        clq_block_inner(&b, &inner[i], z, &a);          // a = N(z), or z
 *        clq_graph_add(g, CLQ_OP_GEMM, &(clq_gemm_args){ .x = a, .weights = down[i], .out = y });
 *        clq_block_add(&b, y, NULL);                     // to h
 *      }
 *      clq_block_finish(&b, &last, out);
 *
 *  What a sublayer gave is summed by the norm that comes next, on its way through memory once:
 *  with s = alpha h + y + bias, that norm writes N(s) to what the next sublayer reads, and, where s
 *  is the stream from there on (Pre-LN, Sub-LN), s over h.
 *
 *  Sources: Xiong et al. 2020 (Pre-LN, Post-LN), arXiv 2002.04745; Wang et al. 2022 (DeepNorm),
 *  2203.00555; Wang et al. 2022 (Sub-LN: Foundation Transformers), 2210.06423. */
#ifndef CLQUANT_BLOCK_H
#define CLQUANT_BLOCK_H

#include <clquant/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum clq_block_kind {
  CLQ_BLOCK_PRE_LN = 1,
  CLQ_BLOCK_POST_LN = 2,
  CLQ_BLOCK_DEEPNORM = 3,
  CLQ_BLOCK_SUB_LN = 4
} clq_block_kind;

/** What one norm has of its own; gamma and beta [cols], absent or as clq_layernorm_args has them.
 */
typedef struct clq_block_norm {
  clq_tensor gamma;
  clq_tensor beta; /**< absent with CLQ_NORM_RMS */
  float x_scale;   /**< as clq_layernorm_args has it: the norm's own 1 / s of slanc.h; 0: 1 */
} clq_block_norm;

/** A residual stream while it is recorded: a plain value that owns nothing. */
typedef struct clq_block {
  clq_graph *graph;
  clq_block_kind kind;
  clq_norm_kind norm; /**< 0: CLQ_NORM_LAYER */
  clq_norm_cast cast; /**< with CLQ_NORM_RMS */
  float eps;          /**< as clq_layernorm_args has it */
  float alpha;        /**< DeepNorm; else 0 */
  /** How sublayers want to read: dtype, quant.per and quant.group, the rest absent. dtype 0: that
   *  of the stream. Post-LN and DeepNorm read the stream itself, so here codes cost a node that
   *  quantizes, and another float type is refused. */
  clq_tensor acts;
  /** h, f32, f16 or bf16 [rows, cols]: at first the embeddings. An edge, or a buffer, which Pre-LN
   *  and Sub-LN write over; Post-LN and DeepNorm only read it. Between clq_block_read and
   * clq_block_add it may be replaced by a view of fewer of its rows, to go on with those. */
  clq_tensor stream;

  /* Not for the caller; all zero at first. */
  clq_tensor added; /* y of the last clq_block_add until a norm has summed it */
  clq_tensor bias;
  clq_block_norm after; /* Post-LN, DeepNorm: the norm behind that y */
  int32_t is_read;
  int32_t reads; /* sublayers that have read: the first is sublayer 0 in sentences */
} clq_block;

/** @p x: what the next sublayer reads, an edge that is made here or the stream. @p norm (NULL:
 *  without gamma and beta) is the one that belongs to the sublayer, before it or behind it.
 *  The errors of clq_graph_add; CLQ_INVALID_ARGUMENT for a kind, an alpha or types that break what
 *  stands above, and if the sublayer that read before has not added. */
CLQ_API CLQ_NODISCARD clq_status clq_block_read(clq_block *block, const clq_block_norm *norm,
                                                clq_tensor *x);

/** Inside a sublayer, in front of its output projection. Sub-LN: @p out is an edge with the norm of
 *  @p x, a float tensor [rows, any]. The other kinds: @p out is @p x, without a node.
 *  CLQ_INVALID_ARGUMENT outside of sublayers, between a clq_block_add and a clq_block_read. */
CLQ_API CLQ_NODISCARD clq_status clq_block_inner(const clq_block *block, const clq_block_norm *norm,
                                                 clq_tensor x, clq_tensor *out);

/** @p y: what the sublayer gave, as the `x` of a norm, of the stream's shape and written by now;
 *  @p bias [cols] of its output projection, or NULL. CLQ_INVALID_ARGUMENT for others, which change
 *  nothing, and if nothing was read since the last call. */
CLQ_API CLQ_NODISCARD clq_status clq_block_add(clq_block *block, clq_tensor y,
                                               const clq_tensor *bias);

/** The norm behind the last sublayer, to @p out: whatever a norm can write, edge or buffer. @p norm
 *  is the last one of Pre-LN and Sub-LN; Post-LN and DeepNorm, which have theirs, take NULL.
 *  CLQ_INVALID_ARGUMENT if a sublayer has read and not added; with Post-LN and DeepNorm also if
 *  none has added. */
CLQ_API CLQ_NODISCARD clq_status clq_block_finish(clq_block *block, const clq_block_norm *norm,
                                                  clq_tensor out);

/** A stack of layers and what it stands beside. */
typedef enum clq_stack {
  CLQ_STACK_ENCODER_ONLY = 1,
  CLQ_STACK_DECODER_ONLY = 2,
  CLQ_STACK_ENCODER_OF_BOTH = 3, /**< the encoder of an encoder-decoder */
  CLQ_STACK_DECODER_OF_BOTH = 4
} clq_stack;

/** DeepNorm's constants for N = @p encoder_layers and M = @p decoder_layers:
 *
 *                                alpha                    beta
 *      encoder only              (2 N)^(1/4)              (8 N)^(-1/4)
 *      decoder only              (2 M)^(1/4)              (8 M)^(-1/4)
 *      encoder of both           0.81 (N^4 M)^(1/16)      0.87 (N^4 M)^(-1/16)
 *      decoder of both           (3 M)^(1/4)              (12 M)^(-1/4)
 *
 *  alpha multiplies the residual, never what the sublayer gives. beta is for whoever initializes
 *  weights to train: the gain of Xavier's initialization of the MLP's two matrices (fc1, fc2) and
 *  of the value and output projections; queries and keys have gain 1.
 *  CLQ_INVALID_ARGUMENT for a count below 1, or not 0 where there is no such stack. */
CLQ_API CLQ_NODISCARD clq_status clq_deepnorm(int64_t encoder_layers, int64_t decoder_layers,
                                              clq_stack stack, float *alpha, float *beta);

/** The same for Sub-LN, whose one constant multiplies the same weights:
 *
 *      encoder only  sqrt(ln(2 N))            encoder of both  sqrt(ln(3 M) ln(2 N) / 3)
 *      decoder only  sqrt(ln(2 M))            decoder of both  sqrt(ln(3 M)) */
CLQ_API CLQ_NODISCARD clq_status clq_sub_ln(int64_t encoder_layers, int64_t decoder_layers,
                                            clq_stack stack, float *gain);

#ifdef __cplusplus
}
#endif
#endif
