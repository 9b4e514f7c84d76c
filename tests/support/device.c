#include "device.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "opencl.h"

enum { LOG_BYTES = 65536 };

static char dispatch_log[LOG_BYTES];

/* Of the devices that are open at once, the first to open sees what the last to close must leave.
 */
static int devices_open;
static opencl_objects before;

test_device test_device_open(const char *disable) {
  if (devices_open++ == 0) {
    before = opencl_live();
  }
  test_device d = {NULL, NULL};
  test_ok(clq_context_create(&(clq_context_desc){.disable = disable}, &d.context));
  test_ok(clq_stream_create(d.context, NULL, &d.stream));
  return d;
}

void test_device_close(test_device *device) {
  clq_stream_destroy(device->stream);
  clq_context_destroy(device->context);
  *device = (test_device){NULL, NULL};
  if (--devices_open == 0) {
    opencl_assert_live(&before);
  }
}

static test_buffer new_buffer(const test_device *device, const void *data, size_t bytes,
                              bool guard_in_front) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t body = (bytes + page - 1) / page * page + (bytes == 0 ? page : 0);
  test_buffer b = {.mapping_bytes = body + page, .bytes = bytes};
  b.mapping =
      mmap(NULL, b.mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert_neq(b.mapping, MAP_FAILED, "mmap of %zu bytes", b.mapping_bytes);
  unsigned char *base = b.mapping;
  memset(base, 0xA5, b.mapping_bytes);
  const size_t used = bytes == 0 ? 1 : bytes;
  if (guard_in_front) {
    b.host = base + page;
    cr_assert_eq(mprotect(base, page, PROT_NONE), 0);
  } else {
    b.host = base + body - used;
    cr_assert_eq(mprotect(base + body, page, PROT_NONE), 0);
  }
  if (data != NULL) {
    memcpy(b.host, data, bytes);
  }
  cl_int code = CL_SUCCESS;
  b.mem = clCreateBuffer(clq_context_cl(device->context), CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR,
                         used, b.host, &code);
  cr_assert_eq(code, CL_SUCCESS, "clCreateBuffer: %d", code);
  return b;
}

test_buffer test_buffer_new(const test_device *device, const void *data, size_t bytes) {
  return new_buffer(device, data, bytes, false);
}

test_buffer test_buffer_new_front(const test_device *device, const void *data, size_t bytes) {
  return new_buffer(device, data, bytes, true);
}

void test_buffer_read(const test_device *device, const test_buffer *buffer, void *data) {
  test_ok(clq_stream_finish(device->stream));
  if (buffer->bytes == 0) {
    return;
  }
  const cl_int code = clEnqueueReadBuffer(clq_stream_queue(device->stream), buffer->mem, CL_TRUE, 0,
                                          buffer->bytes, data, 0, NULL, NULL);
  cr_assert_eq(code, CL_SUCCESS, "clEnqueueReadBuffer: %d", code);
}

void test_buffer_free(test_buffer *buffer) {
  if (buffer->mem != NULL) {
    (void)clReleaseMemObject(buffer->mem);
    (void)munmap(buffer->mapping, buffer->mapping_bytes);
  }
  *buffer = (test_buffer){NULL, NULL, 0, NULL, 0};
}

void test_ok(clq_status status) {
  cr_assert_eq(status, CLQ_OK, "%s: %s", clq_status_name(status), clq_last_error());
}

void test_fails(clq_status status, clq_status expected, const char *part) {
  cr_assert_eq(status, expected, "%s, expected %s (%s)", clq_status_name(status),
               clq_status_name(expected), clq_last_error());
  cr_assert_not_null(strstr(clq_last_error(), part), "'%s' lacks '%s'", clq_last_error(), part);
}

uint32_t test_random_u32(test_random *random) {
  random->state = random->state * 6364136223846793005ULL + 1442695040888963407ULL;
  uint64_t x = random->state;
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  return (uint32_t)(x >> 32);
}

int32_t test_random_int(test_random *random, int32_t low, int32_t high) {
  const uint32_t span = (uint32_t)(high - low) + 1U;
  return low + (int32_t)(test_random_u32(random) % span);
}

float test_random_float(test_random *random) {
  return (float)((int32_t)(test_random_u32(random) >> 8) - (1 << 23)) * 0x1p-23f;
}

float test_random_normal(test_random *random) {
  float sum = 0.0f;
  for (int i = 0; i < 12; ++i) {
    sum += test_random_float(random);
  }
  return sum * 0.5f;
}

static void collect(void *user, clq_log_topic topic, const char *text) {
  (void)user;
  (void)topic;
  const size_t used = strlen(dispatch_log);
  (void)snprintf(dispatch_log + used, sizeof dispatch_log - used, "%s\n", text);
}

void test_dispatch_start(void) {
  dispatch_log[0] = '\0';
  clq_set_log(collect, NULL, CLQ_LOG_DISPATCH);
}

bool test_dispatch_saw(const char *op, const char *variant) {
  char line[256];
  (void)snprintf(line, sizeof line, "%s: chose %s\n", op, variant);
  return strstr(dispatch_log, line) != NULL;
}

void test_dispatch_stop(void) { clq_set_log(NULL, NULL, 0); }

bool test_has_trait(const clq_context *context, const char *trait) {
  for (int32_t i = 0; clq_context_trait(context, i) != NULL; ++i) {
    if (strcmp(clq_context_trait(context, i), trait) == 0) {
      return true;
    }
  }
  return false;
}
