/* The device's choice against brute force and against the host's sampler. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/model.h>

#include "device.h"
#include "opencl.h"
#include "ref/sample.h"

TestSuite(sample, .fini = opencl_none_live);

static const char *const forms[] = {NULL, "cpu"};
enum { FORMS = sizeof forms / sizeof forms[0], ROWS = 3, PAD = 5, STATE = 4, LISTED = 7 };

static const int64_t vocabularies[] = {1, 2, 15, 16, 17, 33, 100, 1000, 2048, 2049, 6000};
enum { VOCABULARIES = sizeof vocabularies / sizeof vocabularies[0] };

static const clq_sampling settings[] = {
    {0},
    {.temperature = 1},
    {.temperature = 0.7f, .top_k = 40},
    {.temperature = 2, .top_p = 0.9f},
    {.temperature = 1.5f, .min_p = 0.05f},
    {.temperature = 0.8f, .top_k = 50, .top_p = 0.95f, .min_p = 0.02f},
    {.temperature = 3, .top_k = 300},
    {.temperature = 3, .top_k = 700, .top_p = 0.5f},
    {.temperature = 1, .top_k = 1},
    {.temperature = 100, .top_p = 0.999f},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

/* How logits are filled: spread out; in steps of 1/2, so that ties abound; with -inf, zeros of both
 * signs and numbers too small to be normal; all the same. */
enum { SPREAD, COARSE, SPECIAL, FLAT, FILLS };

static float logit(test_random *random, int fill) {
  static const float specials[] = {-INFINITY, 0.0f, -0.0f,  1e-40f,
                                   -1e-40f,   2.0f, -3e38f, 0x1p-126f};
  const float v = 3.0f * test_random_normal(random);
  switch (fill) {
    case COARSE: return floorf(2.0f * v) / 2.0f;
    case SPECIAL: return specials[test_random_int(random, 0, 7)];
    case FLAT: return -1.25f;
    default: return v;
  }
}

/* --- what a call works on --- */

typedef struct call {
  int64_t cols;
  float *logits; /* [ROWS, cols + PAD] */
  cl_int state[ROWS][STATE];
  cl_int counters[ROWS][2];
} call;

static size_t count_of(int64_t cols) { return (size_t)(ROWS * (cols + PAD) - PAD); }

static call call_new(int64_t cols, int fill, uint64_t seed) {
  call c = {.cols = cols, .logits = malloc(count_of(cols) * sizeof(float))};
  test_random random = {seed};
  for (size_t i = 0; i < count_of(cols); ++i) {
    c.logits[i] = logit(&random, fill);
  }
  for (int r = 0; r < ROWS; ++r) {
    c.logits[(size_t)r * (size_t)(cols + PAD)] = 1.0f; /* not all -inf */
    for (int i = 0; i < STATE; ++i) {
      c.state[r][i] = (cl_int)test_random_u32(&random);
    }
    c.state[r][2] = r == 1 ? -1 : r; /* the lower half of a count about to overflow */
    c.counters[r][0] = r;
    c.counters[r][1] = 10 * r;
  }
  return c;
}

static uint64_t pair(const cl_int *words) {
  return ((uint64_t)(uint32_t)words[1] << 32) | (uint32_t)words[0];
}

static clq_tensor logits_of(const call *c, cl_mem mem) {
  return (clq_tensor){mem, CLQ_F32, {ROWS, c->cols}, {c->cols + PAD, 1}};
}

static void expect_counted(const call *c, bool greedy, const cl_int state[ROWS][STATE],
                           const cl_int counters[ROWS][2]) {
  for (int r = 0; r < ROWS; ++r) {
    cr_assert_eq(pair(state[r]), pair(c->state[r]));
    cr_assert_eq(pair(&state[r][2]), pair(&c->state[r][2]) + (greedy ? 0 : 1));
    cr_assert_eq(counters[r][0], r + 1);
    cr_assert_eq(counters[r][1], 10 * r + 1);
  }
}

