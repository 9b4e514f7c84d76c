#include <clquant/block.h>

#include <math.h>
#include <stdio.h>

#include "ops/emit.h"
#include "runtime/status.h"
#include "sched/graph.h"

enum { NAME_BYTES = 48 };
static const unsigned FLOATS = CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_BF16);
static const unsigned CODES = CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8) | CLQI_DT(CLQ_I32);

/* Do the norms stand behind the sums? */
static bool is_post(const clq_block *b) {
  return b->kind == CLQ_BLOCK_POST_LN || b->kind == CLQ_BLOCK_DEEPNORM;
}

/* ---------------------------------------------------------------- checks */

/* A type and what shares a scale: what a norm can write to an edge. */
static clq_status check_acts(const clq_block *b) {
  clq_tensor t = b->acts;
  bool bare = t.mem == NULL && t.value == 0 && t.offset == 0 && t.quant.scale == NULL &&
              t.quant.zero == NULL && t.quant.sum == NULL;
  for (int d = 0; d < CLQ_MAX_DIMS; ++d) {
    bare = bare && t.shape[d] == 0 && t.stride[d] == 0;
  }
  CLQI_REQUIRE(bare, "block: acts has more than a type, expected dtype, quant.per and quant.group");
  CLQI_REQUIRE(t.dtype != 0 || t.quant.per == 0,
               "block: quant.per of acts is %d, expected 0 without a dtype", (int)t.quant.per);
  if (t.dtype == 0) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_check_tensor("block", "acts", &t, 2, FLOATS | CLQI_DT(CLQ_I8)));
  t.value = 1; /* an edge needs no plane */
  return clqi_check_quant("block", "acts", &t, CLQI_GR(CLQ_PER_TOKEN) | CLQI_GR(CLQ_PER_GROUP), 0);
}

static clq_status check(const clq_block *b) {
  CLQI_REQUIRE(b != NULL, "block: the block is NULL, expected one with graph and kind set");
  CLQI_REQUIRE(b->graph != NULL, "block: graph is NULL");
  CLQI_TRY(clqi_graph_status(b->graph));
  CLQI_REQUIRE(b->kind >= CLQ_BLOCK_PRE_LN && b->kind <= CLQ_BLOCK_SUB_LN,
               "block: kind is %d, expected one of clq_block_kind (1 to 4)", (int)b->kind);
  CLQI_REQUIRE(b->norm >= 0 && b->norm <= CLQ_NORM_RMS,
               "block: norm is %d, expected 0 or one of clq_norm_kind (1 or 2)", (int)b->norm);
  CLQI_REQUIRE(b->norm == CLQ_NORM_RMS || b->cast == 0,
               "block: cast is %d, expected 0: it is for CLQ_NORM_RMS", (int)b->cast);
  CLQI_REQUIRE(
      b->kind != CLQ_BLOCK_DEEPNORM || (isfinite(b->alpha) && b->alpha > 0.0f),
      "block: alpha is %g, expected a positive number: DeepNorm takes that of clq_deepnorm",
      (double)b->alpha);
  CLQI_REQUIRE(b->kind == CLQ_BLOCK_DEEPNORM || b->alpha == 0.0f,
               "block: alpha is %g, expected 0: only DeepNorm has one", (double)b->alpha);
  return check_acts(b);
}

/* Something of the caller's that a norm is to read, by the name that it has here. An edge lends `t`
 * what it leaves open. */
static clq_status check_given(const clq_block *b, const char *where, const char *name,
                              clq_tensor *t, int dims, unsigned types) {
  CLQI_REQUIRE(clqi_present(t), "%s: %s is absent", where, name);
  if (t->value != 0) {
    CLQI_TRY(clqi_graph_resolve(b->graph, where, name, CLQI_IN, t));
  }
  CLQI_TRY(clqi_check_tensor(where, name, t, dims, types));
  const bool empty = t->shape[0] == 0 || (dims == 2 && t->shape[1] == 0);
  return empty || t->value != 0
             ? CLQ_OK
             : clqi_check_buffers(b->graph->context, where, name, CLQI_IN, clqi_scales_given(t), t);
}

static clq_status check_stream(clq_block *b) {
  return check_given(b, "block", "stream", &b->stream, 2, FLOATS);
}

