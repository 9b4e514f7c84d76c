#include "model/llama.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/gguf.h"
#include "model/tokenizer.h"
#include "quant/pack.h"
#include "quant/progress.h"
#include "runtime/buffer.h"
#include "runtime/clock.h"
#include "runtime/memory.h"

enum { MAX_LAYERS = 1024, MAX_EXTENT = 1 << 24 };

/* What loading holds: the file, and which of its tensors have found a use. */
typedef struct loader {
  const clqi_gguf *file;
  clq_model *model;
  size_t used;
  clqi_progress progress;
} loader;

/* Of what a tensor may have, by the name that both sides use. */
static const clq_format formats[] = {
    CLQ_FORMAT_F32,  CLQ_FORMAT_F16,  CLQ_FORMAT_BF16, CLQ_FORMAT_Q4_0,   CLQ_FORMAT_Q4_1,
    CLQ_FORMAT_Q5_0, CLQ_FORMAT_Q5_1, CLQ_FORMAT_Q8_0, CLQ_FORMAT_Q2_K,   CLQ_FORMAT_Q3_K,
    CLQ_FORMAT_Q4_K, CLQ_FORMAT_Q5_K, CLQ_FORMAT_Q6_K, CLQ_FORMAT_IQ4_NL, CLQ_FORMAT_MXFP4,
};

static clq_status format_of(const loader *l, const clqi_gguf_tensor *tensor, clq_format *format) {
  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; ++i) {
    if (strcmp(clq_format_name(formats[i]), tensor->type->name) == 0) {
      *format = formats[i];
      return CLQ_OK;
    }
  }
  return clqi_fail(CLQ_UNSUPPORTED,
                   "%s: tensor %s is %s, which is not supported; requantize the model to q4_0, "
                   "q4_k, q6_k, q8_0 or f16",
                   clqi_gguf_name(l->file), tensor->name, tensor->type->name);
}

/* A tensor [cols, rows] in GGUF's order, that is rows x cols with cols fastest. */
static clq_status get_matrix(loader *l, const char *name, int64_t rows, int64_t cols,
                             const clqi_gguf_tensor **tensor) {
  CLQI_TRY(clqi_gguf_get_tensor(l->file, name, tensor));
  const int64_t *dims = (*tensor)->dims;
  if (dims[0] != cols || dims[1] != rows || dims[2] != 1 || dims[3] != 1) {
    return clqi_fail(CLQ_BAD_FILE, "%s: tensor %s is [%lld, %lld], expected [%lld, %lld]",
                     clqi_gguf_name(l->file), name, (long long)dims[0], (long long)dims[1],
                     (long long)cols, (long long)rows);
  }
  ++l->used;
  return CLQ_OK;
}

/* The tensors that are packed into one matrix, as a clqi_row_source. */
typedef struct stack {
  const clqi_gguf *file;
  const clqi_gguf_tensor *const *tensors;
} stack;

static clq_status read_rows(void *from, int32_t part, int64_t first_row, int64_t rows, void *out) {
  const stack *s = from;
  const clqi_gguf_tensor *tensor = s->tensors[part];
  const size_t row_bytes = tensor->bytes / (size_t)tensor->dims[1];
  return clqi_gguf_read(s->file, tensor, (size_t)first_row * row_bytes, (size_t)rows * row_bytes,
                        out);
}

