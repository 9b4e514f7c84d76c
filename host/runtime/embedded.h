/* The device code inside the library, one entry per file of kernels_cl, as it
 * stands in the source tree: includes are not resolved, nothing is stripped.
 * Defined by a file that the build generates (cmake/EmbedKernels.cmake). */
#ifndef CLQI_RUNTIME_EMBEDDED_H
#define CLQI_RUNTIME_EMBEDDED_H

#include <stddef.h>

typedef struct clqi_embedded_file {
  const char *path; /* relative to kernels_cl: "rmsnorm.cl", "lib/warp.h" */
  const char *text; /* NUL behind the last byte */
  size_t length;    /* bytes, the NUL not counted */
} clqi_embedded_file;

/* In ascending order of path; an entry of NULLs follows the last one. */
extern const clqi_embedded_file clqi_embedded_files[];
extern const size_t clqi_embedded_file_count;

#endif
