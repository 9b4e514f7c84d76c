/* Files that appear when they are whole. */
#ifndef CLQI_RUNTIME_REPLACE_FILE_H
#define CLQI_RUNTIME_REPLACE_FILE_H

#include <stddef.h>

/* Writes head and body to a new file beside `path`, named path.<...>.tmp and open to its user only,
 * and renames it to path; 0 or the error's code (errno.h), and then no new file. */
int clqi_replace_file(const char *path, const void *head, size_t head_bytes, const void *body,
                      size_t body_bytes);

#endif
