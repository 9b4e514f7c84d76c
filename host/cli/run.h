/* clq run: what was asked for, and what came of it. */
#ifndef CLQ_CLI_RUN_H
#define CLQ_CLI_RUN_H

#include "engine.h"
#include "input.h"
#include "parallel.h"

/* One continuation of the prompt. */
typedef struct cli_answer {
  int32_t *tokens; /* what was generated, the token that ended it left out */
  int64_t count;
  clq_text text;
  const char *stop_reason; /* eos, length, context or cancelled */
} cli_answer;

typedef struct cli_run {
  /* Asked for. */
  cli_engine engine;
  cli_input input;
  clq_sampling sampling;
  int64_t limit;    /* tokens to generate */
  int64_t context;  /* 0: as many as prompt and answer may need */
  int64_t parallel; /* answers, the i-th with seed + i */
  bool chat;
  bool stats;
  bool json;
  const char *trace_file;

  /* What came of it. Times are of a wall clock, kernel builds left out. */
  clq_trace *trace; /* with stats or trace_file */
  clq_tokens prompt;
  cli_parallel sequences;
  cli_answer *answers; /* [parallel] */
  double load_seconds;
  double prefill_seconds;
  double first_token_seconds; /* NaN if there is none */
  double decode_seconds;      /* of all tokens after each answer's first */
} cli_run_state;

/* Generates into the state, an exit code. Unless json, text goes to stdout: that of one answer as
 * it comes, several one after the other at the end. */
int cli_generate(cli_run_state *run);

/* Wall seconds spent on compiling kernels and plans so far. */
double cli_run_build_seconds(const cli_run_state *run);

/* The object of -o json on stdout; an exit code. */
int cli_run_print_json(const cli_run_state *run);
/* The same as a table on stderr. */
int cli_run_print_stats(const cli_run_state *run);

#endif
