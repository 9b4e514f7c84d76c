#include "runtime/device.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device_missing.h"

enum { MAX_PLATFORMS = 16 };

const char *clqi_cl_name(cl_int code) {
  switch (code) {
#define CODE(name) \
  case name: return #name
    CODE(CL_SUCCESS);
    CODE(CL_DEVICE_NOT_FOUND);
    CODE(CL_DEVICE_NOT_AVAILABLE);
    CODE(CL_COMPILER_NOT_AVAILABLE);
    CODE(CL_MEM_OBJECT_ALLOCATION_FAILURE);
    CODE(CL_OUT_OF_RESOURCES);
    CODE(CL_OUT_OF_HOST_MEMORY);
    CODE(CL_PROFILING_INFO_NOT_AVAILABLE);
    CODE(CL_BUILD_PROGRAM_FAILURE);
    CODE(CL_MAP_FAILURE);
    CODE(CL_MISALIGNED_SUB_BUFFER_OFFSET);
    CODE(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST);
    CODE(CL_INVALID_VALUE);
    CODE(CL_INVALID_PLATFORM);
    CODE(CL_INVALID_DEVICE);
    CODE(CL_INVALID_CONTEXT);
    CODE(CL_INVALID_QUEUE_PROPERTIES);
    CODE(CL_INVALID_COMMAND_QUEUE);
    CODE(CL_INVALID_HOST_PTR);
    CODE(CL_INVALID_MEM_OBJECT);
    CODE(CL_INVALID_BINARY);
    CODE(CL_INVALID_BUILD_OPTIONS);
    CODE(CL_INVALID_PROGRAM);
    CODE(CL_INVALID_PROGRAM_EXECUTABLE);
    CODE(CL_INVALID_KERNEL_NAME);
    CODE(CL_INVALID_KERNEL);
    CODE(CL_INVALID_ARG_INDEX);
    CODE(CL_INVALID_ARG_VALUE);
    CODE(CL_INVALID_ARG_SIZE);
    CODE(CL_INVALID_KERNEL_ARGS);
    CODE(CL_INVALID_WORK_DIMENSION);
    CODE(CL_INVALID_WORK_GROUP_SIZE);
    CODE(CL_INVALID_WORK_ITEM_SIZE);
    CODE(CL_INVALID_GLOBAL_OFFSET);
    CODE(CL_INVALID_EVENT_WAIT_LIST);
    CODE(CL_INVALID_EVENT);
    CODE(CL_INVALID_OPERATION);
    CODE(CL_INVALID_BUFFER_SIZE);
    CODE(CL_INVALID_GLOBAL_WORK_SIZE);
#undef CODE
    case -1001: return "CL_PLATFORM_NOT_FOUND_KHR";
    default: return "an unknown code";
  }
}

clq_status clqi_cl(cl_int code, const char *call) {
  switch (code) {
    case CL_SUCCESS: return CLQ_OK;
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
    case CL_INVALID_BUFFER_SIZE:
      return clqi_fail(CLQ_OUT_OF_DEVICE_MEMORY, "%s: out of device memory (%s)", call,
                       clqi_cl_name(code));
    case CL_OUT_OF_HOST_MEMORY:
      return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: out of host memory", call);
    case CL_DEVICE_NOT_AVAILABLE:
      return clqi_fail(CLQ_DEVICE_LOST, "%s: the device is gone (%s)", call, clqi_cl_name(code));
    default:
      return clqi_fail(CLQ_DEVICE_ERROR, "%s failed with %d (%s)", call, (int)code,
                       clqi_cl_name(code));
  }
}

void clqi_device_string(cl_device_id device, cl_device_info property, char *out, size_t bytes) {
  char text[CLQI_DEVICE_TEXT_BYTES] = "";
  if (clGetDeviceInfo(device, property, sizeof text - 1, text, NULL) != CL_SUCCESS) {
    text[0] = '\0';
  }
  (void)snprintf(out, bytes, "%s", text);
}

bool clqi_device_has_extension(cl_device_id device, const char *name) {
  char list[CLQI_DEVICE_TEXT_BYTES];
  clqi_device_string(device, CL_DEVICE_EXTENSIONS, list, sizeof list);
  const size_t n = strlen(name);
  for (const char *p = strstr(list, name); p != NULL; p = strstr(p + n, name)) {
    if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0')) {
      return true;
    }
  }
  return false;
}

static const char *type_name(cl_device_type type) {
  if ((type & CL_DEVICE_TYPE_GPU) != 0) {
    return "gpu";
  }
  if ((type & CL_DEVICE_TYPE_CPU) != 0) {
    return "cpu";
  }
  return (type & CL_DEVICE_TYPE_ACCELERATOR) != 0 ? "accelerator" : "other";
}

