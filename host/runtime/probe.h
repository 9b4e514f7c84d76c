/* Probes: what a device says it can do is tried, with numbers compared. */
#ifndef CLQI_RUNTIME_PROBE_H
#define CLQI_RUNTIME_PROBE_H

#include "runtime/context.h"

/* Sets context->traits, from the disk cache where it knows this device. A probe that cannot be
 * tried leaves its trait out, this time. CLQ_OUT_OF_HOST_MEMORY. */
clq_status clqi_probe_all(clq_context *context);

#endif
