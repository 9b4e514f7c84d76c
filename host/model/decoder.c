#include "model/decoder.h"

#include "ops/op.h"
#include "runtime/status.h"

typedef struct recorder {
  clq_graph *graph;
  const clq_model *model;
  const clqi_decoder_pass *pass;
  int64_t kept; /* the last rows of each sequence, which are computed from here on */
} recorder;

/* Rows of all sequences together. */
static int64_t all_rows(const recorder *r) { return r->pass->count * r->kept; }

static clq_tensor edge_f32(const recorder *r, int64_t rows, int64_t cols) {
  return clq_graph_edge(r->graph, CLQ_F32, 2, (int64_t[]){rows, cols});
}

/* An edge of the type in which activations go into a GEMM. */
static clq_tensor edge_acts(const recorder *r, int64_t rows, int64_t cols) {
  if (r->pass->acts == CLQ_ACTS_F32) {
    return edge_f32(r, rows, cols);
  }
  clq_tensor t = clq_graph_edge(r->graph, CLQ_I8, 2, (int64_t[]){rows, cols});
  t.quant.per = r->pass->acts == CLQ_ACTS_Q8 ? CLQ_PER_TOKEN : CLQ_PER_GROUP;
  t.quant.group = r->pass->acts == CLQ_ACTS_Q8 ? 0 : CLQI_ACTS_GROUP;
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

/* Rows [first, first + rows). */
static clq_tensor rows_of(clq_tensor t, int64_t first, int64_t rows) {
  const int64_t inner = t.shape[1] * (t.shape[2] == 0 ? 1 : t.shape[2]);
  const int64_t stride = t.stride[0] == 0 ? inner : t.stride[0];
  t.offset += (uint64_t)(first * stride) * clq_dtype_bytes(t.dtype);
  t.shape[0] = rows;
  return t;
}

/* The last row of each sequence in a dense f32 edge of all rows. */
static clq_tensor last_rows(const recorder *r, clq_tensor t) {
  const int64_t rows = r->pass->rows;
  t.offset += (uint64_t)((rows - 1) * t.shape[1]) * sizeof(float);
  t.stride[0] = rows * t.shape[1];
  t.stride[1] = 1;
  t.shape[0] = r->pass->count;
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

static clq_tensor cache(const recorder *r, const clqi_decoder_sequence *s, cl_mem mem) {
  const clq_model_info *info = &r->model->info;
  return (clq_tensor){mem, s->kv, {info->kv_heads, s->capacity, info->head_dim}};
}

enum { FIRST_TOKEN, LAST_TOKEN };

/* Where the first or the last token of a sequence stands. */
static clq_tensor position(const recorder *r, int64_t sequence, int which) {
  return (clq_tensor){
      .mem = r->pass->inputs,
      .dtype = CLQ_I32,
      .shape = {1},
      .offset = (uint64_t)(CLQI_DECODER_POSITIONS * sequence + which) * sizeof(cl_int)};
}

/* Queries, keys and values of all rows: the queries rotated, keys and values in the caches. */
static clq_status project(const recorder *r, int64_t index, clq_tensor x, clq_tensor *q) {
  const clq_model_info *info = &r->model->info;
  const clqi_llama_layer *layer = &r->model->layers[index];
  const int64_t q_cols = info->heads * info->head_dim;
  const int64_t kv_cols = info->kv_heads * info->head_dim;
  const int64_t rows = r->pass->rows;
  const clq_tensor qkv = edge_f32(r, x.shape[0], layer->qkv.out_cols);
  const clq_tensor from_q = head_columns(qkv, 0, info->heads, info->head_dim);
  const clq_tensor from_k = head_columns(qkv, q_cols, info->kv_heads, info->head_dim);
  const clq_tensor from_v = head_columns(qkv, q_cols + kv_cols, info->kv_heads, info->head_dim);
  *q = clq_graph_edge(r->graph, CLQ_F32, 3, (int64_t[]){x.shape[0], info->heads, info->head_dim});
  CLQI_TRY(linear(r, &layer->qkv, x, qkv));
  for (int64_t i = 0; i < r->pass->count; ++i) {
    const clqi_decoder_sequence *s = &r->pass->sequences[i];
    const clq_tensor table = {s->table, CLQ_F32, {s->context, r->model->rope_dims / 2, 2}};
    CLQI_TRY(clq_graph_add(r->graph, CLQ_OP_ROPE,
                           &(clq_rope_args){.q = rows_of(from_q, i * rows, rows),
                                            .out = rows_of(*q, i * rows, rows),
                                            .k = rows_of(from_k, i * rows, rows),
                                            .v = rows_of(from_v, i * rows, rows),
                                            .k_cache = cache(r, s, s->k[index]),
                                            .v_cache = cache(r, s, s->v[index]),
                                            .position = position(r, i, FIRST_TOKEN),
                                            .table = table}));
  }
  return CLQ_OK;
}

/* What the kept rows make of the caches. q: of all rows. */
static clq_status attend(const recorder *r, int64_t index, clq_tensor q, clq_tensor *out) {
  const clq_model_info *info = &r->model->info;
  const int64_t q_cols = info->heads * info->head_dim;
  const int64_t rows = r->pass->rows;
  const int64_t skipped = rows - r->kept;
  const clq_acts acts = r->pass->acts;
  const bool fused = acts == CLQ_ACTS_Q8G32 && info->head_dim % CLQI_ACTS_GROUP == 0;
  const bool plain = acts == CLQ_ACTS_F32;
  clq_tensor mixed =
      fused || plain ? edge_acts(r, all_rows(r), q_cols) : edge_f32(r, all_rows(r), q_cols);
  for (int64_t i = 0; i < r->pass->count; ++i) {
    const clqi_decoder_sequence *s = &r->pass->sequences[i];
    CLQI_TRY(clq_graph_add(
        r->graph, CLQ_OP_ATTENTION,
        &(clq_attention_args){.q = rows_of(q, i * rows + skipped, r->kept),
                              .k_cache = cache(r, s, s->k[index]),
                              .v_cache = cache(r, s, s->v[index]),
                              .position = position(r, i, skipped > 0 ? LAST_TOKEN : FIRST_TOKEN),
                              .out = rows_of(mixed, i * r->kept, r->kept)}));
  }
  if (!fused && !plain) {
    const clq_tensor codes = edge_acts(r, all_rows(r), q_cols);
    CLQI_TRY(
        clq_graph_add(r->graph, CLQ_OP_QUANTIZE, &(clq_quantize_args){.x = mixed, .out = codes}));
    mixed = codes;
  }
  *out = edge_f32(r, all_rows(r), info->width);
  return linear(r, &r->model->layers[index].attention_out, mixed, *out);
}

static clq_status feed_forward(const recorder *r, int64_t index, clq_tensor x, clq_tensor *out) {
  const clq_model_info *info = &r->model->info;
  const clqi_llama_layer *layer = &r->model->layers[index];
  const clq_tensor gate_up = edge_f32(r, x.shape[0], 2 * info->feed_forward);
  const clq_tensor gated = edge_acts(r, x.shape[0], info->feed_forward);
  CLQI_TRY(linear(r, &layer->gate_up, x, gate_up));
  CLQI_TRY(clq_graph_add(
      r->graph, CLQ_OP_SILU_MUL,
      &(clq_silu_mul_args){.gate = columns(gate_up, 0, info->feed_forward),
                           .up = columns(gate_up, info->feed_forward, info->feed_forward),
                           .out = gated}));
  *out = edge_f32(r, x.shape[0], info->width);
  return linear(r, &layer->down, gated, *out);
}

/* x is what the last layer adds to the residual stream h. */
static clq_status head(const recorder *r, clq_tensor x, clq_tensor h) {
  const clq_model_info *info = &r->model->info;
  const clq_tensor normed = edge_acts(r, x.shape[0], info->width);
  const clq_tensor logits = {r->pass->logits, CLQ_F32, {x.shape[0], info->vocabulary}};
  CLQI_TRY(norm(r, x, h, r->model->output_gamma, normed));
  return linear(r, &r->model->head, normed, logits);
}

static clq_status embed(const recorder *r, clq_tensor out) {
  const clqi_decoder_pass *pass = r->pass;
  const clq_tensor ids = {
      .mem = pass->inputs,
      .dtype = CLQ_I32,
      .shape = {out.shape[0]},
      .offset = (uint64_t)(CLQI_DECODER_POSITIONS * pass->count) * sizeof(cl_int)};
  return clq_graph_add(
      r->graph, CLQ_OP_EMBEDDING,
      &(clq_embedding_args){.ids = ids, .weights = r->model->embedding.weights[0], .out = out});
}

clq_status clqi_decoder_record(clq_graph *graph, const clq_model *model,
                               const clqi_decoder_pass *pass) {
  recorder r = {graph, model, pass, .kept = pass->rows};
  const int64_t width = model->info.width;
  clq_tensor h = edge_f32(&r, all_rows(&r), width); /* the residual stream */
  clq_tensor x = h;                                 /* what is to be added to it */
  clq_tensor residual = {0};                        /* h, once x is something else */
  CLQI_TRY(embed(&r, h));
  for (int64_t i = 0; i < model->info.layers; ++i) {
    const clqi_llama_layer *layer = &model->layers[i];
    const bool last = i + 1 == model->info.layers;
    clq_tensor normed = edge_acts(&r, all_rows(&r), width);
    clq_tensor q;
    CLQI_TRY(norm(&r, x, residual, layer->attention_gamma, normed));
    CLQI_TRY(project(&r, i, normed, &q));
    if (last && pass->wanted == CLQ_LOGITS_NONE) {
      return CLQ_OK;
    }
    if (last && pass->wanted == CLQ_LOGITS_LAST && pass->rows > 1) {
      r.kept = 1;
      h = last_rows(&r, h);
    }
    residual = h;
    CLQI_TRY(attend(&r, i, q, &x));
    normed = edge_acts(&r, all_rows(&r), width);
    CLQI_TRY(norm(&r, x, residual, layer->feed_forward_gamma, normed));
    CLQI_TRY(feed_forward(&r, i, normed, &x));
  }
  return head(&r, x, h);
}
