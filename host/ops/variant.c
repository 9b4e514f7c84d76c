#include "ops/variant.h"

#include <stdarg.h>
#include <stdio.h>

enum { OPTIONS_BYTES = 512 };

/* NULL if the variant may be taken, else why not. */
static const char *refusal(const clq_context *context, const clqi_variant *v, const void *args) {
  for (int t = 0; t < CLQI_TRAIT_COUNT; ++t) {
    if (((v->needs >> t) & 1U) != 0 && !clqi_has(context, (clqi_trait)t)) {
      return clqi_trait_name((clqi_trait)t);
    }
  }
  return v->fits == NULL ? NULL : v->fits(context, args);
}

const clqi_variant *clqi_first_fit(const clq_context *context, const char *op,
                                   const clqi_variant *table, size_t count, const void *args) {
  const clqi_variant *chosen = &table[count - 1];
  for (size_t i = 0; i < count; ++i) {
    const char *why = refusal(context, &table[i], args);
    if (why == NULL) {
      chosen = &table[i];
      break;
    }
    clqi_log(CLQ_LOG_DISPATCH, "%s: not %s: needs %s", op, table[i].name, why);
  }
  clqi_log(CLQ_LOG_DISPATCH, "%s: chose %s", op, chosen->name);
  return chosen;
}

void clqi_log_tile(const char *op, int32_t rows, int32_t cols) {
  clqi_log(CLQ_LOG_DISPATCH, "%s: tile %d x %d", op, (int)rows, (int)cols);
}

const clqi_variant *clqi_choose(const clq_context *context, const char *op,
                                const clqi_variant *table, size_t count, const void *args) {
  const clqi_variant *chosen = clqi_first_fit(context, op, table, count, args);
  if (chosen->tile[0] != 0) {
    clqi_log_tile(op, chosen->tile[0], chosen->tile[1] == 0 ? 1 : chosen->tile[1]);
  }
  return chosen;
}

void clqi_begin(clqi_launch *launch, clqi_emitter *emitter, const clqi_variant *variant,
                const char *format, ...) {
  char options[OPTIONS_BYTES];
  va_list args;
  va_start(args, format);
  int length = vsnprintf(options, sizeof options, format, args);
  va_end(args);
  if (variant->options != NULL && length >= 0 && (size_t)length < sizeof options) {
    const size_t used = (size_t)length;
    length += snprintf(options + used, sizeof options - used, "%s%s", used == 0 ? "" : " ",
                       variant->options);
  }
  if (length < 0 || (size_t)length >= sizeof options) {
    *launch = (clqi_launch){.emitter = emitter, .id = variant->kernel};
    launch->status = clqi_fail(CLQ_BUILD_FAILED, "%s: the build options have %d bytes, at most %d",
                               variant->name, length, OPTIONS_BYTES - 1);
    return;
  }
  clqi_launch_begin(launch, emitter, variant->kernel, options);
}