static void check(const test_device *d, const call *c, clq_sampling s, const char *what) {
  int32_t ids[ROWS];
  cl_int state[ROWS][STATE];
  cl_int counters[ROWS][2];
  test_buffer x = test_buffer_new(d, c->logits, count_of(c->cols) * sizeof(float));
  test_buffer out = test_buffer_new(d, NULL, sizeof ids);
  test_buffer states = test_buffer_new(d, c->state, sizeof c->state);
  test_buffer counts = test_buffer_new(d, c->counters, sizeof c->counters);
  test_ok(clq_sample(d->stream, &(clq_sample_args){.logits = logits_of(c, x.mem),
                                                   .out = {out.mem, CLQ_I32},
                                                   .sampling = s,
                                                   .state = {states.mem, CLQ_I32, {ROWS, STATE}},
                                                   .counters = {counts.mem, CLQ_I32, {ROWS, 2}}}));
  test_buffer_read(d, &out, ids);
  test_buffer_read(d, &states, state);
  test_buffer_read(d, &counts, counters);
  expect_counted(c, !(s.temperature > 0), (const cl_int(*)[STATE])state,
                 (const cl_int(*)[2])counters);
  int32_t *order = malloc((size_t)c->cols * sizeof *order);
  for (int r = 0; r < ROWS; ++r) {
    s.seed = pair(c->state[r]);
    const int32_t expected = clqi_ref_sample(c->logits + (size_t)r * (size_t)(c->cols + PAD),
                                             c->cols, &s, pair(&c->state[r][2]), order);
    cr_assert_eq(ids[r], expected, "%s, %d tokens, row %d: token %d, expected %d", what,
                 (int)c->cols, r, (int)ids[r], (int)expected);
  }
  free(order);
  test_buffer_free(&x);
  test_buffer_free(&out);
  test_buffer_free(&states);
  test_buffer_free(&counts);
}

static void check_all(const test_device *d, int form) {
  for (int v = 0; v < VOCABULARIES; ++v) {
    for (int i = 0; i < SETTINGS; ++i) {
      /* Every setting meets every fill, in turn. */
      const int fill = (v + i) % FILLS;
      call c = call_new(vocabularies[v], fill, (uint64_t)(100 * v + i));
      char what[64];
      (void)snprintf(what, sizeof what, "form %d, setting %d, fill %d", form, i, fill);
      check(d, &c, settings[i], what);
      free(c.logits);
    }
  }
}

/* --- the list of the first --- */

static void check_list(const test_device *d, const call *c, int64_t count) {
  const int64_t listed = count < c->cols ? count : c->cols;
  const size_t all = (size_t)(ROWS * listed);
  int32_t *ids = malloc(all * sizeof *ids);
  float *logits = malloc(all * sizeof *logits);
  int32_t *order = malloc((size_t)c->cols * sizeof *order);
  int32_t chosen[ROWS];
  test_buffer x = test_buffer_new(d, c->logits, count_of(c->cols) * sizeof(float));
  test_buffer id_buffer = test_buffer_new(d, NULL, all * sizeof *ids);
  test_buffer logit_buffer = test_buffer_new(d, NULL, all * sizeof *logits);
  test_buffer out = test_buffer_new(d, NULL, sizeof chosen);
  test_ok(clq_sample(
      d->stream, &(clq_sample_args){.logits = logits_of(c, x.mem),
                                    .out = {out.mem, CLQ_I32},
                                    .top_ids = {id_buffer.mem, CLQ_I32, {ROWS, listed}},
                                    .top_logits = {logit_buffer.mem, CLQ_F32, {ROWS, listed}}}));
  test_buffer_read(d, &id_buffer, ids);
  test_buffer_read(d, &logit_buffer, logits);
  test_buffer_read(d, &out, chosen);
  for (int64_t r = 0; r < ROWS; ++r) {
    const float *row = c->logits + r * (c->cols + PAD);
    clqi_ref_sample_order(row, c->cols, order);
    cr_assert_eq(chosen[r], order[0]);
    for (int64_t i = 0; i < listed; ++i) {
      cr_assert_eq(ids[r * listed + i], order[i], "row %d, place %d of %d tokens: %d, expected %d",
                   (int)r, (int)i, (int)c->cols, (int)ids[r * listed + i], (int)order[i]);
      cr_assert_arr_eq(&logits[r * listed + i], &row[order[i]], sizeof(float));
    }
  }
  free(ids);
  free(logits);
  free(order);
  test_buffer_free(&x);
  test_buffer_free(&id_buffer);
  test_buffer_free(&logit_buffer);
  test_buffer_free(&out);
}

