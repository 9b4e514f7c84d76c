/* What is answered, and what is left behind, when the device refuses: OpenCL calls are made to fail
 * one at a time (support/opencl.h). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include <clquant/clquant.h>

#include "device.h"
#include "opencl.h"
#include "quant/pack.h"
#include "runtime/status.h"
#include "runtime/stream.h"

TestSuite(failures, .fini = opencl_none_live);

enum { ROWS = 16, COLS = 4 };

/* A table of embeddings, and ids of which the only one may be out of range. */
typedef struct fixture {
  test_device device;
  clq_weights *table;
  test_buffer ids, out;
  clq_plan *plan; /* one gather, with an error word of its own */
} fixture;

static clq_weights *pack(clq_context *context) {
  static const float values[ROWS * COLS];
  const clq_weights_part part = {.data = values, .rows = ROWS};
  clq_weights *table = NULL;
  test_ok(clq_weights_pack(
      context, &(clq_weights_desc){CLQ_FORMAT_F32, COLS, .parts = &part, .part_count = 1}, &table));
  return table;
}

static clq_embedding_args gather(const fixture *f) {
  return (clq_embedding_args){
      {f->ids.mem, CLQ_I32, {1}}, f->table, {f->out.mem, CLQ_F32, {1, COLS}}};
}

static fixture open_fixture(int32_t id) {
  fixture f = {.device = test_device_open(NULL)};
  f.table = pack(f.device.context);
  f.ids = test_buffer_new(&f.device, &id, sizeof id);
  f.out = test_buffer_new(&f.device, NULL, COLS * sizeof(float));
  clq_graph *graph;
  const clq_embedding_args args = gather(&f);
  test_ok(clq_graph_create(f.device.context, &graph));
  test_ok(clq_graph_add(graph, CLQ_OP_EMBEDDING, &args));
  test_ok(clq_plan_create(graph, &f.plan));
  clq_graph_destroy(graph);
  return f;
}

static void close_fixture(fixture *f) {
  clq_plan_destroy(f->plan);
  test_buffer_free(&f->ids);
  test_buffer_free(&f->out);
  clq_weights_destroy(f->table);
  test_device_close(&f->device);
}

/* Both words hold an error: the stream's own and the plan's. */
static void gather_twice(const fixture *f) {
  const clq_embedding_args args = gather(f);
  test_ok(clq_embedding(f->device.stream, &args));
  test_ok(clq_plan_run(f->plan, f->device.stream));
}

/* A word that has been read into the stream's memory must have arrived before that may move. */
Test(failures, a_finish_that_cannot_read_a_word_waits_for_those_before) {
  fixture f = open_fixture(99);
  for (int skip = 0; skip < 2; ++skip) {
    gather_twice(&f);
    const int waits = opencl_called(OPENCL_FINISH);
    opencl_fail(OPENCL_READ, skip);
    test_fails(clq_stream_finish(f.device.stream), CLQ_DEVICE_ERROR, "clEnqueueReadBuffer");
    cr_assert_gt(opencl_called(OPENCL_FINISH), waits, "read %d: nothing waited", skip);
    test_fails(clq_stream_finish(f.device.stream), CLQ_INVALID_ARGUMENT, "embedding: id 99");
    test_ok(clq_stream_finish(f.device.stream));
  }
  close_fixture(&f);
}

Test(failures, a_word_that_cannot_be_cleared_hides_nothing) {
  fixture f = open_fixture(77);
  for (int skip = 0; skip < 2; ++skip) {
    gather_twice(&f);
    opencl_fail(OPENCL_WRITE, skip);
    test_fails(clq_stream_finish(f.device.stream), CLQ_INVALID_ARGUMENT, "embedding: id 77");
    test_fails(clq_stream_finish(f.device.stream), CLQ_INVALID_ARGUMENT, "embedding: id 77");
    test_ok(clq_stream_finish(f.device.stream));
  }
  close_fixture(&f);
}

/* The stream's own word costs a read only where a kernel may have written it. */
Test(failures, words_are_read_after_use_only) {
  fixture f = open_fixture(3);
  opencl_reset_called();
  test_ok(clq_stream_finish(f.device.stream));
  cr_assert_eq(opencl_called(OPENCL_READ), 0);
  gather_twice(&f);
  gather_twice(&f);
  test_ok(clq_stream_finish(f.device.stream));
  cr_assert_eq(opencl_called(OPENCL_READ), 2);
  test_ok(clq_stream_finish(f.device.stream));
  cr_assert_eq(opencl_called(OPENCL_READ), 2);
  close_fixture(&f);
}

