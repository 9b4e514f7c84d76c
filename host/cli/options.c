#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* --- Complaints. -------------------------------------------------------------- */

int cli_misuse(const cli_usage *usage, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)fprintf(stderr, "clq %s: ", usage->command);
  (void)vfprintf(stderr, format, arguments);
  (void)fprintf(stderr, "; try 'clq %s --help'\n", usage->command);
  va_end(arguments);
  return CLI_MISUSED;
}

enum { LONGEST_COMPARED = 31 };

static size_t smallest(size_t a, size_t b, size_t c) {
  const size_t least = a < b ? a : b;
  return least < c ? least : c;
}

static bool swapped(const char *a, const char *b) { return a[0] == b[-1] && a[-1] == b[0]; }

/* Insertions, deletions, replacements and swaps of neighbours between two words. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length) {
  size_t cost[LONGEST_COMPARED + 1][LONGEST_COMPARED + 1];
  for (size_t i = 0; i <= a_length; ++i) {
    cost[i][0] = i;
  }
  for (size_t j = 0; j <= b_length; ++j) {
    cost[0][j] = j;
  }
  for (size_t i = 1; i <= a_length; ++i) {
    for (size_t j = 1; j <= b_length; ++j) {
      cost[i][j] = smallest(cost[i - 1][j] + 1, cost[i][j - 1] + 1,
                            cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && swapped(a + i - 1, b + j - 1) && cost[i - 2][j - 2] + 1 < cost[i][j]) {
        cost[i][j] = cost[i - 2][j - 2] + 1;
      }
    }
  }
  return cost[a_length][b_length];
}

const char *cli_nearest(const char *word, const char *(*candidate)(const void *list, size_t i),
                        const void *list) {
  const size_t length = strlen(word);
  if (length > LONGEST_COMPARED) {
    return NULL;
  }
  const char *best = NULL;
  size_t best_distance = 1 + (length + 1) / 3;
  const char *name = NULL;
  for (size_t i = 0; (name = candidate(list, i)) != NULL; ++i) {
    const size_t name_length = strlen(name);
    if (name_length > LONGEST_COMPARED) {
      continue;
    }
    const size_t distance = edit_distance(word, length, name, name_length);
    if (distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

static const char *option_name(const void *list, size_t i) {
  const cli_usage *usage = list;
  return i < usage->option_count ? usage->options[i].name
                                 : (i == usage->option_count ? "help" : NULL);
}

static int unknown_option(const cli_usage *usage, const char *name) {
  const char *nearest = cli_nearest(name, option_name, usage);
  return nearest == NULL
             ? cli_misuse(usage, "unknown option '--%s'", name)
             : cli_misuse(usage, "unknown option '--%s', did you mean '--%s'", name, nearest);
}

/* --- Help. -------------------------------------------------------------------- */

enum { HELP_COLUMN = 26 };

static void print_option(const cli_option *option) {
  char left[128];
  char letter[] = "   ";
  if (option->letter != 0) {
    letter[0] = '-';
    letter[1] = option->letter;
    letter[2] = ',';
  }
  const int written =
      snprintf(left, sizeof left, "  %s --%s%s%s", letter, option->name,
               option->value == NULL ? "" : " ", option->value == NULL ? "" : option->value);
  const char *line = option->help;
  /* A spelling too long for its column gets a line of its own. */
  if (written >= HELP_COLUMN) {
    (void)printf("%s\n%*s", left, HELP_COLUMN, "");
  } else {
    (void)printf("%-*s", HELP_COLUMN, left);
  }
  for (const char *end = strchr(line, '\n'); end != NULL; end = strchr(line, '\n')) {
    (void)printf("%.*s\n%*s", (int)(end - line), line, HELP_COLUMN, "");
    line = end + 1;
  }
  (void)printf("%s\n", line);
}

static void print_help(const cli_usage *usage) {
  (void)printf("usage: clq %s%s%s\n\n%s\n\n", usage->command, *usage->synopsis == '\0' ? "" : " ",
               usage->synopsis, usage->purpose);
  for (size_t i = 0; i < usage->option_count; ++i) {
    print_option(&usage->options[i]);
  }
  print_option(&(cli_option){"help", 'h', CLI_FLAG, NULL, "this text", NULL});
}

/* --- Values. ------------------------------------------------------------------ */

int cli_choice(const char *choices, const char *word) {
  const size_t length = strlen(word);
  int place = 0;
  for (const char *at = choices;; ++place) {
    const size_t n = strcspn(at, "|");
    if (n == length && strncmp(at, word, n) == 0) {
      return place;
    }
    if (at[n] == '\0') {
      return -1;
    }
    at += n + 1;
  }
}

