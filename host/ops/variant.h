/* From a chosen variant to a begun launch. */
#ifndef CLQI_OPS_VARIANT_H
#define CLQI_OPS_VARIANT_H

#include "ops/op.h"

/* Begins the launch of the variant's kernel. Its build options are those of the format, which
 * depend on the arguments, and behind them the variant's own. Options that are too long fail the
 * launch with CLQ_BUILD_FAILED: cut ones would build another program. */
void clqi_begin(clqi_launch *launch, clqi_emitter *emitter, const clqi_variant *variant,
                const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
