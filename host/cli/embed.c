/* clq embed: texts to vectors, with an encoder model. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/encoder.h>

#include "cli.h"
#include "input.h"
#include "json.h"
#include "npy.h"
#include "options.h"

/* Places in WEIGHTS and ACTS. */
static const struct {
  clq_format format;
  int64_t group;
} all_weights[] = {{CLQ_FORMAT_F32, 0}, {CLQ_FORMAT_F16, 0}, {CLQ_FORMAT_BF16, 0},
                   {CLQ_FORMAT_W8, 0},  {CLQ_FORMAT_W8, 32}, {CLQ_FORMAT_W8, 64},
                   {CLQ_FORMAT_W8, 128}};
static const clq_acts all_acts[] = {CLQ_ACTS_F32, CLQ_ACTS_Q8G32, CLQ_ACTS_Q8};
#define WEIGHTS "f32|f16|bf16|w8|w8g32|w8g64|w8g128"
#define ACTS    "f32|q8g32|q8"

enum { AS_IN_FILE = -1, PRINT_TEXT = 0, PRINT_JSON = 1 };

/* Of int8 parts. */
static const struct {
  const char *name;
  unsigned parts;
} all_parts[] = {
    {"attention", CLQ_ENCODER_INT8_ATTENTION},
    {"softmax", CLQ_ENCODER_INT8_ATTENTION | CLQ_ENCODER_INT8_SOFTMAX},
    {"activation", CLQ_ENCODER_INT8_ACTIVATION},
    {"norm", CLQ_ENCODER_INT8_NORM},
    {"residual", CLQ_ENCODER_INT8_RESIDUAL},
};
enum { PART_COUNT = sizeof all_parts / sizeof all_parts[0] };

typedef struct texts {
  char *data; /* in which they lie, if they are lines */
  const char **items;
  size_t *lengths;
  int64_t count;
} texts;

typedef struct embed {
  const char *path;
  const char *device;
  const char *out;
  cli_input input;
  cli_input calibration;
  cli_words int8; /* parts */
  int weights;    /* AS_IN_FILE, or a place */
  int embeddings; /* the same */
  int acts;
  int output;
  clq_context *context;
  clq_encoder *encoder;
  clq_encoder_info info;
  texts input_texts;
  cli_npy npy;
  cli_json json;
  double seconds; /* of embedding, builds included */
} embed;

/* ---------------------------------------------------------------- texts */

static int allocate(texts *t, size_t count) {
  t->items = calloc(count + 1, sizeof *t->items);
  t->lengths = calloc(count + 1, sizeof *t->lengths);
  return t->items != NULL && t->lengths != NULL ? CLI_DONE : cli_fail_memory();
}

static void add_text(texts *t, const char *text, size_t length) {
  t->items[t->count] = text;
  t->lengths[t->count] = length;
  ++t->count;
}

static int take_words(texts *t, const cli_words *words) {
  const int code = allocate(t, words->count);
  for (size_t i = 0; code == CLI_DONE && i < words->count; ++i) {
    add_text(t, words->items[i], strlen(words->items[i]));
  }
  return code;
}

/* A line is a text; what is behind the last newline is one only if it is not empty. */
static int take_lines(texts *t, const cli_input *input) {
  size_t length = 0;
  size_t lines = 1;
  int code = cli_input_read(input, &t->data, &length);
  for (size_t i = 0; code == CLI_DONE && i < length; ++i) {
    lines += t->data[i] == '\n';
  }
  code = code != CLI_DONE ? code : allocate(t, lines);
  for (size_t at = 0; code == CLI_DONE && at < length;) {
    const char *newline = memchr(t->data + at, '\n', length - at);
    const size_t end = newline == NULL ? length : (size_t)(newline - t->data);
    add_text(t, t->data + at, end - at);
    at = end + 1;
  }
  return code;
}

static void free_texts(texts *t) {
  free(t->items);
  free(t->lengths);
  free(t->data);
}

/* ---------------------------------------------------------------- the model */

static int fail(clq_status status) {
  const bool memory = status == CLQ_OUT_OF_HOST_MEMORY || status == CLQ_OUT_OF_DEVICE_MEMORY;
  return memory ? cli_fail_library_advice("use a smaller model, --weights w8, or free memory")
                : cli_fail_library();
}

