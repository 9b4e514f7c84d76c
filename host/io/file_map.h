/* A whole file, mapped read-only. */
#ifndef CLQI_IO_FILE_MAP_H
#define CLQI_IO_FILE_MAP_H

#include <stddef.h>

#include "runtime/status.h"

/* bytes is page-aligned. Touching it after another process has shortened the
 * file raises SIGBUS, hence clqi_file_map_recheck(). */
typedef struct clqi_file_map {
  const unsigned char *bytes;
  size_t size;    /* never 0 once opened */
  int descriptor; /* kept open for the re-check */
} clqi_file_map;

/* Maps the regular file at path. CLQ_IO_ERROR with a sentence that begins with
 * the path when it is missing, a directory, unreadable or no regular file;
 * CLQ_BAD_FILE when it is empty. *map is untouched on failure. */
CLQ_NODISCARD clq_status clqi_file_map_open(const char *path, clqi_file_map *map);

/* CLQ_IO_ERROR if the file has another size now than when it was mapped. To be
 * called before each large read: the window left for a SIGBUS is the read. */
CLQ_NODISCARD clq_status clqi_file_map_recheck(const clqi_file_map *map, const char *path);

/* Drops the resident pages that the range touches; they are read from the file
 * again if touched again. The range must lie in the mapping. */
void clqi_file_map_release_pages(const clqi_file_map *map, const void *begin, size_t bytes);

void clqi_file_map_close(clqi_file_map *map);

#endif
