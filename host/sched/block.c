#include <clquant/block.h>

#include "ops/op.h"
#include "runtime/status.h"

/* Do the norms stand behind the sums? */
static bool is_post(const clq_block *b) {
  return b->kind == CLQ_BLOCK_POST_LN || b->kind == CLQ_BLOCK_DEEPNORM;
}

static clq_status check(const clq_block *b) {
  CLQI_REQUIRE(b != NULL, "block: NULL");
  CLQI_REQUIRE(b->kind >= CLQ_BLOCK_PRE_LN && b->kind <= CLQ_BLOCK_SUB_LN, "block: kind is %d",
               (int)b->kind);
  CLQI_REQUIRE(b->norm >= 0 && b->norm <= CLQ_NORM_RMS, "block: norm is %d", (int)b->norm);
  CLQI_REQUIRE(b->norm == CLQ_NORM_RMS || b->cast == 0, "block: cast is for CLQ_NORM_RMS");
  CLQI_REQUIRE(b->kind != CLQ_BLOCK_DEEPNORM || b->alpha > 0.0f,
               "block: alpha is %g, DeepNorm takes that of clq_deepnorm", (double)b->alpha);
  CLQI_REQUIRE(b->kind == CLQ_BLOCK_DEEPNORM || b->alpha == 0.0f,
               "block: alpha is %g, which only DeepNorm has", (double)b->alpha);
  return CLQ_OK;
}

/* Rows like those of t, as sublayers want to read them. */
static clq_tensor edge_acts(const clq_block *b, const clq_tensor *t) {
  const clq_dtype dtype = b->acts.dtype != 0 ? b->acts.dtype : b->stream.dtype;
  clq_tensor edge = clq_graph_edge(b->graph, dtype, 2, t->shape);
  edge.quant = b->acts.quant;
  return edge;
}

/* out = N(x), or, with a residual, N(alpha residual + x + bias). */
static clq_status add_norm(const clq_block *b, const clq_block_norm *norm, clq_tensor x,
                           clq_tensor residual, clq_tensor bias, clq_tensor out) {
  const clq_block_norm own = norm != NULL ? *norm : (clq_block_norm){0};
  const float alpha = clqi_present(&residual) ? b->alpha : 0.0f;
  if (b->norm == CLQ_NORM_RMS) {
    CLQI_REQUIRE(!clqi_present(&own.beta), "block: beta is given, CLQ_NORM_RMS has none");
    return clq_graph_add(b->graph, CLQ_OP_RMSNORM,
                         &(clq_rmsnorm_args){.x = x,
                                             .residual = residual,
                                             .bias = bias,
                                             .gamma = own.gamma,
                                             .out = out,
                                             .eps = b->eps,
                                             .alpha = alpha,
                                             .cast = b->cast});
  }
  return clq_graph_add(b->graph, CLQ_OP_LAYERNORM,
                       &(clq_layernorm_args){.x = x,
                                             .residual = residual,
                                             .bias = bias,
                                             .gamma = own.gamma,
                                             .beta = own.beta,
                                             .out = out,
                                             .eps = b->eps,
                                             .alpha = alpha});
}

/* out = N(h), with what is still to be added to h. */
static clq_status norm_stream(clq_block *b, const clq_block_norm *norm, clq_tensor out) {
  const clq_tensor none = {0};
  if (!clqi_present(&b->added)) {
    return add_norm(b, norm, b->stream, none, none, out);
  }
  CLQI_TRY(add_norm(b, norm, b->added, b->stream, b->bias, out));
  b->added = none;
  return CLQ_OK;
}

static clq_status read_normed(clq_block *b, const clq_block_norm *norm, clq_tensor *x) {
  *x = edge_acts(b, &b->stream);
  return norm_stream(b, norm, *x);
}

static clq_status read_stream(clq_block *b, const clq_block_norm *norm, clq_tensor *x) {
  CLQI_REQUIRE(
      b->acts.quant.per != 0 || b->acts.dtype == 0 || b->acts.dtype == b->stream.dtype,
      "block: sublayers want %s, but where norms stand behind the sums they read the stream, %s",
      clq_dtype_name(b->acts.dtype), clq_dtype_name(b->stream.dtype));
  if (clqi_present(&b->added)) {
    const clq_tensor out = clq_graph_edge(b->graph, b->stream.dtype, 2, b->stream.shape);
    CLQI_TRY(norm_stream(b, &b->after, out));
    b->stream = out;
  }
  b->after = norm != NULL ? *norm : (clq_block_norm){0};
  *x = b->stream;
  if (b->acts.quant.per == 0) {
    return CLQ_OK;
  }
  *x = edge_acts(b, &b->stream);
  return clq_graph_add(b->graph, CLQ_OP_QUANTIZE, &(clq_quantize_args){.x = b->stream, .out = *x});
}

clq_status clq_block_read(clq_block *block, const clq_block_norm *norm, clq_tensor *x) {
  CLQI_TRY(check(block));
  CLQI_REQUIRE(x != NULL, "block: the result pointer is NULL");
  CLQI_REQUIRE(block->is_read == 0, "block: a sublayer reads, but the one before has not added");
  CLQI_TRY(is_post(block) ? read_stream(block, norm, x) : read_normed(block, norm, x));
  block->is_read = 1;
  return CLQ_OK;
}

clq_status clq_block_inner(const clq_block *block, const clq_block_norm *norm, clq_tensor x,
                           clq_tensor *out) {
  CLQI_TRY(check(block));
  CLQI_REQUIRE(out != NULL, "block: the result pointer is NULL");
  *out = x;
  if (block->kind != CLQ_BLOCK_SUB_LN) {
    return CLQ_OK;
  }
  const clq_tensor none = {0};
  *out = edge_acts(block, &x);
  return add_norm(block, norm, x, none, none, *out);
}

clq_status clq_block_add(clq_block *block, clq_tensor y, const clq_tensor *bias) {
  CLQI_TRY(check(block));
  CLQI_REQUIRE(block->is_read != 0, "block: a result is added, but no sublayer has read");
  CLQI_REQUIRE(clqi_present(&y), "block: y is absent");
  block->added = y;
  block->bias = bias != NULL ? *bias : (clq_tensor){0};
  block->is_read = 0;
  return CLQ_OK;
}

clq_status clq_block_finish(clq_block *block, const clq_block_norm *norm, clq_tensor out) {
  CLQI_TRY(check(block));
  CLQI_REQUIRE(block->is_read == 0, "block: finished, but the last sublayer has not added");
  if (!is_post(block)) {
    return norm_stream(block, norm, out);
  }
  CLQI_REQUIRE(norm == NULL, "block: finished with a norm, but the last sublayer has its own");
  CLQI_REQUIRE(clqi_present(&block->added), "block: finished, but no sublayer has added");
  return norm_stream(block, &block->after, out);
}
