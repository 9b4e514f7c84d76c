/* Sequences decoded together (CLQ_TEST_MODEL): the bits of each one alone, whoever else is fed,
 * whatever has been fed before, and whatever fails. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/model.h>

#include "counting.h"
#include "device.h"
#include "model/session.h"
#include "opencl.h"

TestSuite(batch, .fini = opencl_none_live);

enum { VOCABULARY = 49152, MOST = 9 };

typedef struct fixture {
  clq_context *context;
  clq_model *model;
  float *expected; /* [MOST, VOCABULARY] */
  float *got;
} fixture;

static const char *model_path(void) {
  const char *path = getenv("CLQ_TEST_MODEL");
  if (path == NULL) {
    cr_skip_test("CLQ_TEST_MODEL names no model");
  }
  return path;
}

static fixture open_fixture(void) {
  fixture f = {0};
  const char *path = model_path();
  clq_model_info info;
  test_ok(clq_context_create(NULL, &f.context));
  test_ok(clq_model_load(f.context, path, &f.model));
  clq_model_get_info(f.model, &info);
  cr_assert_eq(info.vocabulary, VOCABULARY);
  f.expected = malloc(sizeof(float) * MOST * VOCABULARY);
  f.got = malloc(sizeof(float) * MOST * VOCABULARY);
  return f;
}

static void close_fixture(fixture *f) {
  clq_model_destroy(f->model);
  clq_context_destroy(f->context);
  free(f->expected);
  free(f->got);
}

/* The k-th token of the i-th sequence. */
static int32_t token(int32_t i, int64_t k) { return (int32_t)(1000 + 977 * i + 131 * k) % 40000; }

static clq_session *open_session(const fixture *f, clq_acts acts, clq_dtype kv, int64_t context) {
  clq_session *s = NULL;
  test_ok(clq_session_create(f->model, NULL,
                             &(clq_session_desc){.acts = acts, .kv = kv, .context = context}, &s));
  return s;
}

/* Feeds the i-th sequence's next tokens. */
static void feed(clq_session *s, int32_t i, int64_t count) {
  int32_t ids[64];
  for (int64_t k = 0; k < count; ++k) {
    ids[k] = token(i, clq_session_position(s) + k);
  }
  test_ok(clq_session_eval(s, ids, count, CLQ_LOGITS_NONE, NULL));
}

/* Every session has a twin that is never in a batch. */
typedef struct twins {
  const fixture *f;
  int32_t count;
  clq_session *alone[MOST];
  clq_session *together[MOST];
  clq_batch *batch;
} twins;

/* Prompts of other lengths and contexts of other sizes; the last one's has one place left. */
static twins open_twins(const fixture *f, int32_t count, clq_acts acts, clq_dtype kv) {
  static const int64_t prompts[MOST] = {5, 0, 33, 16, 1, 47, 15, 2, 19};
  twins t = {.f = f, .count = count};
  for (int32_t i = 0; i < count; ++i) {
    const int64_t context = i + 1 == count ? prompts[i] + 1 : 40 + 8 * i + prompts[i];
    t.alone[i] = open_session(f, acts, kv, context);
    t.together[i] = open_session(f, acts, kv, context);
    feed(t.alone[i], i, prompts[i]);
    feed(t.together[i], i, prompts[i]);
  }
  test_ok(clq_batch_create(t.together, count, &t.batch));
  return t;
}

static void close_twins(twins *t) {
  clq_batch_destroy(t->batch);
  for (int32_t i = 0; i < t->count; ++i) {
    clq_session_destroy(t->alone[i]);
    clq_session_destroy(t->together[i]);
  }
}

