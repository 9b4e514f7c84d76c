/* How library code reports a failure: one expression that stores the sentence
 * and yields the status. */
#ifndef CLQI_RUNTIME_STATUS_H
#define CLQI_RUNTIME_STATUS_H

#include <stdarg.h>
#include <stdbool.h>

#include <clquant/status.h>

/* Stores the formatted sentence as the thread's last error. */
void clqi_set_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline clq_status clqi_same_status(clq_status status) { return status; }

/* clqi_fail(status, format, ...): stores the sentence; yields status. A macro, so
 * that compilers and analyzers see that a failing call yields no CLQ_OK. */
#define clqi_fail(status, ...) (clqi_set_error(__VA_ARGS__), clqi_same_status(status))

/* Puts "prefix: " before the thread's last error; returns status. For a caller
 * that knows the context (a file name, an operator) that the callee did not. */
clq_status clqi_fail_prefix(clq_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A status and its sentence, set aside while the caller cleans up. */
enum { CLQI_ERROR_TEXT_BYTES = 2048 };
typedef struct clqi_failure {
  clq_status status;
  char text[CLQI_ERROR_TEXT_BYTES];
} clqi_failure;
void clqi_failure_keep(clqi_failure *failure, clq_status status);
/* The kept failure with its sentence again, or `later` if there was none. */
clq_status clqi_failure_or(const clqi_failure *failure, clq_status later);

/* True when somebody listens to the topic: guard costly formatting with it. */
bool clqi_log_wanted(clq_log_topic topic);
void clqi_log(clq_log_topic topic, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Returns from the calling function if expr fails. Only where nothing is held. */
#define CLQI_TRY(expr)                         \
  do {                                         \
    const clq_status clqi_try_status = (expr); \
    if (clqi_try_status != CLQ_OK) {           \
      return clqi_try_status;                  \
    }                                          \
  } while (0)

/* The same for a function that frees what it holds behind `cleanup:`, with its
 * result in `status`. */
#define CLQI_TRY_CLEAN(expr) \
  do {                       \
    status = (expr);         \
    if (status != CLQ_OK) {  \
      goto cleanup;          \
    }                        \
  } while (0)

/* For what must be done whatever `status` says, and may fail as well: evaluates expr; `status` is
 * then the first failure of the two, and the last error its sentence. */
#define CLQI_ALSO(status, expr)                           \
  do {                                                    \
    clqi_failure clqi_also_first;                         \
    clqi_failure_keep(&clqi_also_first, (status));        \
    (status) = clqi_failure_or(&clqi_also_first, (expr)); \
  } while (0)

/* Returns CLQ_INVALID_ARGUMENT with the sentence unless cond holds. */
#define CLQI_REQUIRE(cond, ...)                            \
  do {                                                     \
    if (!(cond)) {                                         \
      return clqi_fail(CLQ_INVALID_ARGUMENT, __VA_ARGS__); \
    }                                                      \
  } while (0)

#endif
