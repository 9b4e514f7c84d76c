/* Kernel source with its includes resolved: OpenCL drivers on phones and behind
 * networks take no -I, so a program is always one text. */
#ifndef CLQI_RUNTIME_SOURCE_H
#define CLQI_RUNTIME_SOURCE_H

#include <stddef.h>

#include "runtime/status.h"

/* Text of kernels_cl/<file>.cl; each `#include "lib/x.h"` is replaced by that file, once, between
 * #line directives. Taken from the folder CLQ_KERNEL_DIR if set, else from the library itself.
 * The caller frees *text with clqi_free. */
clq_status clqi_source_load(const char *file, char **text, size_t *length);

#endif
