#include "model/bert.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "io/text.h"
#include "runtime/buffer.h"
#include "runtime/checked.h"
#include "runtime/memory.h"

enum { NAME_BYTES = 128 };

/* What loading holds. */
typedef struct loader {
  clq_context *context;
  const clqi_safetensors *set;
  const char *prefix; /* of the names: "bert." where the model has a head beside it */
  clqi_bert *bert;
} loader;

static const char advice[] = "; the file is damaged or of another kind: download it again";

/* What to do about a file that the reader found wanting. */
static clq_status advise(clq_status status) {
  return status != CLQ_BAD_FILE ? status
                                : clqi_fail(CLQ_BAD_FILE, "%s%s", clq_last_error(), advice);
}

/* ---------------------------------------------------------------- tensors */

enum { SHAPE_BYTES = 64 };

/* "[30522, 384]" */
static void print_shape(uint32_t dims, const int64_t *shape, char out[SHAPE_BYTES]) {
  if (dims == 1) {
    (void)snprintf(out, SHAPE_BYTES, "[%lld]", (long long)shape[0]);
  } else if (dims == 2) {
    (void)snprintf(out, SHAPE_BYTES, "[%lld, %lld]", (long long)shape[0], (long long)shape[1]);
  } else {
    (void)snprintf(out, SHAPE_BYTES, "of %u dimensions", dims);
  }
}

/* Dimensions [rows, cols], or [cols] with rows 0. */
static clq_status check_tensor(const loader *l, const clqi_safetensors_tensor *t, int64_t rows,
                               int64_t cols) {
  const char *file = clqi_safetensors_shard_name(l->set, t->shard);
  if (clqi_float_format(t) == 0) {
    return clqi_fail(CLQ_UNSUPPORTED, "%s: tensor %s is %s, expected F32, F16 or BF16", file,
                     t->name, clqi_safetensors_dtype_name(t->dtype));
  }
  const uint32_t dims = rows > 0 ? 2 : 1;
  const int64_t shape[] = {rows > 0 ? rows : cols, cols};
  bool fits = t->dim_count == dims;
  for (uint32_t d = 0; fits && d < dims; ++d) {
    fits = t->dims[d] == shape[d];
  }
  if (fits) {
    return CLQ_OK;
  }
  char found[SHAPE_BYTES];
  char expected[SHAPE_BYTES];
  print_shape(t->dim_count, t->dims, found);
  print_shape(dims, shape, expected);
  return clqi_fail(CLQ_BAD_FILE, "%s: tensor %s is %s, expected %s as config.json has it%s", file,
                   t->name, found, expected, advice);
}

/* Tensor PREFIX NAME, checked; see check_tensor. */
__attribute__((format(printf, 5, 6))) static clq_status get(const loader *l, int64_t rows,
                                                            int64_t cols,
                                                            const clqi_safetensors_tensor **tensor,
                                                            const char *format, ...) {
  char name[NAME_BYTES];
  const int start = snprintf(name, sizeof name, "%s", l->prefix);
  va_list args;
  va_start(args, format);
  (void)vsnprintf(name + start, sizeof name - (size_t)start, format, args);
  va_end(args);
  CLQI_TRY(advise(clqi_safetensors_get(l->set, name, tensor)));
  return check_tensor(l, *tensor, rows, cols);
}

/* ---------------------------------------------------------------- onto the device */

static clq_status pack(loader *l, const clqi_safetensors_tensor *const *tensors, int32_t count,
                       clqi_matrix_format format, clq_weights **weights) {
  CLQI_TRY(clqi_matrix_pack(l->context, l->set, tensors, count, format, weights));
  l->bert->bytes += clq_weights_bytes(*weights);
  return CLQ_OK;
}

/* The tensors' floats, one behind the other. */
static clq_status upload(loader *l, const clqi_safetensors_tensor *const *tensors, int32_t count,
                         cl_mem *buffer) {
  const size_t each = (size_t)tensors[0]->dims[0];
  size_t all = 0;
  float *values = NULL;
  if (clqi_mul_size(each, (size_t)count * sizeof *values, &all)) {
    values = clqi_malloc(all);
  }
  if (values == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "model: out of memory");
  }
  clq_status status = CLQ_OK;
  for (int32_t i = 0; i < count; ++i) {
    CLQI_TRY_CLEAN(clqi_float_read(l->set, tensors[i], 0, each, values + (size_t)i * each));
  }
  CLQI_TRY_CLEAN(clqi_buffer_create_from(l->context, values, all, buffer));
  l->bert->bytes += all;
cleanup:
  clqi_free(values);
  return status;
}

/* ---------------------------------------------------------------- parts */