/* The next token of each member, in the batch and alone. members NULL: all. */
static void step(const twins *t, const int32_t *members, int32_t count) {
  int32_t ids[MOST] = {0};
  for (int32_t i = 0; i < count; ++i) {
    const int32_t m = members == NULL ? i : members[i];
    ids[i] = token(m, clq_session_position(t->alone[m]));
    test_ok(clq_session_eval(t->alone[m], &ids[i], 1, CLQ_LOGITS_LAST,
                             t->f->expected + (size_t)i * VOCABULARY));
  }
  test_ok(clq_batch_eval(t->batch, members, ids, count, t->f->got));
  for (int32_t i = 0; i < count; ++i) {
    const int32_t m = members == NULL ? i : members[i];
    cr_assert_eq(clq_session_position(t->together[m]), clq_session_position(t->alone[m]));
    cr_assert_arr_eq(t->f->got + (size_t)i * VOCABULARY, t->f->expected + (size_t)i * VOCABULARY,
                     sizeof(float) * VOCABULARY, "session %d of %d members", (int)m, (int)count);
  }
}

#define STEP(t, ...) \
  step(t, (int32_t[]){__VA_ARGS__}, sizeof(int32_t[]){__VA_ARGS__} / sizeof(int32_t))

static void expect_twins_agree(clq_acts acts, clq_dtype kv) {
  fixture f = open_fixture();
  twins t = open_twins(&f, MOST, acts, kv);
  step(&t, NULL, MOST);
  STEP(&t, 0, 1, 2, 3, 4, 5, 6, 7); /* the last context is full now */
  STEP(&t, 7, 5, 3, 1, 0);
  STEP(&t, 7, 5, 3, 1, 0); /* the compiled pass again */
  STEP(&t, 2, 6);
  STEP(&t, 4);
  /* On its own, then in the batch again. */
  feed(t.alone[2], 2, 3);
  feed(t.together[2], 2, 3);
  test_ok(clq_session_rewind(t.alone[3], 9));
  test_ok(clq_session_rewind(t.together[3], 9));
  STEP(&t, 1, 2, 3, 4);
  close_twins(&t);
  close_fixture(&f);
}

Test(batch, q8g32_sequences_have_the_bits_of_each_alone) {
  expect_twins_agree(CLQ_ACTS_Q8G32, CLQ_F16);
}
Test(batch, q8_sequences_have_the_bits_of_each_alone) { expect_twins_agree(CLQ_ACTS_Q8, CLQ_F32); }
Test(batch, f32_sequences_have_the_bits_of_each_alone) {
  expect_twins_agree(CLQ_ACTS_F32, CLQ_F16);
}

/* Caches of two types, which operators choose their kernels by. */
Test(batch, caches_may_be_of_different_types) {
  fixture f = open_fixture();
  twins t = {.f = &f, .count = 2};
  for (int32_t i = 0; i < 2; ++i) {
    t.alone[i] = open_session(&f, 0, i == 0 ? CLQ_F16 : CLQ_F32, 32);
    t.together[i] = open_session(&f, 0, i == 0 ? CLQ_F16 : CLQ_F32, 32);
    feed(t.alone[i], i, 7);
    feed(t.together[i], i, 7);
  }
  test_ok(clq_batch_create(t.together, 2, &t.batch));
  step(&t, NULL, 2);
  close_twins(&t);
  close_fixture(&f);
}

