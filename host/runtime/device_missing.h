/* Why there is no OpenCL device. */
#ifndef CLQI_RUNTIME_DEVICE_MISSING_H
#define CLQI_RUNTIME_DEVICE_MISSING_H

#include "runtime/status.h"

/* CLQ_NO_DEVICE with what to do: to install a driver where none is registered with the OpenCL
 * loader, else to let those that are, by name, work. */
clq_status clqi_device_missing(void);

#endif
