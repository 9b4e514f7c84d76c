/* Encoders of BERT's kind: all-MiniLM-L6-v2 against PyTorch (golden/encoder.bin), a small model of
 * every kind of file against a forward pass in double precision, and folders that are not models.
 */
#include <clquant/encoder.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clq.h"
#include "device.h"
#include "tiny_bert.h"

/* ---------------------------------------------------------------- the golden file */

enum { MOST_TEXTS = 256 };

typedef struct golden_text {
  const char *text; /* not NUL-terminated */
  size_t length;
  uint32_t id_count;
  const unsigned char *ids;   /* u16 */
  const unsigned char *codes; /* i16 [width], any common scale: only cosines count */
} golden_text;

typedef struct embeddings {
  unsigned char *data;
  uint32_t count;
  uint32_t width;
  golden_text texts[MOST_TEXTS];
} embeddings;

static uint32_t u32_at(const unsigned char *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

static embeddings *open_golden(void) {
  embeddings *g = calloc(1, sizeof *g);
  FILE *file = fopen(CLQ_TEST_DIR "/golden/encoder.bin", "rb");
  cr_assert(g != NULL && file != NULL);
  cr_assert_eq(fseek(file, 0, SEEK_END), 0);
  const size_t size = (size_t)ftell(file);
  rewind(file);
  g->data = malloc(size);
  cr_assert_not_null(g->data);
  cr_assert_eq(fread(g->data, 1, size, file), size);
  (void)fclose(file);
  cr_assert_eq(memcmp(g->data, "CLQE", 4), 0);
  cr_assert_eq(u32_at(g->data + 4), 1, "version of encoder.bin");
  g->count = u32_at(g->data + 8);
  g->width = u32_at(g->data + 12);
  cr_assert(g->count == 200 && g->count <= MOST_TEXTS && g->width == 384);
  const unsigned char *at = g->data + 16;
  for (uint32_t i = 0; i < g->count; ++i) {
    golden_text *t = &g->texts[i];
    t->length = u32_at(at);
    t->text = (const char *)at + 4;
    at += 4 + t->length;
    t->id_count = u32_at(at);
    t->ids = at + 4;
    at += 4 + 2 * (size_t)t->id_count;
    t->codes = at + 4;
    at += 4 + 2 * (size_t)g->width;
  }
  cr_assert_eq((size_t)(at - g->data), size);
  return g;
}

static void close_golden(embeddings *g) {
  free(g->data);
  free(g);
}

/* 1 - cosine, in double. */
static double distance(const embeddings *g, uint32_t text, const float *vector) {
  double dot = 0.0;
  double a = 0.0;
  double b = 0.0;
  for (uint32_t i = 0; i < g->width; ++i) {
    int16_t code;
    memcpy(&code, g->texts[text].codes + 2 * i, sizeof code);
    dot += (double)code * (double)vector[i];
    a += (double)code * code;
    b += (double)vector[i] * (double)vector[i];
  }
  cr_assert_float_eq(b, 1.0, 1e-6, "a vector's length");
  return 1.0 - dot / sqrt(a * b);
}

static const char *encoder_folder(void) {
  static char folder[4096];
  const char *path = getenv("CLQ_TEST_MODEL_ENCODER");
  const char *slash = path == NULL ? NULL : strrchr(path, '/');
  if (slash == NULL) {
    cr_skip_test("CLQ_TEST_MODEL_ENCODER names no model.safetensors of all-MiniLM-L6-v2");
  }
  (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
  return folder;
}

/* ---------------------------------------------------------------- the real model */

Test(encoder, ids_are_those_of_sentence_transformers) {
  clq_tokenizer *tokenizer = NULL;
  test_ok(clq_tokenizer_open(encoder_folder(), &tokenizer));
  embeddings *g = open_golden();
  for (uint32_t i = 0; i < g->count; ++i) {
    clq_tokens ids = {0};
    const golden_text *t = &g->texts[i];
    test_ok(clq_tokenizer_encode_pair(tokenizer, t->text, t->length, NULL, 0, 256, 0, &ids, NULL));
    cr_assert_eq(ids.count, t->id_count, "text %u has %lld tokens", i, (long long)ids.count);
    for (int64_t k = 0; k < ids.count; ++k) {
      uint16_t id;
      memcpy(&id, t->ids + 2 * k, sizeof id);
      cr_assert_eq(ids.ids[k], id, "text %u, token %lld", i, (long long)k);
    }
    clq_tokens_free(&ids);
  }
  close_golden(g);
  clq_tokenizer_destroy(tokenizer);
}

/* Every STEP-th text; the study of bench/ has all of them. */
enum { STEP = 5, SOME = 40 };

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a;
  const double y = *(const double *)b;
  return (x > y) - (x < y);
}

static void embed_some(clq_encoder *encoder, const embeddings *g, float *vectors) {
  const char *texts[SOME];
  size_t lengths[SOME];
  for (uint32_t i = 0; i < SOME; ++i) {
    texts[i] = g->texts[i * STEP].text;
    lengths[i] = g->texts[i * STEP].length;
  }
  test_ok(clq_encoder_embed(encoder, NULL, texts, lengths, SOME, vectors));
}

Test(encoder, vectors_against_pytorch) {
  static const struct {
    const char *name;
    clq_encoder_desc desc;
    double median, worst; /* of 1 - cosine */
  } forms[] = {
      {"f32", {0}, 1e-6, 1e-6},
      {"f16 weights", {.weights = CLQ_FORMAT_F16}, 1e-5, 1e-5},
  };
  const char *folder = encoder_folder();
  test_device d = test_device_open(NULL);
  embeddings *g = open_golden();
  float *vectors = malloc((size_t)SOME * g->width * sizeof *vectors);
  cr_assert_not_null(vectors);
  for (size_t f = 0; f < sizeof forms / sizeof forms[0]; ++f) {
    clq_encoder *encoder = NULL;
    clq_encoder_info info;
    double errors[SOME];
    test_ok(clq_encoder_load(d.context, folder, &forms[f].desc, &encoder));
    clq_encoder_get_info(encoder, &info);
    cr_assert(info.layers == 6 && info.width == 384 && info.context == 256);
    embed_some(encoder, g, vectors);
    for (uint32_t i = 0; i < SOME; ++i) {
      errors[i] = distance(g, i * STEP, vectors + (size_t)i * g->width);
    }
    qsort(errors, SOME, sizeof errors[0], by_value);
    printf("%s: 1 - cosine at worst %.2e, median %.2e, %llu bytes of weights\n", forms[f].name,
           errors[SOME - 1], errors[SOME / 2], (unsigned long long)info.weight_bytes);
    cr_expect_leq(errors[SOME / 2], forms[f].median, "%s", forms[f].name);
    cr_expect_leq(errors[SOME - 1], forms[f].worst, "%s", forms[f].name);
    clq_encoder_destroy(encoder);
  }
  free(vectors);
  close_golden(g);
  test_device_close(&d);
}

/* int8 wherever it is offered: calibrated with other texts than those that are measured. */
Test(encoder, all_int8_against_pytorch) {
  const clq_encoder_desc desc = {
      .weights = CLQ_FORMAT_W8,
      .acts = CLQ_ACTS_Q8G32,
      .int8 = CLQ_ENCODER_INT8_ACTIVATION | CLQ_ENCODER_INT8_NORM | CLQ_ENCODER_INT8_RESIDUAL};
  const char *folder = encoder_folder();
  test_device d = test_device_open(NULL);
  embeddings *g = open_golden();
  float *vectors = malloc((size_t)SOME * g->width * sizeof *vectors);
  cr_assert_not_null(vectors);
  clq_encoder *encoder = NULL;
  const char *texts[SOME];
  size_t lengths[SOME];
  double errors[SOME];
  for (uint32_t i = 0; i < SOME; ++i) {
    texts[i] = g->texts[i * STEP + 2].text;
    lengths[i] = g->texts[i * STEP + 2].length;
  }
  test_ok(clq_encoder_load(d.context, folder, &desc, &encoder));
  test_fails(clq_encoder_embed(encoder, NULL, texts, lengths, 1, vectors), CLQ_INVALID_STATE,
             "want clq_encoder_calibrate first");
  test_ok(clq_encoder_calibrate(encoder, NULL, texts, lengths, SOME));
  embed_some(encoder, g, vectors);
  for (uint32_t i = 0; i < SOME; ++i) {
    errors[i] = distance(g, i * STEP, vectors + (size_t)i * g->width);
  }
  qsort(errors, SOME, sizeof errors[0], by_value);
  printf("all int8: 1 - cosine at worst %.2e, median %.2e\n", errors[SOME - 1], errors[SOME / 2]);
  cr_expect_leq(errors[SOME / 2], 1e-2);
  cr_expect_leq(errors[SOME - 1], 2e-2);
  clq_encoder_destroy(encoder);
  free(vectors);
  close_golden(g);
  test_device_close(&d);
}

/* ---------------------------------------------------------------- a small model */

enum { TINY_TEXTS = 7 };
static const char *const tiny_texts[TINY_TEXTS] = {
    "a", "", "abc ba! cab.", "b b b b b b b b b b b b b b b b b b", "c!", "A B C", "?"};

static void expect_near(const tiny_bert *model, const clq_encoder *encoder, const char *text,
                        const float *vector, double bound, const char *what) {
  clq_encoder_info info;
  clq_tokens ids = {0};
  double exact[TINY_WIDTH];
  double worst = 0.0;
  clq_encoder_get_info(encoder, &info);
  test_ok(clq_tokenizer_encode_pair(clq_encoder_tokenizer(encoder), text, strlen(text), NULL, 0,
                                    info.context, 0, &ids, NULL));
  cr_assert_leq(ids.count, info.context);
  tiny_bert_vector(model, ids.ids, (int)ids.count, exact);
  for (int i = 0; i < TINY_WIDTH; ++i) {
    worst = fmax(worst, fabs(exact[i] - (double)vector[i]));
  }
  cr_expect_leq(worst, bound, "%s, '%s': off by %g", what, text, worst);
  clq_tokens_free(&ids);
}

static void check_tiny(const test_device *d, const char *folder, const tiny_bert *model,
                       const char *what) {
  clq_encoder *encoder = NULL;
  float vectors[TINY_TEXTS][TINY_WIDTH];
  tiny_bert_write(folder, model);
  const clq_encoder_desc desc = {.weights = CLQ_FORMAT_F32};
  test_ok(clq_encoder_load(d->context, folder, &desc, &encoder));
  test_ok(clq_encoder_embed(encoder, d->stream, tiny_texts, NULL, TINY_TEXTS, &vectors[0][0]));
  for (int i = 0; i < TINY_TEXTS; ++i) {
    expect_near(model, encoder, tiny_texts[i], vectors[i], 2e-6, what);
  }
  clq_encoder_destroy(encoder);
}

#define POOLING(cls, mean) \
  "{\"pooling_mode_cls_token\": " cls ", \"pooling_mode_mean_tokens\": " mean "}"

Test(encoder, kinds_of_files_against_double) {
  static const tiny_bert models[] = {
      {.dtype = "F16", .activation = "gelu_new", .pooling = POOLING("true", "false")},
      {.dtype = "BF16", .activation = "relu", .pooling = POOLING("false", "true")},
      {.prefixed = true, .sentence = "{\"max_seq_length\": 9}"},
      {.modules = "[{\"type\": \"sentence_transformers.models.Transformer\"}, {\"type\": "
                  "\"sentence_transformers.models.Pooling\"}, {\"type\": "
                  "\"sentence_transformers.models.Normalize\"}]",
       .sentence = "{\"max_seq_length\": null, \"do_lower_case\": false}"},
  };
  test_device d = test_device_open(NULL);
  scratch s = scratch_new("x");
  for (size_t i = 0; i < sizeof models / sizeof models[0]; ++i) {
    char what[32];
    (void)snprintf(what, sizeof what, "model %zu", i);
    check_tiny(&d, s.folder, &models[i], what);
  }
  tiny_bert_remove(s.folder);
  scratch_free(&s);
  test_device_close(&d);
}

/* The vectors of the text that is `alone` there. */
static void expect_same(const float *vectors, const char *const *texts, int count, const char *text,
                        const float *alone) {
  for (int i = 0; i < count; ++i) {
    const float *vector = vectors + (ptrdiff_t)i * TINY_WIDTH;
    for (int c = 0; texts[i] == text && c < TINY_WIDTH; ++c) {
      cr_assert(vector[c] == alone[c], "text %d, element %d", i, c);
    }
  }
}

/* More texts than a pass takes: the vectors are the same bits whatever stands beside them. */
Test(encoder, many_texts_in_several_passes) {
  enum { COUNT = 700 };
  static const clq_encoder_desc descs[] = {{0}, {.weights = CLQ_FORMAT_W8, .acts = CLQ_ACTS_Q8G32}};
  test_device d = test_device_open(NULL);
  scratch s = scratch_new("x");
  const tiny_bert model = {0};
  const char *texts[COUNT];
  float *vectors = malloc((size_t)COUNT * TINY_WIDTH * sizeof *vectors);
  cr_assert_not_null(vectors);
  tiny_bert_write(s.folder, &model);
  for (int i = 0; i < COUNT; ++i) {
    texts[i] = tiny_texts[i * i % TINY_TEXTS];
  }
  for (int f = 0; f < 2; ++f) {
    clq_encoder *encoder = NULL;
    clq_encoder_stats stats;
    float few[2][TINY_WIDTH];
    test_ok(clq_encoder_load(d.context, s.folder, &descs[f], &encoder));
    test_ok(clq_encoder_embed(encoder, d.stream, texts, NULL, COUNT, vectors));
    clq_encoder_get_stats(encoder, &stats);
    cr_expect_gt(stats.passes, 1);
    cr_expect(stats.arena_bytes > 0 && stats.kv_bytes > 0 && stats.build_seconds > 0);
    test_ok(clq_encoder_embed(encoder, NULL, tiny_texts + 3, NULL, 1, few[0]));
    expect_same(vectors, texts, COUNT, tiny_texts[3], few[0]);
    test_ok(clq_encoder_embed(encoder, NULL, tiny_texts + 2, NULL, 2, few[0]));
    expect_same(vectors, texts, COUNT, tiny_texts[2], few[0]);
    clq_encoder_destroy(encoder);
  }
  free(vectors);
  tiny_bert_remove(s.folder);
  scratch_free(&s);
  test_device_close(&d);
}

/* ---------------------------------------------------------------- what is no model */

static const char word_table[] = "embeddings.word_embeddings.weight";

Test(encoder, hostile_folders_are_refused) {
  static const struct {
    tiny_bert model;
    clq_status status;
    const char *part;
  } cases[] = {
      {{.without = "encoder.layer.1.output.dense.bias"},
       CLQ_BAD_FILE,
       "tensor 'encoder.layer.1.output.dense.bias' is missing; the file is damaged"},
      {{.without = word_table}, CLQ_BAD_FILE, "word_embeddings.weight' is missing"},
      {{.narrowed = "encoder.layer.0.intermediate.dense.weight"},
       CLQ_BAD_FILE,
       "encoder.layer.0.intermediate.dense.weight is [96, 63], expected [96, 64]"},
      {{.narrowed = "embeddings.LayerNorm.bias"}, CLQ_BAD_FILE, "is [63], expected [64]"},
      {{.retyped = "embeddings.LayerNorm.weight"},
       CLQ_UNSUPPORTED,
       "embeddings.LayerNorm.weight is I32, expected F32, F16 or BF16"},
      {{.spoiled = "encoder.layer.1.attention.self.key.weight"},
       CLQ_BAD_FILE,
       "encoder.layer.1.attention.self.key.weight holds nan at element 2048"},
      {{.spoiled = "encoder.layer.0.output.LayerNorm.bias"}, CLQ_BAD_FILE, "holds nan"},
      {{.spoiled = word_table, .dtype = "BF16"}, CLQ_BAD_FILE, "holds inf at element 384"},
      {{.with = "encoder.layer.2.output.dense.bias"},
       CLQ_BAD_FILE,
       "tensors of layer 2, but num_hidden_layers of config.json is 2"},
      {{.with = "encoder.layer.0.adapter.bias"}, CLQ_UNSUPPORTED, "belongs to no part of a plain"},
      {{.with = "classifier.bias"}, CLQ_UNSUPPORTED, "classifier.bias belongs to no part"},
      {{.activation = "mish"}, CLQ_UNSUPPORTED, "hidden_act is 'mish', expected gelu"},
      {{.config = ", \"position_embedding_type\": \"relative_key\""},
       CLQ_UNSUPPORTED,
       "position_embedding_type is 'relative_key', expected absolute"},
      {{.config = ", \"is_decoder\": true"}, CLQ_UNSUPPORTED, "is_decoder is 'true'"},
      {{.config = ", \"hidden_size\": 64"}, CLQ_BAD_FILE, "twice"},
      {{.config = ", \"type_vocab_size\": 1.5"},
       CLQ_BAD_FILE,
       "type_vocab_size has the number 1.5"},
      {{.config = ", \"type_vocab_size\": 3"}, CLQ_BAD_FILE, "is [2, 64], expected [3, 64]"},
      {{.config = "}"}, CLQ_BAD_FILE, "config.json"},
      {{.pooling = POOLING("true", "true")}, CLQ_UNSUPPORTED, "1_Pooling/config.json: the pooling"},
      {{.pooling = "{\"pooling_mode_max_tokens\": true}"}, CLQ_UNSUPPORTED, "the pooling is not"},
      {{.pooling = "{\"pooling_mode\": \"mean\", \"word_embedding_dimension\": 63}"},
       CLQ_BAD_FILE,
       "word_embedding_dimension is 63, expected 64"},
      {{.pooling = "[]"}, CLQ_BAD_FILE, "1_Pooling/config.json"},
      {{.sentence = "{\"max_seq_length\": 0}"}, CLQ_BAD_FILE, "max_seq_length has the number 0"},
      {{.sentence = "{\"max_seq_length\": 1}"},
       CLQ_BAD_FILE,
       "a text of at most 1 tokens has no room for"},
      {{.sentence = "{\"do_lower_case\": true}"}, CLQ_UNSUPPORTED, "do_lower_case is 'true'"},
      {{.modules = "[{\"type\": \"sentence_transformers.models.Dense\"}]"},
       CLQ_UNSUPPORTED,
       "a module is 'sentence_transformers.models.Dense'"},
      {{.modules = "{}"}, CLQ_BAD_FILE, "modules.json"},
  };
  test_device d = test_device_open(NULL);
  scratch s = scratch_new("x");
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    clq_encoder *encoder = (clq_encoder *)&d;
    tiny_bert_write(s.folder, &cases[i].model);
    test_fails(clq_encoder_load(d.context, s.folder, NULL, &encoder), cases[i].status,
               cases[i].part);
    cr_assert_null(encoder);
    cr_expect_not_null(strstr(clq_last_error(), s.folder), "%s", clq_last_error());
  }
  tiny_bert_remove(s.folder);
  scratch_free(&s);
  test_device_close(&d);
}

