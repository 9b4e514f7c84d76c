/* A real model (CLQ_TEST_MODEL) against the independent fp64 pass. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <clquant/model.h>

#include "counting.h"
#include "device.h"
#include "golden.h"
#include "opencl.h"
#include "progress.h"

TestSuite(model, .fini = opencl_none_live);

/* Largest error of f32 logits, and the margin above which the argmax must agree. */
#define MAX_ERROR 5e-3

/* llama.cpp's rms error (llama-cpp-python 0.3.36) on the same prompts and file, over the same
 * columns of the logits, each prompt as one batch: one_token to long_english in the file's order,
 * then over all rows. Single prompts are luck on either side: rounding that differs by 2^-22 flips
 * codes, and the figure of a few rows jumps. */
static const struct {
  const char *name;
  double rms;
} peer[] = {
    {"one_token", 0.1022}, {"english", 0.2731},          {"code", 0.2343},
    {"digits", 0.2130},    {"cyrillic_chinese", 0.2055}, {"emoji_mixed", 0.1827},
    {"chat", 0.2265},      {"long_english", 0.1668},
};
#define PEER_RMS 0.1916

typedef struct fixture {
  clq_context *context;
  clq_model *model;
  golden golden;
} fixture;

static fixture open_fixture(void) {
  const char *path = getenv("CLQ_TEST_MODEL");
  if (path == NULL) {
    cr_skip_test("CLQ_TEST_MODEL names no model");
  }
  fixture f = {.golden = golden_open()};
  test_ok(clq_context_create(NULL, &f.context));
  test_ok(clq_model_load(f.context, path, &f.model));
  return f;
}

static void close_fixture(fixture *f) {
  clq_model_destroy(f->model);
  clq_context_destroy(f->context);
  golden_close(&f->golden);
}

typedef struct errors {
  double max;     /* over all that the golden file holds */
  double squares; /* over its columns, which are the same in every row: an unbiased sample */
  size_t count;
  size_t argmax_wrong; /* where the exact margin is above 2 * MAX_ERROR */
} errors;

static double add(errors *e, float got, float exact) {
  const double d = fabs((double)got - (double)exact);
  e->max = d > e->max || isnan(d) ? d : e->max;
  return d;
}

static void add_row(errors *e, const golden *g, const golden_row *row, const float *logits) {
  uint32_t best = 0;
  for (uint32_t i = 1; i < g->vocab; ++i) {
    best = logits[i] > logits[best] ? i : best;
  }
  e->argmax_wrong += best != row->argmax && (double)row->margin > 2.0 * MAX_ERROR;
  for (int i = 0; i < GOLDEN_COLUMNS; ++i) {
    const double d = add(e, logits[g->column_ids[i]], row->column_logits[i]);
    e->squares += d * d;
    ++e->count;
  }
  for (int i = 0; i < GOLDEN_TOP; ++i) {
    (void)add(e, logits[row->top_ids[i]], row->top_logits[i]);
  }
}

/* Teacher-forced logits of one prompt in a session of its own. */
static errors run_prompt(const fixture *f, const golden_prompt *p, clq_acts acts, clq_dtype kv) {
  errors e = {0};
  clq_session *session = NULL;
  float *logits = malloc((size_t)p->tokens * f->golden.vocab * sizeof *logits);
  test_ok(clq_session_create(
      f->model, NULL, &(clq_session_desc){.acts = acts, .kv = kv, .context = 512}, &session));
  test_ok(clq_session_eval(session, p->ids, p->tokens, CLQ_LOGITS_ALL, logits));
  for (uint32_t r = 0; r < p->tokens; ++r) {
    add_row(&e, &f->golden, &p->rows[r], logits + (size_t)r * f->golden.vocab);
  }
  if (p->last_row != NULL) {
    const float *last = logits + (size_t)(p->tokens - 1) * f->golden.vocab;
    for (uint32_t i = 0; i < f->golden.vocab; ++i) {
      (void)add(&e, last[i], p->last_row[i]);
    }
  }
  clq_session_destroy(session);
  free(logits);
  return e;
}

Test(model, f32_logits_are_exact_to_5e_3) {
  fixture f = open_fixture();
  for (uint32_t i = 0; i < f.golden.prompt_count; ++i) {
    const errors e = run_prompt(&f, &f.golden.prompts[i], CLQ_ACTS_F32, CLQ_F32);
    (void)fprintf(stderr, "acts f32 kv f32  %-18s max error %.2e\n", f.golden.prompts[i].name,
                  e.max);
    cr_assert(e.max <= MAX_ERROR, "%s: max error %g", f.golden.prompts[i].name, e.max);
    cr_assert_eq(e.argmax_wrong, 0, "%s: %zu wrong argmax", f.golden.prompts[i].name,
                 e.argmax_wrong);
  }
  close_fixture(&f);
}

