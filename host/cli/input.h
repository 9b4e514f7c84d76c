/* The text that a command works on: -p TEXT, -f FILE or - for stdin. */
#ifndef CLQ_CLI_INPUT_H
#define CLQ_CLI_INPUT_H

#include <stddef.h>

#include "options.h"

typedef struct cli_input {
  const char *text; /* -p */
  const char *file; /* -f; "-" is stdin */
} cli_input;

/* Rows of an option table; `input` is a cli_input. */
#define CLI_INPUT_TEXT(input) \
  { "prompt", 'p', CLI_TEXT, "TEXT", "the text", &(input).text }
#define CLI_INPUT_FILE(input) \
  { "file", 'f', CLI_TEXT, "FILE", "a file with the text; - reads stdin", &(input).file }

/* Takes the word - as stdin and checks that there is exactly one source (or, if `optional`, none).
 * CLI_DONE or an exit code after a complaint. */
int cli_input_check(cli_input *input, const cli_usage *usage, const cli_words *words,
                    bool optional);

/* All of it, exactly, with a NUL behind it that is not counted; *data is released with free(). An
 * exit code. */
int cli_input_read(const cli_input *input, char **data, size_t *length);

#endif
