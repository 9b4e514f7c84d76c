/* The OpenCL calls of a test program, counted and made to fail. The linker sends them here
 * (--wrap, see tests/CMakeLists.txt), those of the library as well as those of the test. */
#ifndef CLQ_TESTS_OPENCL_H
#define CLQ_TESTS_OPENCL_H

/* Objects by kind: references taken (created, retained, returned as an event) and not released. */
typedef struct opencl_objects {
  long contexts, queues, buffers, programs, kernels, events;
} opencl_objects;

opencl_objects opencl_live(void);
/* Asserts that as many of each kind are alive as then. */
void opencl_assert_live(const opencl_objects *then);
/* The `fini` of every suite that uses a device: ends the process abnormally if any is alive,
 * because Criterion passes a case whose fini fails an assertion. */
void opencl_none_live(void);

typedef enum opencl_call {
  OPENCL_SET_ARG,
  OPENCL_CREATE_KERNEL,
  OPENCL_CREATE_BUFFER,
  OPENCL_ENQUEUE_KERNEL,
  OPENCL_READ,
  OPENCL_WRITE,
  OPENCL_COPY_RECT,
  OPENCL_MAP,
  OPENCL_UNMAP,
  OPENCL_MARKER,
  OPENCL_BARRIER,
  OPENCL_FLUSH,
  OPENCL_FINISH,
  OPENCL_COMMAND, /* an event asked for the state of its command: a failed one after it was taken */
  OPENCL_PROGRAM_INFO,
  OPENCL_DEVICE_INFO,
  OPENCL_CLBLAST, /* the library's call of it; what it does of its own accord is not seen */
  OPENCL_CALLS
} opencl_call;

/* How often it was called, since the program began or since the last reset of all. */
int opencl_called(opencl_call call);
void opencl_reset_called(void);
/* The call fails once, `skip` calls from now (0: the next), with the code that running out of
 * memory or resources gives; -1: never. */
void opencl_fail(opencl_call call, int skip);
/* The same with a code of OpenCL's, as CL_DEVICE_NOT_AVAILABLE. */
void opencl_fail_with(opencl_call call, int skip, int code);

#endif
