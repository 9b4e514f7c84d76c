/* The loop of clq run: feed, draw a token, print it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "run.h"

typedef struct generation {
  cli_run_state *run;
  clq_sampler *sampler;
  float *logits;
  clq_text_stream stream;
  size_t printed; /* bytes of run->text that are on stdout */
  double mark;
} generation;

/* Time that is not spent on builds. */
static double working_seconds(const generation *g) {
  return cli_seconds() - cli_engine_build_seconds(&g->run->engine);
}

/* Seconds of work since the last lap. */
static double lap(generation *g) {
  const double now = working_seconds(g);
  const double passed = now - g->mark;
  g->mark = now;
  return passed;
}

static void show(generation *g) {
  cli_run_state *run = g->run;
  if (!run->json && run->text.length > g->printed) {
    (void)fwrite(run->text.data + g->printed, 1, run->text.length - g->printed, stdout);
    (void)fflush(stdout);
    g->printed = run->text.length;
  }
}

/* Draws the next token and keeps it, unless it ends the text. */
static int draw(generation *g, int32_t *id, bool *over) {
  cli_run_state *run = g->run;
  const clq_tokenizer *tokenizer = clq_model_tokenizer(run->engine.model);
  if (clq_sampler_sample(g->sampler, g->logits, run->engine.info.vocabulary, id) != CLQ_OK) {
    return cli_fail_library();
  }
  *over = clq_tokenizer_is_end(tokenizer, *id) != 0;
  if (*over) {
    run->stop_reason = "eos";
    return CLI_DONE;
  }
  run->tokens[run->count++] = *id;
  if (clq_text_stream_push(&g->stream, tokenizer, *id, &run->text) != CLQ_OK) {
    return cli_fail_library();
  }
  show(g);
  return CLI_DONE;
}

/* Why no further token follows, or NULL. */
static const char *reason_to_stop(const cli_run_state *run) {
  return cli_interrupted()                                           ? "cancelled"
         : run->count >= run->limit                                  ? "length"
         : clq_session_position(run->engine.session) >= run->context ? "context"
                                                                     : NULL;
}

static int decode(generation *g) {
  cli_run_state *run = g->run;
  int32_t id = 0;
  bool over = false;
  int code = draw(g, &id, &over);
  run->first_token_seconds = run->prefill_seconds + lap(g);
  while (code == CLI_DONE && !over && (run->stop_reason = reason_to_stop(run)) == NULL) {
    if (clq_session_eval(run->engine.session, &id, 1, CLQ_LOGITS_LAST, g->logits) != CLQ_OK) {
      return cli_fail_library();
    }
    code = draw(g, &id, &over);
  }
  run->decode_seconds = lap(g);
  return code;
}

static int prefill_and_decode(generation *g) {
  cli_run_state *run = g->run;
  run->load_seconds = working_seconds(g) - run->engine.opened_at;
  g->mark = working_seconds(g);
  int64_t fed = 0;
  int code = cli_engine_feed(&run->engine, run->prompt.ids, run->prompt.count,
                             run->limit > 0 ? g->logits : NULL, &fed);
  run->prefill_seconds = lap(g);
  if (code != CLI_DONE) {
    return code;
  }
  if (fed < run->prompt.count) {
    run->prefill_seconds = (double)NAN; /* of the whole prompt, which nobody knows */
    run->stop_reason = "cancelled";
    return CLI_DONE;
  }
  if (run->limit == 0) {
    run->stop_reason = "length";
    return CLI_DONE;
  }
  return decode(g);
}

/* An incomplete character at the end becomes U+FFFD; a terminal's prompt gets a line of its own. */
static int end_text(generation *g) {
  cli_run_state *run = g->run;
  if (clq_text_stream_end(&g->stream, &run->text) != CLQ_OK) {
    return cli_fail_library();
  }
  show(g);
  if (!run->json && (run->text.length == 0 || run->text.data[run->text.length - 1] != '\n')) {
    (void)putchar('\n');
  }
  return cli_flush(CLI_DONE);
}

int cli_generate(cli_run_state *run) {
  generation g = {.run = run};
  int code = CLI_DONE;
  run->first_token_seconds = NAN;
  run->tokens = malloc((size_t)(run->limit + 1) * sizeof *run->tokens);
  g.logits = malloc((size_t)run->engine.info.vocabulary * sizeof *g.logits);
  if (run->tokens == NULL || g.logits == NULL) {
    code = cli_fail_memory();
  } else if (clq_sampler_create(&run->sampling, run->engine.info.vocabulary, &g.sampler) !=
             CLQ_OK) {
    code = cli_fail_library();
  } else {
    code = prefill_and_decode(&g);
    code = code != CLI_DONE ? code : end_text(&g);
  }
  clq_sampler_destroy(g.sampler);
  free(g.logits);
  return code;
}