Test(batch, says_what_it_needs) {
  fixture f = open_fixture();
  twins t = open_twins(&f, 3, 0, 0);
  clq_session_stats batch, sessions[3];
  clq_batch_get_stats(t.batch, &batch);
  cr_assert_eq(batch.launches, 0);
  step(&t, NULL, 3);
  clq_batch_get_stats(t.batch, &batch);
  uint64_t kv_bytes = 0;
  for (int i = 0; i < 3; ++i) {
    clq_session_get_stats(t.together[i], &sessions[i]);
    kv_bytes += sessions[i].kv_bytes;
  }
  cr_assert_eq(batch.kv_bytes, kv_bytes);
  cr_assert_gt(batch.build_seconds, 0);
  cr_assert(batch.arena_bytes > 0 && batch.arena_bytes >= batch.arena_lower_bound_bytes);
  /* Of the launches of a step only rope and attention are there once a sequence. */
  clq_session_stats alone;
  clq_model_info info;
  clq_session_get_stats(t.alone[0], &alone);
  clq_model_get_info(f.model, &info);
  cr_assert_eq(batch.launches, alone.launches + 2 * 2 * info.layers);

  /* The first session's trace is the batch's. */
  clq_trace *trace = NULL;
  test_ok(clq_trace_create(&trace));
  clq_session_trace(t.together[0], trace);
  STEP(&t, 0, 1);
  clq_session_trace(t.together[0], NULL);
  clq_kernel_time kernels[16];
  const int32_t kinds = clq_trace_kernels(trace, kernels, 16);
  uint64_t calls = 0;
  for (int32_t i = 0; i < kinds; ++i) {
    calls += kernels[i].calls;
  }
  cr_assert_eq(calls, (uint64_t)(alone.launches + 2 * info.layers));
  clq_trace_destroy(trace);
  close_twins(&t);
  close_fixture(&f);
}

/* ---------------------------------------------------------------- copies */

/* Feeds one token to both and demands the same bits. */
static void expect_same_step(const fixture *f, clq_session *a, clq_session *b, int32_t id) {
  cr_assert_eq(clq_session_position(a), clq_session_position(b));
  test_ok(clq_session_eval(a, &id, 1, CLQ_LOGITS_LAST, f->expected));
  test_ok(clq_session_eval(b, &id, 1, CLQ_LOGITS_LAST, f->got));
  cr_assert_arr_eq(f->got, f->expected, sizeof(float) * VOCABULARY);
}

Test(batch, a_copy_goes_on_like_the_session_copied) {
  fixture f = open_fixture();
  static const int64_t prompts[] = {1, 16, 37};
  static const int64_t contexts[] = {64, 128, 41}; /* caches of other sizes, too */
  static const clq_dtype kvs[] = {CLQ_F16, CLQ_F32, CLQ_U8};
  for (size_t kv = 0; kv < sizeof kvs / sizeof kvs[0]; ++kv) {
    clq_session *from = open_session(&f, 0, kvs[kv], 64);
    for (size_t i = 0; i < 3; ++i) {
      clq_session *to = open_session(&f, 0, kvs[kv], contexts[i]);
      test_ok(clq_session_rewind(from, 0));
      feed(from, (int32_t)i, prompts[i]);
      feed(to, 8, 39); /* to be forgotten */
      test_ok(clq_session_copy(to, from));
      expect_same_step(&f, from, to, 17);
      /* They are two: what one is fed now does not touch the other. */
      clq_session *third = open_session(&f, 0, kvs[kv], 64);
      test_ok(clq_session_copy(third, to));
      test_ok(clq_session_eval(to, (int32_t[]){21}, 1, CLQ_LOGITS_NONE, NULL));
      expect_same_step(&f, from, third, 18);
      clq_session_destroy(to);
      clq_session_destroy(third);
    }
    /* Of itself, and of nothing. */
    const int64_t position = clq_session_position(from);
    test_ok(clq_session_copy(from, from));
    cr_assert_eq(clq_session_position(from), position);
    clq_session *none = open_session(&f, 0, kvs[kv], 16);
    test_ok(clq_session_copy(from, none));
    expect_same_step(&f, from, none, 5);
    clq_session_destroy(none);
    clq_session_destroy(from);
  }
  close_fixture(&f);
}

