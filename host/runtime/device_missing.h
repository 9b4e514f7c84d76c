/* Why there is no OpenCL device. */
#ifndef CLQI_RUNTIME_DEVICE_MISSING_H
#define CLQI_RUNTIME_DEVICE_MISSING_H

#include <stdbool.h>

#include "runtime/status.h"

/* CLQ_NO_DEVICE with what to do: to install a driver where none is registered with the OpenCL
 * loader, to mend the registration of one that cannot be loaded, else to let those that are, by
 * name, work. CLQ_OUT_OF_HOST_MEMORY where a driver said so (out_of_memory), or where there is one
 * and the process may have little more. */
clq_status clqi_device_missing(bool out_of_memory);

#endif
