#include "runtime/stream.h"

#include <string.h>

#include "runtime/array.h"
#include "runtime/buffer.h"
#include "runtime/memory.h"
#include "runtime/program_cache.h"
#include "runtime/queue.h"

typedef struct kernel_slot {
  struct kernel_slot *next;
  clqi_kernel_id id;
  char *options;
  cl_kernel kernel;
} kernel_slot;

/* An error word that kernels of this stream may have written. */
typedef struct watched_word {
  cl_mem buffer; /* retained */
  cl_int value[CLQI_ERROR_WORDS];
} watched_word;

struct clq_stream {
  clqi_emitter emitter; /* first, so that an emitter of a stream is the stream */
  cl_command_queue queue;
  cl_mem scratch; /* NULL until it is asked for */
  uint64_t scratch_bytes;
  kernel_slot *kernels;  /* most recently used first */
  watched_word *watched; /* read by the next finish */
  int64_t watched_count;
  int64_t watched_capacity;
  cl_event last; /* of the command that was enqueued last; NULL: none since a finish */
  cl_int failed; /* what a command failed with, until that is reported; CL_SUCCESS: none */
};

clq_status clqi_kernel_create(clq_context *context, clqi_kernel_id id, const char *options,
                              cl_kernel *kernel) {
  cl_program program = NULL;
  CLQI_TRY(clqi_context_usable(context));
  CLQI_TRY(clqi_program_get(context->programs, clqi_kernel_file(id), options, &program));
  cl_int code = CL_SUCCESS;
  *kernel = clCreateKernel(program, clqi_kernel_name(id), &code);
  return clqi_context_cl(context, code, "clCreateKernel");
}

void clqi_kernel_release(cl_kernel kernel) {
  if (kernel != NULL) {
    (void)clReleaseKernel(kernel);
  }
}

static void free_kernel(kernel_slot *slot) {
  clqi_kernel_release(slot->kernel);
  clqi_free(slot->options);
  clqi_free(slot);
}

static clq_status stream_kernel(clqi_emitter *self, clqi_kernel_id id, const char *options,
                                cl_kernel *out) {
  clq_stream *stream = (clq_stream *)self;
  if (options == NULL) {
    options = "";
  }
  for (kernel_slot **at = &stream->kernels; *at != NULL; at = &(*at)->next) {
    kernel_slot *slot = *at;
    if (slot->id == id && strcmp(slot->options, options) == 0) {
      *at = slot->next;
      slot->next = stream->kernels;
      stream->kernels = slot;
      *out = slot->kernel;
      return CLQ_OK;
    }
  }
  kernel_slot *slot = clqi_calloc(1, sizeof *slot);
  if (slot == NULL || (slot->options = clqi_strdup(options)) == NULL) {
    clqi_free(slot);
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "stream: out of memory");
  }
  slot->id = id;
  const clq_status status = clqi_kernel_create(self->context, id, options, &slot->kernel);
  if (status != CLQ_OK) {
    free_kernel(slot);
    return status;
  }
  slot->next = stream->kernels;
  stream->kernels = slot;
  *out = slot->kernel;
  return CLQ_OK;
}

/* Commands that read or write the one before keep it until they are over. */
static clq_status stream_scratch(clqi_emitter *self, uint64_t bytes, cl_mem *out) {
  clq_stream *stream = (clq_stream *)self;
  if (bytes > stream->scratch_bytes) {
    clqi_buffer_release(stream->scratch);
    stream->scratch = NULL;
    stream->scratch_bytes = 0;
    CLQI_TRY(clqi_buffer_create(self->context, bytes, &stream->scratch));
    stream->scratch_bytes = bytes;
  }
  *out = stream->scratch;
  return CLQ_OK;
}

/* clFinish says nothing of a command that failed. Its event does, and mostly those behind it in the
 * queue: drivers let them share its fate, unless it had failed before they came. So the event of
 * the last command, looked at here when the next one comes, tells of all. */
static void look_back(clq_stream *stream) {
  cl_int state = CL_COMPLETE;
  if (stream->last == NULL) {
    return;
  }
  if (clGetEventInfo(stream->last, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL) ==
          CL_SUCCESS &&
      state < 0) {
    stream->failed = state;
  }
  (void)clReleaseEvent(stream->last);
  stream->last = NULL;
}

