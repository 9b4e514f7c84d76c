#include "model/decoder.h"

#include "runtime/status.h"

enum { GROUP = 32 };

typedef struct recorder {
  clq_graph *graph;
  const clq_model *model;
  const clqi_decoder_io *io;
  clq_acts acts;
  int64_t rows;
} recorder;

static clq_tensor edge_f32(const recorder *r, int64_t rows, int64_t cols) {
  return clq_graph_edge(r->graph, CLQ_F32, 2, (int64_t[]){rows, cols});
}

/* An edge of the type in which activations go into a GEMM. */
static clq_tensor edge_acts(const recorder *r, int64_t rows, int64_t cols) {
  if (r->acts == CLQ_ACTS_F32) {
    return edge_f32(r, rows, cols);
  }
  clq_tensor t = clq_graph_edge(r->graph, CLQ_I8, 2, (int64_t[]){rows, cols});
  t.quant.per = r->acts == CLQ_ACTS_Q8 ? CLQ_PER_TOKEN : CLQ_PER_GROUP;
  t.quant.group = r->acts == CLQ_ACTS_Q8 ? 0 : GROUP;
  return t;
}

/* Columns [first, first + cols) of a dense [rows, all] f32 edge, as [rows, cols]. */
static clq_tensor columns(clq_tensor t, int64_t first, int64_t cols) {
  t.stride[0] = t.shape[1];
  t.stride[1] = 1;
  t.shape[1] = cols;
  t.offset += (uint64_t)first * sizeof(float);
  return t;
}

/* The same columns as [rows, heads, head_dim]. */
static clq_tensor head_columns(clq_tensor t, int64_t first, int64_t heads, int64_t head_dim) {
  const int64_t all = t.shape[1];
  t = columns(t, first, heads * head_dim);
  t.shape[1] = heads;
  t.shape[2] = head_dim;
  t.stride[0] = all;
  t.stride[1] = head_dim;
  t.stride[2] = 1;
  return t;
}

static clq_tensor last_row(clq_tensor t) {
  t.offset += (uint64_t)((t.shape[0] - 1) * t.shape[1]) * sizeof(float);
  t.shape[0] = 1;
  return t;
}

static clq_status linear(const recorder *r, const clqi_linear *layer, clq_tensor x,
                         clq_tensor out) {
  int64_t first = 0;
  for (int i = 0; i < layer->count; ++i) {
    const int64_t cols = clq_weights_rows(layer->weights[i]);
    CLQI_TRY(clq_graph_add(
        r->graph, CLQ_OP_GEMM,
        &(clq_gemm_args){.x = x, .weights = layer->weights[i], .out = columns(out, first, cols)}));
    first += cols;
  }
  return CLQ_OK;
}

/* out = norm(x [+ residual]); residual may be an absent tensor. */
static clq_status norm(const recorder *r, clq_tensor x, clq_tensor residual, cl_mem gamma,
                       clq_tensor out) {
  return clq_graph_add(r->graph, CLQ_OP_RMSNORM,
                       &(clq_rmsnorm_args){.x = x,
                                           .residual = residual,
                                           .gamma = {gamma, CLQ_F32, {r->model->info.width}},
                                           .out = out,
                                           .eps = r->model->eps > 0.0f ? r->model->eps : -1.0f});
}

