#include "npy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

static int cannot_write(const cli_npy *npy) {
  return npy->file == stdout ? cli_fail("%s: cannot be written: %s", npy->path, strerror(errno))
                             : cli_fail("%s: cannot be written: %s; give --out another name",
                                        npy->path, strerror(errno));
}

/* mkstemp gives 0600; the result gets what any new file would have. */
static void give_usual_mode(int descriptor) {
  const mode_t mask = umask(0);
  (void)umask(mask);
  (void)fchmod(descriptor, (mode_t)0666 & ~mask);
}

static int use_stdout(cli_npy *npy) {
  npy->path = "standard output";
  if (isatty(STDOUT_FILENO)) {
    return cli_fail(
        "standard output is a terminal, the logits are binary; redirect it or give "
        "--out the name of a file");
  }
  npy->file = stdout;
  return CLI_DONE;
}

int cli_npy_create(const char *path, cli_npy *npy) {
  *npy = (cli_npy){.path = path};
  if (strcmp(path, "-") == 0) {
    return use_stdout(npy);
  }
  struct stat found;
  if (stat(path, &found) == 0 && !S_ISREG(found.st_mode)) {
    return cli_fail(
        "%s: cannot be written: it exists and is no regular file; give --out another name", path);
  }
  const size_t size = strlen(path) + sizeof ".XXXXXX";
  npy->temporary = malloc(size);
  if (npy->temporary == NULL) {
    return cli_fail_memory();
  }
  (void)snprintf(npy->temporary, size, "%s.XXXXXX", path);
  const int descriptor = cli_temporary_open(npy->temporary);
  if (descriptor < 0) {
    const int code = cannot_write(npy);
    free(npy->temporary);
    npy->temporary = NULL;
    return code;
  }
  give_usual_mode(descriptor);
  npy->file = fdopen(descriptor, "wb");
  if (npy->file == NULL) {
    (void)close(descriptor);
    return cannot_write(npy);
  }
  return CLI_DONE;
}

/* Format 1.0: magic, version, length of the description, the description padded
 * with spaces so that the data starts at a multiple of 64. */
int cli_npy_header(cli_npy *npy, int64_t rows, int64_t cols) {
  enum { PREFIX = 10, HEADER = 128 };
  const unsigned char order = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '<' : '>';
  char header[HEADER + 1];
  memcpy(header, "\x93NUMPY\x01\x00\x76\x00", PREFIX);
  const int length =
      snprintf(header + PREFIX, HEADER + 1 - PREFIX,
               "{'descr': '%cf4', 'fortran_order': False, 'shape': (%" PRId64 ", %" PRId64 "), }",
               order, rows, cols);
  memset(header + PREFIX + length, ' ', (size_t)(HEADER - 1 - PREFIX - length));
  header[HEADER - 1] = '\n';
  return fwrite(header, 1, HEADER, npy->file) == HEADER ? CLI_DONE : cannot_write(npy);
}

int cli_npy_write(cli_npy *npy, const float *values, size_t count) {
  return fwrite(values, sizeof *values, count, npy->file) == count ? CLI_DONE : cannot_write(npy);
}

const char *cli_npy_left(const cli_npy *npy) {
  return npy->file == stdout ? "standard output ends before that" : "nothing is written";
}

int cli_npy_commit(cli_npy *npy) {
  if (npy->file == stdout) {
    return cli_flush(CLI_DONE);
  }
  const int closed = fclose(npy->file);
  npy->file = NULL;
  if (closed != 0 || rename(npy->temporary, npy->path) != 0) {
    return cannot_write(npy);
  }
  cli_temporary_done();
  free(npy->temporary);
  npy->temporary = NULL;
  return CLI_DONE;
}

void cli_npy_close(cli_npy *npy) {
  if (npy->file != NULL && npy->file != stdout) {
    (void)fclose(npy->file);
  }
  if (npy->temporary != NULL) {
    (void)unlink(npy->temporary);
    cli_temporary_done();
    free(npy->temporary);
  }
  *npy = (cli_npy){0};
}
