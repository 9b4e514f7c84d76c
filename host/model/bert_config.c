#include "model/bert_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "io/json.h"
#include "io/text.h"
#include "runtime/memory.h"

enum {
  PATH_BYTES = 4096,
  MAX_FILE_BYTES = 1 << 24,
  MAX_EXTENT = 1 << 24,
  MAX_LAYERS = 1024,
  MAX_CONTEXT = 1 << 20
};

/* ---------------------------------------------------------------- JSON files */

typedef enum kind { INTEGER, NUMBER, TEXT, FLAG } kind;

/* A key that is looked at: its type, and where its value goes if it is there and not null. */
typedef struct field {
  const char *key;
  kind kind;
  void *target; /* int64_t, double, const char * (into the file's text), bool */
  int64_t least, most;
} field;

static const char advice[] = "; the file is damaged or of another kind: download it again";

static clq_status read_value(clqi_json *json, const field *f) {
  clqi_json_kind is = CLQI_JSON_NULL;
  CLQI_TRY(clqi_json_peek(json, &is));
  if (is == CLQI_JSON_NULL) {
    return clqi_json_skip(json);
  }
  (void)snprintf(json->what, sizeof json->what, "%s", f->key);
  switch (f->kind) {
    case INTEGER: return clqi_json_integer(json, f->least, f->most, f->target);
    case NUMBER: return clqi_json_number(json, f->target);
    case TEXT: return clqi_json_string(json, f->target);
    case FLAG: return clqi_json_bool(json, f->target);
  }
  return CLQ_OK;
}

/* An object; other keys are passed over. */
static clq_status read_object(clqi_json *json, const field *fields, size_t count) {
  const char *key = NULL;
  CLQI_TRY(clqi_json_enter_object(json));
  for (;;) {
    CLQI_TRY(clqi_json_next_key(json, &key));
    if (key == NULL) {
      return CLQ_OK;
    }
    size_t i = 0;
    while (i < count && strcmp(key, fields[i].key) != 0) {
      ++i;
    }
    CLQI_TRY(i < count ? read_value(json, &fields[i]) : clqi_json_skip(json));
  }
}

/* A file of the folder while it is read. */
typedef struct json_file {
  char path[PATH_BYTES];
  char *text; /* NULL: there is none */
  clqi_json json;
} json_file;

static clq_status path_of(const char *folder, const char *name, char path[PATH_BYTES]) {
  const int written = snprintf(path, PATH_BYTES, "%s/%s", folder, name);
  return written > 0 && written < PATH_BYTES
             ? CLQ_OK
             : clqi_fail(CLQ_IO_ERROR, "%s: the path is too long", folder);
}

/* Begins with the file's text, if it exists. To be closed also if this fails. */
static clq_status open_file(const char *folder, const char *name, json_file *file) {
  size_t length = 0;
  file->text = NULL;
  file->json = (clqi_json){.text = NULL};
  CLQI_TRY(path_of(folder, name, file->path));
  if (access(file->path, F_OK) != 0) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_file_load(file->path, MAX_FILE_BYTES, &file->text, &length));
  CLQI_TRY(clqi_json_begin(&file->json, file->path, 0, file->text, length));
  file->json.advice = advice;
  return CLQ_OK;
}

static void close_file(json_file *file) {
  if (file->text != NULL) {
    clqi_json_free(&file->json);
    clqi_free(file->text);
    file->text = NULL;
  }
}

/* A file that is one object. Texts among the targets stay until it is closed. */
static clq_status read_file(const char *folder, const char *name, const field *fields, size_t count,
                            json_file *file) {
  CLQI_TRY(open_file(folder, name, file));
  if (file->text == NULL) {
    return CLQ_OK;
  }
  CLQI_TRY(read_object(&file->json, fields, count));
  return clqi_json_finish(&file->json);
}

/* ---------------------------------------------------------------- config.json */

static clq_status refuse(const char *path, const char *what, const char *found, const char *of) {
  return clqi_fail(CLQ_UNSUPPORTED, "%s: %s is '%s', expected %s; use another model", path, what,
                   clqi_excerpt_of(clqi_text_of(found)).text, of);
}