/* A copy that is refused, and one that is taken and fails then: no garbage is taken for a cache. */
Test(batch, a_copy_that_fails_leaves_an_empty_session) {
  fixture f = open_fixture();
  clq_session *from = open_session(&f, 0, 0, 64);
  clq_session *to = open_session(&f, 0, 0, 64);
  feed(from, 0, 5);
  static const int skips[] = {0, 7};
  static const opencl_call calls[] = {OPENCL_COPY_RECT, OPENCL_COMMAND};
  for (int i = 0; i < 4; ++i) {
    feed(to, 1, 3);
    opencl_fail(calls[i / 2], skips[i % 2]);
    opencl_fail(OPENCL_FINISH, calls[i / 2] == OPENCL_COPY_RECT ? 0 : -1);
    test_fails(clq_session_copy(to, from), CLQ_DEVICE_ERROR,
               calls[i / 2] == OPENCL_COPY_RECT ? "clEnqueueCopyBufferRect" : "a command");
    cr_assert_eq(clq_session_position(to), 0);
    cr_assert_eq(clq_session_position(from), 5);
  }
  test_ok(clq_session_copy(to, from));
  cr_assert_eq(clq_session_position(to), 5);
  clq_session_destroy(from);
  clq_session_destroy(to);
  close_fixture(&f);
}

/* Member sets that take turns are compiled once each, up to the number that is kept. */
Test(batch, passes_of_other_members_are_kept) {
  fixture f = open_fixture();
  twins t = open_twins(&f, 4, 0, 0);
  int32_t sets[CLQI_MAX_PASSES + 1][2];
  for (int i = 0; i <= CLQI_MAX_PASSES; ++i) { /* different ones, some of the same members */
    sets[i][0] = i % 3;
    sets[i][1] = (i % 3 + 1 + i / 3 % 2) % 3;
  }
  static const int32_t counts[CLQI_MAX_PASSES + 1] = {2, 2, 2, 2, 2, 2, 1, 1, 1};
  for (int round = 0; round < 2; ++round) {
    opencl_reset_called();
    for (int i = 0; i < CLQI_MAX_PASSES; ++i) {
      step(&t, sets[i], counts[i]);
    }
    cr_assert(round == 0 || opencl_called(OPENCL_CREATE_KERNEL) == 0, "compiled again");
  }
  step(&t, sets[CLQI_MAX_PASSES], 1); /* one too many: the first makes room */
  opencl_reset_called();
  step(&t, sets[CLQI_MAX_PASSES - 1], 1);
  cr_assert_eq(opencl_called(OPENCL_CREATE_KERNEL), 0);
  step(&t, sets[0], 2);
  cr_assert_gt(opencl_called(OPENCL_CREATE_KERNEL), 0);
  close_twins(&t);
  close_fixture(&f);
}

/* Enqueueing fails, and waiting after it too: the first is told. */
Test(batch, a_pass_that_fails_twice_tells_the_first) {
  fixture f = open_fixture();
  clq_session *s = open_session(&f, 0, 0, 64);
  feed(s, 0, 1);
  const int32_t id = 1;
  opencl_fail(OPENCL_ENQUEUE_KERNEL, 3);
  opencl_fail_with(OPENCL_FINISH, 0, CL_OUT_OF_HOST_MEMORY);
  test_fails(clq_session_eval(s, &id, 1, CLQ_LOGITS_NONE, NULL), CLQ_DEVICE_ERROR,
             "clEnqueueNDRangeKernel");
  cr_assert_eq(clq_session_position(s), 1);
  feed(s, 0, 1);
  clq_session_destroy(s);
  close_fixture(&f);
}