/* What the sublayer gave, to be added to the stream as it is by now. */
static clq_status check_added(const clq_block *b, const char *where, clq_tensor *y,
                              clq_tensor *bias) {
  const clq_tensor *stream = &b->stream;
  CLQI_TRY(check_given(b, where, "y", y, 2, FLOATS | CODES));
  if (y->dtype != CLQ_I32 || y->quant.per != 0) {
    const unsigned per = CLQI_GR(CLQ_PER_TENSOR) | CLQI_GR(CLQ_PER_TOKEN) |
                         (y->dtype == CLQ_I32 ? 0U : CLQI_GR(CLQ_PER_CHANNEL));
    CLQI_TRY(clqi_check_quant(where, "y", y, per, 0));
  }
  CLQI_TRY(clqi_check_extent(where, "y", y, 0, stream->shape[0], "rows of the stream"));
  CLQI_TRY(clqi_check_extent(where, "y", y, 1, stream->shape[1], "cols of the stream"));
  if (!clqi_present(bias)) {
    return CLQ_OK;
  }
  CLQI_TRY(check_given(b, where, "bias", bias, 1, FLOATS));
  return clqi_check_extent(where, "bias", bias, 0, stream->shape[1], "cols of the stream");
}

/* "block: <what>sublayer 3" */
static void name_sublayer(const char *what, int32_t sublayer, char name[NAME_BYTES]) {
  (void)snprintf(name, NAME_BYTES, "block: %ssublayer %d", what, (int)sublayer);
}

/* ---------------------------------------------------------------- norms */

/* Rows like those of t, as sublayers want to read them. */
static clq_tensor edge_acts(const clq_block *b, const clq_tensor *t) {
  const clq_dtype dtype = b->acts.dtype != 0 ? b->acts.dtype : b->stream.dtype;
  clq_tensor edge = clq_graph_edge(b->graph, dtype, 2, t->shape);
  edge.quant = b->acts.quant;
  return edge;
}

/* out = N(x), or, with a residual, N(alpha residual + x + bias). */
typedef struct sum {
  clq_tensor x, residual, bias;
} sum;

static clq_status add_node(const clq_block *b, const clq_block_norm *norm, const sum *s,
                           clq_tensor out) {
  const clq_block_norm own = norm != NULL ? *norm : (clq_block_norm){0};
  const bool sums = clqi_present(&s->residual);
  const float alpha = sums ? b->alpha : 0.0f;
  /* There the stream goes on as N(s): nobody reads s. */
  const int32_t keep_residual = sums && is_post(b);
  if (b->norm == CLQ_NORM_RMS) {
    CLQI_REQUIRE(!clqi_present(&own.beta), "beta is given, CLQ_NORM_RMS has none");
    return clq_graph_add(b->graph, CLQ_OP_RMSNORM,
                         &(clq_rmsnorm_args){.x = s->x,
                                             .residual = s->residual,
                                             .bias = s->bias,
                                             .gamma = own.gamma,
                                             .out = out,
                                             .eps = b->eps,
                                             .alpha = alpha,
                                             .x_scale = own.x_scale,
                                             .cast = b->cast,
                                             .keep_residual = keep_residual});
  }
  return clq_graph_add(b->graph, CLQ_OP_LAYERNORM,
                       &(clq_layernorm_args){.x = s->x,
                                             .residual = s->residual,
                                             .bias = s->bias,
                                             .gamma = own.gamma,
                                             .beta = own.beta,
                                             .out = out,
                                             .eps = b->eps,
                                             .alpha = alpha,
                                             .x_scale = own.x_scale,
                                             .keep_residual = keep_residual});
}

/* The node's own sentences speak of its arguments; `where` says which norm it is. */
static clq_status add_norm(const clq_block *b, const char *where, const clq_block_norm *norm,
                           const sum *s, clq_tensor out) {
  const clq_status status = add_node(b, norm, s, out);
  if (status == CLQ_OK) {
    return CLQ_OK;
  }
  const bool of_stream = s->x.mem == b->stream.mem && s->x.value == b->stream.value;
  return clqi_fail_prefix(status, "%s%s", where,
                          clqi_present(&s->residual) ? " (x is y, residual the stream)"
                          : of_stream                ? " (x is the stream)"
                                                     : "");
}

