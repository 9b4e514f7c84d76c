/* clq perplexity: how well a model predicts a text, in windows that overlap. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli.h"
#include "engine.h"
#include "input.h"
#include "json.h"

typedef struct perplexity {
  cli_engine engine;
  cli_input input;
  int64_t ctx;
  int64_t stride;
  int output;
  clq_tokens tokens;
  float *logits; /* [LOGIT_ROWS, vocabulary] */
  int64_t scored;
  double nll;
} perplexity;

enum { LOGIT_ROWS = 128 };

/* -log softmax(row)[id]. The terms are floats, their sum is not: 1e-8 of the result. */
static double negative_log_likelihood(const float *row, int64_t vocabulary, int32_t id) {
  float top = row[0];
  for (int64_t i = 1; i < vocabulary; ++i) {
    top = row[i] > top ? row[i] : top;
  }
  double sum = 0;
  for (int64_t i = 0; i < vocabulary; ++i) {
    sum += (double)expf(row[i] - top);
  }
  return (double)top + log(sum) - (double)row[id];
}

/* Feeds tokens at..end-1, whose predictions are scored against the tokens after them. */
static int score(perplexity *p, int64_t at, int64_t end) {
  const int64_t vocabulary = p->engine.info.vocabulary;
  while (at < end && !cli_interrupted()) {
    const int64_t count = end - at < LOGIT_ROWS ? end - at : LOGIT_ROWS;
    const clq_status status =
        clq_session_eval(p->engine.session, p->tokens.ids + at, count, CLQ_LOGITS_ALL, p->logits);
    if (status != CLQ_OK) {
      return cli_engine_fail(&p->engine, status);
    }
    for (int64_t i = 0; i < count; ++i) {
      p->nll += negative_log_likelihood(p->logits + i * vocabulary, vocabulary,
                                        p->tokens.ids[at + i + 1]);
    }
    if (!isfinite(p->nll)) {
      return cli_fail("the logits behind tokens %" PRId64 " to %" PRId64 " are NaN or infinite; %s",
                      at, at + count - 1, cli_engine_nan_advice(&p->engine));
    }
    p->scored += count;
    at += count;
  }
  return CLI_DONE;
}

/* Tokens first..end-1 form the window; those before `scored` have had their score. */
static int score_window(perplexity *p, int64_t first, int64_t scored, int64_t end) {
  if (clq_session_rewind(p->engine.session, 0) != CLQ_OK) {
    return cli_fail_library();
  }
  int64_t fed = 0;
  const int code =
      cli_engine_feed(&p->engine, p->tokens.ids + first, scored - 1 - first, NULL, &fed);
  return code != CLI_DONE ? code : score(p, scored - 1, end - 1);
}

static int score_text(perplexity *p) {
  const bool watched = isatty(STDERR_FILENO);
  int code = CLI_DONE;
  int64_t scored = 1;
  for (int64_t first = 0; code == CLI_DONE && scored < p->tokens.count && !cli_interrupted();
       first += p->stride) {
    const int64_t end = first + p->ctx < p->tokens.count ? first + p->ctx : p->tokens.count;
    code = score_window(p, first, scored, end);
    scored = end;
    if (watched && code == CLI_DONE && p->scored > 0) {
      (void)fprintf(stderr, "\r%" PRId64 " of %" PRId64 " tokens, perplexity %.4f ", p->scored,
                    p->tokens.count - 1, exp(p->nll / (double)p->scored));
    }
  }
  if (watched) {
    (void)fputc('\n', stderr);
  }
  return code;
}