Test(batch, what_cannot_be_copied_is_refused) {
  fixture f = open_fixture();
  clq_model *other_model = NULL;
  test_ok(clq_model_load(f.context, model_path(), &other_model));
  clq_session *from = open_session(&f, 0, CLQ_F16, 64);
  clq_session *to = open_session(&f, 0, CLQ_F16, 32);
  clq_session *f32 = open_session(&f, 0, CLQ_F32, 64);
  clq_session *foreign = NULL;
  test_ok(clq_session_create(other_model, NULL, &(clq_session_desc){.context = 64}, &foreign));
  feed(from, 0, 33);
  feed(to, 1, 4);
  test_fails(clq_session_copy(to, from), CLQ_INVALID_ARGUMENT,
             "33 tokens do not fit into a context of 32");
  cr_assert_eq(clq_session_position(to), 4);
  test_fails(clq_session_copy(f32, from), CLQ_INVALID_ARGUMENT,
             "the KV cache is f32, the copied one is f16");
  test_fails(clq_session_copy(foreign, from), CLQ_INVALID_ARGUMENT, "of the same model");
  test_fails(clq_session_copy(NULL, from), CLQ_INVALID_ARGUMENT, "NULL");
  test_fails(clq_session_copy(to, NULL), CLQ_INVALID_ARGUMENT, "NULL");
  /* What it had, it still has. */
  clq_session *same = open_session(&f, 0, CLQ_F16, 32);
  feed(same, 1, 4);
  expect_same_step(&f, same, to, 3);
  clq_session_destroy(same);
  clq_session_destroy(foreign);
  clq_session_destroy(f32);
  clq_session_destroy(to);
  clq_session_destroy(from);
  clq_model_destroy(other_model);
  close_fixture(&f);
}

/* ---------------------------------------------------------------- misuse */

Test(batch, sessions_that_do_not_go_together_are_refused) {
  fixture f = open_fixture();
  clq_model *other_model = NULL;
  test_ok(clq_model_load(f.context, model_path(), &other_model));
  clq_session *a = open_session(&f, CLQ_ACTS_Q8G32, 0, 16);
  clq_session *b = open_session(&f, CLQ_ACTS_Q8, 0, 16);
  clq_session *foreign = NULL;
  test_ok(clq_session_create(other_model, NULL, &(clq_session_desc){.context = 16}, &foreign));
  clq_batch *batch = NULL;
  test_fails(clq_batch_create((clq_session *[]){a, a}, 2, &batch), CLQ_INVALID_ARGUMENT,
             "batch: sessions 0 and 1 are the same");
  test_fails(clq_batch_create((clq_session *[]){a, b}, 2, &batch), CLQ_INVALID_ARGUMENT,
             "batch: sessions 0 and 1 have different activations");
  test_fails(clq_batch_create((clq_session *[]){a, foreign}, 2, &batch), CLQ_INVALID_ARGUMENT,
             "batch: sessions 0 and 1 are of different models");
  test_fails(clq_batch_create((clq_session *[]){a, NULL}, 2, &batch), CLQ_INVALID_ARGUMENT,
             "batch: session 1 is NULL");
  test_fails(clq_batch_create((clq_session *[]){a}, 0, &batch), CLQ_INVALID_ARGUMENT,
             "of 0 sessions");
  test_fails(clq_batch_create((clq_session *[]){a}, -1, &batch), CLQ_INVALID_ARGUMENT,
             "of -1 sessions");
  test_fails(clq_batch_create(NULL, 1, &batch), CLQ_INVALID_ARGUMENT, "NULL");
  test_fails(clq_batch_create((clq_session *[]){a}, 1, NULL), CLQ_INVALID_ARGUMENT, "NULL");
  cr_assert_null(batch);
  clq_batch_destroy(NULL);
  clq_session_destroy(foreign);
  clq_session_destroy(a);
  clq_session_destroy(b);
  clq_model_destroy(other_model);
  close_fixture(&f);
}

