/* Writes a float32 matrix as a NumPy file, row by row. The file appears under
 * its name when it is whole: until then it is a temporary file beside it. "-" is
 * stdout, which gets the rows as they come. */
#ifndef CLQ_CLI_NPY_H
#define CLQ_CLI_NPY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct cli_npy {
  const char *path; /* as sentences name it; the caller's, must stay */
  char *temporary;  /* NULL on stdout */
  FILE *file;
} cli_npy;

/* Each returns an exit code and has said its sentence; close is due in any case. */

/* Refuses at once what could not be written at the end. */
int cli_npy_create(const char *path, cli_npy *npy);
/* Before the first row. */
int cli_npy_header(cli_npy *npy, int64_t rows, int64_t cols);
int cli_npy_write(cli_npy *npy, const float *values, size_t count);
/* What a command says that ends in between: "nothing is written", or that stdout is cut. */
const char *cli_npy_left(const cli_npy *npy);
/* The file gets its name. */
int cli_npy_commit(cli_npy *npy);
/* Removes what was not committed. All zero is allowed. */
void cli_npy_close(cli_npy *npy);

#endif
