/* The tuned table of a context (include/clquant/tuning.h): values by name, read from a text file
 * that holds for one device, driver, library and set of traits. */
#ifndef CLQI_RUNTIME_TUNING_H
#define CLQI_RUNTIME_TUNING_H

#include <stdint.h>

typedef enum clqi_tuned {
#define CLQ_TUNED(set, name, where, standard, small, ...) CLQI_TUNED_##set##_##name,
#include "runtime/tuning.def"
#undef CLQ_TUNED
  CLQI_TUNED_COUNT
} clqi_tuned;

enum { CLQI_TUNING_PATH_BYTES = 1024 + 64 };

typedef struct clqi_tuning {
  int32_t value[CLQI_TUNED_COUNT];
  char file[CLQI_TUNING_PATH_BYTES]; /* "": none is in use */
  char why[CLQI_TUNING_PATH_BYTES + 256];
} clqi_tuning;

struct clq_context;

/* Built-in values, and over them those of the table, if there is a good one. chosen: a file, "off",
 * or NULL for CLQ_TUNING and the cache folder. What is wrong with a file is no failure: it is
 * logged, and kept as `why`. To be called when traits are known. */
void clqi_tuning_load(struct clq_context *context, const char *chosen);

#endif
