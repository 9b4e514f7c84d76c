#include "model/bert_graph.h"

#include "ops/op.h"
#include "runtime/status.h"

typedef struct recorder {
  clq_graph *graph;
  const clqi_bert *bert;
  const clqi_bert_pass *pass;
  clq_tensor stream; /* what sublayers read and are added to, f32, or codes of the type of acts */
} recorder;

static bool has(const recorder *r, clq_encoder_int8 part) { return (r->pass->int8 & part) != 0; }

/* ---------------------------------------------------------------- tensors */

static clq_tensor edge_f32(const recorder *r, int64_t cols) {
  return clq_graph_edge(r->graph, CLQ_F32, 2, (int64_t[]){r->pass->rows, cols});
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

static clq_tensor edge_acts(const recorder *r, int64_t cols) {
  const clq_tensor type = acts_type(r);
  clq_tensor t = clq_graph_edge(r->graph, type.dtype, 2, (int64_t[]){r->pass->rows, cols});
  t.quant = type.quant;
  return t;
}

/* Columns [first, first + heads * head_dim) of a dense f32 edge as [rows, heads, head_dim]. */
static clq_tensor head_columns(const recorder *r, clq_tensor t, int64_t first) {
  const clqi_bert_config *c = &r->bert->config;
  const int64_t head_dim = c->width / c->heads;
  t.stride[0] = t.shape[1];
  t.stride[1] = head_dim;
  t.stride[2] = 1;
  t.shape[1] = c->heads;
  t.shape[2] = head_dim;
  t.offset += (uint64_t)first * sizeof(float);
  return t;
}

/* `count` of the inputs, after the first `first`. */
static clq_tensor input(const recorder *r, int64_t first, int64_t count) {
  return (clq_tensor){.mem = r->pass->inputs,
                      .dtype = CLQ_I32,
                      .shape = {count},
                      .offset = (uint64_t)first * sizeof(cl_int)};
}

static clq_tensor starts(const recorder *r) { return input(r, 0, r->pass->texts + 1); }

static clq_kv_cache cache(const recorder *r) {
  const clqi_bert_config *c = &r->bert->config;
  const clqi_bert_pass *pass = r->pass;
  const bool codes = has(r, CLQ_ENCODER_INT8_ATTENTION);
  clq_kv_cache both = {
      .k = {.mem = pass->k,
            .dtype = codes ? CLQ_I8 : CLQ_F32,
            .shape = {pass->texts, c->heads, pass->capacity, c->width / c->heads}}};
  if (codes) {
    both.k.quant = (clq_quant){.per = CLQ_PER_TOKEN, .scale = pass->k_scale};
  }
  both.v = both.k;
  both.v.mem = pass->v;
  both.v.quant.scale = pass->v_scale;
  return both;
}

static clq_tensor vector(cl_mem mem, int64_t count) {
  return (clq_tensor){.mem = mem, .dtype = CLQ_F32, .shape = {count}};
}

/* ---------------------------------------------------------------- parts */

static clq_status multiply(const recorder *r, const clqi_bert_linear *linear, clq_tensor x,
                           clq_activation activation, clq_tensor out) {
  return clq_graph_add(
      r->graph, CLQ_OP_GEMM,
      &(clq_gemm_args){.x = x,
                       .weights = linear->weights,
                       .bias = vector(linear->bias, clq_weights_rows(linear->weights)),
                       .activation = activation,
                       .out = out});
}

/* N(x), or N(x + residual + bias) where there are such. */
static clq_status normalize(const recorder *r, const clqi_bert_norm *norm, clq_tensor x,
                            clq_tensor residual, clq_tensor bias, clq_tensor out) {
  const clqi_bert_config *c = &r->bert->config;
  const int32_t keep = residual.dtype != 0;
  return clq_graph_add(r->graph, CLQ_OP_LAYERNORM,
                       &(clq_layernorm_args){.x = x,
                                             .residual = residual,
                                             .bias = bias,
                                             .gamma = vector(norm->gamma, c->width),
                                             .beta = vector(norm->beta, c->width),
                                             .out = out,
                                             .eps = c->eps > 0.0f ? c->eps : -1.0f,
                                             .keep_residual = keep});
}

/* Words, positions and the type are one sum, in the norm's pass over memory. */
static clq_status embed(const recorder *r) {
  const clqi_bert *b = r->bert;
  const int64_t rows = r->pass->rows;
  const int64_t width = b->config.width;
  const clq_tensor words = edge_f32(r, width);
  const clq_tensor positions = edge_f32(r, width);
  CLQI_TRY(clq_graph_add(
      r->graph, CLQ_OP_EMBEDDING,
      &(clq_embedding_args){
          .ids = input(r, r->pass->texts + 1, rows), .weights = b->words, .out = words}));
  CLQI_TRY(clq_graph_add(r->graph, CLQ_OP_EMBEDDING,
                         &(clq_embedding_args){.ids = input(r, r->pass->texts + 1 + rows, rows),
                                               .weights = b->positions,
                                               .out = positions}));
  return normalize(r, &b->norm, words, positions, vector(b->type, width), r->stream);
}

/* x as a GEMM is to read it. */
static clq_status as_acts(const recorder *r, clq_tensor x, clq_tensor *out) {
  *out = x;
  if (r->pass->acts == CLQ_ACTS_F32 || x.dtype == CLQ_I8) {
    return CLQ_OK;
  }
  *out = edge_acts(r, x.shape[1]);
  return clq_graph_add(r->graph, CLQ_OP_QUANTIZE, &(clq_quantize_args){.x = x, .out = *out});
}

static clq_attention_math attention_math(const recorder *r) {
  return has(r, CLQ_ENCODER_INT8_SOFTMAX)     ? CLQ_ATTENTION_INTEGER_LUT
         : has(r, CLQ_ENCODER_INT8_ATTENTION) ? CLQ_ATTENTION_INTEGER
                                              : CLQ_ATTENTION_FLOAT;
}

/* Every row sees all rows of its text. */
static clq_status attend(const recorder *r, const clqi_bert_layer *layer, clq_tensor x,
                         clq_tensor *out) {
  const int64_t width = r->bert->config.width;
  const int64_t head_dim = width / r->bert->config.heads;
  const bool codes = r->pass->acts == CLQ_ACTS_Q8G32 && head_dim % CLQI_ACTS_GROUP == 0;
  const clq_tensor qkv = edge_f32(r, 3 * width);
  const clq_tensor mixed = codes ? edge_acts(r, width) : edge_f32(r, width);
  CLQI_TRY(multiply(r, &layer->qkv, x, CLQ_ACTIVATION_NONE, qkv));
  CLQI_TRY(clq_graph_add(r->graph, CLQ_OP_ROPE,
                         &(clq_rope_args){.k = head_columns(r, qkv, width),
                                          .v = head_columns(r, qkv, 2 * width),
                                          .cache = cache(r),
                                          .starts = starts(r)}));
  CLQI_TRY(clq_graph_add(r->graph, CLQ_OP_ATTENTION,
                         &(clq_attention_args){.q = head_columns(r, qkv, 0),
                                               .cache = cache(r),
                                               .starts = starts(r),
                                               .bidirectional = true,
                                               .math = attention_math(r),
                                               .out = mixed}));
  return as_acts(r, mixed, out);
}

/* The first product as codes of one scale, and a table's entry for each. */
static clq_status look_up(const recorder *r, int64_t index, clq_tensor x, clq_tensor *out) {
  const clqi_bert_config *c = &r->bert->config;
  const clqi_bert_scales *scales = r->pass->scales;
  const uint64_t place = (uint64_t)index;
  const int64_t shape[] = {r->pass->rows, c->feed_forward};
  clq_tensor codes = {
      .mem = r->pass->up_codes, .dtype = CLQ_U8, .shape = {r->pass->rows, c->feed_forward}};
  const clq_tensor values = clq_graph_edge(r->graph, CLQ_F16, 2, shape);
  codes.quant = (clq_quant){.per = CLQ_PER_TENSOR,
                            .scale = scales->up_scales,
                            .zero = scales->up_zeros,
                            .scale_offset = place * sizeof(cl_float),
                            .zero_offset = place * sizeof(cl_int)};
  const clq_tensor table = {.mem = scales->tables,
                            .dtype = CLQ_F16,
                            .shape = {CLQI_BERT_TABLE},
                            .offset = place * CLQI_BERT_TABLE * sizeof(cl_half)};
  CLQI_TRY(multiply(r, &r->bert->layers[index].up, x, CLQ_ACTIVATION_NONE, codes));
  CLQI_TRY(clq_graph_add(r->graph, CLQ_OP_LOOKUP,
                         &(clq_lookup_args){.x = codes, .table = table, .out = values}));
  return as_acts(r, values, out);
}

/* The activation ends the product, or, where codes are wanted, begins their making. */
static clq_status widen(const recorder *r, int64_t index, clq_tensor x, clq_tensor *out) {
  const clqi_bert_config *c = &r->bert->config;
  const clqi_bert_linear *up = &r->bert->layers[index].up;
  clq_tensor y = edge_f32(r, c->feed_forward);
  if (has(r, CLQ_ENCODER_INT8_ACTIVATION)) {
    return look_up(r, index, x, out);
  }
  *out = y;
  if (r->pass->ups == NULL && r->pass->acts == CLQ_ACTS_F32) {
    return multiply(r, up, x, c->activation, y);
  }
  if (r->pass->ups != NULL) {
    y.value = 0;
    y.mem = r->pass->ups;
    y.offset = (uint64_t)(index * r->pass->rows * c->feed_forward) * sizeof(cl_float);
  }
  *out = edge_acts(r, c->feed_forward);
  CLQI_TRY(multiply(r, up, x, CLQ_ACTIVATION_NONE, y));
  return clq_graph_add(r->graph, CLQ_OP_ACTIVATE,
                       &(clq_activate_args){.x = y, .activation = c->activation, .out = *out});
}

/* ---------------------------------------------------------------- sums and norms */

/* The sum that norm `index` reads, if it is more than a step inside of the norm: codes, or floats
 * that somebody wants to see. */
static bool is_written(const recorder *r) {
  return has(r, CLQ_ENCODER_INT8_NORM) || r->pass->sums != NULL;
}

static clq_tensor written_sum(const recorder *r, int64_t index) {
  const int64_t width = r->bert->config.width;
  const uint64_t place = (uint64_t)(index * width) * sizeof(cl_float);
  if (r->pass->sums != NULL) {
    return (clq_tensor){.mem = r->pass->sums,
                        .dtype = CLQ_F32,
                        .shape = {r->pass->rows, width},
                        .offset = place * (uint64_t)r->pass->rows};
  }
  return (clq_tensor){
      .mem = r->pass->sum_codes,
      .dtype = CLQ_I8,
      .shape = {r->pass->rows, width},
      .quant = {.per = CLQ_PER_CHANNEL, .scale = r->pass->scales->sums, .scale_offset = place}};
}

/* The stream as floats, for a product to be added to. */
static clq_status as_floats(const recorder *r, clq_tensor *out) {
  *out = r->stream;
  if (r->stream.dtype == CLQ_F32) {
    return CLQ_OK;
  }
  *out = edge_f32(r, r->bert->config.width);
  return clq_graph_add(r->graph, CLQ_OP_DEQUANTIZE,
                       &(clq_dequantize_args){.x = r->stream, .out = *out});
}

/* The end of a sublayer: N(stream + x W^T + bias) is the stream from then on. index: of its sum. */
static clq_status end_sublayer(recorder *r, const clqi_bert_linear *linear, clq_tensor x,
                               const clqi_bert_norm *norm, int64_t index) {
  const clqi_bert_config *c = &r->bert->config;
  const bool is_last = index + 1 == clqi_bert_sums(r->bert);
  const clq_tensor none = {.dtype = 0};
  const clq_tensor bias = vector(linear->bias, c->width);
  const clq_tensor out = has(r, CLQ_ENCODER_INT8_RESIDUAL) && !is_last ? edge_acts(r, c->width)
                                                                       : edge_f32(r, c->width);
  clq_tensor stream;
  CLQI_TRY(as_floats(r, &stream));
  if (is_written(r)) {
    const clq_tensor sum = written_sum(r, index);
    CLQI_TRY(clq_graph_add(
        r->graph, CLQ_OP_GEMM,
        &(clq_gemm_args){
            .x = x, .weights = linear->weights, .bias = bias, .residual = stream, .out = sum}));
    CLQI_TRY(normalize(r, norm, sum, none, none, out));
  } else {
    const clq_tensor y = edge_f32(r, c->width);
    CLQI_TRY(clq_graph_add(r->graph, CLQ_OP_GEMM,
                           &(clq_gemm_args){.x = x, .weights = linear->weights, .out = y}));
    CLQI_TRY(normalize(r, norm, y, stream, bias, out));
  }
  r->stream = out;
  return CLQ_OK;
}

static clq_status pool(const recorder *r) {
  const clqi_bert_config *c = &r->bert->config;
  const clq_tensor out = {
      .mem = r->pass->vectors, .dtype = CLQ_F32, .shape = {r->pass->texts, c->width}};
  return clq_graph_add(r->graph, CLQ_OP_POOL,
                       &(clq_pool_args){.x = r->stream,
                                        .starts = starts(r),
                                        .out = out,
                                        .pooling = c->pooling,
                                        .normalize = true});
}

static clq_status record_layer(recorder *r, int64_t index) {
  const clqi_bert_layer *layer = &r->bert->layers[index];
  clq_tensor x;
  clq_tensor y;
  CLQI_TRY(as_acts(r, r->stream, &x));
  CLQI_TRY(attend(r, layer, x, &y));
  CLQI_TRY(end_sublayer(r, &layer->attention_out, y, &layer->attention_norm, 2 * index));
  CLQI_TRY(as_acts(r, r->stream, &x));
  CLQI_TRY(widen(r, index, x, &y));
  return end_sublayer(r, &layer->down, y, &layer->norm, 2 * index + 1);
}

clq_status clqi_bert_record(clq_graph *graph, const clqi_bert *bert, const clqi_bert_pass *pass) {
  recorder r = {.graph = graph, .bert = bert, .pass = pass};
  r.stream = has(&r, CLQ_ENCODER_INT8_RESIDUAL) ? edge_acts(&r, bert->config.width)
                                                : edge_f32(&r, bert->config.width);
  CLQI_TRY(embed(&r));
  for (int64_t i = 0; i < bert->config.layers; ++i) {
    CLQI_TRY(record_layer(&r, i));
  }
  return pool(&r);
}