static void check_lists(const test_device *d) {
  for (int v = 0; v < VOCABULARIES; ++v) {
    call c = call_new(vocabularies[v], v % FILLS, (uint64_t)v);
    check_list(d, &c, v % 3 == 0 ? 1 : v % 3 == 1 ? LISTED : 256);
    free(c.logits);
  }
}

/* --- the host's sampler --- */

static void check_against_sampler(const test_device *d, int form) {
  enum { VOCABULARY = 5000, DRAWS = 6 };
  test_random random = {7};
  static float logits[VOCABULARY];
  for (int i = 0; i < VOCABULARY; ++i) {
    logits[i] = logit(&random, SPREAD);
  }
  test_buffer x = test_buffer_new(d, logits, sizeof logits);
  test_buffer out = test_buffer_new(d, NULL, sizeof(int32_t));
  for (int i = 0; i < SETTINGS; ++i) {
    clq_sampling s = settings[i];
    s.seed = UINT64_C(0x123456789abcdef0) + (uint64_t)i;
    clq_sampler *sampler = NULL;
    test_ok(clq_sampler_create(&s, VOCABULARY, &sampler));
    const cl_int start[STATE] = {(cl_int)(uint32_t)s.seed, (cl_int)(uint32_t)(s.seed >> 32), 0, 0};
    test_buffer state = test_buffer_new(d, start, sizeof start);
    for (int k = 0; k < DRAWS; ++k) {
      int32_t got = -1;
      int32_t expected = -1;
      const clq_sample_args args = {.logits = {x.mem, CLQ_F32, {1, VOCABULARY}},
                                    .out = {out.mem, CLQ_I32, {1}},
                                    .sampling = s,
                                    /* The first draw needs no state. */
                                    .state = k == 0 ? (clq_tensor){.mem = NULL}
                                                    : (clq_tensor){state.mem, CLQ_I32, {1, STATE}}};
      if (k == 1 && s.temperature > 0) { /* which has not seen the first */
        clq_sample_args again = args;
        test_ok(clq_sample(d->stream, &again));
      }
      test_ok(clq_sample(d->stream, &args));
      test_buffer_read(d, &out, &got);
      test_ok(clq_sampler_sample(sampler, logits, VOCABULARY, &expected));
      cr_assert_eq(got, expected, "form %d, setting %d, draw %d: %d, expected %d", form, i, k,
                   (int)got, (int)expected);
    }
    test_buffer_free(&state);
    clq_sampler_destroy(sampler);
  }
  test_buffer_free(&x);
  test_buffer_free(&out);
}

/* --- what cannot be chosen from --- */