/* Nothing is fed to anyone then. */
Test(batch, a_step_that_cannot_be_is_refused_as_a_whole) {
  fixture f = open_fixture();
  twins t = open_twins(&f, 3, 0, 0);
  int64_t positions[3];
  step(&t, NULL, 3); /* the last one is full now */
  for (int i = 0; i < 3; ++i) {
    positions[i] = clq_session_position(t.together[i]);
  }
  const struct {
    int32_t members[4];
    int32_t ids[4];
    int32_t count;
    const char *part;
  } cases[] = {
      {{0, 1}, {5, VOCABULARY}, 2, "id 49152 at 1 is not one of the model's 49152 tokens"},
      {{0, 1}, {-1, 5}, 2, "id -1 at 0"},
      {{0, 1, 2}, {5, 6, 7}, 3, "session 2 is full: all of its context's 34 positions are taken"},
      {{0, 3}, {5, 6}, 2, "there is no session 3, the batch has 3"},
      {{-1, 0}, {5, 6}, 2, "there is no session -1"},
      {{1, 1}, {5, 6}, 2, "session 1 is named twice"},
      {{0, 1, 0, 1}, {5, 6, 7, 8}, 4, "4 tokens for the 3 sessions"},
      {{0}, {5}, -1, "-1 tokens for the 3 sessions"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    test_fails(clq_batch_eval(t.batch, cases[i].members, cases[i].ids, cases[i].count, f.got),
               CLQ_INVALID_ARGUMENT, cases[i].part);
  }
  const int32_t ids[] = {1, 2};
  test_fails(clq_batch_eval(t.batch, NULL, ids, 2, f.got), CLQ_INVALID_ARGUMENT,
             "2 tokens for the 3 sessions");
  test_fails(clq_batch_eval(t.batch, ids, ids, 2, NULL), CLQ_INVALID_ARGUMENT, "NULL");
  test_fails(clq_batch_eval(t.batch, ids, NULL, 2, f.got), CLQ_INVALID_ARGUMENT, "NULL");
  test_fails(clq_batch_eval(NULL, ids, ids, 2, f.got), CLQ_INVALID_ARGUMENT, "NULL");
  test_ok(clq_batch_eval(t.batch, ids, NULL, 0, NULL));
  for (int i = 0; i < 3; ++i) {
    cr_assert_eq(clq_session_position(t.together[i]), positions[i]);
  }
  STEP(&t, 1, 0);
  close_twins(&t);
  close_fixture(&f);
}

/* ---------------------------------------------------------------- no memory */

/* Allocation 1, 2, 3, 5, 8, ... of making a batch and of two steps fails, alone and with all after
 * it: nothing leaks, nothing is fed by a step that fails, and the next ones are right. */
Test(batch, out_of_host_memory_is_reported_and_feeds_nothing) {
  fixture f = open_fixture();
  twins t = open_twins(&f, 3, 0, 0);
  const int32_t pair[] = {1, 0};
  step(&t, pair, 2); /* context and stream keep programs and room from now on */
  clq_batch_destroy(t.batch);
  t.batch = NULL;
  int failed = 1;
  for (size_t at = 1; failed; at += 1 + at / 2) {
    for (int persistent = 0; persistent < 2; ++persistent) {
      clq_batch *batch = NULL;
      const int64_t before = clq_session_position(t.together[0]);
      counting_start(at, persistent);
      clq_status status = clq_batch_create(t.together, 3, &batch);
      int steps = 0;
      for (; status == CLQ_OK && steps < 2; steps += status == CLQ_OK) {
        status = clq_batch_eval(batch, pair, pair, 2, f.got);
      }
      failed = counting_failed();
      clq_batch_destroy(batch);
      const size_t left = counting_live();
      counting_stop();
      cr_assert(failed ? status == CLQ_OUT_OF_HOST_MEMORY : status == CLQ_OK, "allocation %zu: %s",
                at, clq_last_error());
      cr_assert_eq(left, 0, "allocation %zu leaks %zu blocks", at, left);
      for (int i = 0; i < 2; ++i) {
        cr_assert_eq(clq_session_position(t.together[i]), clq_session_position(t.alone[i]) + steps);
        test_ok(clq_session_rewind(t.together[i], clq_session_position(t.alone[i])));
      }
      cr_assert_eq(clq_session_position(t.together[0]), before);
    }
  }
  test_ok(clq_batch_create(t.together, 3, &t.batch));
  step(&t, NULL, 3);
  close_twins(&t);
  close_fixture(&f);
}

/* The device gives no buffer, no kernel, or takes no launch: early, on the way, late. */
Test(batch, a_device_that_refuses_feeds_nothing) {
  static const struct {
    opencl_call call;
    int skip;
    clq_status status;
  } cases[] = {{OPENCL_CREATE_BUFFER, 0, CLQ_OUT_OF_DEVICE_MEMORY},
               {OPENCL_CREATE_BUFFER, 1, CLQ_OUT_OF_DEVICE_MEMORY},
               {OPENCL_CREATE_BUFFER, 2, CLQ_OUT_OF_DEVICE_MEMORY},
               {OPENCL_CREATE_KERNEL, 0, CLQ_OUT_OF_HOST_MEMORY},
               {OPENCL_CREATE_KERNEL, 200, CLQ_OUT_OF_HOST_MEMORY},
               {OPENCL_ENQUEUE_KERNEL, 0, CLQ_DEVICE_ERROR},
               {OPENCL_ENQUEUE_KERNEL, 200, CLQ_DEVICE_ERROR}};
  fixture f = open_fixture();
  twins t = open_twins(&f, 3, 0, 0);
  const int32_t pair[] = {1, 0};
  step(&t, pair, 2); /* context and stream keep programs and room from now on */
  clq_batch_destroy(t.batch);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    const opencl_objects before = opencl_live();
    clq_batch *batch = NULL;
    opencl_fail(cases[i].call, cases[i].skip);
    clq_status status = clq_batch_create(t.together, 3, &batch);
    cr_assert(status == CLQ_OK || batch == NULL);
    if (status == CLQ_OK) {
      status = clq_batch_eval(batch, pair, pair, 2, f.got);
    }
    opencl_fail(cases[i].call, -1);
    cr_assert_eq(status, cases[i].status, "case %zu: %s: %s", i, clq_status_name(status),
                 clq_last_error());
    for (int k = 0; k < 2; ++k) {
      cr_assert_eq(clq_session_position(t.together[k]), clq_session_position(t.alone[k]));
    }
    if (batch != NULL) { /* it is still good */
      t.batch = batch;
      step(&t, pair, 2);
      clq_batch_destroy(batch);
    }
    opencl_assert_live(&before);
  }
  test_ok(clq_batch_create(t.together, 3, &t.batch));
  step(&t, NULL, 3);
  close_twins(&t);
  close_fixture(&f);
}