static bool in_range(double value, double low, double high) {
  return (low == 0 && high == 0) || (value >= low && value <= high);
}

/* Of the characters from text to end. */
static bool parse_int(const char *text, const char *end, double low, double high, int64_t *out) {
  const char *digits = *text == '-' ? text + 1 : text;
  if (digits >= end || *digits < '0' || *digits > '9') {
    return false;
  }
  char *stopped = NULL;
  errno = 0;
  const long long value = strtoll(text, &stopped, 10);
  *out = value;
  return errno == 0 && stopped == end && in_range((double)value, low, high);
}

static bool parse_float(const char *text, double low, double high, double *out) {
  if (strspn(text, "+-.0123456789eE") != strlen(text) || *text == '\0') {
    return false;
  }
  char *stopped = NULL;
  *out = strtod(text, &stopped);
  return *stopped == '\0' && isfinite(*out) && in_range(*out, low, high);
}

static size_t count_items(const char *text) {
  size_t count = 1;
  for (; *text != '\0'; ++text) {
    count += *text == ',';
  }
  return count;
}

bool cli_parse_ints(const char *text, double low, double high, cli_ints *out) {
  const size_t count = count_items(text);
  *out = (cli_ints){malloc((count + 1) * sizeof *out->items), count};
  bool good = out->items != NULL;
  for (size_t i = 0; good && i < count; ++i) {
    const char *end = text + strcspn(text, ",");
    good = parse_int(text, end, low, high, &out->items[i]);
    text = end + (*end == ',');
  }
  if (!good) {
    free(out->items);
    *out = (cli_ints){0};
  }
  return good;
}

/* Pointers and a copy of the text in one block. */
static bool parse_words(const char *text, cli_words *out) {
  const size_t count = count_items(text);
  const size_t length = strlen(text);
  *out = (cli_words){malloc((count + 1) * sizeof *out->items + length + 1), count};
  if (out->items == NULL) {
    *out = (cli_words){0};
    return false;
  }
  char *copy = (char *)(out->items + count + 1);
  memcpy(copy, text, length + 1);
  for (size_t i = 0; i < count; ++i) {
    out->items[i] = copy;
    copy += strcspn(copy, ",");
    *copy++ = '\0';
    if (*out->items[i] == '\0') {
      free(out->items);
      *out = (cli_words){0};
      return false;
    }
  }
  return true;
}

static bool store(const cli_option *option, const char *value) {
  int place = -1;
  switch (option->kind) {
    case CLI_FLAG: *(bool *)option->target = true; return true;
    case CLI_INT:
      return parse_int(value, value + strlen(value), option->low, option->high, option->target);
    case CLI_FLOAT: return parse_float(value, option->low, option->high, option->target);
    case CLI_TEXT: *(const char **)option->target = value; return true;
    case CLI_CHOICE:
      place = cli_choice(option->value, value);
      *(int *)option->target = place;
      return place >= 0;
    case CLI_INTS:
      free(((cli_ints *)option->target)->items);
      return cli_parse_ints(value, option->low, option->high, option->target);
    case CLI_WORDS:
      free(((cli_words *)option->target)->items);
      return parse_words(value, option->target);
  }
  return false;
}

/* The end of a range as the option takes numbers. */
static void print_bound(char *text, size_t size, const cli_option *option, double bound) {
  if (option->kind == CLI_FLOAT) {
    (void)snprintf(text, size, "%.15g", bound);
  } else {
    (void)snprintf(text, size, "%" PRId64, bound >= 0x1p63 ? INT64_MAX : (int64_t)bound);
  }
}

/* spelled: the option as it was given, dashes included. */
static int bad_value(const cli_usage *usage, const cli_option *option, const char *spelled,
                     const char *value) {
  const bool ranged = option->low != 0 || option->high != 0;
  switch (option->kind) {
    case CLI_CHOICE:
      return cli_misuse(usage, "%s is '%s', expected one of %s", spelled, value, option->value);
    case CLI_WORDS:
      return cli_misuse(usage, "%s is '%s', expected words separated by commas", spelled, value);
    default: break;
  }
  const char *what = option->kind == CLI_FLOAT ? "a number"
                     : option->kind == CLI_INT ? "a whole number"
                                               : "whole numbers separated by commas";
  char low[32];
  char high[32];
  print_bound(low, sizeof low, option, option->low);
  print_bound(high, sizeof high, option, option->high);
  return ranged ? cli_misuse(usage, "%s is '%s', expected %s from %s to %s", spelled, value, what,
                             low, high)
                : cli_misuse(usage, "%s is '%s', expected %s", spelled, value, what);
}

