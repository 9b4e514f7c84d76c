/* What device tests share: a context and a stream on the device that CLQ_DEVICE
 * names, buffers with a guard page behind (or before) their data, and exact
 * fills. Failures end the test through Criterion. */
#ifndef CLQ_TESTS_DEVICE_H
#define CLQ_TESTS_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clquant/ops.h>

typedef struct test_device {
  clq_context *context;
  clq_stream *stream;
} test_device;

/* disable: traits to drop, comma-separated, or NULL. */
test_device test_device_open(const char *disable);
/* Also asserts, when no other is open, that every OpenCL object made since is released: free
 * buffers first. */
void test_device_close(test_device *device);

/* A buffer of exactly `bytes` bytes, filled from `data` if not NULL, else with 0xA5. On devices
 * that use host memory in place it ends at a page that cannot be touched, so that an access past
 * the end is a crash (pocl, and CPU devices in general).
 * bytes 0 gives a buffer of which nothing may be used. */
typedef struct test_buffer {
  cl_mem mem;
  void *mapping; /* the whole mapping, guard included */
  size_t mapping_bytes;
  unsigned char *host; /* where the data starts in it */
  size_t bytes;
} test_buffer;

test_buffer test_buffer_new(const test_device *device, const void *data, size_t bytes);
/* The same with the guard page before the data, for accesses in front of it. */
test_buffer test_buffer_new_front(const test_device *device, const void *data, size_t bytes);
/* Waits for the stream and copies the buffer's bytes out. */
void test_buffer_read(const test_device *device, const test_buffer *buffer, void *data);
void test_buffer_free(test_buffer *buffer);

/* Asserts that status is CLQ_OK, with the last error's text. */
void test_ok(clq_status status);
/* Asserts that the call failed with this status and that the sentence holds `part`. */
void test_fails(clq_status status, clq_status expected, const char *part);

/* Deterministic generator for fills; seed is any number. */
typedef struct test_random {
  uint64_t state;
} test_random;
uint32_t test_random_u32(test_random *random);
/* Uniform integer in [low, high]. */
int32_t test_random_int(test_random *random, int32_t low, int32_t high);
/* Uniform float in [-1, 1), a multiple of 2^-23. */
float test_random_float(test_random *random);
/* Roughly normal, mean 0, deviation 1. */
float test_random_normal(test_random *random);

/* Collects the variants that operators choose while it is on (topic dispatch). Not for use from
 * two threads. */
void test_dispatch_start(void);
/* True if a line "<op>: chose <variant>" was seen since start. */
bool test_dispatch_saw(const char *op, const char *variant);
void test_dispatch_stop(void);
/* True if the context was seen to have the trait. */
bool test_has_trait(const clq_context *context, const char *trait);

#endif