/* Packs tensors[0 .. count-1], all of one format. */
static clq_status pack(loader *l, const clqi_gguf_tensor *const *tensors, int count,
                       clq_weights **weights) {
  clq_weights_part parts[CLQI_MAX_STACKED];
  clq_weights_desc desc = {.cols = tensors[0]->dims[0], .parts = parts, .part_count = count};
  stack from = {.file = l->file, .tensors = tensors};
  uint64_t bytes = 0;
  CLQI_TRY(format_of(l, tensors[0], &desc.format));
  for (int i = 0; i < count; ++i) {
    parts[i] = (clq_weights_part){.rows = tensors[i]->dims[1]};
    bytes += tensors[i]->bytes;
  }
  const clq_progress progress = clqi_progress_part(&l->progress, bytes);
  desc.progress = &progress;
  const clqi_row_source source = {.read = read_rows, .from = &from};
  const clq_status status = clqi_weights_pack_from(l->model->context, &desc, &source, weights);
  if (status == CLQ_IO_ERROR) { /* of the file, which the sentence names */
    return status;
  }
  if (status != CLQ_OK) {
    return clqi_fail_prefix(status, "%s: tensor %s", clqi_gguf_name(l->file), tensors[0]->name);
  }
  clqi_progress_end_part(&l->progress);
  l->model->info.weight_bytes += clq_weights_bytes(*weights);
  return CLQ_OK;
}

/* Stacks what has one format; see clqi_linear. */
static clq_status pack_linear(loader *l, const clqi_gguf_tensor *const *tensors, int count,
                              clqi_linear *linear) {
  for (int first = 0; first < count;) {
    int end = first + 1;
    while (end < count && tensors[end]->type == tensors[first]->type) {
      ++end;
    }
    CLQI_TRY(pack(l, tensors + first, end - first, &linear->weights[linear->count]));
    linear->out_cols += clq_weights_rows(linear->weights[linear->count]);
    ++linear->count;
    first = end;
  }
  return CLQ_OK;
}

/* *values is a new block of the tensor's bytes, NULL on failure. Too few bytes to report. */
static clq_status read_floats(loader *l, const clqi_gguf_tensor *tensor, float **values) {
  *values = clqi_malloc(tensor->bytes);
  if (*values == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "model: out of memory");
  }
  const clq_status status = clqi_gguf_read(l->file, tensor, 0, tensor->bytes, *values);
  if (status != CLQ_OK) {
    clqi_free(*values);
    *values = NULL;
  }
  l->progress.done += tensor->bytes;
  return status;
}

static clq_status load_gamma(loader *l, const char *name, cl_mem *gamma) {
  const clqi_gguf_tensor *tensor = NULL;
  float *data = NULL;
  CLQI_TRY(get_matrix(l, name, 1, l->model->info.width, &tensor));
  if (strcmp(tensor->type->name, "f32") != 0) {
    return clqi_fail(CLQ_UNSUPPORTED, "%s: tensor %s is %s, expected f32; convert the model again",
                     clqi_gguf_name(l->file), name, tensor->type->name);
  }
  CLQI_TRY(read_floats(l, tensor, &data));
  l->model->info.weight_bytes += tensor->bytes;
  const clq_status status = clqi_buffer_create_from(l->model->context, data, tensor->bytes, gamma);
  clqi_free(data);
  return status;
}

static clq_status load_layer(loader *l, int64_t index) {
  const clq_model_info *info = &l->model->info;
  const int64_t q_rows = info->heads * info->head_dim;
  const int64_t kv_rows = info->kv_heads * info->head_dim;
  const struct {
    const char *suffix;
    int64_t rows, cols;
  } matrices[] = {
      {"attn_q", q_rows, info->width},
      {"attn_k", kv_rows, info->width},
      {"attn_v", kv_rows, info->width},
      {"attn_output", info->width, q_rows},
      {"ffn_gate", info->feed_forward, info->width},
      {"ffn_up", info->feed_forward, info->width},
      {"ffn_down", info->width, info->feed_forward},
  };
  const clqi_gguf_tensor *t[sizeof matrices / sizeof matrices[0]];
  char name[CLQI_GGUF_NAME_BYTES];
  for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; ++i) {
    (void)snprintf(name, sizeof name, "blk.%lld.%s.weight", (long long)index, matrices[i].suffix);
    CLQI_TRY(get_matrix(l, name, matrices[i].rows, matrices[i].cols, &t[i]));
  }
  clqi_llama_layer *layer = &l->model->layers[index];
  (void)snprintf(name, sizeof name, "blk.%lld.attn_norm.weight", (long long)index);
  CLQI_TRY(load_gamma(l, name, &layer->attention_gamma));
  (void)snprintf(name, sizeof name, "blk.%lld.ffn_norm.weight", (long long)index);
  CLQI_TRY(load_gamma(l, name, &layer->feed_forward_gamma));
  CLQI_TRY(pack_linear(l, t, 3, &layer->qkv));
  CLQI_TRY(pack_linear(l, t + 3, 1, &layer->attention_out));
  CLQI_TRY(pack_linear(l, t + 4, 2, &layer->gate_up));
  return pack_linear(l, t + 6, 1, &layer->down);
}

