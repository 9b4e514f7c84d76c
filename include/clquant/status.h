/** @file status.h
 *  How every call answers: a status value, and a sentence behind it.
 *
 *  No call aborts and none prints. A call that fails returns a nonzero
 *  clq_status; clq_last_error() then holds one sentence, in the calling
 *  thread, that names the operator or file, the argument, what was expected
 *  and what was found.
 *
 *  Any call may answer CLQ_INVALID_ARGUMENT and CLQ_OUT_OF_HOST_MEMORY; any that works on a device
 *  also CLQ_OUT_OF_DEVICE_MEMORY, CLQ_BUILD_FAILED, CLQ_DEVICE_ERROR and CLQ_DEVICE_LOST. What else
 *  a call may answer stands beside it.
 *
 *  NULL for an object is CLQ_INVALID_ARGUMENT where a status is returned, and ignored by destroy
 *  and free calls; calls that return something else want an object.
 *
 *  A call that creates something sets its result to NULL first, so that after any failure it may
 *  be given to its destroy call, which ignores NULL. */
#ifndef CLQUANT_STATUS_H
#define CLQUANT_STATUS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define CLQ_API
#elif defined(__GNUC__)
#define CLQ_API __attribute__((visibility("default")))
#else
#define CLQ_API
#endif

#if defined(__GNUC__)
#define CLQ_NODISCARD __attribute__((warn_unused_result))
#else
#define CLQ_NODISCARD
#endif

/** Result of a call. Zero is success. */
typedef enum clq_status {
  CLQ_OK = 0,
  CLQ_INVALID_ARGUMENT = 1, /**< the caller's mistake: shape, dtype, null, range */
  CLQ_UNSUPPORTED = 2,      /**< well formed, but not offered (by this device or at all) */
  CLQ_OUT_OF_HOST_MEMORY = 3,
  CLQ_OUT_OF_DEVICE_MEMORY = 4,
  CLQ_NO_DEVICE = 5,      /**< no OpenCL platform, or no device that matches */
  CLQ_BUILD_FAILED = 6,   /**< a kernel did not compile; the text carries the log's start */
  CLQ_DEVICE_ERROR = 7,   /**< an OpenCL call failed; the text names it and its code */
  CLQ_DEVICE_LOST = 8,    /**< sticky: all later work on the context's device answers this */
  CLQ_BAD_FILE = 9,       /**< a file's content is malformed or hostile */
  CLQ_IO_ERROR = 10,      /**< a file cannot be opened, read or written */
  CLQ_INVALID_STATE = 11, /**< calls in the wrong order, or after an error */
  CLQ_CANCELLED = 12      /**< a callback of the caller's asked for it */
} clq_status;

/** Name of a status, e.g. "CLQ_BAD_FILE". Never NULL. */
CLQ_API const char *clq_status_name(clq_status status);

/** The sentence behind the calling thread's last failed call, or "".
 *  Valid until the thread's next CLQuant call that fails. */
CLQ_API const char *clq_last_error(void);

/** Library version as "major.minor.patch". */
CLQ_API const char *clq_version(void);
#define CLQ_VERSION_MAJOR 0
#define CLQ_VERSION_MINOR 1
#define CLQ_VERSION_PATCH 0

/** Allocation hooks. All host memory of the library, that of PCRE2 on its behalf included, goes
 *  through them; what the OpenCL driver allocates does not. */
typedef struct clq_allocator {
  void *(*allocate)(void *user, size_t bytes);
  void *(*reallocate)(void *user, void *block, size_t bytes);
  void (*release)(void *user, void *block);
  void *user;
} clq_allocator;

/** Installs process-wide allocation hooks; NULL restores malloc and free.
 *  To be called while the library holds no memory, from one thread.
 *  Process-wide and not per context, because files and tokenizers are opened
 *  without a context. */
CLQ_API void clq_set_allocator(const clq_allocator *allocator);

/** What the library says while it works, if anybody listens. */
typedef enum clq_log_topic {
  CLQ_LOG_DISPATCH = 1, /**< which variant was chosen, why others were refused */
  CLQ_LOG_BUILD = 2,    /**< kernel builds and their logs */
  CLQ_LOG_EXEC = 4,     /**< each launch; what the driver reports to its context */
  CLQ_LOG_CACHE = 8     /**< program cache hits, misses and refusals */
} clq_log_topic;

/** Receives one line of text without a newline. May be called from any thread. */
typedef void (*clq_log_fn)(void *user, clq_log_topic topic, const char *text);

/** Sends the topics in @p topics (or-ed clq_log_topic) to @p log; NULL: to nobody. Process-wide: to
 *  be called from one thread while no other is in a call of the library.
 *  Without this call, CLQ_VERBOSE=dispatch,build,exec,cache sends them to stderr. */
CLQ_API void clq_set_log(clq_log_fn log, void *user, unsigned topics);

#ifdef __cplusplus
}
#endif
#endif