static void write_config(const char *folder, const char *text) {
  char path[512];
  (void)snprintf(path, sizeof path, "%s/config.json", folder);
  put_file(path, text, strlen(text));
}

#define SIZES(type, width, heads, rest)                                                        \
  "{\"model_type\": \"" type "\", \"hidden_size\": " width ", \"num_attention_heads\": " heads \
  ", \"num_hidden_layers\": 2, \"intermediate_size\": 96, \"vocab_size\": 12, "                \
  "\"max_position_embeddings\": 40" rest "}"

Test(encoder, hostile_configs_are_refused) {
  static const struct {
    const char *config;
    clq_status status;
    const char *part;
  } cases[] = {
      {"{}", CLQ_BAD_FILE, "config.json: there is no hidden_size; the file is damaged"},
      {SIZES("roberta", "64", "2", ""), CLQ_UNSUPPORTED, "model_type is 'roberta', expected bert"},
      {SIZES("bert", "64", "3", ""), CLQ_BAD_FILE, "hidden_size 64 is no multiple of 3 heads"},
      {SIZES("bert", "64", "8", ""), CLQ_UNSUPPORTED, "heads have 8 elements, offered: multiples"},
      {SIZES("bert", "16777217", "1", ""), CLQ_BAD_FILE, "hidden_size has the number 16777217"},
      {SIZES("bert", "16777216", "1", ""), CLQ_BAD_FILE, "expected [12, 16777216]"},
      {SIZES("bert", "-64", "2", ""), CLQ_BAD_FILE, "hidden_size has the number -64"},
      {SIZES("bert", "\"32\"", "2", ""), CLQ_BAD_FILE, "where an integer is expected"},
      {SIZES("bert", "64", "2", ", \"layer_norm_eps\": -1e-12"), CLQ_BAD_FILE,
       "layer_norm_eps is -1e-12, expected 0 to 1"},
      {SIZES("bert", "64", "2", ", \"layer_norm_eps\": 1e400"), CLQ_BAD_FILE, "too large"},
      {"", CLQ_BAD_FILE, "config.json"},
  };
  test_device d = test_device_open(NULL);
  scratch s = scratch_new("x");
  const tiny_bert model = {0};
  clq_encoder *encoder = NULL;
  tiny_bert_write(s.folder, &model);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    write_config(s.folder, cases[i].config);
    test_fails(clq_encoder_load(d.context, s.folder, NULL, &encoder), cases[i].status,
               cases[i].part);
  }
  tiny_bert_remove(s.folder);
  scratch_free(&s);
  test_device_close(&d);
}