/* The parts that --int8 names. */
static unsigned parts_of(const embed *e) {
  unsigned parts = 0;
  for (size_t i = 0; i < e->int8.count; ++i) {
    for (size_t k = 0; k < PART_COUNT; ++k) {
      parts |= strcmp(e->int8.items[i], all_parts[k].name) == 0 ? all_parts[k].parts : 0;
    }
  }
  return parts;
}

static int calibrate(embed *e) {
  texts t = {.data = NULL};
  int code = take_lines(&t, &e->calibration);
  if (code == CLI_DONE && t.count == 0) {
    code = cli_fail("%s: there is no text in it to calibrate with", e->calibration.file);
  }
  if (code == CLI_DONE) {
    const clq_status status = clq_encoder_calibrate(e->encoder, NULL, t.items, t.lengths, t.count);
    code = status == CLQ_OK ? CLI_DONE : fail(status);
  }
  free_texts(&t);
  return code;
}

static int load(embed *e) {
  clq_encoder_desc desc = {.acts = all_acts[e->acts], .int8 = parts_of(e)};
  if (e->weights != AS_IN_FILE) {
    desc.weights = all_weights[e->weights].format;
    desc.group = all_weights[e->weights].group;
  }
  if (e->embeddings != AS_IN_FILE) {
    desc.embeddings = all_weights[e->embeddings].format;
  }
  if (cli_open_context(e->device, &e->context) != CLI_DONE) {
    return CLI_FAILED;
  }
  const clq_status status = clq_encoder_load(e->context, e->path, &desc, &e->encoder);
  if (status != CLQ_OK) {
    return fail(status);
  }
  clq_encoder_get_info(e->encoder, &e->info);
  return e->calibration.file == NULL ? CLI_DONE : calibrate(e);
}

/* ---------------------------------------------------------------- vectors */

/* The double whose shortest spelling is that of the float. */
static double shortest(float value) {
  char text[32];
  (void)snprintf(text, sizeof text, "%.9g", (double)value);
  return strtod(text, NULL);
}

static void print_vector(const float *vector, int64_t width) {
  for (int64_t i = 0; i < width; ++i) {
    (void)printf("%s%.9g", i == 0 ? "" : " ", (double)vector[i]);
  }
  (void)putchar('\n');
}

static void add_vector(cli_json *json, const float *vector, int64_t width) {
  cli_json_open_list(json, NULL);
  for (int64_t i = 0; i < width; ++i) {
    cli_json_number(json, NULL, shortest(vector[i]));
  }
  cli_json_close(json);
}

static int put_vectors(embed *e, const float *vectors, int64_t count) {
  const int64_t width = e->info.width;
  if (e->out != NULL) {
    return cli_npy_write(&e->npy, vectors, (size_t)(count * width));
  }
  for (int64_t i = 0; i < count; ++i) {
    if (e->output == PRINT_JSON) {
      add_vector(&e->json, vectors + i * width, width);
    } else {
      print_vector(vectors + i * width, width);
    }
  }
  return CLI_DONE;
}

static bool all_finite(const float *values, int64_t count) {
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) {
    finite &= isfinite(values[i]) != 0;
  }
  return finite;
}

/* Texts of one call: enough to fill passes, few enough for SIGINT to be answered soon. */
enum { PIECE = 256 };

/* The next texts from `done` on, at most PIECE. */
static int embed_piece(embed *e, int64_t done, int64_t count, float *vectors) {
  const double start = cli_seconds();
  const clq_status status = clq_encoder_embed(e->encoder, NULL, e->input_texts.items + done,
                                              e->input_texts.lengths + done, count, vectors);
  e->seconds += cli_seconds() - start;
  if (status != CLQ_OK) {
    return fail(status);
  }
  if (!all_finite(vectors, count * e->info.width)) {
    const int64_t last = done + count;
    return cli_fail(
        "a vector of texts %" PRId64 " to %" PRId64 " is NaN or infinite; %s", done + 1, last,
        e->acts == 0 ? "fetch the model again" : "try --acts f32, or fetch the model again");
  }
  return put_vectors(e, vectors, count);
}