static clq_status usable(const clq_stream *stream) {
  return clqi_context_usable(stream->emitter.context);
}

static clq_status stream_cl(const clq_stream *stream, cl_int code, const char *call) {
  return clqi_context_cl(stream->emitter.context, code, call);
}

/* Where the next command of the queue leaves its event. */
static cl_event *next_event(clq_stream *stream) {
  look_back(stream);
  return &stream->last;
}

/* A caller's own reference to the last command's event. */
static clq_status share_event(const clq_stream *stream, cl_event *event) {
  *event = stream->last;
  return stream_cl(stream, clRetainEvent(stream->last), "clRetainEvent");
}

/* Of what has been finished; clears it. */
static clq_status command_status(clq_stream *stream) {
  look_back(stream);
  const cl_int failed = stream->failed;
  stream->failed = CL_SUCCESS;
  return stream_cl(stream, failed, "a command of the stream");
}

static void log_launch(const clqi_launch *l) {
  if (!clqi_log_wanted(CLQ_LOG_EXEC)) {
    return;
  }
  if (l->kernel == NULL) {
    clqi_log(CLQ_LOG_EXEC, "CLBlastSgemm: %lld x %lld from %lld", (long long)l->sgemm.rows,
             (long long)l->sgemm.cols, (long long)l->sgemm.depth);
    return;
  }
  size_t global[3] = {1, 1, 1};
  size_t local[3] = {1, 1, 1};
  for (cl_uint d = 0; d < l->dims; ++d) {
    global[d] = l->global[d];
    local[d] = l->local[d];
  }
  clqi_log(CLQ_LOG_EXEC, "%s: %zu x %zu x %zu work-items in groups of %zu x %zu x %zu",
           clqi_kernel_name(l->id), global[0], global[1], global[2], local[0], local[1], local[2]);
}

static clq_status enqueue_sgemm(clq_stream *stream, const clqi_launch *launch) {
  cl_event event = NULL;
  atomic_store(&stream->emitter.context->used_clblast, true);
  CLQI_TRY(
      stream_cl(stream, clqi_clblast_sgemm(&launch->sgemm, stream->queue, &event), "CLBlastSgemm"));
  *next_event(stream) = event;
  return CLQ_OK;
}

static clq_status enqueue_kernel(clq_stream *stream, const clqi_launch *launch) {
  const cl_int code =
      clEnqueueNDRangeKernel(stream->queue, launch->kernel, launch->dims, NULL, launch->global,
                             launch->local, 0, NULL, next_event(stream));
  if (code != CL_SUCCESS) {
    const clq_status status = stream_cl(stream, code, "clEnqueueNDRangeKernel");
    return clqi_fail_prefix(status, "kernel %s", clqi_kernel_name(launch->id));
  }
  return CLQ_OK;
}

clq_status clqi_stream_enqueue(clq_stream *stream, const clqi_launch *launch, cl_event *event) {
  CLQI_TRY(usable(stream));
  log_launch(launch);
  CLQI_TRY(launch->kernel == NULL ? enqueue_sgemm(stream, launch) : enqueue_kernel(stream, launch));
  return event == NULL ? CLQ_OK : share_event(stream, event);
}

static clq_status stream_take(clqi_emitter *self, const clqi_launch *launch) {
  clq_stream *stream = (clq_stream *)self;
  if (launch->uses_error_word) {
    CLQI_TRY(clqi_stream_watch(stream, self->error_word));
  }
  return clqi_stream_enqueue(stream, launch, NULL);
}

clqi_emitter *clqi_stream_emitter(clq_stream *stream) { return &stream->emitter; }

static clq_status adopt_queue(const clq_context *context, cl_command_queue queue) {
  cl_device_id device = NULL;
  cl_context owner = NULL;
  cl_command_queue_properties properties = 0;
  CLQI_TRY(clqi_cl(clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof device, &device, NULL),
                   "clGetCommandQueueInfo"));
  CLQI_TRY(clqi_cl(clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof owner, &owner, NULL),
                   "clGetCommandQueueInfo"));
  CLQI_TRY(clqi_cl(
      clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL),
      "clGetCommandQueueInfo"));
  CLQI_REQUIRE(device == context->device && owner == context->cl,
               "stream: the queue belongs to another device or context");
  if ((properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) != 0) {
    return clqi_fail(CLQ_UNSUPPORTED, "stream: the queue is out-of-order; give an in-order one");
  }
  return clqi_cl(clRetainCommandQueue(queue), "clRetainCommandQueue");
}