static clq_status load_ends(loader *l) {
  clq_model *m = l->model;
  const clqi_gguf_tensor *embedding = NULL;
  CLQI_TRY(clqi_gguf_get_tensor(l->file, "token_embd.weight", &embedding));
  m->info.vocabulary = embedding->dims[1];
  if (clq_tokenizer_size(m->tokenizer) != m->info.vocabulary) {
    return clqi_fail(CLQ_BAD_FILE, "%s: the tokenizer has %lld tokens, token_embd.weight %lld rows",
                     clqi_gguf_name(l->file), (long long)clq_tokenizer_size(m->tokenizer),
                     (long long)m->info.vocabulary);
  }
  CLQI_TRY(get_matrix(l, "token_embd.weight", m->info.vocabulary, m->info.width, &embedding));
  CLQI_TRY(pack_linear(l, &embedding, 1, &m->embedding));
  if (clqi_gguf_find_tensor(l->file, "output.weight") == NULL) {
    m->head = m->embedding;
    m->head_is_embedding = true;
  } else {
    const clqi_gguf_tensor *head = NULL;
    CLQI_TRY(get_matrix(l, "output.weight", m->info.vocabulary, m->info.width, &head));
    CLQI_TRY(pack_linear(l, &head, 1, &m->head));
  }
  return load_gamma(l, "output_norm.weight", &m->output_gamma);
}

/* Divisors of the rotary frequencies, as LLaMA 3.1 files carry them. */
static clq_status load_rope_factors(loader *l) {
  if (clqi_gguf_find_tensor(l->file, "rope_freqs.weight") == NULL) {
    return CLQ_OK;
  }
  const clqi_gguf_tensor *tensor = NULL;
  CLQI_TRY(get_matrix(l, "rope_freqs.weight", 1, l->model->rope_dims / 2, &tensor));
  if (strcmp(tensor->type->name, "f32") != 0) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "%s: tensor rope_freqs.weight is %s, expected f32; convert the model again",
                     clqi_gguf_name(l->file), tensor->type->name);
  }
  CLQI_TRY(read_floats(l, tensor, &l->model->rope_factors));
  for (int64_t i = 0; i < l->model->rope_dims / 2; ++i) {
    const float factor = l->model->rope_factors[i];
    if (!isfinite(factor) || factor <= 0.0f) {
      return clqi_fail(CLQ_BAD_FILE, "%s: rope_freqs.weight holds %g, expected positive numbers",
                       clqi_gguf_name(l->file), (double)factor);
    }
  }
  return CLQ_OK;
}

/* A tensor without a use (a bias, an adapter) means that the result would be wrong. */
static clq_status check_all_used(const loader *l) {
  static const char *const known[] = {
      "attn_q.weight",     "attn_k.weight",     "attn_v.weight",   "attn_output.weight",
      "ffn_gate.weight",   "ffn_up.weight",     "ffn_down.weight", "attn_norm.weight",
      "ffn_norm.weight",   "token_embd.weight", "output.weight",   "output_norm.weight",
      "rope_freqs.weight",
  };
  if (l->used == clqi_gguf_tensor_count(l->file)) {
    return CLQ_OK;
  }
  for (size_t i = 0; i < clqi_gguf_tensor_count(l->file); ++i) {
    const char *name = clqi_gguf_tensor_at(l->file, i)->name;
    const char *suffix = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;
    suffix = suffix == NULL ? name : suffix + 1;
    bool found = false;
    for (size_t k = 0; k < sizeof known / sizeof known[0]; ++k) {
      found = found || strcmp(known[k], suffix) == 0;
    }
    if (!found) {
      return clqi_fail(CLQ_UNSUPPORTED,
                       "%s: tensor %s belongs to no part of a plain LLaMA model; use one that is",
                       clqi_gguf_name(l->file), name);
    }
  }
  return clqi_fail(CLQ_BAD_FILE, "%s: holds tensors of more layers than llama.block_count says",
                   clqi_gguf_name(l->file));
}