/* NAME.weight and NAME.bias; earlier files say gamma and beta. */
static clq_status load_norm(loader *l, const char *name, clqi_bert_norm *norm) {
  const int64_t width = l->bert->config.width;
  const clqi_safetensors_tensor *gamma = NULL;
  const clqi_safetensors_tensor *beta = NULL;
  char early[NAME_BYTES];
  (void)snprintf(early, sizeof early, "%s%s.gamma", l->prefix, name);
  const bool is_early = clqi_safetensors_find(l->set, early) != NULL;
  CLQI_TRY(get(l, 0, width, &gamma, "%s.%s", name, is_early ? "gamma" : "weight"));
  CLQI_TRY(get(l, 0, width, &beta, "%s.%s", name, is_early ? "beta" : "bias"));
  CLQI_TRY(upload(l, &gamma, 1, &norm->gamma));
  return upload(l, &beta, 1, &norm->beta);
}

enum { MOST_STACKED = 3 };

/* encoder.layer.INDEX.NAME of each name, [rows, cols] and its bias, below each other. */
static clq_status load_linear(loader *l, int64_t index, const char *const *names, int32_t count,
                              int64_t rows, int64_t cols, clqi_bert_linear *linear) {
  const clqi_safetensors_tensor *weights[MOST_STACKED];
  const clqi_safetensors_tensor *biases[MOST_STACKED];
  for (int32_t i = 0; i < count; ++i) {
    CLQI_TRY(get(l, rows, cols, &weights[i], "encoder.layer.%lld.%s.weight", (long long)index,
                 names[i]));
    CLQI_TRY(get(l, 0, rows, &biases[i], "encoder.layer.%lld.%s.bias", (long long)index, names[i]));
  }
  CLQI_TRY(pack(l, weights, count, l->bert->format, &linear->weights));
  return upload(l, biases, count, &linear->bias);
}

static const char *const qkv_names[] = {"attention.self.query", "attention.self.key",
                                        "attention.self.value"};
static const char attention_out_name[] = "attention.output.dense";
static const char attention_norm_name[] = "attention.output.LayerNorm";
static const char up_name[] = "intermediate.dense";
static const char down_name[] = "output.dense";
static const char norm_name[] = "output.LayerNorm";

static clq_status load_layer(loader *l, int64_t i) {
  const clqi_bert_config *c = &l->bert->config;
  clqi_bert_layer *layer = &l->bert->layers[i];
  char name[NAME_BYTES];
  CLQI_TRY(load_linear(l, i, qkv_names, 3, c->width, c->width, &layer->qkv));
  CLQI_TRY(load_linear(l, i, (const char *[]){attention_out_name}, 1, c->width, c->width,
                       &layer->attention_out));
  (void)snprintf(name, sizeof name, "encoder.layer.%lld.%s", (long long)i, attention_norm_name);
  CLQI_TRY(load_norm(l, name, &layer->attention_norm));
  CLQI_TRY(load_linear(l, i, (const char *[]){up_name}, 1, c->feed_forward, c->width, &layer->up));
  CLQI_TRY(
      load_linear(l, i, (const char *[]){down_name}, 1, c->width, c->feed_forward, &layer->down));
  (void)snprintf(name, sizeof name, "encoder.layer.%lld.%s", (long long)i, norm_name);
  return load_norm(l, name, &layer->norm);
}

/* Row 0 of the token types' table: all tokens are of the first text. */
static clq_status load_type(loader *l) {
  const clqi_bert_config *c = &l->bert->config;
  const clqi_safetensors_tensor *types = NULL;
  CLQI_TRY(get(l, c->types, c->width, &types, "embeddings.token_type_embeddings.weight"));
  clqi_safetensors_tensor first = *types;
  first.dim_count = 1;
  first.dims[0] = c->width;
  const clqi_safetensors_tensor *row = &first;
  return upload(l, &row, 1, &l->bert->type);
}

static clq_status load_embeddings(loader *l) {
  clqi_bert *b = l->bert;
  const clqi_bert_config *c = &b->config;
  const clqi_safetensors_tensor *words = NULL;
  const clqi_safetensors_tensor *positions = NULL;
  CLQI_TRY(get(l, c->vocabulary, c->width, &words, "embeddings.word_embeddings.weight"));
  CLQI_TRY(get(l, c->positions, c->width, &positions, "embeddings.position_embeddings.weight"));
  if (b->format.format == 0) {
    b->format.format = clqi_float_format(words);
  }
  if (b->embedding_format.format == 0) {
    b->embedding_format = b->format;
  }
  CLQI_TRY(pack(l, &words, 1, b->embedding_format, &b->words));
  CLQI_TRY(pack(l, &positions, 1, b->embedding_format, &b->positions));
  CLQI_TRY(load_type(l));
  return load_norm(l, "embeddings.LayerNorm", &b->norm);
}

/* ---------------------------------------------------------------- what is left over */

static bool begins_with(const char *text, const char *with) {
  return strncmp(text, with, strlen(with)) == 0;
}

/* NAME, or NAME.weight and so on. */
static bool is_named(const char *text, const char *name) {
  const size_t length = strlen(name);
  return strncmp(text, name, length) == 0 && (text[length] == '.' || text[length] == '\0');
}