/* ---------------------------------------------------------------- what passes compute */

/* Only the last row's logits are wanted, or none: the last layer is computed for that row, or for
 * its keys and values. Same bits as of all rows. */
Test(batch, rows_that_are_not_wanted_are_not_missed) {
  enum { ROWS = 37 };
  fixture f = open_fixture();
  float *all = malloc(sizeof(float) * (ROWS + 1) * VOCABULARY);
  for (int acts = CLQ_ACTS_Q8G32; acts <= CLQ_ACTS_F32; ++acts) {
    int32_t ids[ROWS + 1];
    for (int k = 0; k <= ROWS; ++k) {
      ids[k] = token(3, k);
    }
    clq_session *a = open_session(&f, (clq_acts)acts, 0, 64);
    clq_session *b = open_session(&f, (clq_acts)acts, 0, 64);
    test_ok(clq_session_eval(a, ids, ROWS + 1, CLQ_LOGITS_ALL, all));
    const float *last = all + (size_t)(ROWS - 1) * VOCABULARY;
    const float *next = last + VOCABULARY;
    const clq_logits_wanted wanted[] = {CLQ_LOGITS_LAST, CLQ_LOGITS_NONE};
    for (size_t i = 0; i < 2; ++i) {
      test_ok(clq_session_rewind(b, 0));
      test_ok(clq_session_eval(b, ids, 4, CLQ_LOGITS_NONE, NULL));
      test_ok(clq_session_eval(b, ids + 4, ROWS - 4, wanted[i], f.got));
      if (wanted[i] == CLQ_LOGITS_LAST) {
        cr_assert_arr_eq(f.got, last, sizeof(float) * VOCABULARY, "acts %d", acts);
      }
      test_ok(clq_session_eval(b, ids + ROWS, 1, CLQ_LOGITS_LAST, f.got));
      cr_assert_arr_eq(f.got, next, sizeof(float) * VOCABULARY, "acts %d, wanted %d", acts,
                       (int)wanted[i]);
    }
    clq_session_destroy(a);
    clq_session_destroy(b);
  }
  free(all);
  close_fixture(&f);
}