/* Refused, and taken but failed: the second is known from the copy's event alone. */
Test(failures, a_copy_that_failed_is_reported) {
  test_device d = test_device_open(NULL);
  static const float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  test_buffer from = test_buffer_new(&d, ones, sizeof ones);
  test_buffer to = test_buffer_new(&d, NULL, sizeof ones);
  const clqi_copy copy = {from.mem, to.mem, 8, 2, 16, 16};
  opencl_fail(OPENCL_COPY_RECT, 0);
  test_fails(clqi_stream_copy(d.stream, &copy), CLQ_DEVICE_ERROR, "clEnqueueCopyBufferRect");
  test_ok(clq_stream_finish(d.stream));
  opencl_fail(OPENCL_COMMAND, 0);
  test_ok(clqi_stream_copy(d.stream, &copy));
  test_fails(clq_stream_finish(d.stream), CLQ_DEVICE_ERROR, "a command of the stream");
  test_ok(clqi_stream_copy(d.stream, &copy));
  test_ok(clq_stream_finish(d.stream));
  test_buffer_free(&from);
  test_buffer_free(&to);
  test_device_close(&d);
}

/* Whatever fails while cleaning up, the sentence belongs to the status. */
Test(failures, the_first_sentence_stays) {
  fixture f = open_fixture(3);
  clq_trace *trace;
  test_ok(clq_trace_create(&trace));
  opencl_fail(OPENCL_ENQUEUE_KERNEL, 0);
  opencl_fail(OPENCL_FINISH, 0);
  test_fails(clq_plan_run_traced(f.plan, f.device.stream, trace), CLQ_DEVICE_ERROR,
             "clEnqueueNDRangeKernel");
  opencl_fail_with(OPENCL_FLUSH, 0,
                   CL_OUT_OF_HOST_MEMORY); /* the launch is out: it is waited for */
  opencl_fail(OPENCL_COMMAND, 0);
  opencl_reset_called();
  test_fails(clq_plan_run_traced(f.plan, f.device.stream, trace), CLQ_OUT_OF_HOST_MEMORY,
             "clFlush");
  cr_assert_geq(opencl_called(OPENCL_COMMAND), 1);
  cr_assert_eq(opencl_called(OPENCL_FINISH), 1);
  test_ok(clq_stream_finish(f.device.stream));
  test_ok(clq_plan_run_traced(f.plan, f.device.stream, trace));
  clq_trace_destroy(trace);
  close_fixture(&f);
}

/* Every launch of a traced run is waited for, also those behind one that failed. */
Test(failures, a_trace_waits_for_all) {
  fixture f = open_fixture(3);
  enum { NODES = 5 };
  clq_graph *graph;
  clq_plan *plan;
  clq_trace *trace;
  const clq_embedding_args args = gather(&f);
  test_ok(clq_graph_create(f.device.context, &graph));
  for (int i = 0; i < NODES; ++i) {
    test_ok(clq_graph_add(graph, CLQ_OP_EMBEDDING, &args));
  }
  test_ok(clq_plan_create(graph, &plan));
  clq_graph_destroy(graph);
  test_ok(clq_trace_create(&trace));
  opencl_fail_with(OPENCL_FLUSH, 0, CL_OUT_OF_HOST_MEMORY);
  test_fails(clq_plan_run_traced(plan, f.device.stream, trace), CLQ_OUT_OF_HOST_MEMORY, "clFlush");
  test_ok(clq_stream_finish(f.device.stream));
  for (int node = 0; node < NODES; ++node) {
    opencl_reset_called();
    opencl_fail(OPENCL_COMMAND, NODES - 1 + node); /* behind what enqueueing asks */
    char named[48];
    (void)snprintf(named, sizeof named, "plan: node %d (embedding)", node);
    test_fails(clq_plan_run_traced(plan, f.device.stream, trace), CLQ_DEVICE_ERROR, named);
    cr_assert_geq(opencl_called(OPENCL_COMMAND), 2 * NODES - 1, "node %d", node);
    test_ok(clq_stream_finish(f.device.stream));
  }
  clq_trace_destroy(trace);
  clq_plan_destroy(plan);
  close_fixture(&f);
}

