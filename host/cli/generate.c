/* The loop of clq run: feed, draw a token for each answer, print it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "run.h"

/* What an answer needs while it grows. */
typedef struct voice {
  clq_sampler *sampler;
  clq_text_stream stream;
} voice;

typedef struct generation {
  cli_run_state *run;
  voice *voices;          /* [parallel], as what follows */
  int32_t *members;       /* answers that go on */
  int32_t *ids;           /* the tokens that they drew last */
  int32_t *chosen;        /* and next */
  clq_sampler **samplers; /* of the members */
  float *logits;          /* behind the prompt, [vocabulary] */
  int32_t going;          /* how many members */
  size_t printed;         /* bytes of the one answer's text that are on stdout */
  double mark;
} generation;

double cli_run_build_seconds(const cli_run_state *run) {
  return cli_parallel_stats(&run->sequences, &run->engine).build_seconds;
}

/* Time that is not spent on builds. */
static double working_seconds(const generation *g) {
  return cli_seconds() - cli_run_build_seconds(g->run);
}

/* Seconds of work since the last lap. */
static double lap(generation *g) {
  const double now = working_seconds(g);
  const double passed = now - g->mark;
  g->mark = now;
  return passed;
}

static bool streams(const cli_run_state *run) { return !run->json && run->parallel == 1; }

static void show(generation *g) {
  const clq_text *text = &g->run->answers[0].text;
  if (streams(g->run) && text->length > g->printed) {
    (void)fwrite(text->data + g->printed, 1, text->length - g->printed, stdout);
    (void)fflush(stdout);
    g->printed = text->length;
  }
}

/* Why no further token follows in the answer, or NULL. */
static const char *reason_to_stop(const cli_run_state *run, int32_t i) {
  return cli_interrupted()                                                  ? "cancelled"
         : run->answers[i].count >= run->limit                              ? "length"
         : clq_session_position(run->sequences.sessions[i]) >= run->context ? "context"
                                                                            : NULL;
}

/* Keeps an answer's next token, unless it ends the text. The answer is a member of the next step if
 * it goes on. */
static int keep(generation *g, int32_t i, int32_t id) {
  cli_run_state *run = g->run;
  cli_answer *answer = &run->answers[i];
  const clq_tokenizer *tokenizer = clq_model_tokenizer(run->engine.model);
  if (clq_tokenizer_is_end(tokenizer, id) != 0) {
    answer->stop_reason = "eos";
    return CLI_DONE;
  }
  answer->tokens[answer->count++] = id;
  if (clq_text_stream_push(&g->voices[i].stream, tokenizer, id, &answer->text) != CLQ_OK) {
    return cli_fail_library();
  }
  show(g);
  answer->stop_reason = reason_to_stop(run, i);
  if (answer->stop_reason == NULL) {
    g->members[g->going] = i;
    g->ids[g->going++] = id;
  }
  return CLI_DONE;
}

/* All answers draw their first tokens from the logits behind the prompt. */
static int draw_first(generation *g) {
  const cli_run_state *run = g->run;
  int code = CLI_DONE;
  for (int32_t i = 0; code == CLI_DONE && i < (int32_t)run->parallel; ++i) {
    int32_t id = 0;
    const clq_status status =
        clq_sampler_sample(g->voices[i].sampler, g->logits, run->engine.info.vocabulary, &id);
    code = status == CLQ_OK                 ? keep(g, i, id)
           : status == CLQ_INVALID_ARGUMENT ? cli_engine_fail_logits(&run->engine)
                                            : cli_fail_library();
  }
  return code;
}

/* The others are drawn on the device: of each only an id comes back. */
static int step(generation *g) {
  const int32_t count = g->going;
  for (int32_t i = 0; i < count; ++i) {
    g->samplers[i] = g->voices[g->members[i]].sampler;
  }
  int code =
      cli_parallel_step(&g->run->sequences, g->members, g->ids, count, g->samplers, g->chosen);
  g->going = 0;
  for (int32_t i = 0; code == CLI_DONE && i < count; ++i) {
    /* Members move down, never past the one at hand. */
    code = keep(g, g->members[i], g->chosen[i]);
  }
  return code;
}