static int print(const perplexity *p) {
  const double value = p->scored > 0 ? exp(p->nll / (double)p->scored) : (double)NAN;
  const bool complete = p->scored == p->tokens.count - 1;
  if (p->output == 1) {
    cli_json json = cli_json_new();
    cli_json_number(&json, "tokens_scored", (double)p->scored);
    cli_json_number(&json, "nll", p->nll);
    cli_json_number(&json, "perplexity", value);
    cli_json_number(&json, "ctx", (double)p->ctx);
    cli_json_number(&json, "stride", (double)p->stride);
    cli_json_string(&json, "acts", cli_acts_name(&p->engine));
    cli_json_string(&json, "kv", cli_kv_name(&p->engine));
    cli_json_string(&json, "stop_reason", complete ? "end" : "cancelled");
    return cli_json_print(&json);
  }
  (void)printf("perplexity %.4f over %" PRId64 " tokens%s (ctx %" PRId64 ", stride %" PRId64
               ", acts %s, kv %s)\n",
               value, p->scored, complete ? "" : ", cancelled", p->ctx, p->stride,
               cli_acts_name(&p->engine), cli_kv_name(&p->engine));
  return CLI_DONE;
}

static int encode(perplexity *p) {
  char *text = NULL;
  size_t length = 0;
  int code = cli_input_read(&p->input, &text, &length);
  if (code == CLI_DONE && clq_tokenizer_encode(clq_model_tokenizer(p->engine.model), text, length,
                                               CLQ_ENCODE_BOS, &p->tokens) != CLQ_OK) {
    code = cli_fail_library();
  }
  free(text);
  if (code == CLI_DONE && p->tokens.count < 2) {
    code = cli_fail("the text has %lld token%s, scoring takes at least 2; give a longer one",
                    (long long)p->tokens.count, p->tokens.count == 1 ? "" : "s");
  }
  return code;
}

static int measure(perplexity *p) {
  int code = cli_engine_load(&p->engine);
  code = code != CLI_DONE ? code : encode(p);
  code = code != CLI_DONE ? code : cli_engine_start(&p->engine, p->ctx);
  if (code != CLI_DONE) {
    return code;
  }
  p->logits = malloc((size_t)p->engine.info.vocabulary * LOGIT_ROWS * sizeof *p->logits);
  if (p->logits == NULL) {
    return cli_fail_memory();
  }
  code = score_text(p);
  return code != CLI_DONE ? code : print(p);
}

static int check(perplexity *p, const cli_usage *usage, const cli_words *words) {
  int code = cli_engine_check(&p->engine, usage);
  code = code != CLI_DONE ? code : cli_input_check(&p->input, usage, words, false);
  if (code == CLI_DONE && p->stride >= p->ctx) {
    code = cli_misuse(usage,
                      "--stride is %lld, expected less than --ctx %lld: windows overlap, because "
                      "nothing predicts the first token of one",
                      (long long)p->stride, (long long)p->ctx);
  }
  return code;
}

int cli_perplexity(int argc, char **argv) {
  perplexity p = {.ctx = 512, .stride = 256, .engine.thrift = "use a smaller --ctx"};
  const cli_option options[] = {
      CLI_ENGINE_MODEL(p.engine),
      CLI_INPUT_TEXT(p.input),
      CLI_INPUT_FILE(p.input),
      {"ctx", 0, CLI_INT, "N", "tokens in a window (512)", &p.ctx, .low = 2, .high = INT32_MAX},
      {"stride", 0, CLI_INT, "N",
       "tokens from one window's start to the next's, less than --ctx (256)", &p.stride, .low = 1,
       .high = INT32_MAX},
      CLI_ENGINE_OPTIONS(p.engine),
      {"output", 'o', CLI_CHOICE, "text|json", "how to print", &p.output},
  };
  const cli_usage usage = {"perplexity", "-m FILE (-f FILE | -p TEXT | -) [option]...",
                           "Measures how well a model predicts a text. Each window scores only the "
                           "tokens that the\nprevious one did not.",
                           CLI_OPTIONS(options)};
  int code = CLI_DONE;
  cli_words words = {0};
  if (cli_parse(&usage, argc, argv, &words, &code)) {
    code = check(&p, &usage, &words);
    if (code == CLI_DONE) {
      cli_catch_signals();
      code = measure(&p);
    }
  }
  cli_engine_close(&p.engine);
  clq_tokens_free(&p.tokens);
  free(p.logits);
  free(words.items);
  return code;
}
