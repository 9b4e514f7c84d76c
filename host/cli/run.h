/* clq run: what was asked for, and what came of it. */
#ifndef CLQ_CLI_RUN_H
#define CLQ_CLI_RUN_H

#include "engine.h"
#include "input.h"

typedef struct cli_run {
  /* Asked for. */
  cli_engine engine;
  cli_input input;
  clq_sampling sampling;
  int64_t limit;   /* tokens to generate */
  int64_t context; /* 0: as many as prompt and answer may need */
  bool chat;
  bool stats;
  bool json;
  const char *trace_file;

  /* What came of it. Times are of a wall clock, kernel builds left out. */
  clq_trace *trace; /* with stats or trace_file */
  clq_tokens prompt;
  int32_t *tokens; /* what was generated, the token that ended it left out */
  int64_t count;
  clq_text text;
  const char *stop_reason; /* eos, length, context or cancelled */
  double load_seconds;
  double prefill_seconds;
  double first_token_seconds; /* NaN if there is none */
  double decode_seconds;      /* of all tokens after the first */
} cli_run_state;

/* Generates into the state, streaming text to stdout unless json; an exit code. */
int cli_generate(cli_run_state *run);

/* The object of -o json on stdout; an exit code. */
int cli_run_print_json(const cli_run_state *run);
/* The same as a table on stderr. */
int cli_run_print_stats(const cli_run_state *run);

#endif
