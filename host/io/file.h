/* A regular file that is read piece by piece into the caller's memory. It is not
 * mapped: pages of a mapping that another process cuts off raise SIGBUS, a read
 * of them is an error. */
#ifndef CLQI_IO_FILE_H
#define CLQI_IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "runtime/status.h"

typedef struct clqi_file {
  size_t size;             /* when it was opened; never 0 then */
  struct timespec changed; /* when it was written to last, as it was opened */
  int descriptor;
} clqi_file;

/* What cannot be looked at is no folder. */
bool clqi_is_folder(const char *path);

/* Opens the regular file at path. CLQ_IO_ERROR with a sentence that begins with
 * the path when it is missing, a directory, unreadable or no regular file;
 * CLQ_BAD_FILE when it is empty. *file is untouched on failure. */
CLQ_NODISCARD clq_status clqi_file_open(const char *path, clqi_file *file);

/* Reads the bytes from offset on, which must lie in the file as it was opened.
 * CLQ_IO_ERROR if it has another size or was written to by now, or cannot be read;
 * out is then undefined. */
CLQ_NODISCARD clq_status clqi_file_read(const clqi_file *file, const char *path, size_t offset,
                                        size_t bytes, void *out);

void clqi_file_close(clqi_file *file);

/* The whole of a file of at most so many bytes, a larger one is CLQ_BAD_FILE; to be released with
 * clqi_free(). *bytes is NULL on failure. */
CLQ_NODISCARD clq_status clqi_file_load(const char *path, size_t most, char **bytes, size_t *size);

#endif
