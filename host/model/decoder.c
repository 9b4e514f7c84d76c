#include "model/decoder.h"

#include <clquant/block.h>

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

/* The type in which activations go into a GEMM. */
static clq_tensor acts_type(const recorder *r) {
  switch (r->pass->acts) {
    case CLQ_ACTS_Q8: return (clq_tensor){.dtype = CLQ_I8, .quant = {.per = CLQ_PER_TOKEN}};
    case CLQ_ACTS_Q8G32:
      return (clq_tensor){.dtype = CLQ_I8,
                          .quant = {.per = CLQ_PER_GROUP, .group = CLQI_ACTS_GROUP}};
    default: return (clq_tensor){.dtype = CLQ_F32};
  }
}

static clq_tensor edge_acts(const recorder *r, int64_t rows, int64_t cols) {
  const clq_tensor type = acts_type(r);
  clq_tensor t = clq_graph_edge(r->graph, type.dtype, 2, (int64_t[]){rows, cols});
  t.quant = type.quant;
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

/* A norm's gamma. */
static clq_block_norm gamma_of(const recorder *r, cl_mem gamma) {
  return (clq_block_norm){.gamma = {gamma, CLQ_F32, {r->model->info.width}}};
}

/* Keys or values of a layer. */
static clq_tensor half_cache(const recorder *r, const clqi_decoder_sequence *s, cl_mem mem) {
  const clq_model_info *info = &r->model->info;
  const int64_t planes = clqi_decoder_planes(s->kv);
  const int64_t head_bytes = clqi_decoder_head_bytes(s->kv, info->head_dim);
  const uint64_t tokens = (uint64_t)(info->kv_heads * s->capacity);
  clq_tensor t = {
      mem, s->kv, {1, info->kv_heads, s->capacity, head_bytes / (int64_t)clq_dtype_bytes(s->kv)}};
  if (planes > 0) {
    t.quant.per = CLQ_PER_TOKEN;
    t.quant.scale = mem;
    t.quant.scale_offset = tokens * (uint64_t)head_bytes;
  }
  if (planes > 1) {
    t.quant.zero = mem;
    t.quant.zero_offset = t.quant.scale_offset + tokens * sizeof(cl_float);
  }
  return t;
}

/* Of a layer. */
static clq_kv_cache cache(const recorder *r, const clqi_decoder_sequence *s, int64_t index) {
  return (clq_kv_cache){half_cache(r, s, s->k[index]), half_cache(r, s, s->v[index])};
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
                                            .cache = cache(r, s, index),
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
                              .cache = cache(r, s, index),
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
      r->graph, CLQ_OP_ACTIVATE,
      &(clq_activate_args){.x = columns(gate_up, 0, info->feed_forward),
                           .activation = CLQ_ACTIVATION_SILU,
                           .up = columns(gate_up, info->feed_forward, info->feed_forward),
                           .out = gated}));
  *out = edge_f32(r, x.shape[0], info->width);
  return linear(r, &layer->down, gated, *out);
}

/* i32 [sequences, cols] of `mem`, from its first number but `first` ones on. */
static clq_tensor words(const recorder *r, cl_mem mem, int64_t first, int64_t cols) {
  return (clq_tensor){
      mem, CLQ_I32, {r->pass->count, cols}, .offset = (uint64_t)first * sizeof(cl_int)};
}

static clq_status choose(const recorder *r, clq_tensor logits) {
  const clqi_decoder_pass *pass = r->pass;
  clq_sample_args args = {.logits = logits,
                          .out = words(r, pass->inputs, CLQI_DECODER_POSITIONS * pass->count, 0),
                          .sampling = *pass->sampling,
                          .counters = words(r, pass->inputs, 0, CLQI_DECODER_POSITIONS)};
  if (pass->states != NULL) {
    args.state = words(r, pass->states, 0, CLQI_DECODER_STATE);
  }
  return clq_graph_add(r->graph, CLQ_OP_SAMPLE, &args);
}

/* Logits take the last norm as floats: one row as a rule, so that this costs little, and a share of
 * all that int8 activations lose in accuracy is lost here. */
static clq_status head(const recorder *r, clq_block *block) {
  block->acts = (clq_tensor){.dtype = CLQ_F32};
  const clq_block_norm norm = gamma_of(r, r->model->output_gamma);
  clq_tensor x;
  CLQI_TRY(clq_block_read(block, &norm, &x));
  const clq_tensor logits = {r->pass->logits, CLQ_F32, {x.shape[0], r->model->info.vocabulary}};
  CLQI_TRY(linear(r, &r->model->head, x, logits));
  return r->pass->sampling == NULL ? CLQ_OK : choose(r, logits);
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
  clq_block block = {.graph = graph,
                     .kind = CLQ_BLOCK_PRE_LN,
                     .norm = CLQ_NORM_RMS,
                     .eps = model->eps > 0.0f ? model->eps : -1.0f,
                     .acts = acts_type(&r),
                     .stream = edge_f32(&r, all_rows(&r), model->info.width)};
  CLQI_TRY(embed(&r, block.stream));
  for (int64_t i = 0; i < model->info.layers; ++i) {
    const clq_block_norm attention_norm = gamma_of(&r, model->layers[i].attention_gamma);
    const clq_block_norm feed_forward_norm = gamma_of(&r, model->layers[i].feed_forward_gamma);
    const bool last = i + 1 == model->info.layers;
    clq_tensor x;
    clq_tensor q;
    clq_tensor y;
    CLQI_TRY(clq_block_read(&block, &attention_norm, &x));
    CLQI_TRY(project(&r, i, x, &q));
    if (last && pass->wanted == CLQ_LOGITS_NONE) {
      return CLQ_OK;
    }
    if (last && pass->wanted == CLQ_LOGITS_LAST && pass->rows > 1) {
      r.kept = 1;
      block.stream = last_rows(&r, block.stream);
    }
    CLQI_TRY(attend(&r, i, q, &y));
    CLQI_TRY(clq_block_add(&block, y, NULL));
    CLQI_TRY(clq_block_read(&block, &feed_forward_norm, &x));
    CLQI_TRY(feed_forward(&r, i, x, &y));
    CLQI_TRY(clq_block_add(&block, y, NULL));
  }
  return head(&r, &block);
}
