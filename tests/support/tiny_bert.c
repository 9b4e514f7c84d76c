#include "tiny_bert.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clq.h"
#include "device.h"
#include "safetensors_writer.h"

static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nc\n##a\n##b\n##c\n!\n.\n";

static const double EPS = 1e-12;

/* ---------------------------------------------------------------- parameters */

/* By name: multiples of 2^-7 below 2^-1 (of bf16's 8 bits), gains around 1. */
static double *parameter(const char *name, int count) {
  double *values = malloc((size_t)count * sizeof *values);
  cr_assert_not_null(values);
  test_random random = {.state = 5};
  for (const char *c = name; *c != '\0'; ++c) {
    random.state = random.state * 31 + (unsigned char)*c;
  }
  const bool is_gain = strstr(name, "LayerNorm.weight") != NULL;
  for (int i = 0; i < count; ++i) {
    const int code = test_random_int(&random, -63, 63);
    values[i] = is_gain ? 1.0 + code / 128.0 : code / 128.0;
  }
  return values;
}

static uint16_t half_of(double value, bool bf16) {
  const float narrow = (float)value;
  uint32_t bits;
  memcpy(&bits, &narrow, sizeof bits);
  if (bf16) {
    return (uint16_t)(bits >> 16);
  }
  if (value == 0.0) {
    return 0;
  }
  return (uint16_t)((bits >> 16 & 0x8000U) | ((bits & 0x7fffffffU) - 0x38000000U) >> 13);
}

/* ---------------------------------------------------------------- files */

static bool is(const char *name, const char *chosen) {
  return chosen != NULL && strcmp(name, chosen) == 0;
}

static void add(st_image *image, const tiny_bert *m, const char *name, int rows, int cols) {
  if (is(name, m->without)) {
    return;
  }
  const char *dtype = m->dtype == NULL ? "F32" : m->dtype;
  const int count = (rows == 0 ? 1 : rows) * cols;
  const bool is_f32 = strcmp(dtype, "F32") == 0;
  double *values = parameter(name, count);
  if (is(name, m->spoiled)) {
    values[count / 2] = (double)NAN;
  }
  float *floats = malloc((size_t)count * sizeof *floats);
  uint16_t *halves = malloc((size_t)count * sizeof *halves);
  cr_assert(floats != NULL && halves != NULL);
  for (int i = 0; i < count; ++i) {
    floats[i] = (float)values[i];
    halves[i] = isnan(values[i]) ? 0x7f80 : half_of(values[i], strcmp(dtype, "BF16") == 0);
  }
  const int taken = is(name, m->narrowed) ? cols - 1 : cols;
  const int64_t matrix[] = {rows, taken};
  const int64_t line[] = {taken};
  const size_t elements = (size_t)(rows == 0 ? 1 : rows) * (size_t)taken;
  char whole[160];
  const char *suffix = strstr(name, "LayerNorm.");
  (void)snprintf(whole, sizeof whole, "%s%s", m->prefixed ? "bert." : "", name);
  if (m->prefixed && suffix != NULL) {
    char *end = strrchr(whole, '.') + 1;
    (void)strcpy(end, strcmp(end, "weight") == 0 ? "gamma" : "beta");
  }
  st_add(image, whole, is(name, m->retyped) ? "I32" : dtype, rows == 0 ? 1 : 2,
         rows == 0 ? line : matrix, is_f32 ? (const void *)floats : halves,
         elements * (is_f32 ? 4 : 2));
  free(values);
  free(floats);
  free(halves);
}

static void add_linear(st_image *image, const tiny_bert *m, const char *name, int rows, int cols) {
  char whole[160];
  (void)snprintf(whole, sizeof whole, "%s.weight", name);
  add(image, m, whole, rows, cols);
  (void)snprintf(whole, sizeof whole, "%s.bias", name);
  add(image, m, whole, 0, rows);
}

static void add_norm(st_image *image, const tiny_bert *m, const char *name) {
  char whole[160];
  (void)snprintf(whole, sizeof whole, "%s.weight", name);
  add(image, m, whole, 0, TINY_WIDTH);
  (void)snprintf(whole, sizeof whole, "%s.bias", name);
  add(image, m, whole, 0, TINY_WIDTH);
}

static const char *layer_name(int layer, const char *part) {
  static char name[128];
  (void)snprintf(name, sizeof name, "encoder.layer.%d.%s", layer, part);
  return name;
}