/* An f16 cache costs little; the figure is printed, the bound catches a wrong rounding. */
Test(model, f16_cache_costs_little) {
  fixture f = open_fixture();
  for (uint32_t i = 0; i < f.golden.prompt_count; ++i) {
    const errors e = run_prompt(&f, &f.golden.prompts[i], CLQ_ACTS_F32, CLQ_F16);
    (void)fprintf(stderr, "acts f32 kv f16  %-18s max error %.2e rms %.2e\n",
                  f.golden.prompts[i].name, e.max, sqrt(e.squares / (double)e.count));
    cr_assert(e.max <= 0.1, "%s: max error %g", f.golden.prompts[i].name, e.max);
  }
  close_fixture(&f);
}

/* What quantized caches cost beside activations of floats: printed, and bounded by a little more
 * than was measured over all prompts. */
Test(model, quantized_caches_cost) {
  static const struct {
    clq_dtype kv;
    double rms;
  } caches[] = {{CLQ_I8, 0.13}, {CLQ_U8, 1.7}};
  fixture f = open_fixture();
  for (size_t c = 0; c < sizeof caches / sizeof caches[0]; ++c) {
    double squares = 0.0;
    size_t count = 0;
    for (uint32_t i = 0; i < f.golden.prompt_count; ++i) {
      const errors e = run_prompt(&f, &f.golden.prompts[i], CLQ_ACTS_F32, caches[c].kv);
      squares += e.squares;
      count += e.count;
    }
    const double rms = sqrt(squares / (double)count);
    (void)fprintf(stderr, "acts f32 kv %s, all prompts: rms %.4f\n", clq_dtype_name(caches[c].kv),
                  rms);
    cr_assert(rms > 0.0 && rms <= caches[c].rms, "rms %g with a cache of %s", rms,
              clq_dtype_name(caches[c].kv));
  }
  close_fixture(&f);
}

Test(model, q8g32_logits_over_all_prompts_are_no_further_off_than_the_peer) {
  fixture f = open_fixture();
  double squares = 0.0;
  size_t count = 0;
  for (uint32_t i = 0; i < f.golden.prompt_count; ++i) {
    const golden_prompt *p = &f.golden.prompts[i];
    cr_assert_str_eq(p->name, peer[i].name);
    const errors e = run_prompt(&f, p, CLQ_ACTS_Q8G32, CLQ_F16);
    const double rms = sqrt(e.squares / (double)e.count);
    (void)fprintf(stderr, "acts q8g32       %-18s rms %.4f (llama.cpp %.4f)\n", p->name, rms,
                  peer[i].rms);
    squares += e.squares;
    count += e.count;
  }
  cr_assert(sqrt(squares / (double)count) <= PEER_RMS, "rms %g over all prompts",
            sqrt(squares / (double)count));
  close_fixture(&f);
}

/* Rows do not depend on how they were batched: one by one, or a few at a time, gives the same bits.
 */
Test(model, batched_equals_alone) {
  fixture f = open_fixture();
  const golden_prompt *p = &f.golden.prompts[1];
  const size_t vocab = f.golden.vocab;
  for (int acts = CLQ_ACTS_Q8G32; acts <= CLQ_ACTS_F32; ++acts) {
    const clq_session_desc desc = {.acts = (clq_acts)acts, .context = 64};
    float *together = malloc(p->tokens * vocab * sizeof *together);
    float *alone = malloc(vocab * sizeof *alone);
    clq_session *a = NULL;
    clq_session *b = NULL;
    test_ok(clq_session_create(f.model, NULL, &desc, &a));
    test_ok(clq_session_create(f.model, NULL, &desc, &b));
    test_ok(clq_session_eval(a, p->ids, p->tokens, CLQ_LOGITS_ALL, together));
    for (uint32_t r = 0; r < p->tokens; ++r) {
      test_ok(clq_session_eval(b, p->ids + r, 1, CLQ_LOGITS_LAST, alone));
      cr_assert_arr_eq(alone, together + r * vocab, vocab * sizeof *alone, "acts %d row %u", acts,
                       r);
    }
    test_ok(clq_session_rewind(b, 0));
    for (uint32_t r = 0, rows = 1; r + rows <= p->tokens; r += rows, rows = rows % 5 + 1) {
      test_ok(clq_session_eval(b, p->ids + r, rows, CLQ_LOGITS_LAST, alone));
      cr_assert_arr_eq(alone, together + (r + rows - 1) * vocab, vocab * sizeof *alone,
                       "acts %d, %u rows from %u", acts, rows, r);
    }
    clq_session_destroy(a);
    clq_session_destroy(b);
    free(together);
    free(alone);
  }
  close_fixture(&f);
}