static clq_status find_activation(const char *path, const char *name, clq_activation *out) {
  static const struct {
    const char *name;
    clq_activation activation;
  } known[] = {
      {"gelu", CLQ_ACTIVATION_GELU},
      {"gelu_new", CLQ_ACTIVATION_GELU_TANH},
      {"gelu_pytorch_tanh", CLQ_ACTIVATION_GELU_TANH},
      {"relu", CLQ_ACTIVATION_RELU},
      {"silu", CLQ_ACTIVATION_SILU},
      {"swish", CLQ_ACTIVATION_SILU},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i) {
    if (strcmp(name, known[i].name) == 0) {
      *out = known[i].activation;
      return CLQ_OK;
    }
  }
  return refuse(path, "hidden_act", name, "gelu, gelu_new, relu or silu");
}

static clq_status check_present(const char *path, const field *fields, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (fields[i].kind == INTEGER && *(const int64_t *)fields[i].target == 0) {
      return clqi_fail(CLQ_BAD_FILE, "%s: there is no %s%s", path, fields[i].key, advice);
    }
  }
  return CLQ_OK;
}

static clq_status read_config(const char *folder, clqi_bert_config *c) {
  const char *model_type = "bert";
  const char *activation = "gelu";
  const char *position_type = "absolute";
  double eps = 1e-12;
  bool is_decoder = false;
  const field fields[] = {
      {"hidden_size", INTEGER, &c->width, 1, MAX_EXTENT},
      {"num_attention_heads", INTEGER, &c->heads, 1, MAX_EXTENT},
      {"num_hidden_layers", INTEGER, &c->layers, 1, MAX_LAYERS},
      {"intermediate_size", INTEGER, &c->feed_forward, 1, MAX_EXTENT},
      {"vocab_size", INTEGER, &c->vocabulary, 1, MAX_EXTENT},
      {"max_position_embeddings", INTEGER, &c->positions, 1, MAX_CONTEXT},
      {"type_vocab_size", INTEGER, &c->types, 1, MAX_EXTENT},
      {"hidden_act", TEXT, &activation, 0, 0},
      {"layer_norm_eps", NUMBER, &eps, 0, 0},
      {"model_type", TEXT, &model_type, 0, 0},
      {"position_embedding_type", TEXT, &position_type, 0, 0},
      {"is_decoder", FLAG, &is_decoder, 0, 0},
  };
  const size_t count = sizeof fields / sizeof fields[0];
  clq_status status = CLQ_OK;
  json_file file;
  CLQI_TRY_CLEAN(read_file(folder, "config.json", fields, count, &file));
  if (strcmp(model_type, "bert") != 0) {
    status = refuse(file.path, "model_type", model_type, "bert");
    goto cleanup;
  }
  CLQI_TRY_CLEAN(check_present(file.path, fields, count));
  CLQI_TRY_CLEAN(find_activation(file.path, activation, &c->activation));
  if (strcmp(position_type, "absolute") != 0) {
    status = refuse(file.path, "position_embedding_type", position_type, "absolute");
  } else if (is_decoder) {
    status = refuse(file.path, "is_decoder", "true", "false");
  } else if (c->width % c->heads != 0) {
    status = clqi_fail(CLQ_BAD_FILE, "%s: hidden_size %lld is no multiple of %lld heads%s",
                       file.path, (long long)c->width, (long long)c->heads, advice);
  } else if (!(eps >= 0.0) || eps > 1.0) {
    status = clqi_fail(CLQ_BAD_FILE, "%s: layer_norm_eps is %g, expected 0 to 1%s", file.path, eps,
                       advice);
  }
  c->eps = (float)eps;
cleanup:
  close_file(&file);
  return status;
}

/* ---------------------------------------------------------------- sentence-transformers */

static clq_status read_sentence_config(const char *folder, clqi_bert_config *c) {
  bool lower = false;
  c->context = c->positions;
  int64_t most = c->positions;
  const field fields[] = {
      {"max_seq_length", INTEGER, &most, 1, CLQI_JSON_MAX_INTEGER},
      {"do_lower_case", FLAG, &lower, 0, 0},
  };
  json_file file;
  clq_status status = read_file(folder, "sentence_bert_config.json", fields,
                                sizeof fields / sizeof fields[0], &file);
  if (status == CLQ_OK && lower) {
    status = refuse(file.path, "do_lower_case", "true", "false");
  }
  c->context = most < c->positions ? most : c->positions;
  close_file(&file);
  return status;
}