static clq_status refuse(const clqi_gguf *file, const char *what) {
  return clqi_fail(CLQ_UNSUPPORTED, "%s: %s is not supported; use a plain LLaMA model",
                   clqi_gguf_name(file), what);
}

/* One extent from the metadata, 1 .. limit. */
static clq_status get_extent(const clqi_gguf *file, const char *key, int64_t limit, int64_t *out) {
  CLQI_TRY(clqi_gguf_get_i64(file, key, out));
  if (*out < 1 || *out > limit) {
    return clqi_fail(CLQ_BAD_FILE, "%s: %s is %lld, expected 1 to %lld", clqi_gguf_name(file), key,
                     (long long)*out, (long long)limit);
  }
  return CLQ_OK;
}

static clq_status get_extent_or(const clqi_gguf *file, const char *key, int64_t limit,
                                int64_t fallback, int64_t *out) {
  if (!clqi_gguf_find_key(file, key, NULL)) {
    *out = fallback;
    return CLQ_OK;
  }
  return get_extent(file, key, limit, out);
}

static void copy_string(char *out, size_t bytes, clqi_gguf_string text) {
  const size_t n = text.length < bytes - 1 ? text.length : bytes - 1;
  if (n > 0) {
    memcpy(out, text.data, n);
  }
  out[n] = '\0';
}

static clq_status read_architecture(const clqi_gguf *file, clq_model_info *info) {
  clqi_gguf_string text;
  int64_t split = 0;
  CLQI_TRY(clqi_gguf_get_string(file, "general.architecture", &text));
  copy_string(info->architecture, sizeof info->architecture, text);
  CLQI_TRY(clqi_gguf_get_string_or_none(file, "general.name", &text));
  copy_string(info->name, sizeof info->name, text);
  if (strcmp(info->architecture, "llama") != 0) {
    return clqi_fail(
        CLQ_UNSUPPORTED,
        "%s: architecture '%s' (general.architecture) is not supported, only llama is; use a "
        "model of that kind",
        clqi_gguf_name(file), info->architecture);
  }
  CLQI_TRY(clqi_gguf_get_i64_or(file, "split.count", 1, &split));
  return split > 1 ? refuse(file, "a model split over several files") : CLQ_OK;
}

static clq_status check_above(const clqi_gguf *file, const char *key, float value, float limit) {
  return isfinite(value) && value > limit
             ? CLQ_OK
             : clqi_fail(CLQ_BAD_FILE, "%s: %s is %g, expected a finite number above %g",
                         clqi_gguf_name(file), key, (double)value, (double)limit);
}