Test(model, misuse_is_named) {
  fixture f = open_fixture();
  clq_session *s = NULL;
  static float logits[65536];
  const int32_t ids[] = {1, 2, 3};
  test_fails(clq_session_create(f.model, NULL, &(clq_session_desc){.context = 1 << 20}, &s),
             CLQ_INVALID_ARGUMENT, "the model was trained for 8192");
  test_fails(clq_session_create(f.model, NULL, &(clq_session_desc){.kv = CLQ_BF16}, &s),
             CLQ_INVALID_ARGUMENT, "kv is bf16");
  test_ok(clq_session_create(f.model, NULL, &(clq_session_desc){.context = 4}, &s));
  test_ok(clq_session_eval(s, ids, 3, CLQ_LOGITS_LAST, logits));
  test_fails(clq_session_eval(s, ids, 2, CLQ_LOGITS_LAST, logits), CLQ_INVALID_ARGUMENT,
             "2 tokens do not fit: 3 of the context's 4");
  cr_assert_eq(clq_session_position(s), 3);
  test_fails(clq_session_eval(s, (int32_t[]){49152}, 1, CLQ_LOGITS_LAST, logits),
             CLQ_INVALID_ARGUMENT, "id 49152");
  test_fails(clq_session_eval(s, ids, 1, CLQ_LOGITS_LAST, NULL), CLQ_INVALID_ARGUMENT, "no memory");
  test_fails(clq_session_rewind(s, 4), CLQ_INVALID_ARGUMENT, "expected 0 to 3");
  test_ok(clq_session_eval(s, ids, 0, CLQ_LOGITS_LAST, logits));
  clq_session_destroy(s);
  close_fixture(&f);
}

/* Loads, feeds two tokens, releases. */
static clq_status load_and_step(clq_context *context, const char *path) {
  static float logits[49152];
  clq_model *model = NULL;
  clq_session *session = NULL;
  clq_status status = clq_model_load(context, path, &model);
  if (status == CLQ_OK) {
    status = clq_session_create(model, NULL, &(clq_session_desc){.context = 16}, &session);
  }
  if (status == CLQ_OK) {
    status = clq_session_eval(session, (int32_t[]){1, 2}, 2, CLQ_LOGITS_LAST, logits);
  }
  clq_session_destroy(session);
  clq_model_destroy(model);
  return status;
}

/* Allocation 1, 2, 4, ... of loading and one step fails, alone and with all after it. */
Test(model, out_of_host_memory_is_reported_and_leaks_nothing) {
  const char *path = getenv("CLQ_TEST_MODEL");
  if (path == NULL) {
    cr_skip_test("CLQ_TEST_MODEL names no model");
  }
  clq_context *context = NULL;
  test_ok(clq_context_create(NULL, &context));
  test_ok(load_and_step(context, path)); /* the context keeps programs from now on */
  for (int failed = 1, i = 0; failed; ++i) {
    counting_start((size_t)1 << i, i % 2);
    const clq_status status = load_and_step(context, path);
    failed = counting_failed();
    const size_t left = counting_live();
    counting_stop();
    cr_assert(failed ? status == CLQ_OUT_OF_HOST_MEMORY : status == CLQ_OK, "allocation 2^%d: %s",
              i, clq_last_error());
    cr_assert_eq(left, 0, "allocation 2^%d leaks %zu blocks", i, left);
  }
  test_ok(load_and_step(context, path));
  clq_context_destroy(context);
}