/* *done: texts that were put out, fewer than all only after SIGINT or a failure. */
static int embed_texts(embed *e, int64_t *done) {
  float *vectors = malloc((size_t)e->info.width * PIECE * sizeof *vectors);
  if (vectors == NULL) {
    return cli_fail_memory();
  }
  int code = CLI_DONE;
  while (code == CLI_DONE && *done < e->input_texts.count && !cli_interrupted()) {
    const int64_t count =
        e->input_texts.count - *done < PIECE ? e->input_texts.count - *done : PIECE;
    code = embed_piece(e, *done, count, vectors);
    *done += code == CLI_DONE ? count : 0;
  }
  free(vectors);
  return code;
}

static void describe(embed *e, int64_t done) {
  clq_encoder_stats stats;
  clq_encoder_get_stats(e->encoder, &stats);
  cli_json *json = &e->json;
  char weights[32];
  const int64_t group = e->weights == AS_IN_FILE ? 0 : all_weights[e->weights].group;
  (void)snprintf(weights, sizeof weights, group == 0 ? "%s" : "%sg%lld",
                 clq_format_name(e->info.weights), (long long)group);
  cli_json_string(json, "device", clq_context_info(e->context)->name);
  cli_json_string(json, "model", e->path);
  cli_json_number(json, "width", (double)e->info.width);
  cli_json_number(json, "texts", (double)done);
  cli_json_number(json, "tokens", (double)stats.tokens);
  cli_json_string(json, "pooling", e->info.pooling == CLQ_POOL_FIRST ? "cls" : "mean");
  cli_json_string(json, "weights", weights);
  cli_json_string(json, "acts", (const char *[]){"f32", "q8g32", "q8"}[e->acts]);
  cli_json_string(json, "stop_reason", done == e->input_texts.count ? "end" : "cancelled");
  cli_json_number(json, "load_s", e->info.load_seconds);
  cli_json_number(json, "build_s", stats.build_seconds);
  cli_json_number(json, "embed_s", e->seconds - stats.build_seconds);
  cli_json_number(json, "weight_bytes", (double)e->info.weight_bytes);
  cli_json_number(json, "arena_bytes", (double)stats.arena_bytes);
  cli_json_number(json, "kv_bytes", (double)stats.kv_bytes);
}

/* A file is written whole or not at all. */
static int write_file(embed *e) {
  int64_t done = 0;
  int code = cli_npy_header(&e->npy, e->input_texts.count, e->info.width);
  code = code != CLI_DONE ? code : embed_texts(e, &done);
  if (code == CLI_DONE && done < e->input_texts.count) {
    code = cli_fail("interrupted before text %lld, %s", (long long)done + 1, cli_npy_left(&e->npy));
  }
  return code != CLI_DONE ? code : cli_npy_commit(&e->npy);
}

static int print_json(embed *e) {
  int64_t done = 0;
  e->json = cli_json_new();
  cli_json_open_list(&e->json, "embeddings");
  const int code = embed_texts(e, &done);
  cli_json_close(&e->json);
  if (code == CLI_DONE) {
    describe(e, done);
    return cli_json_print(&e->json);
  }
  cli_json_drop(&e->json);
  return code;
}

static int run(embed *e, const cli_words *words) {
  int64_t done = 0;
  const bool from_words = e->input.file == NULL;
  int code = e->out == NULL ? CLI_DONE : cli_npy_create(e->out, &e->npy);
  code = code != CLI_DONE ? code : load(e);
  code = code != CLI_DONE ? code
                          : (from_words ? take_words(&e->input_texts, words)
                                        : take_lines(&e->input_texts, &e->input));
  if (code != CLI_DONE) {
    return code;
  }
  return e->out != NULL            ? write_file(e)
         : e->output == PRINT_JSON ? print_json(e)
                                   : embed_texts(e, &done);
}

/* ---------------------------------------------------------------- the command */

