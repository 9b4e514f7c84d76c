#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

int cli_input_check(cli_input *input, const cli_usage *usage, const cli_words *words,
                    bool optional) {
  bool is_stdin = false;
  for (size_t i = 0; i < words->count; ++i) {
    if (strcmp(words->items[i], "-") != 0 || is_stdin) {
      return cli_misuse(usage, "'%s' is one word too many; a text is given with -p",
                        words->items[i]);
    }
    is_stdin = true;
  }
  const int sources = (input->text != NULL) + (input->file != NULL) + is_stdin;
  if (sources > 1 || (sources == 0 && !optional)) {
    return cli_misuse(usage, "%s -p TEXT, -f FILE or - (stdin)",
                      sources == 0 ? "give the text with" : "there is more than one of");
  }
  if (is_stdin) {
    input->file = "-";
  }
  return CLI_DONE;
}

/* As read, but SIGINT ends the wait: CLI_CANCELLED. */
static int read_some(int descriptor, const char *name, char *to, size_t room, size_t *got) {
  enum { PATIENCE_MS = 50 };
  struct pollfd input = {.fd = descriptor, .events = POLLIN};
  *got = 0;
  while (!cli_interrupted()) {
    if (poll(&input, 1, PATIENCE_MS) == 0) {
      continue;
    }
    const ssize_t count = read(descriptor, to, room);
    if (count >= 0) {
      *got = (size_t)count;
      return CLI_DONE;
    }
    if (errno != EINTR && errno != EAGAIN) {
      return cli_fail("%s: cannot be read: %s; give -f a file with the text", name,
                      strerror(errno));
    }
  }
  return CLI_CANCELLED;
}

/* More than any model's context and any text for a perplexity; /dev/zero has no end. */
enum { MOST_BYTES = 256 << 20 };

static int read_all(int descriptor, const char *name, char **data, size_t *length) {
  size_t capacity = 0;
  for (;;) {
    if (*length + 1 >= capacity) {
      capacity = capacity == 0 ? 1 << 16 : 2 * capacity;
      char *grown = capacity > SIZE_MAX / 2 ? NULL : realloc(*data, capacity);
      if (grown == NULL) {
        return cli_fail("%s: out of memory after %zu bytes; free memory, or give a part of it",
                        name, *length);
      }
      *data = grown;
    }
    size_t got = 0;
    const int code = read_some(descriptor, name, *data + *length, capacity - 1 - *length, &got);
    *length += got;
    (*data)[*length] = '\0';
    if (code != CLI_DONE || got == 0) {
      return code;
    }
    if (*length > MOST_BYTES) {
      return cli_fail("%s: more than %d MiB of text; give a part of it", name, MOST_BYTES >> 20);
    }
  }
}

int cli_input_read(const cli_input *input, char **data, size_t *length) {
  *data = NULL;
  *length = 0;
  if (input->text != NULL) {
    *length = strlen(input->text);
    *data = strdup(input->text);
    return *data == NULL ? cli_fail_memory() : CLI_DONE;
  }
  const bool is_stdin = strcmp(input->file, "-") == 0;
  const char *name = is_stdin ? "standard input" : input->file;
  const int descriptor = is_stdin ? STDIN_FILENO : open(input->file, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    return cli_fail("%s: cannot be opened: %s; give -f a file with the text, or the text with -p",
                    name[0] == '\0' ? "-f ''" : name, strerror(errno));
  }
  const int code = read_all(descriptor, name, data, length);
  if (!is_stdin) {
    (void)close(descriptor);
  }
  if (code != CLI_DONE) {
    free(*data);
    *data = NULL;
    *length = 0;
  }
  return code;
}
