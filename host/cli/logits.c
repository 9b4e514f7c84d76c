/* clq logits: a model's prediction after every token, as a NumPy file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "engine.h"
#include "input.h"
#include "npy.h"

typedef struct logits {
  cli_engine engine;
  cli_input input;
  cli_ints ids;
  const char *out;
  clq_tokens tokens;
  cli_npy npy;
} logits;

static int take_ids(logits *l) {
  const int64_t vocabulary = l->engine.info.vocabulary;
  l->tokens.ids = malloc((l->ids.count + 1) * sizeof *l->tokens.ids);
  if (l->tokens.ids == NULL) {
    return cli_fail_memory();
  }
  for (size_t i = 0; i < l->ids.count; ++i) {
    if (l->ids.items[i] >= vocabulary) {
      return cli_fail(
          "--ids has %lld, expected token ids of the model, 0 to %lld; `clq tokenize` "
          "gives a text's ids",
          (long long)l->ids.items[i], (long long)vocabulary - 1);
    }
    l->tokens.ids[i] = (int32_t)l->ids.items[i];
  }
  l->tokens.count = (int64_t)l->ids.count;
  return CLI_DONE;
}

static int encode(logits *l) {
  char *text = NULL;
  size_t length = 0;
  int code = cli_input_read(&l->input, &text, &length);
  if (code == CLI_DONE && clq_tokenizer_encode(clq_model_tokenizer(l->engine.model), text, length,
                                               CLQ_ENCODE_BOS, &l->tokens) != CLQ_OK) {
    code = cli_fail_library();
  }
  free(text);
  return code;
}

static bool all_finite(const float *values, int64_t count) {
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) {
    finite &= isfinite(values[i]) != 0;
  }
  return finite;
}

/* Some rows at a time: all of them may be larger than memory. */
static int write_rows(logits *l) {
  enum { ROWS = 32 };
  const int64_t vocabulary = l->engine.info.vocabulary;
  float *rows = malloc((size_t)vocabulary * ROWS * sizeof *rows);
  if (rows == NULL) {
    return cli_fail_memory();
  }
  int code = CLI_DONE;
  for (int64_t at = 0; code == CLI_DONE && at < l->tokens.count;) {
    const int64_t count = l->tokens.count - at < ROWS ? l->tokens.count - at : ROWS;
    if (cli_interrupted()) {
      code = cli_fail("interrupted before row %lld, %s", (long long)at, cli_npy_left(&l->npy));
    } else {
      const clq_status status =
          clq_session_eval(l->engine.session, l->tokens.ids + at, count, CLQ_LOGITS_ALL, rows);
      code = status != CLQ_OK ? cli_engine_fail(&l->engine, status)
             : !all_finite(rows, count * vocabulary)
                 ? cli_fail("the logits of rows %lld to %lld are NaN or infinite, %s; %s",
                            (long long)at, (long long)(at + count - 1), cli_npy_left(&l->npy),
                            cli_engine_nan_advice(&l->engine))
                 : cli_npy_write(&l->npy, rows, (size_t)(count * vocabulary));
    }
    at += count;
  }
  free(rows);
  return code;
}

static int write_logits(logits *l) {
  const clq_model_info *info = &l->engine.info;
  int code = cli_npy_create(l->out, &l->npy);
  code = code != CLI_DONE ? code : cli_engine_load(&l->engine);
  code = code != CLI_DONE ? code : (l->ids.items != NULL ? take_ids(l) : encode(l));
  if (code == CLI_DONE && l->tokens.count > info->context) {
    code = cli_fail("the text has %lld tokens, the model's context holds %lld; use a shorter one",
                    (long long)l->tokens.count, (long long)info->context);
  }
  if (code == CLI_DONE && l->tokens.count == 0) {
    code = cli_fail("there are no tokens to predict from; give at least one");
  }
  code = code != CLI_DONE ? code : cli_engine_start(&l->engine, l->tokens.count);
  code = code != CLI_DONE ? code : cli_npy_header(&l->npy, l->tokens.count, info->vocabulary);
  code = code != CLI_DONE ? code : write_rows(l);
  return code != CLI_DONE ? code : cli_npy_commit(&l->npy);
}

static int check(logits *l, const cli_usage *usage, const cli_words *words) {
  int code = cli_engine_check(&l->engine, usage);
  code = code != CLI_DONE ? code : cli_input_check(&l->input, usage, words, true);
  if (code != CLI_DONE) {
    return code;
  }
  const int sources = (l->input.text != NULL) + (l->input.file != NULL) + (l->ids.items != NULL);
  if (sources != 1) {
    return cli_misuse(usage, "give one of -p TEXT, -f FILE, - and --ids LIST");
  }
  if (l->out == NULL || l->out[0] == '\0') {
    return cli_misuse(usage, "name the file to write with --out FILE.npy (- is stdout)");
  }
  return CLI_DONE;
}

int cli_logits(int argc, char **argv) {
  logits l = {.engine.thrift = "use a shorter text"};
  const cli_option options[] = {
      CLI_ENGINE_MODEL(l.engine),
      CLI_INPUT_TEXT(l.input),
      CLI_INPUT_FILE(l.input),
      {"ids", 0, CLI_INTS, "1,2,3", "token ids, in place of a text", &l.ids, .high = INT32_MAX},
      {"out", 0, CLI_TEXT, "FILE",
       "the file to write, float32 [tokens, vocabulary]; - writes stdout", &l.out},
      CLI_ENGINE_OPTIONS(l.engine),
  };
  const cli_usage usage = {
      "logits", "-m FILE (-p TEXT | -f FILE | - | --ids LIST) --out FILE.npy [option]...",
      "Writes a model's logits: row i is the prediction after token i, the "
      "last row included.\nThe text gets BOS only if the model's metadata "
      "says so; special tokens in it are text.",
      CLI_OPTIONS(options)};
  int code = CLI_DONE;
  cli_words words = {0};
  if (cli_parse(&usage, argc, argv, &words, &code)) {
    code = check(&l, &usage, &words);
    if (code == CLI_DONE) {
      cli_catch_signals();
      code = write_logits(&l);
    }
  }
  cli_npy_close(&l.npy);
  cli_engine_close(&l.engine);
  if (l.ids.items != NULL) {
    free(l.tokens.ids);
  } else {
    clq_tokens_free(&l.tokens);
  }
  free(l.ids.items);
  free(words.items);
  return code;
}