/* out = N(h), with what is still to be added to h. */
static clq_status norm_stream(clq_block *b, const char *where, const clq_block_norm *norm,
                              clq_tensor out) {
  const sum alone = {.x = b->stream};
  const sum added = {.x = b->added, .residual = b->stream, .bias = b->bias};
  CLQI_TRY(add_norm(b, where, norm, clqi_present(&b->added) ? &added : &alone, out));
  b->added = (clq_tensor){0};
  return CLQ_OK;
}

static clq_status read_normed(clq_block *b, const clq_block_norm *norm, clq_tensor *x) {
  char where[NAME_BYTES];
  name_sublayer("the norm before ", b->reads, where);
  *x = edge_acts(b, &b->stream);
  return norm_stream(b, where, norm, *x);
}

static clq_status read_stream(clq_block *b, const clq_block_norm *norm, clq_tensor *x) {
  CLQI_REQUIRE(
      b->acts.quant.per != 0 || b->acts.dtype == 0 || b->acts.dtype == b->stream.dtype,
      "block: sublayers want %s, but where norms stand behind the sums they read the stream, %s",
      clq_dtype_name(b->acts.dtype), clq_dtype_name(b->stream.dtype));
  if (clqi_present(&b->added)) {
    const clq_tensor out = clq_graph_edge(b->graph, b->stream.dtype, 2, b->stream.shape);
    char where[NAME_BYTES];
    name_sublayer("the norm behind ", b->reads - 1, where);
    CLQI_TRY(norm_stream(b, where, &b->after, out));
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

/* ---------------------------------------------------------------- calls */

clq_status clq_block_read(clq_block *block, const clq_block_norm *norm, clq_tensor *x) {
  CLQI_TRY(check(block));
  CLQI_REQUIRE(x != NULL, "block: the result pointer is NULL");
  CLQI_REQUIRE(block->is_read == 0, "block: a sublayer reads, but the one before has not added");
  CLQI_TRY(check_stream(block));
  CLQI_TRY(is_post(block) ? read_stream(block, norm, x) : read_normed(block, norm, x));
  block->is_read = 1;
  ++block->reads;
  return CLQ_OK;
}

clq_status clq_block_inner(const clq_block *block, const clq_block_norm *norm, clq_tensor x,
                           clq_tensor *out) {
  CLQI_TRY(check(block));
  CLQI_REQUIRE(out != NULL, "block: the result pointer is NULL");
  CLQI_REQUIRE(block->is_read != 0, "block: a norm inside a sublayer, but none has read");
  *out = x;
  if (block->kind != CLQ_BLOCK_SUB_LN) {
    return CLQ_OK;
  }
  char where[NAME_BYTES];
  name_sublayer("the norm inside ", block->reads - 1, where);
  CLQI_TRY(check_given(block, where, "x", &x, 2, FLOATS));
  *out = edge_acts(block, &x);
  return add_norm(block, where, norm, &(sum){.x = x}, *out);
}

clq_status clq_block_add(clq_block *block, clq_tensor y, const clq_tensor *bias) {
  CLQI_TRY(check(block));
  CLQI_REQUIRE(block->is_read != 0, "block: a result is added, but no sublayer has read");
  clq_tensor added_bias = bias != NULL ? *bias : (clq_tensor){0};
  char where[NAME_BYTES];
  name_sublayer("", block->reads - 1, where);
  CLQI_TRY(check_stream(block));
  CLQI_TRY(check_added(block, where, &y, &added_bias));
  block->added = y;
  block->bias = added_bias;
  block->is_read = 0;
  return CLQ_OK;
}

clq_status clq_block_finish(clq_block *block, const clq_block_norm *norm, clq_tensor out) {
  CLQI_TRY(check(block));
  CLQI_REQUIRE(block->is_read == 0, "block: finished, but the last sublayer has not added");
  CLQI_TRY(check_stream(block));
  if (!is_post(block)) {
    return norm_stream(block, "block: the last norm", norm, out);
  }
  CLQI_REQUIRE(norm == NULL, "block: finished with a norm, but the last sublayer has its own");
  CLQI_REQUIRE(clqi_present(&block->added), "block: finished, but no sublayer has added");
  return norm_stream(block, "block: the last norm", &block->after, out);
}