static int decode(generation *g) {
  cli_run_state *run = g->run;
  int code = draw_first(g);
  run->first_token_seconds = run->prefill_seconds + lap(g);
  code = code != CLI_DONE || g->going == 0 ? code : cli_parallel_fork(&run->sequences);
  while (code == CLI_DONE && g->going > 0) {
    code = step(g);
  }
  run->decode_seconds = lap(g);
  return code;
}

static int end_all(const cli_run_state *run, const char *reason) {
  for (int64_t i = 0; i < run->parallel; ++i) {
    run->answers[i].stop_reason = reason;
  }
  return CLI_DONE;
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
    return end_all(run, "cancelled");
  }
  return run->limit == 0 ? end_all(run, "length") : decode(g);
}

/* A terminal's prompt gets a line of its own. */
static void end_line(const clq_text *text) {
  if (text->length == 0 || text->data[text->length - 1] != '\n') {
    (void)putchar('\n');
  }
}

static void print_answers(const cli_run_state *run) {
  for (int64_t i = 0; i < run->parallel; ++i) {
    const clq_text *text = &run->answers[i].text;
    (void)printf("--- answer %d of %d ---\n", (int)i + 1, (int)run->parallel);
    (void)fwrite(text->data, 1, text->length, stdout);
    end_line(text);
  }
}

/* An incomplete character at the end becomes U+FFFD. */
static int end_text(generation *g) {
  cli_run_state *run = g->run;
  for (int64_t i = 0; i < run->parallel; ++i) {
    if (clq_text_stream_end(&g->voices[i].stream, &run->answers[i].text) != CLQ_OK) {
      return cli_fail_library();
    }
  }
  show(g);
  if (streams(run)) {
    end_line(&run->answers[0].text);
  } else if (!run->json) {
    print_answers(run);
  }
  return cli_flush(CLI_DONE);
}

/* An answer has no more tokens than there is room for, and one that follows the last position.
 * False: the failure has been told. */
static bool reserve(generation *g) {
  cli_run_state *run = g->run;
  const size_t count = (size_t)run->parallel;
  const int64_t room = run->context - run->prompt.count + 1;
  const size_t most = (size_t)(run->limit < room ? run->limit : room);
  run->answers = calloc(count, sizeof *run->answers);
  g->voices = calloc(count, sizeof *g->voices);
  g->members = calloc(count, sizeof *g->members);
  g->ids = calloc(count, sizeof *g->ids);
  g->chosen = calloc(count, sizeof *g->chosen);
  g->samplers = calloc(count, sizeof(clq_sampler *));
  g->logits = calloc((size_t)run->engine.info.vocabulary, sizeof *g->logits);
  if (run->answers == NULL || g->voices == NULL || g->members == NULL || g->ids == NULL ||
      g->chosen == NULL || g->samplers == NULL || g->logits == NULL) {
    (void)cli_fail_memory();
    return false;
  }
  for (size_t i = 0; i < count; ++i) {
    clq_sampling sampling = run->sampling;
    sampling.seed += i;
    run->answers[i].tokens = calloc(most + 1, sizeof *run->answers[i].tokens);
    if (run->answers[i].tokens == NULL) {
      (void)cli_fail_memory();
      return false;
    }
    if (clq_sampler_create(&sampling, run->engine.info.vocabulary, &g->voices[i].sampler) !=
        CLQ_OK) {
      (void)cli_fail_library();
      return false;
    }
  }
  return true;
}

int cli_generate(cli_run_state *run) {
  generation g = {.run = run};
  run->first_token_seconds = NAN;
  int code = reserve(&g) ? prefill_and_decode(&g) : CLI_FAILED;
  code = code != CLI_DONE ? code : end_text(&g);
  for (int64_t i = 0; g.voices != NULL && i < run->parallel; ++i) {
    clq_sampler_destroy(g.voices[i].sampler);
  }
  free(g.voices);
  free(g.members);
  free(g.ids);
  free(g.chosen);
  free(g.samplers);
  free(g.logits);
  return code;
}