Test(failures, weights_that_cannot_be_mapped) {
  test_device d = test_device_open(NULL);
  static const struct {
    opencl_call call;
    const char *sentence;
  } cases[] = {{OPENCL_MAP, "clEnqueueMapBuffer"},
               {OPENCL_UNMAP, "clEnqueueUnmapMemObject"},
               {OPENCL_COMMAND, "the command's execution"}};
  clq_weights *table = pack(d.context);
  const opencl_objects before = opencl_live();
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    static const float values[ROWS * COLS];
    const clq_weights_part part = {.data = values, .rows = ROWS};
    const clq_weights_desc desc = {CLQ_FORMAT_F32, COLS, .parts = &part, .part_count = 1};
    clq_weights *w = table;
    float row[COLS];
    opencl_fail(cases[i].call, 0);
    test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_DEVICE_ERROR, cases[i].sentence);
    cr_assert_null(w);
    opencl_fail(cases[i].call, 0);
    test_fails(clq_weights_unpack(table, 3, 1, row), CLQ_DEVICE_ERROR, cases[i].sentence);
    opencl_assert_live(&before);
    test_ok(clq_weights_unpack(table, 3, 1, row));
  }
  clq_weights_destroy(table);
  test_device_close(&d);
}

static clq_status read_nothing(void *from, int32_t part, int64_t first_row, int64_t rows,
                               void *out) {
  (void)from, (void)part, (void)first_row, (void)rows, (void)out;
  return clqi_fail(CLQ_IO_ERROR, "model.gguf: cannot be read");
}

/* Rows that cannot be read, and a buffer that cannot be unmapped then: of two failures the first,
 * status and sentence. */
Test(failures, weights_that_cannot_be_read) {
  test_device d = test_device_open(NULL);
  const clq_weights_part part = {.rows = ROWS};
  const clq_weights_desc desc = {CLQ_FORMAT_F32, COLS, .parts = &part, .part_count = 1};
  const clqi_row_source source = {.read = read_nothing};
  clq_weights *w = NULL;
  opencl_fail(OPENCL_UNMAP, 0);
  const clq_status status = clqi_weights_pack_from(d.context, &desc, &source, &w);
  test_fails(status, CLQ_IO_ERROR, "model.gguf: cannot be read");
  cr_assert_null(w);
  test_device_close(&d);
}

/* --- a device that is gone --- */

static clq_status lose_add(fixture *f) {
  const clq_tensor t = {f->out.mem, CLQ_F32, {1, COLS}};
  return clq_add(f->device.stream, &(clq_add_args){t, t, t});
}
static clq_status lose_plan(fixture *f) { return clq_plan_run(f->plan, f->device.stream); }
static clq_status lose_plan_create(fixture *f) {
  clq_graph *graph = NULL;
  clq_plan *plan = NULL;
  test_ok(clq_graph_create(f->device.context, &graph));
  const clq_status status = clq_plan_create(graph, &plan);
  clq_graph_destroy(graph);
  return status;
}
static clq_status lose_stream(fixture *f) {
  clq_stream *stream = NULL;
  return clq_stream_create(f->device.context, NULL, &stream);
}
static clq_status lose_finish(fixture *f) { return clq_stream_finish(f->device.stream); }
static clq_status lose_command(fixture *f) {
  (void)clqi_stream_write(f->device.stream, f->out.mem, 1, "x");
  return clq_stream_finish(f->device.stream);
}
static clq_status lose_write(fixture *f) {
  return clqi_stream_write(f->device.stream, f->out.mem, 1, "x");
}
static clq_status lose_read(fixture *f) {
  char byte;
  return clqi_stream_read(f->device.stream, f->out.mem, 1, &byte);
}
static clq_status lose_copy(fixture *f) {
  return clqi_stream_copy(f->device.stream,
                          &(clqi_copy){f->out.mem, f->ids.mem, sizeof(cl_int), 1, 4, 4});
}
static clq_status lose_wait(fixture *f) {
  cl_int code;
  cl_event event = clCreateUserEvent(clq_context_cl(f->device.context), &code);
  cr_assert_eq(code, CL_SUCCESS);
  cr_assert_eq(clSetUserEventStatus(event, CL_COMPLETE), CL_SUCCESS);
  const clq_status status = clq_stream_wait(f->device.stream, event);
  (void)clReleaseEvent(event);
  return status;
}
static clq_status lose_record(fixture *f) {
  cl_event event;
  const clq_status status = clq_stream_record(f->device.stream, &event);
  cr_assert_null(event);
  return status;
}
static clq_status lose_pack(fixture *f) {
  static const float values[ROWS * COLS];
  const clq_weights_part part = {.data = values, .rows = ROWS};
  clq_weights *w = NULL;
  return clq_weights_pack(
      f->device.context, &(clq_weights_desc){CLQ_FORMAT_F32, COLS, .parts = &part, .part_count = 1},
      &w);
}
static clq_status lose_unpack(fixture *f) {
  float row[COLS];
  return clq_weights_unpack(f->table, 0, 1, row);
}