/* Stopped at some of its reports; then whole. */
Test(model, loading_reports_and_can_be_cancelled) {
  const char *path = getenv("CLQ_TEST_MODEL");
  if (path == NULL) {
    cr_skip_test("CLQ_TEST_MODEL names no model");
  }
  clq_context *context = NULL;
  test_ok(clq_context_create(NULL, &context));
  test_progress seen = {0};
  const clq_progress progress = test_progress_of(&seen);
  clq_model *model = NULL;
  test_ok(clq_model_load_with_progress(context, path, &progress, &model));
  clq_model_destroy(model);
  const int calls = seen.calls;
  cr_assert_gt(calls, 30, "as many as matrices");
  cr_assert_lt(calls, 400, "%d", calls);
  test_progress_end(&seen, seen.total);
  const opencl_objects before = opencl_live();
  for (int stop = 1; stop < 3 * calls; stop *= 3) {
    seen = (test_progress){.stop_at = stop < calls ? stop : calls};
    counting_start(0, 0);
    const clq_status status = clq_model_load_with_progress(context, path, &progress, &model);
    const size_t left = counting_live();
    counting_stop();
    test_fails(status, CLQ_CANCELLED, ": cancelled after ");
    cr_assert_null(model);
    cr_assert_eq(seen.calls, seen.stop_at);
    cr_assert_eq(left, 0, "stopped at report %d: %zu blocks", stop, left);
    opencl_assert_live(&before);
  }
  clq_context_destroy(context);
}

/* Cuts a file at an allocation of the library's, so that it happens at a known place. */
static struct {
  const char *path;
  size_t at;
  size_t calls;
  bool overwrites; /* a byte in the middle instead */
} cut;

static void *cut_allocate(void *user, size_t bytes) {
  (void)user;
  if (++cut.calls == cut.at && !cut.overwrites) {
    cr_assert_eq(truncate(cut.path, 100000), 0);
  } else if (cut.calls == cut.at) {
    FILE *file = fopen(cut.path, "r+b");
    cr_assert(file != NULL && fseek(file, 50000000, SEEK_SET) == 0 && fputc('x', file) == 'x');
    (void)fclose(file);
  }
  return malloc(bytes);
}

static void *cut_reallocate(void *user, void *block, size_t bytes) {
  (void)user;
  return realloc(block, bytes);
}

static void cut_release(void *user, void *block) {
  (void)user;
  free(block);
}

static void copy_file(const char *from, const char *to) {
  static char piece[1 << 20];
  FILE *in = fopen(from, "rb");
  FILE *out = fopen(to, "wb");
  cr_assert(in != NULL && out != NULL);
  for (size_t n = fread(piece, 1, sizeof piece, in); n > 0; n = fread(piece, 1, sizeof piece, in)) {
    cr_assert_eq(fwrite(piece, 1, n, out), n);
  }
  (void)fclose(in);
  cr_assert_eq(fclose(out), 0);
}

/* A model file that another process writes to while it is loaded is a sentence, wherever loading
 * is: before the header, between its parts, between tensors. */
static void load_while_written_to(bool overwrites, const char *part) {
  const char *path = getenv("CLQ_TEST_MODEL");
  if (path == NULL) {
    cr_skip_test("CLQ_TEST_MODEL names no model");
  }
  char folder[] = "/tmp/clq_model_XXXXXX";
  char file[64];
  cr_assert_not_null(mkdtemp(folder));
  (void)snprintf(file, sizeof file, "%s/model.gguf", folder);
  clq_context *context = NULL;
  clq_model *model = NULL;
  test_ok(clq_context_create(NULL, &context));
  size_t refused = 0;
  /* The first allocations come before the file is opened, when any content will do. */
  for (size_t at = overwrites ? 4 : 1; model == NULL; at *= 2) {
    copy_file(path, file);
    cr_assert_eq(utimensat(AT_FDCWD, file, (const struct timespec[2]){{1000, 0}, {1000, 0}}, 0), 0);
    cut.overwrites = overwrites;
    cut.path = file;
    cut.at = at;
    cut.calls = 0;
    clq_set_allocator(&(clq_allocator){cut_allocate, cut_reallocate, cut_release, NULL});
    const clq_status status = clq_model_load(context, file, &model);
    clq_set_allocator(NULL);
    cr_assert(status == CLQ_OK ? cut.calls < at : status == CLQ_IO_ERROR || status == CLQ_BAD_FILE,
              "cut at allocation %zu: %s", at, clq_last_error());
    if (status == CLQ_IO_ERROR) {
      cr_assert_not_null(strstr(clq_last_error(), "model.gguf: the file ha"));
      cr_assert_not_null(strstr(clq_last_error(), part), "%s", clq_last_error());
      ++refused;
    }
  }
  cr_assert_gt(refused, 4);
  clq_model_destroy(model);
  clq_context_destroy(context);
  cr_assert_eq(unlink(file), 0);
  cr_assert_eq(rmdir(folder), 0);
}

Test(model, a_file_that_shrinks_during_loading_is_refused) {
  load_while_written_to(false, " bytes when it was opened and has 100000 now");
}

Test(model, a_file_that_is_overwritten_during_loading_is_refused) {
  load_while_written_to(true, " has changed while it was read");
}