static clq_status read_rope(const clqi_gguf *file, clq_model *m) {
  float base = 0.0f;
  float factor = 0.0f;
  clqi_gguf_string scaling;
  CLQI_TRY(clqi_gguf_get_f32_or(file, "llama.rope.freq_base", 10000.0f, &base));
  CLQI_TRY(clqi_gguf_get_string_or_none(file, "llama.rope.scaling.type", &scaling));
  CLQI_TRY(clqi_gguf_get_f32_or(file, "llama.rope.scaling.factor", 1.0f, &factor));
  CLQI_TRY(get_extent_or(file, "llama.rope.dimension_count", m->info.head_dim, m->info.head_dim,
                         &m->rope_dims));
  const bool none =
      scaling.length == 0 || (scaling.length == 4 && !memcmp(scaling.data, "none", 4));
  const bool linear = scaling.length == 6 && !memcmp(scaling.data, "linear", 6);
  /* A factor without a type is linear scaling, as older files write it. */
  const bool scaled = linear || (scaling.length == 0 && factor != 1.0f);
  if (!none && !linear) {
    return refuse(file, "this llama.rope.scaling.type (only none and linear)");
  }
  CLQI_TRY(check_above(file, "llama.rope.freq_base", base, 1.0f));
  CLQI_TRY(check_above(file, "llama.rope.scaling.factor", factor, 0.0f));
  if (m->rope_dims % 2 != 0) {
    return clqi_fail(CLQ_BAD_FILE,
                     "%s: llama.rope.dimension_count is %lld, expected an even number",
                     clqi_gguf_name(file), (long long)m->rope_dims);
  }
  m->rope_base = (double)base;
  m->rope_divisor = scaled ? (double)factor : 1.0;
  return CLQ_OK;
}

static clq_status read_shape(const clqi_gguf *file, clq_model *m) {
  clq_model_info *info = &m->info;
  int64_t experts = 0;
  int64_t value_length = 0;
  CLQI_TRY(get_extent(file, "llama.block_count", MAX_LAYERS, &info->layers));
  CLQI_TRY(get_extent(file, "llama.embedding_length", MAX_EXTENT, &info->width));
  CLQI_TRY(get_extent(file, "llama.feed_forward_length", MAX_EXTENT, &info->feed_forward));
  CLQI_TRY(get_extent(file, "llama.attention.head_count", MAX_EXTENT, &info->heads));
  CLQI_TRY(get_extent_or(file, "llama.attention.head_count_kv", info->heads, info->heads,
                         &info->kv_heads));
  CLQI_TRY(get_extent(file, "llama.context_length", MAX_EXTENT, &info->context));
  CLQI_TRY(get_extent_or(file, "llama.attention.key_length", MAX_EXTENT, info->width / info->heads,
                         &info->head_dim));
  CLQI_TRY(get_extent_or(file, "llama.attention.value_length", MAX_EXTENT, info->head_dim,
                         &value_length));
  CLQI_TRY(clqi_gguf_get_i64_or(file, "llama.expert_count", 0, &experts));
  CLQI_TRY(clqi_gguf_get_f32(file, "llama.attention.layer_norm_rms_epsilon", &m->eps));
  if (!isfinite(m->eps) || m->eps < 0.0f) {
    return clqi_fail(
        CLQ_BAD_FILE,
        "%s: llama.attention.layer_norm_rms_epsilon is %g, expected a finite number of "
        "at least 0",
        clqi_gguf_name(file), (double)m->eps);
  }
  if (experts != 0) {
    return refuse(file, "a mixture of experts");
  }
  if (value_length != info->head_dim) {
    return refuse(file, "a value length that differs from the key length");
  }
  if (info->heads % info->kv_heads != 0 || info->head_dim < 1) {
    return clqi_fail(CLQ_BAD_FILE,
                     "%s: llama.attention.head_count_kv is %lld, expected a divisor of "
                     "llama.attention.head_count, %lld, and heads of at least one element",
                     clqi_gguf_name(file), (long long)info->kv_heads, (long long)info->heads);
  }
  if (info->heads > MAX_EXTENT / info->head_dim) {
    return clqi_fail(CLQ_BAD_FILE, "%s: %lld heads of %lld elements, expected at most %d in all",
                     clqi_gguf_name(file), (long long)info->heads, (long long)info->head_dim,
                     (int)MAX_EXTENT);
  }
  return CLQ_OK;
}