static clq_status read_pooling(const char *folder, clqi_bert_config *c) {
  bool cls = false;
  bool mean = false;
  bool other[4] = {false};
  const char *mode = "";
  int64_t width = c->width;
  const field fields[] = {
      {"pooling_mode_cls_token", FLAG, &cls, 0, 0},
      {"pooling_mode_mean_tokens", FLAG, &mean, 0, 0},
      {"pooling_mode_max_tokens", FLAG, &other[0], 0, 0},
      {"pooling_mode_mean_sqrt_len_tokens", FLAG, &other[1], 0, 0},
      {"pooling_mode_weightedmean_tokens", FLAG, &other[2], 0, 0},
      {"pooling_mode_lasttoken", FLAG, &other[3], 0, 0},
      {"pooling_mode", TEXT, &mode, 0, 0},
      {"word_embedding_dimension", INTEGER, &width, 1, MAX_EXTENT},
  };
  clq_status status = CLQ_OK;
  json_file file;
  CLQI_TRY_CLEAN(
      read_file(folder, "1_Pooling/config.json", fields, sizeof fields / sizeof fields[0], &file));
  if (file.text == NULL) {
    goto cleanup;
  }
  cls = cls || strcmp(mode, "cls") == 0;
  mean = mean || strcmp(mode, "mean") == 0;
  if (cls == mean || other[0] || other[1] || other[2] || other[3]) {
    status = clqi_fail(CLQ_UNSUPPORTED,
                       "%s: the pooling is not that of the first token or the mean alone; use "
                       "another model",
                       file.path);
  } else if (width != c->width) {
    status = clqi_fail(CLQ_BAD_FILE, "%s: word_embedding_dimension is %lld, expected %lld%s",
                       file.path, (long long)width, (long long)c->width, advice);
  }
  c->pooling = cls ? CLQ_POOL_FIRST : CLQ_POOL_MEAN;
cleanup:
  close_file(&file);
  return status;
}

static bool ends_with(const char *text, const char *end) {
  const size_t length = strlen(text);
  return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

/* What sentence-transformers puts behind the model: pooling and a division by the length are done
 * here, anything else (a matrix) is not. */
static clq_status read_modules(const char *folder) {
  clq_status status = CLQ_OK;
  json_file file;
  bool more = false;
  CLQI_TRY_CLEAN(open_file(folder, "modules.json", &file));
  if (file.text == NULL) {
    goto cleanup;
  }
  CLQI_TRY_CLEAN(clqi_json_enter_array(&file.json));
  for (;;) {
    const char *type = "";
    const field fields[] = {{"type", TEXT, &type, 0, 0}};
    CLQI_TRY_CLEAN(clqi_json_next_item(&file.json, &more));
    if (!more) {
      break;
    }
    CLQI_TRY_CLEAN(read_object(&file.json, fields, 1));
    if (!ends_with(type, ".Transformer") && !ends_with(type, ".Pooling") &&
        !ends_with(type, ".Normalize")) {
      status = refuse(file.path, "a module", type, "Transformer, Pooling and Normalize");
      goto cleanup;
    }
  }
  CLQI_TRY_CLEAN(clqi_json_finish(&file.json));
cleanup:
  close_file(&file);
  return status;
}

static clq_status check_folder(const char *folder) {
  json_file file;
  CLQI_TRY(path_of(folder, "config.json", file.path));
  const char *what = !clqi_is_folder(folder)        ? "is no folder"
                     : access(file.path, F_OK) != 0 ? "the folder has no config.json"
                                                    : NULL;
  return what == NULL ? CLQ_OK
                      : clqi_fail(CLQ_IO_ERROR,
                                  "%s: %s; name the folder of a model, with config.json and "
                                  "model.safetensors",
                                  folder, what);
}

clq_status clqi_bert_config_read(const char *folder, clqi_bert_config *config) {
  *config = (clqi_bert_config){.types = 2, .pooling = CLQ_POOL_MEAN};
  CLQI_TRY(check_folder(folder));
  CLQI_TRY(read_config(folder, config));
  CLQI_TRY(read_sentence_config(folder, config));
  CLQI_TRY(read_modules(folder));
  return read_pooling(folder, config);
}