/* Behind "encoder.layer.N.", or NULL; *n then is N. */
static const char *layer_part(const char *name, int64_t *n) {
  static const char start[] = "encoder.layer.";
  if (!begins_with(name, start)) {
    return NULL;
  }
  const char *digit = name + sizeof start - 1;
  const char *at = digit;
  *n = 0;
  for (; *at >= '0' && *at <= '9' && *n < INT32_MAX; ++at) {
    *n = 10 * *n + (*at - '0');
  }
  return at > digit && *at == '.' ? at + 1 : NULL;
}

static bool is_known(const char *name) {
  static const char *const parts[] = {
      "embeddings.word_embeddings", "embeddings.position_embeddings",
      "embeddings.token_type_embeddings", "embeddings.LayerNorm", "embeddings.position_ids",
      /* of training, and for classes: not of the rows */
      "pooler", "cls"};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; ++i) {
    if (is_named(name, parts[i])) {
      return true;
    }
  }
  return false;
}

static bool is_known_of_layer(const char *part) {
  const char *const parts[] = {qkv_names[0],        qkv_names[1], qkv_names[2], attention_out_name,
                               attention_norm_name, up_name,      down_name,    norm_name};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; ++i) {
    if (is_named(part, parts[i])) {
      return true;
    }
  }
  return false;
}

/* A tensor without a use means that the result would be wrong. With a prefix, what has none is a
 * head. */
static clq_status check_all_used(const loader *l) {
  for (size_t i = 0; i < clqi_safetensors_count(l->set); ++i) {
    const clqi_safetensors_tensor *t = clqi_safetensors_at(l->set, i);
    const char *file = clqi_safetensors_shard_name(l->set, t->shard);
    if (!begins_with(t->name, l->prefix)) {
      continue;
    }
    int64_t layer = 0;
    const char *name = t->name + strlen(l->prefix);
    const char *part = layer_part(name, &layer);
    if (part != NULL && layer >= l->bert->config.layers) {
      return clqi_fail(CLQ_BAD_FILE,
                       "%s: holds tensors of layer %lld, but num_hidden_layers of config.json is "
                       "%lld%s",
                       file, (long long)layer, (long long)l->bert->config.layers, advice);
    }
    if (part != NULL ? !is_known_of_layer(part) : !is_known(name)) {
      return clqi_fail(CLQ_UNSUPPORTED,
                       "%s: tensor %s belongs to no part of a plain BERT model; use one that is",
                       file, clqi_excerpt_of(clqi_text_of(t->name)).text);
    }
  }
  return CLQ_OK;
}

/* ---------------------------------------------------------------- the whole */

clq_status clqi_bert_load(clq_context *context, const char *folder, clqi_matrix_format format,
                          clq_format embeddings, clqi_bert *bert) {
  clq_status status = CLQ_OK;
  clqi_safetensors *set = NULL;
  *bert = (clqi_bert){.format = format, .embedding_format = {.format = embeddings}};
  loader l = {.context = context, .prefix = "", .bert = bert};
  CLQI_TRY(clqi_bert_config_read(folder, &bert->config));
  bert->layers = clqi_calloc((size_t)bert->config.layers, sizeof *bert->layers);
  if (bert->layers == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "model: out of memory");
  }
  CLQI_TRY_CLEAN(advise(clqi_safetensors_open(folder, &set)));
  l.set = set;
  if (clqi_safetensors_find(set, "bert.embeddings.word_embeddings.weight") != NULL) {
    l.prefix = "bert.";
  }
  CLQI_TRY_CLEAN(load_embeddings(&l));
  for (int64_t i = 0; i < bert->config.layers; ++i) {
    CLQI_TRY_CLEAN(load_layer(&l, i));
  }
  CLQI_TRY_CLEAN(check_all_used(&l));
cleanup:
  clqi_safetensors_close(set);
  return status;
}

static void free_norm(clqi_bert_norm *norm) {
  clqi_buffer_release(norm->gamma);
  clqi_buffer_release(norm->beta);
}

static void free_linear(clqi_bert_linear *linear) {
  clq_weights_destroy(linear->weights);
  clqi_buffer_release(linear->bias);
}

void clqi_bert_free(clqi_bert *bert) {
  for (int64_t i = 0; bert->layers != NULL && i < bert->config.layers; ++i) {
    clqi_bert_layer *layer = &bert->layers[i];
    free_linear(&layer->qkv);
    free_linear(&layer->attention_out);
    free_norm(&layer->attention_norm);
    free_linear(&layer->up);
    free_linear(&layer->down);
    free_norm(&layer->norm);
  }
  clqi_free(bert->layers);
  free_norm(&bert->norm);
  clq_weights_destroy(bert->words);
  clq_weights_destroy(bert->positions);
  clqi_buffer_release(bert->type);
  *bert = (clqi_bert){.layers = NULL};
}
