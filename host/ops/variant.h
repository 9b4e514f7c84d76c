/* The forms of a kernel that an operator chooses from. */
#ifndef CLQI_OPS_VARIANT_H
#define CLQI_OPS_VARIANT_H

#include "ops/op.h"

/* One row of an operator's selection table: the first whose traits are there and whose `fits`
 * agrees is taken; the last must always fit. */
typedef struct clqi_variant {
  const char *name; /* as the bench and CLQ_VERBOSE=dispatch print it */
  clqi_kernel_id kernel;
  const char *options; /* build options that make it this form, or NULL */
  uint32_t needs;      /* or-ed CLQI_BIT */
  /* NULL: any shape. Returns NULL if it fits, else why not. */
  const char *(*fits)(const clq_context *context, const void *args);
  int32_t tile[4]; /* rows, columns, ... as the operator reads them */
} clqi_variant;

const clqi_variant *clqi_choose(const clq_context *context, const char *op,
                                const clqi_variant *table, size_t count, const void *args);

/* The same for an operator that has a tile of its own making, which it logs by itself. */
const clqi_variant *clqi_first_fit(const clq_context *context, const char *op,
                                   const clqi_variant *table, size_t count, const void *args);
void clqi_log_tile(const char *op, int32_t rows, int32_t cols);

/* Begins the launch of the variant's kernel. Its build options are those of the format, which
 * depend on the arguments, and behind them the variant's own. Options that are too long fail the
 * launch with CLQ_BUILD_FAILED: cut ones would build another program. */
void clqi_begin(clqi_launch *launch, clqi_emitter *emitter, const clqi_variant *variant,
                const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