clq_status clq_stream_create(clq_context *context, cl_command_queue queue, clq_stream **stream) {
  CLQI_REQUIRE(stream != NULL, "stream: the result pointer is NULL");
  *stream = NULL;
  CLQI_REQUIRE(context != NULL, "stream: context is NULL");
  clq_stream *s = clqi_calloc(1, sizeof *s);
  if (s == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "stream: out of memory");
  }
  s->emitter = (clqi_emitter){
      .context = context, .kernel = stream_kernel, .scratch = stream_scratch, .take = stream_take};
  clq_status status = CLQ_OK;
  CLQI_TRY_CLEAN(clqi_error_word_create(context, &s->emitter.error_word));
  if (queue != NULL) {
    CLQI_TRY_CLEAN(adopt_queue(context, queue));
    s->queue = queue;
  } else {
    CLQI_TRY_CLEAN(clqi_queue_create(context, CL_QUEUE_PROFILING_ENABLE, &s->queue));
  }
  *stream = s;
  s = NULL;
cleanup:
  clq_stream_destroy(s);
  return status;
}

static void unwatch(clq_stream *stream) {
  while (stream->watched_count > 0) {
    clqi_buffer_release(stream->watched[--stream->watched_count].buffer);
  }
}

void clq_stream_destroy(clq_stream *stream) {
  if (stream == NULL) {
    return;
  }
  if (stream->queue != NULL) {
    (void)clFinish(stream->queue);
    look_back(stream);
    (void)clReleaseCommandQueue(stream->queue);
  }
  for (kernel_slot *slot = stream->kernels; slot != NULL;) {
    kernel_slot *next = slot->next;
    free_kernel(slot);
    slot = next;
  }
  unwatch(stream);
  clqi_buffer_release(stream->scratch);
  clqi_buffer_release(stream->emitter.error_word);
  clqi_free(stream->watched);
  clqi_free(stream);
}

cl_command_queue clq_stream_queue(const clq_stream *stream) { return stream->queue; }
clq_context *clq_stream_context(const clq_stream *stream) { return stream->emitter.context; }

clq_status clqi_stream_flush(clq_stream *stream) {
  CLQI_TRY(usable(stream));
  return stream_cl(stream, clFlush(stream->queue), "clFlush");
}

clq_status clqi_error_word_create(clq_context *context, cl_mem *buffer) {
  static const cl_int none[CLQI_ERROR_WORDS];
  return clqi_buffer_create_from(context, none, sizeof none, buffer);
}

clq_status clqi_stream_watch(clq_stream *stream, cl_mem error_word) {
  for (int64_t i = 0; i < stream->watched_count; ++i) {
    if (stream->watched[i].buffer == error_word) {
      return CLQ_OK;
    }
  }
  CLQI_TRY(clqi_array_reserve(&stream->watched, stream->watched_count, 1, &stream->watched_capacity,
                              sizeof *stream->watched));
  CLQI_TRY(clqi_buffer_retain(error_word));
  stream->watched[stream->watched_count++] = (watched_word){.buffer = error_word};
  return CLQ_OK;
}

static clq_status describe_device_error(const cl_int word[CLQI_ERROR_WORDS]) {
  switch (word[0]) {
    case CLQI_NO_DEVICE_ERROR: return CLQ_OK;
#define CLQ_DEVICE_ERROR(name, number, sentence) \
  case number:                                   \
    return clqi_fail(CLQ_INVALID_ARGUMENT, sentence, word[1]);
#include "lib/device_error.def"
#undef CLQ_DEVICE_ERROR
  }
  return clqi_fail(CLQ_DEVICE_ERROR, "a kernel reported the unknown error %d", word[0]);
}

static clq_status read_error_words(clq_stream *stream) {
  for (int64_t i = 0; i < stream->watched_count; ++i) {
    watched_word *w = &stream->watched[i];
    CLQI_TRY(stream_cl(stream,
                       clEnqueueReadBuffer(stream->queue, w->buffer, CL_FALSE, 0, sizeof w->value,
                                           w->value, 0, NULL, next_event(stream)),
                       "clEnqueueReadBuffer"));
  }
  return CLQ_OK;
}