/* --- Parsing. ----------------------------------------------------------------- */

typedef struct cursor {
  int argc;
  char **argv;
  int at;
} cursor;

static const cli_option *find_long(const cli_usage *usage, const char *name, size_t length) {
  for (size_t i = 0; i < usage->option_count; ++i) {
    if (strlen(usage->options[i].name) == length &&
        strncmp(usage->options[i].name, name, length) == 0) {
      return &usage->options[i];
    }
  }
  return NULL;
}

static const cli_option *find_short(const cli_usage *usage, char letter) {
  for (size_t i = 0; i < usage->option_count; ++i) {
    if (usage->options[i].letter == letter) {
      return &usage->options[i];
    }
  }
  return NULL;
}

/* attached: what stands in the same word, or NULL. Returns an exit code. */
static int take_option(const cli_usage *usage, const cli_option *option, bool by_letter,
                       const char *attached, cursor *words) {
  const char *value = attached;
  char spelled[64];
  if (by_letter) {
    (void)snprintf(spelled, sizeof spelled, "-%c", option->letter);
  } else {
    (void)snprintf(spelled, sizeof spelled, "--%s", option->name);
  }
  if (option->kind == CLI_FLAG) {
    if (attached != NULL) {
      return cli_misuse(usage, "%s takes no value", spelled);
    }
  } else if (value == NULL) {
    if (words->at >= words->argc) {
      return cli_misuse(usage, "%s needs a value (%s)", spelled, option->value);
    }
    value = words->argv[words->at++];
  }
  if (option->given != NULL) {
    *option->given = true;
  }
  return store(option, value) ? CLI_DONE : bad_value(usage, option, spelled, value);
}

static int take_long(const cli_usage *usage, const char *word, cursor *words) {
  const size_t length = strcspn(word, "=");
  const cli_option *option = find_long(usage, word, length);
  if (option == NULL) {
    char name[64];
    (void)snprintf(name, sizeof name, "%.*s", (int)(length < 60 ? length : 60), word);
    return unknown_option(usage, name);
  }
  return take_option(usage, option, false, word[length] == '=' ? word + length + 1 : NULL, words);
}

static int take_short(const cli_usage *usage, const char *word, cursor *words) {
  const cli_option *option = find_short(usage, word[0]);
  if (option == NULL) {
    /* One dash before a long name is the usual slip. */
    const cli_option *meant = find_long(usage, word, strcspn(word, "="));
    return meant == NULL
               ? cli_misuse(usage, "unknown option '-%s'", word)
               : cli_misuse(usage, "unknown option '-%s', did you mean '--%s'", word, meant->name);
  }
  return take_option(usage, option, true, word[1] == '\0' ? NULL : word + 1, words);
}

static bool is_help(const char *word) {
  return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* -1: go on. */
static int take_word(const cli_usage *usage, const char *word, bool options_over, cli_words *words,
                     cursor *rest) {
  int code = CLI_DONE;
  if (!options_over && is_help(word)) {
    print_help(usage);
    return cli_flush(CLI_DONE);
  }
  if (!options_over && word[0] == '-' && word[1] == '-') {
    code = take_long(usage, word + 2, rest);
  } else if (!options_over && word[0] == '-' && word[1] != '\0') {
    code = take_short(usage, word + 1, rest);
  } else if (words == NULL) {
    code = cli_misuse(usage, "'%s' is one word too many", word);
  } else {
    words->items[words->count++] = word;
  }
  return code == CLI_DONE ? -1 : code;
}

bool cli_parse(const cli_usage *usage, int argc, char **argv, cli_words *words, int *code) {
  if (words != NULL) {
    *words = (cli_words){malloc((size_t)(argc + 1) * sizeof *words->items), 0};
    if (words->items == NULL) {
      *code = cli_fail_memory();
      return false;
    }
  }
  cursor rest = {argc, argv, 1};
  bool options_over = false;
  *code = -1;
  while (*code < 0 && rest.at < argc) {
    const char *word = argv[rest.at++];
    if (!options_over && strcmp(word, "--") == 0) {
      options_over = true;
    } else {
      *code = take_word(usage, word, options_over, words, &rest);
    }
  }
  if (*code >= 0 && words != NULL) {
    free(words->items);
    *words = (cli_words){0};
  }
  return *code < 0;
}