clq_status clqi_device_describe(cl_device_id device, clq_device_info *info) {
  cl_platform_id platform = NULL;
  cl_device_type type = 0;
  cl_ulong global_bytes = 0;
  cl_ulong local_bytes = 0;
  cl_uint units = 0;
  CLQI_TRY(clqi_cl(clGetDeviceInfo(device, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL),
                   "clGetDeviceInfo"));
  CLQI_TRY(clqi_cl(clGetDeviceInfo(device, CL_DEVICE_TYPE, sizeof type, &type, NULL),
                   "clGetDeviceInfo"));
  CLQI_TRY(clqi_cl(
      clGetDeviceInfo(device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof global_bytes, &global_bytes, NULL),
      "clGetDeviceInfo"));
  CLQI_TRY(clqi_cl(
      clGetDeviceInfo(device, CL_DEVICE_LOCAL_MEM_SIZE, sizeof local_bytes, &local_bytes, NULL),
      "clGetDeviceInfo"));
  CLQI_TRY(clqi_cl(clGetDeviceInfo(device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL),
                   "clGetDeviceInfo"));
  clqi_device_string(device, CL_DEVICE_NAME, info->name, sizeof info->name);
  clqi_device_string(device, CL_DEVICE_VERSION, info->version, sizeof info->version);
  clqi_device_string(device, CL_DRIVER_VERSION, info->driver, sizeof info->driver);
  info->platform[0] = '\0';
  (void)clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof info->platform, info->platform, NULL);
  info->platform[sizeof info->platform - 1] = '\0';
  (void)snprintf(info->type, sizeof info->type, "%s", type_name(type));
  info->global_bytes = global_bytes;
  info->local_bytes = local_bytes;
  info->compute_units = units;
  info->id = device;
  return CLQ_OK;
}

clq_status clq_devices(clq_device_info *infos, int32_t capacity, int32_t *count) {
  CLQI_REQUIRE(count != NULL && (infos != NULL || capacity == 0),
               "devices: infos and count must not be NULL");
  cl_platform_id platforms[MAX_PLATFORMS];
  cl_uint platform_count = 0;
  *count = 0;
  const cl_int code = clGetPlatformIDs(MAX_PLATFORMS, platforms, &platform_count);
  if (code != CL_SUCCESS || platform_count == 0) {
    return clqi_device_missing(code == CL_OUT_OF_HOST_MEMORY);
  }
  bool out_of_memory = false;
  clq_status failure = CLQ_OK;
  for (cl_uint p = 0; p < platform_count && p < MAX_PLATFORMS; ++p) {
    cl_device_id ids[CLQI_MAX_DEVICES];
    cl_uint id_count = 0;
    const cl_int found =
        clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, CLQI_MAX_DEVICES, ids, &id_count);
    if (found != CL_SUCCESS) {
      out_of_memory = out_of_memory || found == CL_OUT_OF_HOST_MEMORY;
      continue;
    }
    for (cl_uint d = 0; d < id_count && d < CLQI_MAX_DEVICES; ++d) {
      clq_device_info info = {.index = *count};
      const clq_status status = clqi_device_describe(ids[d], &info);
      if (status != CLQ_OK) {
        clqi_log(CLQ_LOG_EXEC, "a device is left out: %s", clq_last_error());
        failure = status;
        continue;
      }
      if (*count < capacity) {
        infos[*count] = info;
      }
      ++*count;
    }
  }
  if (*count == 0 && failure != CLQ_OK) {
    return clqi_fail_prefix(failure, "no OpenCL device can be used");
  }
  return *count > 0 ? CLQ_OK : clqi_device_missing(out_of_memory);
}

static bool contains_ignoring_case(const char *text, const char *part) {
  const size_t n = strlen(part);
  for (; *text != '\0'; ++text) {
    size_t i = 0;
    while (i < n && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i])) {
      ++i;
    }
    if (i == n) {
      return true;
    }
  }
  return false;
}

static bool is_index(const char *text) { return text[strspn(text, "0123456789")] == '\0'; }

clq_status clqi_device_select(const char *name, clq_device_info *info) {
  clq_device_info infos[CLQI_MAX_DEVICES];
  int32_t count = 0;
  CLQI_TRY(clq_devices(infos, CLQI_MAX_DEVICES, &count));
  if (count > CLQI_MAX_DEVICES) {
    count = CLQI_MAX_DEVICES;
  }
  if (name == NULL) {
    name = getenv("CLQ_DEVICE");
  }
  if (name == NULL || name[0] == '\0') {
    *info = infos[0];
    return CLQ_OK;
  }
  for (int32_t i = 0; i < count; ++i) {
    if (is_index(name) ? strtol(name, NULL, 10) == i
                       : contains_ignoring_case(infos[i].name, name)) {
      *info = infos[i];
      return CLQ_OK;
    }
  }
  return clqi_fail(CLQ_NO_DEVICE, "no device '%s': there %s %d (0: %s); `clq devices` lists them",
                   name, count == 1 ? "is" : "are", (int)count, infos[0].name);
}
