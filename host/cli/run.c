/* clq run: continues a text, or answers it, with a language model. */
#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

/* Options whose absence means something. */
typedef struct sampling_options {
  bool greedy;
  double temperature, top_p, min_p;
  int64_t top_k, seed;
  bool sampled; /* any of them but greedy was given */
} sampling_options;

static clq_sampling to_sampling(const sampling_options *given) {
  if (!given->sampled) {
    return (clq_sampling){0};
  }
  return (clq_sampling){.temperature = (float)given->temperature,
                        .top_k = (int32_t)given->top_k,
                        .top_p = (float)given->top_p,
                        .min_p = (float)given->min_p,
                        .seed = (uint64_t)given->seed};
}

static int encode_prompt(cli_run_state *run) {
  const clq_tokenizer *tokenizer = clq_model_tokenizer(run->engine.model);
  char *text = NULL;
  size_t length = 0;
  int code = cli_input_read(&run->input, &text, &length);
  if (code != CLI_DONE) {
    return code;
  }
  const clq_status status =
      run->chat ? clq_tokenizer_encode_chat(tokenizer, NULL, text, length, &run->prompt)
                : clq_tokenizer_encode(tokenizer, text, length, CLQ_ENCODE_BOS, &run->prompt);
  free(text);
  if (status != CLQ_OK) {
    return run->chat && status == CLQ_UNSUPPORTED
               ? cli_fail_library_advice("give the whole prompt without --chat")
               : cli_fail_library();
  }
  return run->prompt.count > 0 ? CLI_DONE : cli_fail("the prompt has no tokens; give at least one");
}

/* Without --ctx, what prompt and answer may need, in steps that few sizes share. */
static int choose_context(cli_run_state *run) {
  enum { STEP = 64 };
  const int64_t trained = run->engine.info.context;
  if (run->context == 0) {
    const int64_t room = trained > run->prompt.count ? trained - run->prompt.count : 0;
    const int64_t needed = run->prompt.count + (run->limit < room ? run->limit : room);
    run->context = (needed + STEP - 1) / STEP * STEP;
    run->context = run->context < trained ? run->context : trained;
  }
  if (run->prompt.count > run->context) {
    return cli_fail("the prompt has %lld tokens, the context holds %lld; use a shorter prompt%s",
                    (long long)run->prompt.count, (long long)run->context,
                    run->context < trained ? " or a larger --ctx" : "");
  }
  return CLI_DONE;
}

/* Before the work, not after it. */
static int check_trace_file(const char *path) {
  const char *slash = strrchr(path, '/');
  char folder[4096] = ".";
  struct stat found;
  if (path[0] == '\0') {
    return cli_fail("--trace is empty; give it the name of a file");
  }
  if (stat(path, &found) == 0) {
    return S_ISDIR(found.st_mode)
               ? cli_fail("trace: %s cannot be written: it is a folder; name a file in it", path)
           : access(path, W_OK) == 0
               ? CLI_DONE
               : cli_fail("trace: %s cannot be written: %s; give --trace another name", path,
                          strerror(errno));
  }
  if (slash != NULL) {
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path + 1), path);
  }
  return access(folder, W_OK | X_OK) == 0
             ? CLI_DONE
             : cli_fail("trace: %s cannot be written: %s; give --trace another name", path,
                        strerror(errno));
}

static int start(cli_run_state *run) {
  int code = run->trace_file == NULL ? CLI_DONE : check_trace_file(run->trace_file);
  code = code != CLI_DONE ? code : cli_engine_load(&run->engine);
  code = code != CLI_DONE ? code : encode_prompt(run);
  code = code != CLI_DONE ? code : choose_context(run);
  code = code != CLI_DONE ? code : cli_engine_start(&run->engine, run->context);
  code = code != CLI_DONE ? code
                          : cli_parallel_start(&run->sequences, &run->engine,
                                               (int32_t)run->parallel, run->context);
  if (code == CLI_DONE && (run->stats || run->trace_file != NULL)) {
    if (clq_trace_create(&run->trace) != CLQ_OK) {
      return cli_fail_library();
    }
    clq_session_trace(run->engine.session, run->trace);
  }
  return code;
}

static int report(cli_run_state *run) {
  int code = CLI_DONE;
  if (run->json) {
    code = cli_run_print_json(run);
  } else if (run->stats) {
    code = cli_run_print_stats(run);
  }
  if (code == CLI_DONE && run->trace_file != NULL &&
      clq_trace_write(run->trace, run->trace_file) != CLQ_OK) {
    code = cli_fail_library();
  }
  return code;
}