/* Without one of the files, or with less of it. */
Test(encoder, files_that_are_missing_or_cut_off) {
  test_device d = test_device_open(NULL);
  scratch s = scratch_new("model.safetensors");
  const tiny_bert model = {0};
  clq_encoder *encoder = NULL;
  test_fails(clq_encoder_load(d.context, s.folder, NULL, &encoder), CLQ_IO_ERROR,
             "the folder has no config.json; name the folder of a model");
  tiny_bert_write(s.folder, &model);
  test_fails(clq_encoder_load(d.context, s.file, NULL, &encoder), CLQ_IO_ERROR, "is no folder");
  cr_assert_eq(truncate(s.file, 4000), 0);
  test_fails(clq_encoder_load(d.context, s.folder, NULL, &encoder), CLQ_BAD_FILE,
             "model.safetensors");
  cr_assert_eq(unlink(s.file), 0);
  test_fails(clq_encoder_load(d.context, s.folder, NULL, &encoder), CLQ_IO_ERROR,
             "has neither model.safetensors nor");
  tiny_bert_write(s.folder, &model);
  char vocab[256];
  (void)snprintf(vocab, sizeof vocab, "%s/vocab.txt", s.folder);
  FILE *file = fopen(vocab, "a");
  cr_assert_not_null(file);
  (void)fputs("more\n", file);
  (void)fclose(file);
  test_fails(clq_encoder_load(d.context, s.folder, NULL, &encoder), CLQ_BAD_FILE,
             "the tokenizer has 13 tokens, the embeddings 12 rows");
  cr_assert_eq(unlink(vocab), 0);
  test_fails(clq_encoder_load(d.context, s.folder, NULL, &encoder), CLQ_IO_ERROR,
             "neither tokenizer.json nor vocab.txt");
  tiny_bert_remove(s.folder);
  scratch_free(&s);
  test_device_close(&d);
}

