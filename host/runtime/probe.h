/* Probes: what a device says it can do is tried, with numbers compared. */
#ifndef CLQI_RUNTIME_PROBE_H
#define CLQI_RUNTIME_PROBE_H

#include "runtime/context.h"

/* Sets context->traits, from the disk cache where it knows this device. Fails only when the host
 * is out of memory or the device cannot run anything. */
clq_status clqi_probe_all(clq_context *context);

#endif