static int check(cli_run_state *run, const sampling_options *sampling, const cli_usage *usage,
                 const cli_words *words) {
  int code = cli_engine_check(&run->engine, usage);
  code = code != CLI_DONE ? code : cli_input_check(&run->input, usage, words, false);
  if (code == CLI_DONE && sampling->greedy && sampling->sampled) {
    code = cli_misuse(usage, "--greedy excludes --temp, --top-k, --top-p, --min-p and --seed");
  }
  if (code == CLI_DONE && run->trace_file != NULL && strcmp(run->trace_file, "-") == 0) {
    code = cli_misuse(usage, "standard output is for the answer; name a file with --trace");
  }
  return code;
}

static void release(cli_run_state *run) {
  if (run->engine.session != NULL) {
    clq_session_trace(run->engine.session, NULL);
  }
  cli_parallel_close(&run->sequences);
  cli_engine_close(&run->engine);
  clq_trace_destroy(run->trace);
  clq_tokens_free(&run->prompt);
  for (int64_t i = 0; run->answers != NULL && i < run->parallel; ++i) {
    clq_text_free(&run->answers[i].text);
    free(run->answers[i].tokens);
  }
  free(run->answers);
}

int cli_run(int argc, char **argv) {
  cli_run_state run = {
      .limit = 128, .parallel = 1, .engine.thrift = "use a smaller --ctx or --parallel"};
  sampling_options sampling = {.temperature = 1};
  int output = 0;
  const cli_option options[] = {
      CLI_ENGINE_MODEL(run.engine),
      CLI_INPUT_TEXT(run.input),
      CLI_INPUT_FILE(run.input),
      {"tokens", 'n', CLI_INT, "N", "most tokens to generate (128)", &run.limit, .low = 0,
       .high = INT32_MAX / 2},
      {"chat", 0, CLI_FLAG, NULL, "the text is a message; answer it in the model's chat template",
       &run.chat},
      {"greedy", 0, CLI_FLAG, NULL, "always the likeliest token (default)", &sampling.greedy},
      {"temp", 0, CLI_FLOAT, "T", "draw at this temperature (1 if another of these is given)",
       &sampling.temperature, .low = 0, .high = 100, .given = &sampling.sampled},
      {"top-k", 0, CLI_INT, "K", "draw among the K likeliest (0: all)", &sampling.top_k, .low = 0,
       .high = INT32_MAX, .given = &sampling.sampled},
      {"top-p", 0, CLI_FLOAT, "P", "draw among as many as have this probability together (0: all)",
       &sampling.top_p, .low = 0, .high = 1, .given = &sampling.sampled},
      {"min-p", 0, CLI_FLOAT, "P", "drop what is less than P times as likely as the likeliest",
       &sampling.min_p, .low = 0, .high = 1, .given = &sampling.sampled},
      {"seed", 0, CLI_INT, "S", "of the random numbers (0)", &sampling.seed, .low = 0,
       .high = (double)INT64_MAX, .given = &sampling.sampled},
      {"parallel", 0, CLI_INT, "N",
       "answers to the one prompt, decoded together (1), with seeds S,\nS + 1, ...; greedy ones "
       "are all alike, so use --temp",
       &run.parallel, .low = 1, .high = CLI_MOST_PARALLEL},
      {"ctx", 0, CLI_INT, "N", "room for prompt and answer (what they may need)", &run.context,
       .low = 1, .high = INT32_MAX},
      CLI_ENGINE_OPTIONS(run.engine),
      {"stats", 0, CLI_FLAG, NULL, "also print times, memory and what each kernel took, to stderr",
       &run.stats},
      {"trace", 0, CLI_TEXT, "FILE", "write a Chrome trace of the kernels (open it in Perfetto)",
       &run.trace_file},
      {"output", 'o', CLI_CHOICE, "text|json", "json: one object at the end instead of the text",
       &output},
  };
  const cli_usage usage = {"run", "-m FILE (-p TEXT | -f FILE | -) [option]...",
                           "Continues a text with a language model. Special tokens in the text are "
                           "text.\nSIGINT ends the run with what was produced.",
                           CLI_OPTIONS(options)};
  int code = CLI_DONE;
  cli_words words = {0};
  if (cli_parse(&usage, argc, argv, &words, &code)) {
    run.json = output == 1;
    run.sampling = to_sampling(&sampling);
    code = check(&run, &sampling, &usage, &words);
    if (code == CLI_DONE) {
      cli_catch_signals();
      code = start(&run);
      code = code != CLI_DONE ? code : cli_generate(&run);
      code = code != CLI_DONE ? code : report(&run);
    }
  }
  release(&run);
  free(words.items);
  return code;
}