/* Each call, and an OpenCL call in it that may say that the device is gone. */
static const struct {
  const char *name;
  clq_status (*run)(fixture *f);
  opencl_call loses;
} calls[] = {
    {"add", lose_add, OPENCL_ENQUEUE_KERNEL},
    {"plan_run", lose_plan, OPENCL_ENQUEUE_KERNEL},
    {"plan_run, flushing", lose_plan, OPENCL_FLUSH},
    {"plan_create", lose_plan_create, OPENCL_CREATE_BUFFER},
    {"stream_create", lose_stream, OPENCL_CREATE_BUFFER},
    {"finish", lose_finish, OPENCL_FINISH},
    {"finish, a command", lose_command, OPENCL_COMMAND},
    {"write", lose_write, OPENCL_WRITE},
    {"read", lose_read, OPENCL_READ},
    {"copy", lose_copy, OPENCL_COPY_RECT},
    {"wait", lose_wait, OPENCL_BARRIER},
    {"record", lose_record, OPENCL_MARKER},
    {"record, flushing", lose_record, OPENCL_FLUSH},
    {"pack", lose_pack, OPENCL_CREATE_BUFFER},
    {"pack, mapping", lose_pack, OPENCL_MAP},
    {"pack, giving back", lose_pack, OPENCL_UNMAP},
    {"unpack", lose_unpack, OPENCL_MAP},
};
enum { CALLS = sizeof calls / sizeof calls[0] };

/* Whoever learns of it, everybody answers it from then on. */
Test(failures, a_lost_device_stays_lost) {
  for (int i = 0; i < CALLS; ++i) {
    fixture f = open_fixture(3);
    opencl_fail_with(calls[i].loses, 0, CL_DEVICE_NOT_AVAILABLE);
    cr_expect_eq(calls[i].run(&f), CLQ_DEVICE_LOST, "%s: %s", calls[i].name, clq_last_error());
    for (int k = 0; k < CALLS; ++k) {
      cr_expect_eq(calls[k].run(&f), CLQ_DEVICE_LOST, "%s after %s", calls[k].name, calls[i].name);
      cr_expect_not_null(strstr(clq_last_error(), "was lost"), "%s", clq_last_error());
    }
    close_fixture(&f);
  }
}

/* --- results --- */

/* Everything that creates something, asked for what it must refuse. */
static clq_status no_context(void *out) {
  return clq_context_create(&(clq_context_desc){.device_name = "no such device"}, out);
}
static clq_status no_stream(void *out) { return clq_stream_create(NULL, NULL, out); }
static clq_status no_graph(void *out) { return clq_graph_create(NULL, out); }
static clq_status no_plan(void *out) { return clq_plan_create(NULL, out); }
static clq_status no_plan_in(void *out) { return clq_plan_create_in(NULL, NULL, out); }
static clq_status no_weights(void *out) { return clq_weights_pack(NULL, NULL, out); }
static clq_status no_tokenizer(void *out) { return clq_tokenizer_open(NULL, out); }
static clq_status no_tokenizer_file(void *out) { return clq_tokenizer_open("/nowhere", out); }
static clq_status no_model(void *out) { return clq_model_load(NULL, "/nowhere", out); }
static clq_status no_session(void *out) { return clq_session_create(NULL, NULL, NULL, out); }
static clq_status no_batch(void *out) { return clq_batch_create(NULL, 1, out); }
static clq_status no_batch_of_none(void *out) {
  clq_session *none = NULL;
  return clq_batch_create(&none, 0, out);
}
static clq_status no_sampler(void *out) { return clq_sampler_create(NULL, 0, out); }

