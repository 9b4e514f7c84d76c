/* Devices over all platforms, and OpenCL's error codes in words. */
#ifndef CLQI_RUNTIME_DEVICE_H
#define CLQI_RUNTIME_DEVICE_H

#include "runtime/context.h"

enum { CLQI_MAX_DEVICES = 64, CLQI_DEVICE_TEXT_BYTES = 16384 };

/* The device that `name` (index or part of a name, case ignored) means; NULL: CLQ_DEVICE, else
 * the first. */
clq_status clqi_device_select(const char *name, clq_device_info *info);

/* Fills info for one device; index is left alone. */
clq_status clqi_device_describe(cl_device_id device, clq_device_info *info);

/* A string property into a caller's buffer, always terminated, cut if it is
 * longer; "" if the driver fails or the text is beyond CLQI_DEVICE_TEXT_BYTES. */
void clqi_device_string(cl_device_id device, cl_device_info property, char *out, size_t bytes);

/* True if the extension list names it as a whole word. */
bool clqi_device_has_extension(cl_device_id device, const char *name);

#endif
