#include "runtime/status.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_LINE_BYTES = 4096 };

static _Thread_local char last_error[CLQI_ERROR_TEXT_BYTES];

static pthread_once_t log_once = PTHREAD_ONCE_INIT;
static clq_log_fn log_sink;
static void *log_user;
static unsigned log_topics;

const char *clq_status_name(clq_status status) {
  switch (status) {
    case CLQ_OK: return "CLQ_OK";
    case CLQ_INVALID_ARGUMENT: return "CLQ_INVALID_ARGUMENT";
    case CLQ_UNSUPPORTED: return "CLQ_UNSUPPORTED";
    case CLQ_OUT_OF_HOST_MEMORY: return "CLQ_OUT_OF_HOST_MEMORY";
    case CLQ_OUT_OF_DEVICE_MEMORY: return "CLQ_OUT_OF_DEVICE_MEMORY";
    case CLQ_NO_DEVICE: return "CLQ_NO_DEVICE";
    case CLQ_BUILD_FAILED: return "CLQ_BUILD_FAILED";
    case CLQ_DEVICE_ERROR: return "CLQ_DEVICE_ERROR";
    case CLQ_DEVICE_LOST: return "CLQ_DEVICE_LOST";
    case CLQ_BAD_FILE: return "CLQ_BAD_FILE";
    case CLQ_IO_ERROR: return "CLQ_IO_ERROR";
    case CLQ_INVALID_STATE: return "CLQ_INVALID_STATE";
    case CLQ_CANCELLED: return "CLQ_CANCELLED";
  }
  return "CLQ_UNKNOWN_STATUS";
}

const char *clq_last_error(void) { return last_error; }

#define STRINGIFY_(x) #x
#define STRINGIFY(x)  STRINGIFY_(x)

const char *clq_version(void) {
  return STRINGIFY(CLQ_VERSION_MAJOR) "." STRINGIFY(CLQ_VERSION_MINOR) "." STRINGIFY(
      CLQ_VERSION_PATCH);
}

void clqi_set_error(const char *format, ...) {
  char text[CLQI_ERROR_TEXT_BYTES]; /* the arguments may point into last_error */
  va_list args;
  va_start(args, format);
  (void)vsnprintf(text, sizeof text, format, args);
  va_end(args);
  memcpy(last_error, text, sizeof text);
}

clq_status clqi_fail_prefix(clq_status status, const char *format, ...) {
  char prefix[CLQI_ERROR_TEXT_BYTES / 2];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(prefix, sizeof prefix, format, args);
  va_end(args);
  char text[CLQI_ERROR_TEXT_BYTES + sizeof prefix + 3];
  (void)snprintf(text, sizeof text, "%s: %s", prefix, last_error);
  text[CLQI_ERROR_TEXT_BYTES - 1] = '\0';
  memcpy(last_error, text, CLQI_ERROR_TEXT_BYTES);
  return status;
}

void clqi_failure_keep(clqi_failure *failure, clq_status status) {
  failure->status = status;
  if (status != CLQ_OK) {
    memcpy(failure->text, last_error, sizeof failure->text);
  }
}

clq_status clqi_failure_or(const clqi_failure *failure, clq_status later) {
  if (failure->status == CLQ_OK) {
    return later;
  }
  memcpy(last_error, failure->text, sizeof failure->text);
  return failure->status;
}

static const char *topic_name(clq_log_topic topic) {
  switch (topic) {
    case CLQ_LOG_DISPATCH: return "dispatch";
    case CLQ_LOG_BUILD: return "build";
    case CLQ_LOG_EXEC: return "exec";
    case CLQ_LOG_CACHE: return "cache";
  }
  return "?";
}

static void log_to_stderr(void *user, clq_log_topic topic, const char *text) {
  (void)user;
  (void)fprintf(stderr, "clquant %s: %s\n", topic_name(topic), text);
}

/* 0: there is none of that name. */
static unsigned topic_of(const char *name, size_t length) {
  for (unsigned topic = CLQ_LOG_DISPATCH; topic <= CLQ_LOG_CACHE; topic <<= 1) {
    const char *known = topic_name((clq_log_topic)topic);
    if (strlen(known) == length && strncmp(known, name, length) == 0) {
      return topic;
    }
  }
  return 0;
}

/* Who sets the variable asks for lines on stderr; one more says which of its words are none. */
static void read_verbose_variable(void) {
  const char *at = getenv("CLQ_VERBOSE");
  if (at == NULL || log_sink != NULL) {
    return;
  }
  log_sink = log_to_stderr;
  while (*at != '\0') {
    const size_t length = strcspn(at, ", ");
    const unsigned topic = topic_of(at, length);
    log_topics |= topic;
    if (topic == 0 && length > 0) {
      (void)fprintf(stderr,
                    "clquant: CLQ_VERBOSE has no topic '%.*s', expected some of "
                    "dispatch,build,exec,cache\n",
                    (int)length, at);
    }
    at += length + (at[length] != '\0');
  }
}

void clq_set_log(clq_log_fn log, void *user, unsigned topics) {
  (void)pthread_once(&log_once, read_verbose_variable);
  log_sink = log;
  log_user = user;
  log_topics = log == NULL ? 0 : topics;
}

bool clqi_log_wanted(clq_log_topic topic) {
  (void)pthread_once(&log_once, read_verbose_variable);
  return (log_topics & (unsigned)topic) != 0;
}

void clqi_log(clq_log_topic topic, const char *format, ...) {
  if (!clqi_log_wanted(topic)) {
    return;
  }
  char text[LOG_LINE_BYTES];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(text, sizeof text, format, args);
  va_end(args);
  log_sink(log_user, topic, text);
}