static st_bytes tensors(const tiny_bert *m) {
  st_image image = {0};
  add(&image, m, "embeddings.word_embeddings.weight", TINY_WORDS, TINY_WIDTH);
  add(&image, m, "embeddings.position_embeddings.weight", TINY_POSITIONS, TINY_WIDTH);
  add(&image, m, "embeddings.token_type_embeddings.weight", 2, TINY_WIDTH);
  add_norm(&image, m, "embeddings.LayerNorm");
  for (int i = 0; i < TINY_LAYERS; ++i) {
    static const char *const parts[] = {"query", "key", "value"};
    for (int p = 0; p < 3; ++p) {
      char part[64];
      (void)snprintf(part, sizeof part, "attention.self.%s", parts[p]);
      add_linear(&image, m, layer_name(i, part), TINY_WIDTH, TINY_WIDTH);
    }
    add_linear(&image, m, layer_name(i, "attention.output.dense"), TINY_WIDTH, TINY_WIDTH);
    add_norm(&image, m, layer_name(i, "attention.output.LayerNorm"));
    add_linear(&image, m, layer_name(i, "intermediate.dense"), TINY_HIDDEN, TINY_WIDTH);
    add_linear(&image, m, layer_name(i, "output.dense"), TINY_WIDTH, TINY_HIDDEN);
    add_norm(&image, m, layer_name(i, "output.LayerNorm"));
  }
  if (m->prefixed) {
    st_add(&image, "cls.predictions.bias", "F32", 1, (int64_t[]){2}, NULL, 8);
  } else {
    st_add(&image, "embeddings.position_ids", "I64", 1, (int64_t[]){1}, NULL, 8);
    st_add(&image, "pooler.dense.bias", "F32", 1, (int64_t[]){2}, NULL, 8);
  }
  if (m->with != NULL) {
    st_add(&image, m->with, "F32", 1, (int64_t[]){2}, NULL, 8);
  }
  return st_finish(&image);
}

/* NULL: there is to be none. */
static void put_text(const char *folder, const char *name, const char *text) {
  char path[512];
  (void)snprintf(path, sizeof path, "%s/%s", folder, name);
  if (text != NULL) {
    put_file(path, text, strlen(text));
  } else {
    (void)unlink(path);
  }
}

void tiny_bert_write(const char *folder, const tiny_bert *m) {
  char text[1024];
  (void)snprintf(text, sizeof text,
                 "{\"model_type\": \"bert\", \"hidden_size\": %d, \"num_attention_heads\": %d, "
                 "\"num_hidden_layers\": %d, \"intermediate_size\": %d, \"vocab_size\": %d, "
                 "\"max_position_embeddings\": %d, \"layer_norm_eps\": %g, \"hidden_act\": "
                 "\"%s\"%s}",
                 TINY_WIDTH, TINY_HEADS, TINY_LAYERS, TINY_HIDDEN, TINY_WORDS, TINY_POSITIONS, EPS,
                 m->activation == NULL ? "gelu" : m->activation,
                 m->config == NULL ? "" : m->config);
  put_text(folder, "config.json", text);
  put_text(folder, "vocab.txt", vocabulary);
  put_text(folder, "sentence_bert_config.json", m->sentence);
  put_text(folder, "modules.json", m->modules);
  char path[512];
  (void)snprintf(path, sizeof path, "%s/1_Pooling", folder);
  (void)mkdir(path, 0700);
  put_text(folder, "1_Pooling/config.json", m->pooling);
  st_bytes file = tensors(m);
  (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
  put_file(path, file.data, file.size);
  free(file.data);
}

void tiny_bert_remove(const char *folder) {
  static const char *const names[] = {
      "config.json",           "vocab.txt",        "sentence_bert_config.json", "modules.json",
      "1_Pooling/config.json", "model.safetensors"};
  char path[512];
  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
    put_text(folder, names[i], NULL);
  }
  (void)snprintf(path, sizeof path, "%s/1_Pooling", folder);
  (void)rmdir(path);
}

/* ---------------------------------------------------------------- forward */

/* y [count, out] = x [count, in] W^T + b */
static void multiply(const char *name, const double *x, int count, int in, int out, double *y) {
  char whole[160];
  (void)snprintf(whole, sizeof whole, "%s.weight", name);
  double *weight = parameter(whole, in * out);
  (void)snprintf(whole, sizeof whole, "%s.bias", name);
  double *bias = parameter(whole, out);
  for (int r = 0; r < count; ++r) {
    for (int n = 0; n < out; ++n) {
      double sum = bias[n];
      for (int k = 0; k < in; ++k) {
        sum += x[r * in + k] * weight[n * in + k];
      }
      y[r * out + n] = sum;
    }
  }
  free(weight);
  free(bias);
}

static void normalize(const char *name, double *x, int count) {
  char whole[160];
  (void)snprintf(whole, sizeof whole, "%s.weight", name);
  double *gamma = parameter(whole, TINY_WIDTH);
  (void)snprintf(whole, sizeof whole, "%s.bias", name);
  double *beta = parameter(whole, TINY_WIDTH);
  for (int r = 0; r < count; ++r) {
    double *row = x + r * TINY_WIDTH;
    double mean = 0.0;
    double variance = 0.0;
    for (int i = 0; i < TINY_WIDTH; ++i) {
      mean += row[i] / TINY_WIDTH;
    }
    for (int i = 0; i < TINY_WIDTH; ++i) {
      variance += (row[i] - mean) * (row[i] - mean) / TINY_WIDTH;
    }
    for (int i = 0; i < TINY_WIDTH; ++i) {
      row[i] = (row[i] - mean) / sqrt(variance + EPS) * gamma[i] + beta[i];
    }
  }
  free(gamma);
  free(beta);
}