Test(encoder, calls_that_are_refused) {
  test_device d = test_device_open(NULL);
  scratch s = scratch_new("x");
  const tiny_bert model = {0};
  clq_encoder *encoder = NULL;
  float vector[TINY_WIDTH];
  const char *none = NULL;
  tiny_bert_write(s.folder, &model);
  static const struct {
    clq_encoder_desc desc;
    clq_status status;
    const char *part;
  } descs[] = {
      {{.weights = CLQ_FORMAT_Q4_0}, CLQ_UNSUPPORTED, "weights are q4_0, offered: f32, f16"},
      {{.group = 32}, CLQ_INVALID_ARGUMENT, "only w8 has groups"},
      {{.weights = CLQ_FORMAT_W8, .group = 20}, CLQ_INVALID_ARGUMENT, "group is 20"},
      {{.acts = (clq_acts)9}, CLQ_INVALID_ARGUMENT, "acts is 9"},
      {{.embeddings = CLQ_FORMAT_W4}, CLQ_UNSUPPORTED, "embeddings are w4, offered: f32, f16"},
      {{.int8 = 32}, CLQ_INVALID_ARGUMENT, "int8 is 0x20"},
      {{.int8 = CLQ_ENCODER_INT8_SOFTMAX}, CLQ_INVALID_ARGUMENT, "for int8 attention; take both"},
      {{.int8 = CLQ_ENCODER_INT8_RESIDUAL}, CLQ_INVALID_ARGUMENT, "take acts q8 or q8g32 with it"},
  };
  for (size_t i = 0; i < sizeof descs / sizeof descs[0]; ++i) {
    test_fails(clq_encoder_load(d.context, s.folder, &descs[i].desc, &encoder), descs[i].status,
               descs[i].part);
  }
  test_fails(clq_encoder_load(NULL, s.folder, NULL, &encoder), CLQ_INVALID_ARGUMENT, "context");
  test_fails(clq_encoder_load(d.context, NULL, NULL, &encoder), CLQ_INVALID_ARGUMENT, "folder");
  test_fails(clq_encoder_load(d.context, s.folder, NULL, NULL), CLQ_INVALID_ARGUMENT, "NULL");
  test_ok(clq_encoder_load(d.context, s.folder, NULL, &encoder));
  test_ok(clq_encoder_embed(encoder, NULL, NULL, NULL, 0, NULL));
  test_fails(clq_encoder_embed(encoder, NULL, NULL, NULL, 1, vector), CLQ_INVALID_ARGUMENT,
             "texts and vectors");
  test_fails(clq_encoder_embed(encoder, NULL, &none, NULL, 1, vector), CLQ_INVALID_ARGUMENT,
             "text 0 is NULL");
  test_fails(clq_encoder_embed(encoder, NULL, tiny_texts, NULL, -1, vector), CLQ_INVALID_ARGUMENT,
             "negative");
  test_fails(clq_encoder_embed(NULL, NULL, tiny_texts, NULL, 1, vector), CLQ_INVALID_ARGUMENT,
             "NULL");
  test_fails(clq_encoder_calibrate(encoder, NULL, tiny_texts, NULL, 0), CLQ_INVALID_ARGUMENT,
             "no texts to calibrate with");
  clq_encoder_destroy(encoder);
  clq_encoder_destroy(NULL);
  tiny_bert_remove(s.folder);
  scratch_free(&s);
  test_device_close(&d);
}
