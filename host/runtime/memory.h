/* Host memory through the caller's hooks. A size of zero yields NULL without
 * an error; every other NULL means out of memory. */
#ifndef CLQI_RUNTIME_MEMORY_H
#define CLQI_RUNTIME_MEMORY_H

#include <stddef.h>

void *clqi_malloc(size_t bytes) __attribute__((malloc, warn_unused_result));

/* count * size zeroed bytes; NULL if the product overflows. */
void *clqi_calloc(size_t count, size_t size) __attribute__((malloc, warn_unused_result));

/* Resizes to count * size bytes; NULL if that overflows, block is then kept. */
void *clqi_realloc(void *block, size_t count, size_t size) __attribute__((warn_unused_result));

void clqi_free(void *block);

char *clqi_strdup(const char *text) __attribute__((malloc, warn_unused_result));

#endif