static double activate(const tiny_bert *m, double v) {
  const char *name = m->activation == NULL ? "gelu" : m->activation;
  if (strcmp(name, "relu") == 0) {
    return v > 0.0 ? v : 0.0;
  }
  if (strcmp(name, "silu") == 0) {
    return v / (1.0 + exp(-v));
  }
  return strcmp(name, "gelu") == 0
             ? 0.5 * v * (1.0 + erf(v / sqrt(2.0)))
             : 0.5 * v * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (v + 0.044715 * v * v * v)));
}

typedef struct state {
  double x[TINY_POSITIONS * TINY_WIDTH];
  double q[TINY_POSITIONS * TINY_WIDTH], k[TINY_POSITIONS * TINY_WIDTH];
  double v[TINY_POSITIONS * TINY_WIDTH], y[TINY_POSITIONS * TINY_WIDTH];
  double hidden[TINY_POSITIONS * TINY_HIDDEN];
} state;

static void embed(state *s, const int32_t *ids, int count) {
  double *words = parameter("embeddings.word_embeddings.weight", TINY_WORDS * TINY_WIDTH);
  double *positions =
      parameter("embeddings.position_embeddings.weight", TINY_POSITIONS * TINY_WIDTH);
  double *types = parameter("embeddings.token_type_embeddings.weight", 2 * TINY_WIDTH);
  for (int r = 0; r < count; ++r) {
    for (int i = 0; i < TINY_WIDTH; ++i) {
      s->x[r * TINY_WIDTH + i] =
          words[ids[r] * TINY_WIDTH + i] + positions[r * TINY_WIDTH + i] + types[i];
    }
  }
  free(words);
  free(positions);
  free(types);
  normalize("embeddings.LayerNorm", s->x, count);
}

/* Into y: every row sees all. */
static void attend(state *s, int count) {
  enum { DIM = TINY_WIDTH / TINY_HEADS };
  for (int h = 0; h < TINY_HEADS; ++h) {
    for (int r = 0; r < count; ++r) {
      double weights[TINY_POSITIONS];
      double sum = 0.0;
      for (int c = 0; c < count; ++c) {
        double score = 0.0;
        for (int i = 0; i < DIM; ++i) {
          score += s->q[r * TINY_WIDTH + h * DIM + i] * s->k[c * TINY_WIDTH + h * DIM + i];
        }
        weights[c] = exp(score / sqrt(DIM));
        sum += weights[c];
      }
      for (int i = 0; i < DIM; ++i) {
        double mixed = 0.0;
        for (int c = 0; c < count; ++c) {
          mixed += weights[c] / sum * s->v[c * TINY_WIDTH + h * DIM + i];
        }
        s->y[r * TINY_WIDTH + h * DIM + i] = mixed;
      }
    }
  }
}

static void add_to(double *x, const double *y, int count) {
  for (int i = 0; i < count * TINY_WIDTH; ++i) {
    x[i] += y[i];
  }
}

static void run_layer(state *s, const tiny_bert *m, int layer, int count) {
  multiply(layer_name(layer, "attention.self.query"), s->x, count, TINY_WIDTH, TINY_WIDTH, s->q);
  multiply(layer_name(layer, "attention.self.key"), s->x, count, TINY_WIDTH, TINY_WIDTH, s->k);
  multiply(layer_name(layer, "attention.self.value"), s->x, count, TINY_WIDTH, TINY_WIDTH, s->v);
  attend(s, count);
  multiply(layer_name(layer, "attention.output.dense"), s->y, count, TINY_WIDTH, TINY_WIDTH, s->q);
  add_to(s->x, s->q, count);
  normalize(layer_name(layer, "attention.output.LayerNorm"), s->x, count);
  multiply(layer_name(layer, "intermediate.dense"), s->x, count, TINY_WIDTH, TINY_HIDDEN,
           s->hidden);
  for (int i = 0; i < count * TINY_HIDDEN; ++i) {
    s->hidden[i] = activate(m, s->hidden[i]);
  }
  multiply(layer_name(layer, "output.dense"), s->hidden, count, TINY_HIDDEN, TINY_WIDTH, s->y);
  add_to(s->x, s->y, count);
  normalize(layer_name(layer, "output.LayerNorm"), s->x, count);
}

void tiny_bert_vector(const tiny_bert *m, const int32_t *ids, int count, double *vector) {
  cr_assert(count >= 1 && count <= TINY_POSITIONS);
  state *s = malloc(sizeof *s);
  cr_assert_not_null(s);
  embed(s, ids, count);
  for (int i = 0; i < TINY_LAYERS; ++i) {
    run_layer(s, m, i, count);
  }
  const bool is_cls = m->pooling != NULL && strstr(m->pooling, "cls_token\": true") != NULL;
  double square = 0.0;
  for (int i = 0; i < TINY_WIDTH; ++i) {
    vector[i] = 0.0;
    for (int r = 0; r < (is_cls ? 1 : count); ++r) {
      vector[i] += s->x[r * TINY_WIDTH + i];
    }
    square += vector[i] * vector[i];
  }
  for (int i = 0; i < TINY_WIDTH; ++i) {
    vector[i] /= sqrt(square);
  }
  free(s);
}