/* The first error that was read, after all have been cleared on the device. A word that can't be
 * cleared stays watched. */
static clq_status report_error_words(clq_stream *stream) {
  static const cl_int none[CLQI_ERROR_WORDS];
  clq_status status = CLQ_OK;
  bool cleared = true;
  for (int64_t i = 0; i < stream->watched_count; ++i) {
    const watched_word *w = &stream->watched[i];
    if (w->value[0] == CLQI_NO_DEVICE_ERROR) {
      continue;
    }
    CLQI_ALSO(status, describe_device_error(w->value));
    const cl_int code = clEnqueueWriteBuffer(stream->queue, w->buffer, CL_TRUE, 0, sizeof none,
                                             none, 0, NULL, NULL);
    cleared = cleared && code == CL_SUCCESS;
    CLQI_ALSO(status, stream_cl(stream, code, "clEnqueueWriteBuffer"));
  }
  if (cleared) {
    unwatch(stream);
  }
  return status;
}

/* Waits in any case: after this nothing reads or writes host memory any more, least of all the
 * watched words, which may move. */
clq_status clq_stream_finish(clq_stream *stream) {
  CLQI_REQUIRE(stream != NULL, "stream: NULL");
  clq_status status = usable(stream);
  if (status == CLQ_OK) {
    status = read_error_words(stream);
  }
  CLQI_ALSO(status, stream_cl(stream, clFinish(stream->queue), "clFinish"));
  CLQI_ALSO(status, command_status(stream));
  return status == CLQ_OK ? report_error_words(stream) : status;
}

clq_status clqi_stream_write(clq_stream *stream, cl_mem buffer, size_t bytes, const void *data) {
  CLQI_TRY(usable(stream));
  return stream_cl(stream,
                   clEnqueueWriteBuffer(stream->queue, buffer, CL_FALSE, 0, bytes, data, 0, NULL,
                                        next_event(stream)),
                   "clEnqueueWriteBuffer");
}

clq_status clqi_stream_read(clq_stream *stream, cl_mem buffer, size_t bytes, void *data) {
  return clqi_stream_read_at(stream, buffer, 0, bytes, data);
}

clq_status clqi_stream_read_at(clq_stream *stream, cl_mem buffer, size_t offset, size_t bytes,
                               void *data) {
  CLQI_TRY(usable(stream));
  return stream_cl(stream,
                   clEnqueueReadBuffer(stream->queue, buffer, CL_FALSE, offset, bytes, data, 0,
                                       NULL, next_event(stream)),
                   "clEnqueueReadBuffer");
}

clq_status clqi_stream_copy(clq_stream *stream, const clqi_copy *copy) {
  const size_t from[3] = {copy->from_start, 0, 0};
  const size_t to[3] = {copy->to_start, 0, 0};
  const size_t region[3] = {copy->bytes, copy->lines, 1};
  CLQI_TRY(usable(stream));
  return stream_cl(
      stream,
      clEnqueueCopyBufferRect(stream->queue, copy->from, copy->to, from, to, region,
                              copy->from_pitch, 0, copy->to_pitch, 0, 0, NULL, next_event(stream)),
      "clEnqueueCopyBufferRect");
}

clq_status clq_stream_wait(clq_stream *stream, cl_event event) {
  CLQI_REQUIRE(stream != NULL && event != NULL, "stream: stream and event must not be NULL");
  CLQI_TRY(usable(stream));
  return stream_cl(stream,
                   clEnqueueBarrierWithWaitList(stream->queue, 1, &event, next_event(stream)),
                   "clEnqueueBarrierWithWaitList");
}

clq_status clq_stream_record(clq_stream *stream, cl_event *event) {
  CLQI_REQUIRE(stream != NULL && event != NULL, "stream: stream and event must not be NULL");
  *event = NULL;
  CLQI_TRY(usable(stream));
  CLQI_TRY(stream_cl(stream,
                     clEnqueueMarkerWithWaitList(stream->queue, 0, NULL, next_event(stream)),
                     "clEnqueueMarkerWithWaitList"));
  CLQI_TRY(clqi_stream_flush(stream));
  return share_event(stream, event);
}