/* Several tokens of several sequences in one pass, as the recorder offers it. */
Test(batch, passes_may_have_several_rows_of_each_sequence) {
  enum { COUNT = 2, ROWS = 3 };
  fixture f = open_fixture();
  twins t = open_twins(&f, COUNT + 1, 0, 0);
  cl_int input[COUNT * (CLQI_DECODER_POSITIONS + ROWS)];
  clqi_decoder_sequence sequences[COUNT];
  for (int32_t i = 0; i < COUNT; ++i) {
    const int64_t at = clq_session_position(t.alone[i]);
    int32_t *ids = input + COUNT * CLQI_DECODER_POSITIONS + i * ROWS;
    for (int k = 0; k < ROWS; ++k) {
      ids[k] = token(i, at + k);
    }
    input[CLQI_DECODER_POSITIONS * i] = (cl_int)at;
    input[CLQI_DECODER_POSITIONS * i + 1] = (cl_int)at + ROWS - 1;
    sequences[i] = t.together[i]->sequence;
    test_ok(clq_session_eval(t.alone[i], ids, ROWS, CLQ_LOGITS_ALL,
                             f.expected + (size_t)(i * ROWS) * VOCABULARY));
  }
  test_device device = {f.context, t.together[0]->stream};
  test_buffer inputs = test_buffer_new(&device, NULL, sizeof input);
  test_buffer logits = test_buffer_new(&device, NULL, sizeof(float) * COUNT * ROWS * VOCABULARY);
  clqi_pass_cache passes = {0};
  for (int wanted = CLQ_LOGITS_LAST; wanted <= CLQ_LOGITS_ALL; ++wanted) {
    const clqi_decoder_pass pass = {.sequences = sequences,
                                    .count = COUNT,
                                    .rows = ROWS,
                                    .acts = CLQ_ACTS_Q8G32,
                                    .wanted = (clq_logits_wanted)wanted,
                                    .inputs = inputs.mem,
                                    .logits = logits.mem};
    const int64_t rows = wanted == CLQ_LOGITS_ALL ? ROWS : 1;
    const clqi_pass_transfer transfer = {.to = inputs.mem,
                                         .inputs = input,
                                         .input_count = sizeof input / sizeof *input,
                                         .from = logits.mem,
                                         .logits = f.got,
                                         .logit_count = COUNT * rows * VOCABULARY};
    clq_plan *plan = NULL;
    test_ok(clqi_pass_get(&passes, f.model, &pass, &plan));
    test_ok(clqi_pass_run(plan, t.together[0]->stream, NULL, &transfer));
    for (int32_t i = 0; i < COUNT; ++i) {
      const float *expected = f.expected + (size_t)((i + 1) * ROWS - rows) * VOCABULARY;
      cr_assert_arr_eq(f.got + (size_t)(i * rows) * VOCABULARY, expected,
                       sizeof(float) * (size_t)rows * VOCABULARY, "sequence %d, wanted %d", (int)i,
                       wanted);
    }
  }
  clqi_pass_free(&passes);
  test_buffer_free(&inputs);
  test_buffer_free(&logits);
  close_twins(&t);
  close_fixture(&f);
}