Test(failures, a_failed_creator_gives_null) {
  static const struct {
    const char *name;
    clq_status (*create)(void *out);
  } creators[] = {{"context", no_context},     {"stream", no_stream},
                  {"graph", no_graph},         {"plan", no_plan},
                  {"plan_in", no_plan_in},     {"weights", no_weights},
                  {"tokenizer", no_tokenizer}, {"tokenizer file", no_tokenizer_file},
                  {"model", no_model},         {"session", no_session},
                  {"batch", no_batch},         {"batch of none", no_batch_of_none},
                  {"sampler", no_sampler}};
  for (size_t i = 0; i < sizeof creators / sizeof creators[0]; ++i) {
    int somewhere;
    void *out = &somewhere;
    cr_expect_neq(creators[i].create(&out), CLQ_OK, "%s", creators[i].name);
    cr_expect_null(out, "%s", creators[i].name);
    cr_expect_eq(creators[i].create(NULL), CLQ_INVALID_ARGUMENT, "%s", creators[i].name);
  }
}

/* Whatever returns a status looks at its objects first. */
Test(failures, null_for_an_object_is_refused) {
  const clq_status answers[] = {
      clq_devices(NULL, 0, NULL),
      clq_cache_scan(NULL, 0, NULL),
      clq_stream_finish(NULL),
      clq_stream_wait(NULL, NULL),
      clq_stream_record(NULL, NULL),
      clq_graph_add(NULL, CLQ_OP_ADD, NULL),
      clq_graph_tensor(NULL, 1, NULL),
      clq_plan_run(NULL, NULL),
      clq_plan_run_traced(NULL, NULL, NULL),
      clq_trace_write(NULL, NULL),
      clq_weights_unpack(NULL, 0, 0, NULL),
      clq_tokenizer_encode(NULL, "", 0, 0, NULL),
      clq_tokenizer_encode_chat(NULL, NULL, "", 0, NULL),
      clq_tokenizer_decode(NULL, NULL, 0, 0, NULL),
      clq_text_stream_push(NULL, NULL, 0, NULL),
      clq_text_stream_end(NULL, NULL),
      clq_session_eval(NULL, NULL, 0, CLQ_LOGITS_NONE, NULL),
      clq_session_rewind(NULL, 0),
      clq_session_copy(NULL, NULL),
      clq_batch_eval(NULL, NULL, NULL, 0, NULL),
      clq_sampler_sample(NULL, NULL, 0, NULL),
      clq_slanc_model(NULL, CLQ_SLANC_EXACT, 0, NULL),
      clq_slanc_attention(NULL, NULL),
      clq_slanc_mlp(NULL, NULL),
      clq_add(NULL, NULL),
  };
  for (size_t i = 0; i < sizeof answers / sizeof answers[0]; ++i) {
    cr_expect_eq(answers[i], CLQ_INVALID_ARGUMENT, "call %zu", i);
  }
  clq_context_destroy(NULL);
  clq_stream_destroy(NULL);
  clq_graph_destroy(NULL);
  clq_plan_destroy(NULL);
  clq_trace_destroy(NULL);
  clq_weights_destroy(NULL);
  clq_tokenizer_destroy(NULL);
  clq_model_destroy(NULL);
  clq_session_destroy(NULL);
  clq_batch_destroy(NULL);
  clq_sampler_destroy(NULL);
  clq_tokens_free(NULL);
  clq_text_free(NULL);
}

/* Failures behind the checks of arguments: nothing is given, and nothing left. */
Test(failures, a_creator_that_the_device_fails_gives_null) {
  fixture f = open_fixture(3);
  const opencl_objects before = opencl_live();
  clq_stream *stream = f.device.stream;
  opencl_fail(OPENCL_CREATE_BUFFER, 0);
  test_fails(clq_stream_create(f.device.context, NULL, &stream), CLQ_OUT_OF_DEVICE_MEMORY, "");
  cr_assert_null(stream);
  clq_graph *graph;
  clq_plan *plan = f.plan;
  test_ok(clq_graph_create(f.device.context, &graph));
  opencl_fail(OPENCL_CREATE_BUFFER, 0);
  test_fails(clq_plan_create(graph, &plan), CLQ_OUT_OF_DEVICE_MEMORY, "");
  cr_assert_null(plan);
  clq_graph_destroy(graph);
  opencl_assert_live(&before);
  close_fixture(&f);
}
