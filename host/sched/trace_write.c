/* Chrome trace JSON: complete events ("X") with fractional microseconds, which Perfetto and
 * chrome://tracing open. Numbers are written from integers, because printf would follow the
 * process's locale. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sched/trace.h"

static void write_string(FILE *file, const char *text) {
  (void)fputc('"', file);
  for (; *text != '\0'; text++) {
    const unsigned char c = (unsigned char)*text;
    if (c < 0x20) {
      (void)fprintf(file, "\\u%04x", c);
    } else {
      if (c == '"' || c == '\\') {
        (void)fputc('\\', file);
      }
      (void)fputc(c, file);
    }
  }
  (void)fputc('"', file);
}

/* thousandths / 1000, three digits behind the point */
static void write_thousandths(FILE *file, uint64_t thousandths) {
  (void)fprintf(file, "%" PRIu64 ".%03" PRIu64, thousandths / 1000, thousandths % 1000);
}

static void write_sizes(FILE *file, const size_t *sizes, cl_uint count) {
  for (cl_uint i = 0; i < count; i++) {
    (void)fprintf(file, "%s%zu", i == 0 ? "[" : ",", sizes[i]);
  }
  (void)fputc(']', file);
}

/* Amount per nanosecond (GB/s of bytes, GFLOP/s of operations), if the clock ticked at all. */
static void write_rate(FILE *file, const char *key, double amount, uint64_t nanoseconds) {
  if (nanoseconds == 0 || !(amount >= 0.0)) {
    return;
  }
  (void)fprintf(file, ",\"%s\":", key);
  write_thousandths(file, (uint64_t)(amount / (double)nanoseconds * 1000.0 + 0.5));
}

static void write_name(FILE *file, const char *what, int32_t queue, const char *name) {
  (void)fprintf(file, "{\"ph\":\"M\",\"pid\":1,\"tid\":%d,\"name\":\"%s\",\"args\":{\"name\":",
                (int)queue, what);
  write_string(file, name);
  (void)fputs("}}", file);
}

static void write_span(FILE *file, const clq_trace *trace, const clqi_trace_span *span,
                       uint64_t origin) {
  const clqi_trace_kernel *kernel = &trace->kernels[span->kernel];
  const uint64_t nanoseconds = span->time.end - span->time.start;
  (void)fprintf(file, ",\n{\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"ts\":", (int)span->queue);
  write_thousandths(file, span->time.start - origin);
  (void)fputs(",\"dur\":", file);
  write_thousandths(file, nanoseconds);
  (void)fputs(",\"name\":", file);
  write_string(file, clqi_kernel_name(kernel->id));
  (void)fputs(",\"cat\":", file);
  write_string(file, span->op);
  (void)fprintf(file, ",\"args\":{\"run\":%d,\"node\":%d,\"op\":", (int)span->run, (int)span->node);
  write_string(file, span->op);
  (void)fputs(",\"kernel\":", file);
  write_string(file, kernel->name);
  (void)fputs(",\"global\":", file);
  write_sizes(file, span->global, span->dims);
  (void)fputs(",\"local\":", file);
  write_sizes(file, span->local, span->dims);
  write_rate(file, "GB/s", span->bytes, nanoseconds);
  write_rate(file, "GFLOP/s", span->ops, nanoseconds);
  (void)fputs("}}", file);
}

static void write_trace(FILE *file, const clq_trace *trace) {
  uint64_t origin = UINT64_MAX;
  for (int32_t i = 0; i < trace->span_count; i++) {
    const uint64_t start = trace->spans[i].time.start;
    origin = start < origin ? start : origin;
  }
  (void)fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n", file);
  write_name(file, "process_name", 0, trace->device_name);
  for (int32_t i = 1; i <= trace->queue_count; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, "queue %d", (int)i);
    (void)fputs(",\n", file);
    write_name(file, "thread_name", i, name);
  }
  for (int32_t i = 0; i < trace->span_count; i++) {
    write_span(file, trace, &trace->spans[i], origin);
  }
  (void)fputs("\n]}\n", file);
}

clq_status clq_trace_write(const clq_trace *trace, const char *path) {
  CLQI_REQUIRE(trace != NULL && path != NULL, "trace: trace and path must not be NULL");
  FILE *file = fopen(path, "w");
  if (file == NULL) {
    return clqi_fail(CLQ_IO_ERROR, "trace: %s cannot be written: %s", path, strerror(errno));
  }
  struct stat found;
  const bool regular = fstat(fileno(file), &found) == 0 && S_ISREG(found.st_mode);
  write_trace(file, trace);
  bool written = fflush(file) == 0 && ferror(file) == 0;
  int reason = errno;
  if (fclose(file) != 0 && written) {
    written = false;
    reason = errno;
  }
  if (!written) {
    if (regular) {
      (void)unlink(path); /* half a trace, which nothing opens */
    }
    return clqi_fail(CLQ_IO_ERROR, "trace: %s cannot be written: %s", path, strerror(reason));
  }
  return CLQ_OK;
}
