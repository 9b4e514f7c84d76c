/* clq tokenize: text to ids, line by line, and back. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/model.h>

#include "cli.h"
#include "engine.h"
#include "input.h"
#include "options.h"
#include "utf8.h"

typedef struct tokenize {
  const char *path;
  bool pieces;
  bool decode;
  cli_input input;
  clq_tokenizer *tokenizer;
  clq_tokens tokens; /* of the line at hand */
  int32_t *ids;      /* to be decoded; room for those of all lines */
  int64_t id_count;
  clq_text text;
} tokenize;

static void print_ids(const clq_tokens *tokens) {
  for (int64_t i = 0; i < tokens->count; ++i) {
    (void)printf("%s%" PRId32, i == 0 ? "" : " ", tokens->ids[i]);
  }
}

/* In quotes, as C would spell it; UTF-8 stays. */
static void print_piece(const char *text, size_t length) {
  (void)putchar('"');
  for (size_t i = 0; i < length;) {
    const size_t sequence = cli_utf8_sequence(text + i, length - i);
    const unsigned char byte = (unsigned char)text[i];
    if (byte == '"' || byte == '\\') {
      (void)printf("\\%c", byte);
    } else if (byte == '\n' || byte == '\t' || byte == '\r') {
      (void)printf("\\%c", byte == '\n' ? 'n' : (byte == '\t' ? 't' : 'r'));
    } else if (sequence == 0 || byte < 0x20 || byte == 0x7F) {
      (void)printf("\\x%02x", byte);
    } else {
      (void)fwrite(text + i, 1, sequence, stdout);
    }
    i += sequence == 0 ? 1 : sequence;
  }
  (void)putchar('"');
}

static int print_pieces(tokenize *t) {
  for (int64_t i = 0; i < t->tokens.count; ++i) {
    t->text.length = 0;
    if (clq_tokenizer_decode(t->tokenizer, &t->tokens.ids[i], 1, 0, &t->text) != CLQ_OK) {
      return cli_fail_library();
    }
    (void)fputs(i == 0 ? "" : " ", stdout);
    print_piece(t->text.data, t->text.length);
  }
  return CLI_DONE;
}

static int encode_line(tokenize *t, const char *line, size_t length) {
  t->tokens.count = 0;
  if (clq_tokenizer_encode(t->tokenizer, line, length, 0, &t->tokens) != CLQ_OK) {
    return cli_fail_library();
  }
  if (t->pieces) {
    return print_pieces(t);
  }
  print_ids(&t->tokens);
  return CLI_DONE;
}

/* The ids of a line; it is NUL-terminated for strtol. */
static int read_ids(tokenize *t, const char *line, size_t length) {
  const char *end = line + length;
  t->id_count = 0;
  for (const char *at = line;;) {
    while (at < end && isspace((unsigned char)*at)) {
      ++at;
    }
    if (at == end) {
      return CLI_DONE;
    }
    char *stopped = NULL;
    errno = 0;
    const long value = strtol(at, &stopped, 10);
    if (stopped == at || (stopped < end && !isspace((unsigned char)*stopped)) || errno != 0 ||
        value < 0 || value >= clq_tokenizer_size(t->tokenizer)) {
      return cli_fail(
          "'%.*s' is no token id of the model, expected whole numbers from 0 to %" PRId64
          "; `clq tokenize` without --decode gives a text's ids",
          (int)strcspn(at, " \t\r\n"), at, clq_tokenizer_size(t->tokenizer) - 1);
    }
    t->ids[t->id_count++] = (int32_t)value;
    at = stopped;
  }
}

/* The ids of a line belong together: WordPiece puts blanks between the words that they make. */
static int decode_line(tokenize *t, const char *line, size_t length) {
  t->text.length = 0;
  if (read_ids(t, line, length) != CLI_DONE) {
    return CLI_FAILED;
  }
  if (clq_tokenizer_decode(t->tokenizer, t->ids, t->id_count, 0, &t->text) != CLQ_OK) {
    return cli_fail_library();
  }
  (void)fwrite(t->text.data, 1, t->text.length, stdout);
  return CLI_DONE;
}

/* A line that fails prints nothing of itself but what stands before its error. */
static int convert(tokenize *t, char *text, size_t length) {
  int code = CLI_DONE;
  for (size_t at = 0; code == CLI_DONE && at < length && !cli_interrupted();) {
    char *newline = memchr(text + at, '\n', length - at);
    const size_t end = newline == NULL ? length : (size_t)(newline - text);
    text[end] = '\0';
    code = (t->decode ? decode_line : encode_line)(t, text + at, end - at);
    if (code == CLI_DONE) {
      (void)putchar('\n');
    }
    at = end + 1;
  }
  return code;
}

static int tokenize_input(tokenize *t) {
  char *text = NULL;
  size_t length = 0;
  if (clq_tokenizer_open(t->path, &t->tokenizer) != CLQ_OK) {
    return cli_fail_library();
  }
  int code = cli_input_read(&t->input, &text, &length);
  if (code == CLI_DONE && t->decode) {
    t->ids = malloc((length / 2 + 1) * sizeof *t->ids); /* a digit and a blank each */
    code = t->ids != NULL ? CLI_DONE : cli_fail_memory();
  }
  if (code == CLI_DONE) {
    code = convert(t, text, length);
  }
  free(t->ids);
  free(text);
  return code;
}

int cli_tokenize(int argc, char **argv) {
  tokenize t = {0};
  const cli_option options[] = {
      {"model", 'm', CLI_TEXT, "FILE",
       "the model whose tokenizer is used: a GGUF file, or a folder with tokenizer.json or "
       "vocab.txt",
       &t.path},
      CLI_INPUT_TEXT(t.input),
      CLI_INPUT_FILE(t.input),
      {"pieces", 0, CLI_FLAG, NULL, "print what each token stands for, quoted, not the ids",
       &t.pieces},
      {"decode", 0, CLI_FLAG, NULL, "the input is ids, a list per line; print their text",
       &t.decode},
  };
  const cli_usage usage = {"tokenize", "-m FILE (-p TEXT | -f FILE | -) [--pieces | --decode]",
                           "Prints the ids of each input line on a line. Special tokens in the "
                           "text are text, and none is added.",
                           CLI_OPTIONS(options)};
  int code = CLI_DONE;
  cli_words words;
  if (!cli_parse(&usage, argc, argv, &words, &code)) {
    return code;
  }
  code = cli_engine_check_path(t.path, &usage);
  code = code != CLI_DONE ? code : cli_input_check(&t.input, &usage, &words, false);
  free(words.items);
  if (code == CLI_DONE && t.pieces && t.decode) {
    code = cli_misuse(&usage, "--pieces and --decode exclude each other");
  }
  if (code == CLI_DONE) {
    cli_catch_signals();
    code = tokenize_input(&t);
  }
  clq_tokens_free(&t.tokens);
  clq_text_free(&t.text);
  clq_tokenizer_destroy(t.tokenizer);
  return code;
}
