/* Declared options of a sub-command: parsing, help and complaints from one table.
 *
 *   int64_t count = 128;
 *   cli_option options[] = {
 *       {"tokens", 'n', CLI_INT, "N", "how many to generate (128)", &count, .high = 1e6},
 *   };
 *   const cli_usage usage = {"run", "-m FILE [option]...", "Continues a text.",
 * CLI_OPTIONS(options)}; int code; if (!cli_parse(&usage, argc, argv, NULL, &code)) return code;
 *
 * Spelled --tokens=5, --tokens 5, -n 5 or -n5; `--` ends the options. Of an
 * option given twice the last one counts. */
#ifndef CLQ_CLI_OPTIONS_H
#define CLQ_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cli_ints {
  int64_t *items;
  size_t count;
} cli_ints;

typedef struct cli_words {
  const char **items;
  size_t count;
} cli_words;

/* What an option takes, and the type of its target. A list owns items: the
 * caller releases them with free(). */
typedef enum cli_kind {
  CLI_FLAG,   /* bool, becomes true */
  CLI_INT,    /* int64_t */
  CLI_FLOAT,  /* double, finite */
  CLI_TEXT,   /* const char *, a word of argv */
  CLI_CHOICE, /* int: place in the list of `value`, which is "one|two|three" */
  CLI_INTS,   /* cli_ints, "1,2,3" */
  CLI_WORDS   /* cli_words, "a,b,c" */
} cli_kind;

typedef struct cli_option {
  const char *name; /* without the dashes */
  char letter;      /* 0: none */
  cli_kind kind;
  const char *value; /* its name in the help; NULL for a flag */
  const char *help;  /* may have several lines */
  void *target;      /* keeps its content where the option is not given */
  double low, high;  /* range of numbers, also of a list's; both 0: any */
  bool *given;       /* becomes true; may be NULL */
} cli_option;

typedef struct cli_usage {
  const char *command;
  const char *synopsis; /* what follows the command's name */
  const char *purpose;  /* sentences for the help */
  const cli_option *options;
  size_t option_count;
} cli_usage;
#define CLI_OPTIONS(array) (array), sizeof(array) / sizeof *(array)

/* Fills the targets. Words that are no options go to *words (released with
 * free(words->items)); with words NULL there may be none. False if the command
 * is over: *code is its exit code (0 after --help). */
bool cli_parse(const cli_usage *usage, int argc, char **argv, cli_words *words, int *code);

/* Says on stderr what is wrong and where help is; returns CLI_MISUSED. */
int cli_misuse(const cli_usage *usage, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Place of `word` among "one|two|three", or -1. */
int cli_choice(const char *choices, const char *word);

/* Numbers of a list "1,2,3" in [low, high]; false, with *items NULL, for anything else. An empty
 * text is an empty list. */
bool cli_parse_ints(const char *text, double low, double high, cli_ints *out);

/* The candidate nearest to `word`, or NULL if none is near; candidate(i) is NULL past the last. */
const char *cli_nearest(const char *word, const char *(*candidate)(const void *list, size_t i),
                        const void *list);

#endif