/* llama.vocab_size, where a file has it, says once more how many tokens there are. */
static clq_status check_vocabulary(const clqi_gguf *file, int64_t tokens) {
  int64_t stated = 0;
  CLQI_TRY(clqi_gguf_get_i64_or(file, "llama.vocab_size", tokens, &stated));
  return stated == tokens
             ? CLQ_OK
             : clqi_fail(CLQ_BAD_FILE,
                         "%s: llama.vocab_size is %lld, but tokenizer.ggml.tokens has %lld tokens",
                         clqi_gguf_name(file), (long long)stated, (long long)tokens);
}

static clq_status load(loader *l) {
  clq_model *m = l->model;
  CLQI_TRY(read_architecture(l->file, &m->info));
  CLQI_TRY(read_shape(l->file, m));
  CLQI_TRY(read_rope(l->file, m));
  CLQI_TRY(clqi_tokenizer_from_gguf(l->file, &m->tokenizer));
  CLQI_TRY(check_vocabulary(l->file, clq_tokenizer_size(m->tokenizer)));
  m->layers = clqi_calloc((size_t)m->info.layers, sizeof *m->layers);
  if (m->layers == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "model: out of memory");
  }
  CLQI_TRY(load_rope_factors(l));
  CLQI_TRY(load_ends(l));
  for (int64_t i = 0; i < m->info.layers; ++i) {
    CLQI_TRY(load_layer(l, i));
  }
  return check_all_used(l);
}

static clqi_progress progress_of(const clqi_gguf *file, const clq_progress *to) {
  clqi_progress progress = {.to = to};
  for (size_t i = 0; i < clqi_gguf_tensor_count(file); ++i) {
    progress.total += clqi_gguf_tensor_at(file, i)->bytes;
  }
  return progress;
}

clq_status clq_model_load(clq_context *context, const char *path, clq_model **model) {
  return clq_model_load_with_progress(context, path, NULL, model);
}

clq_status clq_model_load_with_progress(clq_context *context, const char *path,
                                        const clq_progress *progress, clq_model **model) {
  CLQI_REQUIRE(model != NULL, "model: the result pointer is NULL");
  *model = NULL;
  CLQI_REQUIRE(context != NULL && path != NULL, "model: context and path must not be NULL");
  const double start = clqi_now_seconds();
  clq_status status = CLQ_OK;
  clqi_gguf *file = NULL;
  clq_model *m = clqi_calloc(1, sizeof *m);
  if (m == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "model: out of memory");
  }
  m->context = context;
  CLQI_TRY_CLEAN(clqi_gguf_open(path, &file));
  loader l = {.file = file, .model = m, .progress = progress_of(file, progress)};
  CLQI_TRY_CLEAN(clqi_gguf_advise(load(&l)));
  m->info.load_seconds = clqi_now_seconds() - start;
  *model = m;
  m = NULL;
cleanup:
  clqi_gguf_close(file);
  clq_model_destroy(m);
  return status;
}

static void destroy_linear(clqi_linear *linear) {
  for (int i = 0; i < linear->count; ++i) {
    clq_weights_destroy(linear->weights[i]);
  }
}

void clq_model_destroy(clq_model *model) {
  if (model == NULL) {
    return;
  }
  for (int64_t i = 0; model->layers != NULL && i < model->info.layers; ++i) {
    clqi_llama_layer *layer = &model->layers[i];
    clqi_buffer_release(layer->attention_gamma);
    clqi_buffer_release(layer->feed_forward_gamma);
    destroy_linear(&layer->qkv);
    destroy_linear(&layer->attention_out);
    destroy_linear(&layer->gate_up);
    destroy_linear(&layer->down);
  }
  if (!model->head_is_embedding) {
    destroy_linear(&model->head);
  }
  destroy_linear(&model->embedding);
  clqi_buffer_release(model->output_gamma);
  clq_tokenizer_destroy(model->tokenizer);
  clqi_free(model->rope_factors);
  clqi_free(model->layers);
  clqi_free(model);
}

void clq_model_get_info(const clq_model *model, clq_model_info *info) { *info = model->info; }

const clq_tokenizer *clq_model_tokenizer(const clq_model *model) { return model->tokenizer; }