static int check_int8(const embed *e, const cli_usage *usage) {
  const unsigned parts = parts_of(e);
  for (size_t i = 0; i < e->int8.count; ++i) {
    size_t k = 0;
    while (k < PART_COUNT && strcmp(e->int8.items[i], all_parts[k].name) != 0) {
      ++k;
    }
    if (k == PART_COUNT) {
      return cli_misuse(usage,
                        "--int8 has '%s', expected attention, softmax, activation, norm or "
                        "residual",
                        e->int8.items[i]);
    }
  }
  const bool wants = (parts & (CLQ_ENCODER_INT8_ACTIVATION | CLQ_ENCODER_INT8_NORM)) != 0;
  if (wants != (e->calibration.file != NULL)) {
    return cli_misuse(usage, wants ? "--int8 activation and norm take their scales from typical "
                                     "texts; name a file of them with --calibrate"
                                   : "--calibrate is for --int8 activation and norm");
  }
  if ((parts & CLQ_ENCODER_INT8_RESIDUAL) != 0 && all_acts[e->acts] == CLQ_ACTS_F32) {
    return cli_misuse(usage, "--int8 residual takes --acts q8g32 or q8 with it");
  }
  return CLI_DONE;
}

static int check(embed *e, const cli_usage *usage, const cli_words *words) {
  if (e->path == NULL || e->path[0] == '\0') {
    return cli_misuse(usage, "%sname the model's folder with -m DIR",
                      e->path == NULL ? "" : "-m is empty: ");
  }
  if (words->count == 1 && strcmp(words->items[0], "-") == 0 && e->input.file == NULL) {
    e->input.file = "-";
  } else if (words->count > 0 && e->input.file != NULL) {
    return cli_misuse(usage, "there are texts and a file of them; give one of both");
  } else if (words->count == 0 && e->input.file == NULL) {
    return cli_misuse(usage, "give texts, -f FILE or - (stdin)");
  }
  if (e->out != NULL && e->output == PRINT_JSON) {
    return cli_misuse(usage, "--out and -o json exclude each other");
  }
  return e->out == NULL || e->out[0] != '\0'
             ? check_int8(e, usage)
             : cli_misuse(usage, "name the file to write with --out FILE.npy (- is stdout)");
}

int cli_embed(int argc, char **argv) {
  embed e = {.weights = AS_IN_FILE, .embeddings = AS_IN_FILE};
  const cli_option options[] = {
      {"model", 'm', CLI_TEXT, "DIR",
       "the model: a folder with config.json, model.safetensors and\ntokenizer.json or vocab.txt",
       &e.path},
      {"file", 'f', CLI_TEXT, "FILE", "a file with a text on each line; - reads stdin",
       &e.input.file},
      {"weights", 0, CLI_CHOICE, WEIGHTS, "weights on the device (as the file has them)",
       &e.weights},
      {"acts", 0, CLI_CHOICE, ACTS,
       "activations: float (default), or int8 with a scale per 32 or\nper token", &e.acts},
      {"embeddings", 0, CLI_CHOICE, "f32|f16|bf16|w8",
       "the tables of words and positions (as --weights)", &e.embeddings},
      {"int8", 0, CLI_WORDS, "PARTS",
       "what else is int8: attention, softmax, activation, norm,\nresidual; separated by commas",
       &e.int8},
      {"calibrate", 0, CLI_TEXT, "FILE",
       "typical texts, a line each, from which int8 activation and\nnorm take their scales",
       &e.calibration.file},
      {"device", 0, CLI_TEXT, "DEVICE", "index or part of a name, as `clq devices` shows it",
       &e.device},
      {"out", 0, CLI_TEXT, "FILE", "write float32 [texts, width] to this NumPy file, print nothing",
       &e.out},
      {"output", 'o', CLI_CHOICE, "text|json", "how to print", &e.output},
  };
  const cli_usage usage = {
      "embed", "-m DIR (TEXT... | -f FILE | -) [option]...",
      "Turns texts into vectors of length 1 with an encoder of BERT's kind, a line for each.\n"
      "Special tokens in a text are text; what is longer than the model takes is cut off.",
      CLI_OPTIONS(options)};
  int code = CLI_DONE;
  cli_words words = {0};
  if (cli_parse(&usage, argc, argv, &words, &code)) {
    code = check(&e, &usage, &words);
    if (code == CLI_DONE) {
      cli_catch_signals();
      code = run(&e, &words);
    }
  }
  cli_npy_close(&e.npy);
  clq_encoder_destroy(e.encoder);
  cli_close_context(e.context);
  free_texts(&e.input_texts);
  free(e.int8.items);
  free(words.items);
  return code;
}