static clq_status attention(const recorder *r, int64_t index, clq_tensor x, clq_tensor *out) {
  const clq_model_info *info = &r->model->info;
  const clqi_llama_layer *layer = &r->model->layers[index];
  const int64_t q_cols = info->heads * info->head_dim;
  const int64_t kv_cols = info->kv_heads * info->head_dim;
  const clq_tensor position = {r->io->position, CLQ_I32, {1}};
  const clq_tensor k_cache = {
      r->io->k[index], r->io->kv, {info->kv_heads, r->io->capacity, info->head_dim}};
  const clq_tensor v_cache = {
      r->io->v[index], r->io->kv, {info->kv_heads, r->io->capacity, info->head_dim}};
  const clq_tensor qkv = edge_f32(r, r->rows, layer->qkv.out_cols);
  const clq_tensor q =
      clq_graph_edge(r->graph, CLQ_F32, 3, (int64_t[]){r->rows, info->heads, info->head_dim});
  CLQI_TRY(linear(r, &layer->qkv, x, qkv));
  CLQI_TRY(clq_graph_add(
      r->graph, CLQ_OP_ROPE,
      &(clq_rope_args){
          .q = head_columns(qkv, 0, info->heads, info->head_dim),
          .out = q,
          .k = head_columns(qkv, q_cols, info->kv_heads, info->head_dim),
          .v = head_columns(qkv, q_cols + kv_cols, info->kv_heads, info->head_dim),
          .k_cache = k_cache,
          .v_cache = v_cache,
          .position = position,
          .table = {r->io->table, CLQ_F32, {r->io->context, r->model->rope_dims / 2, 2}}}));
  const bool fused = r->acts == CLQ_ACTS_Q8G32 && info->head_dim % GROUP == 0;
  const bool plain = r->acts == CLQ_ACTS_F32;
  clq_tensor mixed = fused || plain ? edge_acts(r, r->rows, q_cols) : edge_f32(r, r->rows, q_cols);
  CLQI_TRY(clq_graph_add(
      r->graph, CLQ_OP_ATTENTION,
      &(clq_attention_args){
          .q = q, .k_cache = k_cache, .v_cache = v_cache, .position = position, .out = mixed}));
  if (!fused && !plain) {
    const clq_tensor codes = edge_acts(r, r->rows, q_cols);
    CLQI_TRY(
        clq_graph_add(r->graph, CLQ_OP_QUANTIZE, &(clq_quantize_args){.x = mixed, .out = codes}));
    mixed = codes;
  }
  *out = edge_f32(r, r->rows, info->width);
  return linear(r, &layer->attention_out, mixed, *out);
}

static clq_status feed_forward(const recorder *r, int64_t index, clq_tensor x, clq_tensor *out) {
  const clq_model_info *info = &r->model->info;
  const clqi_llama_layer *layer = &r->model->layers[index];
  const clq_tensor gate_up = edge_f32(r, r->rows, 2 * info->feed_forward);
  const clq_tensor gated = edge_acts(r, r->rows, info->feed_forward);
  CLQI_TRY(linear(r, &layer->gate_up, x, gate_up));
  CLQI_TRY(clq_graph_add(
      r->graph, CLQ_OP_SILU_MUL,
      &(clq_silu_mul_args){.gate = columns(gate_up, 0, info->feed_forward),
                           .up = columns(gate_up, info->feed_forward, info->feed_forward),
                           .out = gated}));
  *out = edge_f32(r, r->rows, info->width);
  return linear(r, &layer->down, gated, *out);
}

/* x is what the last layer adds to the residual stream h. */
static clq_status head(const recorder *r, clq_tensor x, clq_tensor h, clq_logits_wanted wanted) {
  const clq_model_info *info = &r->model->info;
  if (wanted == CLQ_LOGITS_LAST) {
    x = last_row(x);
    h = last_row(h);
  }
  const clq_tensor normed = edge_acts(r, x.shape[0], info->width);
  const clq_tensor logits = {r->io->logits, CLQ_F32, {x.shape[0], info->vocabulary}};
  CLQI_TRY(norm(r, x, h, r->model->output_gamma, normed));
  return linear(r, &r->model->head, normed, logits);
}

clq_status clqi_decoder_record(clq_graph *graph, const clq_model *model, const clqi_decoder_io *io,
                               clq_acts acts, int64_t rows, clq_logits_wanted wanted) {
  const recorder r = {graph, model, io, acts, rows};
  const int64_t width = model->info.width;
  const clq_tensor h = edge_f32(&r, rows, width); /* the residual stream */
  clq_tensor x = h;                               /* what is to be added to it */
  clq_tensor residual = {0};                      /* h, once x is something else */
  CLQI_TRY(clq_graph_add(
      graph, CLQ_OP_EMBEDDING,
      &(clq_embedding_args){
          .ids = {io->ids, CLQ_I32, {rows}}, .weights = model->embedding.weights[0], .out = h}));
  for (int64_t i = 0; i < model->info.layers; ++i) {
    const clqi_llama_layer *layer = &model->layers[i];
    clq_tensor normed = edge_acts(&r, rows, width);
    CLQI_TRY(norm(&r, x, residual, layer->attention_gamma, normed));
    residual = h;
    CLQI_TRY(attention(&r, i, normed, &x));
    normed = edge_acts(&r, rows, width);
    CLQI_TRY(norm(&r, x, residual, layer->feed_forward_gamma, normed));
    CLQI_TRY(feed_forward(&r, i, normed, &x));
  }
  return wanted == CLQ_LOGITS_NONE ? CLQ_OK : head(&r, x, h, wanted);
}
