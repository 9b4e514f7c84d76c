#include "ops/variant.h"

#include <stdarg.h>
#include <stdio.h>

enum { OPTIONS_BYTES = 256 };

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