static void check_bad_rows(const test_device *d) {
  enum { COLS = 3000, BAD = 1 };
  static const float values[] = {NAN, -NAN, INFINITY, -INFINITY};
  static const char *const sentences[] = {
      "logit of token 2500 is NaN", "logit of token 2500 is NaN", "logit of token 2500 is infinite",
      "every logit of row 1 is -Inf"};
  for (int v = 0; v < 8; ++v) {
    call c = call_new(COLS, SPREAD, 3);
    for (int64_t i = v % 4 == 3 ? 0 : 2500; i < (v % 4 == 3 ? COLS : 2502); ++i) {
      c.logits[BAD * (COLS + PAD) + i] = values[v % 4];
    }
    int32_t ids[ROWS];
    int32_t listed[ROWS][LISTED];
    cl_int state[ROWS][STATE];
    test_buffer x = test_buffer_new(d, c.logits, count_of(COLS) * sizeof(float));
    test_buffer out = test_buffer_new(d, NULL, sizeof ids);
    test_buffer list = test_buffer_new(d, NULL, sizeof listed);
    test_buffer states = test_buffer_new(d, c.state, sizeof c.state);
    test_ok(clq_sample(
        d->stream, &(clq_sample_args){.logits = logits_of(&c, x.mem),
                                      .out = {out.mem, CLQ_I32},
                                      .sampling = {.temperature = v < 4 ? 0.0f : 1.0f, .top_k = 9},
                                      .state = {states.mem, CLQ_I32, {ROWS, STATE}},
                                      .top_ids = {list.mem, CLQ_I32, {ROWS, LISTED}}}));
    test_fails(clq_stream_finish(d->stream), CLQ_INVALID_ARGUMENT, sentences[v % 4]);
    test_ok(clq_stream_finish(d->stream));
    test_buffer_read(d, &out, ids);
    test_buffer_read(d, &list, listed);
    test_buffer_read(d, &states, state);
    for (int r = 0; r < ROWS; ++r) {
      cr_assert_eq(ids[r] == -1, r == BAD);
      cr_assert_eq(listed[r][LISTED - 1] == -1, r == BAD);
      cr_assert_eq(memcmp(state[r], c.state[r], sizeof state[r]) == 0, v < 4 || r == BAD);
    }
    free(c.logits);
    test_buffer_free(&x);
    test_buffer_free(&out);
    test_buffer_free(&list);
    test_buffer_free(&states);
  }
}

/* All in one test: a process compiles its programs. */
Test(sample, every_form_chooses_as_the_host) {
  for (int form = 0; form < FORMS; ++form) {
    test_device d = test_device_open(forms[form]);
    test_dispatch_start();
    check_all(&d, form);
    check_lists(&d);
    check_against_sampler(&d, form);
    check_bad_rows(&d);
    const bool on_cpu = form == 0 && test_has_trait(d.context, "cpu");
    cr_assert(test_dispatch_saw("sample", on_cpu ? "sample_rows" : "sample_group"));
    test_dispatch_stop();
    test_device_close(&d);
  }
}

Test(sample, bad_arguments_are_named) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 4096);
  const clq_tensor x = {b.mem, CLQ_F32, {2, 8}};
  const clq_tensor out = {b.mem, CLQ_I32, {2}, .offset = 64};
  const clq_tensor words = {b.mem, CLQ_I32, {2, 4}, .offset = 128};
  clq_sample_args a = {.logits = x};
  const clq_status bad = CLQ_INVALID_ARGUMENT;
  test_fails(clq_sample(d.stream, &a), bad, "sample: neither out nor top_ids is given");
  a.out = out;
  a.out.shape[0] = 3;
  test_fails(clq_sample(d.stream, &a), bad, "dimension 0 of out is 3, expected 2 (rows of logits)");
  a.out = out;
  a.logits.dtype = CLQ_F16;
  test_fails(clq_sample(d.stream, &a), CLQ_UNSUPPORTED, "dtype of logits");
  a.logits = (clq_tensor){b.mem, CLQ_F32, {2, 0}};
  test_fails(clq_sample(d.stream, &a), bad, "dimension 1 of logits is 0, expected 1 to 2^23");
  a.logits = x;
  a.sampling.min_p = 2;
  test_fails(clq_sample(d.stream, &a), bad, "sampling: min_p is 2");
  a.sampling.min_p = 0;
  a.state = words;
  a.state.shape[1] = 3;
  test_fails(clq_sample(d.stream, &a), bad, "dimension 1 of state is 3, expected 4");
  a.state = (clq_tensor){.mem = NULL};
  a.top_ids = words;
  a.top_ids.shape[1] = 9;
  test_fails(clq_sample(d.stream, &a), bad, "dimension 1 of top_ids is 9, expected 1 to 8");
  a.top_ids = (clq_tensor){.mem = NULL};
  a.top_logits = x;
  test_fails(clq_sample(d.stream, &a), bad, "top_logits is given without top_ids");
  a.top_logits = (clq_tensor){.mem = NULL};
  a.logits.shape[0] = 0;
  a.out.shape[0] = 0;
  test_ok(clq_sample(d.stream, &a));
  test_buffer_free(&b);
  test_device_close(&d);
}
