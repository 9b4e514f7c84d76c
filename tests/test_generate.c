/* Tokens chosen on the device (CLQ_TEST_MODEL): those that the host's sampler draws from the
 * logits. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/model.h>

#include "device.h"
#include "opencl.h"

TestSuite(generate, .fini = opencl_none_live);

enum { VOCABULARY = 49152, PROMPT = 5, TOKENS = 24, CONTEXT = 64, MEMBERS = 2 };

static const int32_t prompt[PROMPT] = {7, 6403, 1980, 253, 655};

static const clq_sampling settings[] = {
    {0},
    {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.02f, .seed = 11},
    {.temperature = 1.3f, .top_p = 0.9f, .seed = UINT64_C(0xfedcba9876543210)},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

static clq_sampler *sampler_of(clq_sampling s, uint64_t more) {
  clq_sampler *sampler = NULL;
  s.seed += more;
  test_ok(clq_sampler_create(&s, VOCABULARY, &sampler));
  return sampler;
}

/* What the host chooses, a step and a read of logits at a time. */
static void host_way(clq_session *s, clq_sampler *sampler, float *logits, int32_t *out) {
  test_ok(clq_session_rewind(s, 0));
  test_ok(clq_session_eval(s, prompt, PROMPT, CLQ_LOGITS_LAST, logits));
  for (int i = 0; i < TOKENS; ++i) {
    test_ok(clq_sampler_sample(sampler, logits, VOCABULARY, &out[i]));
    test_ok(clq_session_eval(s, &out[i], 1, CLQ_LOGITS_LAST, logits));
  }
}

static void check_session(clq_session *s, clq_sampling how, float *logits) {
  int32_t expected[TOKENS];
  int32_t got[TOKENS];
  clq_sampler *host = sampler_of(how, 0);
  host_way(s, host, logits, expected);
  clq_sampler_destroy(host);
  /* At once; then in pieces, the first of which is one token, some drawn by the host. */
  for (int pieces = 0; pieces < 2; ++pieces) {
    clq_sampler *sampler = sampler_of(how, 0);
    test_ok(clq_session_rewind(s, 0));
    int done = pieces == 0 ? TOKENS : 1;
    test_ok(clq_session_generate(s, prompt, PROMPT, sampler, got, done));
    cr_assert_eq(clq_session_position(s), PROMPT + done - 1);
    for (int turn = 0; done < TOKENS; ++turn) {
      if (turn == 1) {
        test_ok(clq_session_eval(s, &got[done - 1], 1, CLQ_LOGITS_LAST, logits));
        test_ok(clq_sampler_sample(sampler, logits, VOCABULARY, &got[done]));
        ++done;
      }
      const int more = turn < 2 && done + 2 < TOKENS ? 2 : TOKENS - done;
      test_ok(clq_session_generate(s, &got[done - 1], 1, sampler, got + done, more));
      done += more;
    }
    cr_assert_eq(clq_session_position(s), PROMPT + TOKENS - 1);
    cr_assert_arr_eq(got, expected, sizeof got, "pieces %d", pieces);
    clq_sampler_destroy(sampler);
  }
}

static void check_batch(clq_session *const *sessions, clq_sampling how, float *logits) {
  int32_t expected[MEMBERS][TOKENS];
  int32_t ids[MEMBERS];
  int32_t chosen[MEMBERS];
  clq_sampler *samplers[MEMBERS];
  clq_batch *batch = NULL;
  test_ok(clq_batch_create(sessions, MEMBERS, &batch));
  for (int m = 0; m < MEMBERS; ++m) {
    clq_sampler *host = sampler_of(how, (uint64_t)m);
    host_way(sessions[m], host, logits, expected[m]);
    clq_sampler_destroy(host);
    samplers[m] = sampler_of(how, (uint64_t)m);
    test_ok(clq_session_rewind(sessions[m], 0));
    test_ok(clq_session_generate(sessions[m], prompt, PROMPT, samplers[m], &ids[m], 1));
    cr_assert_eq(ids[m], expected[m][0]);
  }
  for (int i = 1; i < TOKENS; ++i) {
    test_ok(clq_batch_generate(batch, NULL, ids, MEMBERS, samplers, chosen));
    for (int m = 0; m < MEMBERS; ++m) {
      cr_assert_eq(chosen[m], expected[m][i], "member %d, token %d", m, i);
      ids[m] = chosen[m];
    }
  }
  for (int m = 0; m < MEMBERS; ++m) {
    clq_sampler_destroy(samplers[m]);
  }
  clq_batch_destroy(batch);
}

static void check_misuse(clq_session *const *sessions) {
  clq_session *s = sessions[0];
  int32_t chosen[CONTEXT];
  clq_sampler *small = NULL;
  clq_batch *batch = NULL;
  test_ok(clq_session_rewind(s, 0));
  test_ok(clq_sampler_create(NULL, 100, &small));
  test_fails(clq_session_generate(s, prompt, PROMPT, small, chosen, 1), CLQ_INVALID_ARGUMENT,
             "the sampler takes 100 logits, the model has 49152");
  test_fails(clq_session_generate(s, prompt, 0, NULL, chosen, 1), CLQ_INVALID_ARGUMENT,
             "0 tokens to feed and 1 to choose");
  test_fails(clq_session_generate(s, prompt, PROMPT, NULL, chosen, 0), CLQ_INVALID_ARGUMENT,
             "5 tokens to feed and 0 to choose");
  test_fails(clq_session_generate(s, prompt, PROMPT, NULL, chosen, CONTEXT - PROMPT + 2),
             CLQ_INVALID_ARGUMENT, "do not fit");
  cr_assert_eq(clq_session_position(s), 0);
  test_ok(clq_session_generate(s, prompt, PROMPT, NULL, chosen, CONTEXT - PROMPT + 1));
  cr_assert_eq(clq_session_position(s), CONTEXT);
  test_ok(clq_session_rewind(s, PROMPT));
  clq_sampler *two[MEMBERS] = {sampler_of(settings[0], 0), sampler_of(settings[1], 0)};
  test_ok(clq_batch_create(sessions, MEMBERS, &batch));
  test_fails(clq_batch_generate(batch, NULL, prompt, MEMBERS, two, chosen), CLQ_UNSUPPORTED,
             "samplers 0 and 1 differ in more than their seed");
  cr_assert_eq(clq_session_position(s), PROMPT);
  clq_batch_destroy(batch);
  clq_sampler_destroy(two[0]);
  clq_sampler_destroy(two[1]);
  clq_sampler_destroy(small);
}

Test(generate, gives_what_the_sampler_draws_from_logits) {
  clq_context *context = NULL;
  clq_model *model = NULL;
  clq_session *sessions[MEMBERS];
  const char *path = getenv("CLQ_TEST_MODEL");
  if (path == NULL) {
    cr_skip_test("CLQ_TEST_MODEL names no model");
  }
  test_ok(clq_context_create(NULL, &context));
  test_ok(clq_model_load(context, path, &model));
  for (int m = 0; m < MEMBERS; ++m) {
    test_ok(clq_session_create(model, NULL, &(clq_session_desc){.context = CONTEXT}, &sessions[m]));
  }
  float *logits = malloc(sizeof(float) * VOCABULARY);
  for (int i = 0; i < SETTINGS; ++i) {
    check_session(sessions[0], settings[i], logits);
  }
  check_batch(sessions, settings[1], logits);
  check_misuse(sessions);
  free(logits);
  for (int m = 0; m < MEMBERS; ++m) {
    clq_session_destroy(sessions[m]);
  }
  clq_model_destroy(model);
  clq_context_destroy(context);
}
