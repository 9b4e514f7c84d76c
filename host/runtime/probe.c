#include "runtime/probe.h"

#include <string.h>

clq_status clqi_probe_all(clq_context *context) {
  if (strcmp(context->info.type, "cpu") == 0) {
    context->traits |= CLQI_BIT(CPU);
  }
  return CLQ_OK;
}
