/* clq run. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clq.h"

Test(cli_run, run_is_reproducible) {
  const char *model = test_model();
  command_result first = clq(NULL, "run", "-m", model, "-p", "Once upon a", "-n", "8");
  cr_assert_eq(first.code, 0, "%s", first.err);
  cr_assert(clq_is_silent(first.err), "%s", first.err);
  cJSON *json = expect_json(
      clq(NULL, "run", "-m", model, "-p", "Once upon a", "-n", "8", "--greedy", "-o", "json"));
  cr_assert_eq(strncmp(first.out, json_string(json, "text"), strlen(json_string(json, "text"))), 0,
               "'%s' and '%s'", first.out, json_string(json, "text"));
  cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "prompt_tokens")), 3);
  cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "tokens")), 8);
  cr_assert_str_eq(json_string(json, "stop_reason"), "length");
  cr_assert_str_eq(json_string(json, "acts"), "q8g32");
  cr_assert_str_eq(json_string(json, "kv"), "f16");
  cr_assert_str_not_empty(json_string(json, "device"));
  cr_assert_str_not_empty(json_string(json, "model"));
  cr_assert_str_not_empty(json_string(json, "kernel_cache"));
  static const char *const positive[] = {
      "load_s",      "first_token_s", "prefill_tokens_per_s", "decode_tokens_per_s", "weight_bytes",
      "arena_bytes", "kv_bytes",      "peak_rss_bytes"};
  for (size_t i = 0; i < sizeof positive / sizeof positive[0]; ++i) {
    cr_assert_gt(json_number(json, positive[i]), 0, "%s", positive[i]);
  }
  cr_assert_geq(json_number(json, "build_s"), 0);
  cr_assert_null(cJSON_GetObjectItem(json, "kernels"));
  cJSON_Delete(json);
  command_free(&first);
}

Test(cli_run, run_samples_by_its_seed) {
  const char *model = test_model();
  char *texts[3];
  static const char *const seeds[] = {"7", "7", "8"};
  for (size_t i = 0; i < 3; ++i) {
    command_result result = clq(NULL, "run", "-m", model, "-p", "The", "-n", "12", "--temp", "1.5",
                                "--top-k", "200", "--seed", seeds[i]);
    cr_assert_eq(result.code, 0, "%s", result.err);
    texts[i] = result.out;
    free(result.err);
  }
  cr_assert_str_eq(texts[0], texts[1]);
  cr_assert_str_neq(texts[0], texts[2]);
  for (size_t i = 0; i < 3; ++i) {
    free(texts[i]);
  }
}

Test(cli_run, run_ends_for_the_reason_it_gives) {
  const char *model = test_model();
  cJSON *json = expect_json(
      clq(NULL, "run", "-m", model, "-p", "Once upon a", "-n", "50", "--ctx", "10", "-o", "json"));
  cr_assert_str_eq(json_string(json, "stop_reason"), "context");
  /* Three tokens in, and what follows the tenth does not need room. */
  cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "tokens")), 8);
  cJSON_Delete(json);
  json = expect_json(clq(NULL, "run", "-m", model, "-p", "Once", "-n", "0", "-o", "json"));
  cr_assert_str_eq(json_string(json, "stop_reason"), "length");
  cr_assert(cJSON_IsNull(cJSON_GetObjectItem(json, "first_token_s")));
  cJSON_Delete(json);
  expect_refusal(clq(NULL, "run", "-m", model, "-p", "Once upon a", "--ctx", "2"), 1,
                 "the prompt has 3 tokens, the context holds 2");
  expect_refusal(clq(NULL, "run", "-m", model, "-p", ""), 1, "no tokens");
  expect_refusal(clq(NULL, "run", "-m", model, "-p", "a", "--ctx", "9999999"), 1,
                 "--ctx is 9999999, the model was trained for 8192; use a smaller --ctx");
  expect_refusal(clq(NULL, "perplexity", "-m", model, "-p", "a b c", "--ctx", "9999999"), 1,
                 "use a smaller --ctx");
}

/* Tokens of an object and of another one. */
static void expect_same_tokens(const cJSON *a, const cJSON *b) {
  cr_assert(
      cJSON_Compare(cJSON_GetObjectItem(a, "tokens"), cJSON_GetObjectItem(b, "tokens"), true));
  cr_assert_str_eq(json_string(a, "text"), json_string(b, "text"));
  cr_assert_str_eq(json_string(a, "stop_reason"), json_string(b, "stop_reason"));
}

/* Each answer is what a run of its own with that seed gives. */
Test(cli_run, parallel_answers_are_those_of_runs_alone) {
  const char *model = test_model();
  cJSON *json = expect_json(clq(NULL, "run", "-m", model, "-p", "The sky is", "-n", "9", "--temp",
                                "1.3", "--seed", "40", "--parallel", "3", "-o", "json"));
  const cJSON *answers = cJSON_GetObjectItem(json, "answers");
  cr_assert_eq(cJSON_GetArraySize(answers), 3);
  expect_same_tokens(json, cJSON_GetArrayItem(answers, 0));
  static const char *const seeds[] = {"40", "41", "42"};
  double kv_bytes = 0;
  for (int i = 0; i < 3; ++i) {
    cJSON *alone = expect_json(clq(NULL, "run", "-m", model, "-p", "The sky is", "-n", "9",
                                   "--temp", "1.3", "--seed", seeds[i], "-o", "json"));
    expect_same_tokens(alone, cJSON_GetArrayItem(answers, i));
    cr_assert_null(cJSON_GetObjectItem(alone, "answers"));
    kv_bytes += json_number(alone, "kv_bytes");
    cJSON_Delete(alone);
  }
  cr_assert_eq(json_number(json, "kv_bytes"), kv_bytes);
  cr_assert(json_number(json, "decode_tokens_per_s") > 0 && json_number(json, "first_token_s") > 0);
  cJSON_Delete(json);
}

/* A table that fits 100 columns, no kernel in it twice. */
static void expect_short_lines(const char *table) {
  const char *kernels = strstr(table, "  kernel\n");
  cr_assert_not_null(kernels, "%s", table);
  kernels = strchr(kernels, '\n') + 1;
  for (const char *line = kernels; *line != '\0'; line = strchr(line, '\n') + 1) {
    enum { NAME = 42 };
    const size_t length = strcspn(line, "\n");
    cr_assert(length > NAME && length <= 100, "%zu columns: %.*s", length, (int)length, line);
    for (const char *other = kernels; other < line; other = strchr(other, '\n') + 1) {
      cr_assert_neq(strncmp(other + NAME, line + NAME, length - NAME + 1), 0, "twice: %s", line);
    }
  }
  cr_assert_null(strstr(kernels, "-D"), "%s", kernels);
}

/* Where a text of its own ends, an answer ends; the others go on. */
Test(cli_run, parallel_answers_end_one_by_one) {
  const char *model = test_model();
  cJSON *json = expect_json(clq(NULL, "run", "-m", model, "--chat", "-p", "Say yes or no.", "-n",
                                "24", "--temp", "1.5", "--parallel", "8", "-o", "json"));
  const cJSON *answers = cJSON_GetObjectItem(json, "answers");
  cr_assert_eq(cJSON_GetArraySize(answers), 8);
  int ended = 0;
  for (int i = 0; i < 8; ++i) {
    const cJSON *answer = cJSON_GetArrayItem(answers, i);
    const int count = cJSON_GetArraySize(cJSON_GetObjectItem(answer, "tokens"));
    const bool eos = strcmp(json_string(answer, "stop_reason"), "eos") == 0;
    cr_assert(eos ? count <= 24 : count == 24, "%d tokens, %s", count,
              json_string(answer, "stop_reason"));
    ended += eos && count < 24;
  }
  cr_assert(ended > 0 && ended < 8, "%d of 8 ended: the case tests nothing", ended);
  char stopped[64];
  (void)snprintf(stopped, sizeof stopped, "stopped by eos (%d), length (%d)\n", ended, 8 - ended);
  cJSON_Delete(json);
  command_result table = clq(NULL, "run", "-m", model, "--chat", "-p", "Say yes or no.", "-n", "24",
                             "--temp", "1.5", "--parallel", "8", "--stats");
  cr_assert_not_null(strstr(table.err, stopped), "'%s' is not in: %s", stopped, table.err);
  expect_short_lines(table.err);
  command_free(&table);
  json = expect_json(clq(NULL, "run", "-m", model, "-p", "Once upon a", "-n", "50", "--ctx", "10",
                         "--parallel", "2", "-o", "json"));
  answers = cJSON_GetObjectItem(json, "answers");
  expect_same_tokens(cJSON_GetArrayItem(answers, 0), cJSON_GetArrayItem(answers, 1));
  cr_assert_str_eq(json_string(json, "stop_reason"), "context");
  cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "tokens")), 8);
  cJSON_Delete(json);
  json = expect_json(
      clq(NULL, "run", "-m", model, "-p", "Once", "-n", "0", "--parallel", "2", "-o", "json"));
  answers = cJSON_GetObjectItem(json, "answers");
  cr_assert_str_eq(json_string(cJSON_GetArrayItem(answers, 1), "stop_reason"), "length");
  cr_assert(cJSON_IsNull(cJSON_GetObjectItem(json, "decode_tokens_per_s")));
  cJSON_Delete(json);
}

Test(cli_run, parallel_answers_are_told_apart) {
  const char *model = test_model();
  command_result one = clq(NULL, "run", "-m", model, "-p", "Once upon a", "-n", "6");
  command_result two = clq(NULL, "run", "-m", model, "-p", "Once upon a", "-n", "6", "--parallel",
                           "2", "--greedy", "--stats");
  char expected[1024];
  (void)snprintf(expected, sizeof expected, "--- answer 1 of 2 ---\n%s--- answer 2 of 2 ---\n%s",
                 one.out, one.out);
  cr_assert_eq(two.code, 0, "%s", two.err);
  cr_assert_str_eq(two.out, expected);
  cr_assert_not_null(strstr(two.err, "3 in, 12 out, stopped by length\n"), "%s", two.err);
  command_free(&one);
  command_free(&two);
}

Test(cli_run, run_traces_its_kernels) {
  const char *model = test_model();
  scratch s = scratch_new("trace.json");
  cJSON *json = expect_json(clq(NULL, "run", "-m", model, "-p", "Once", "-n", "2", "--stats",
                                "--trace", s.file, "-o", "json"));
  const cJSON *kernels = cJSON_GetObjectItem(json, "kernels");
  cr_assert_gt(cJSON_GetArraySize(kernels), 0);
  const cJSON *kernel = cJSON_GetArrayItem(kernels, 0);
  cr_assert(json_number(kernel, "calls") > 0 && json_number(kernel, "device_s") > 0);
  cr_assert_not_null(strstr(json_string(kernel, "name"), " -DCLQ_"), "the whole name");
  cJSON_Delete(json);
  FILE *file = fopen(s.file, "rb");
  cr_assert_not_null(file);
  cr_assert_eq(fgetc(file), '{');
  (void)fclose(file);
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a"), 1, "not a GGUF file");
  scratch_free(&s);
}

static void wait_for_output(const command *running) {
  struct stat info = {0};
  for (int i = 0; i < 3000 && info.st_size == 0; ++i) {
    (void)usleep(10000);
    cr_assert_eq(fstat(fileno(running->out), &info), 0);
  }
  cr_assert_gt(info.st_size, 0, "no text within 30 s");
}

Test(cli_run, an_interrupt_keeps_what_was_produced) {
  const char *model = test_model();
  /* Warms the kernels up, so that the text starts at once. */
  expect_ok(clq(NULL, "run", "-m", model, "-p", "Once upon a time", "-n", "1"), "\n");
  const char *const argv[] = {CLQ_TEST_CLI, "run",  "-m",     model, "-p", "Once upon a time",
                              "-n",         "4000", "--temp", "1.0", NULL};
  command running = command_start(argv, NULL, NULL);
  wait_for_output(&running);
  cr_assert_eq(kill(running.process, SIGINT), 0);
  command_result result = command_wait(&running);
  cr_assert_eq(result.code, 0, "%d: %s", result.code, result.err);
  cr_assert(clq_is_silent(result.err), "%s", result.err);
  cr_assert(result.out_length > 1 && result.out[result.out_length - 1] == '\n');
  command_free(&result);
}

/* Drivers that give out more than there is must not be found out by an assertion of theirs, and the
 * caches of all answers together may exceed what each of them does not. */
Test(cli_run, too_little_memory_is_said_with_what_to_do) {
#ifdef __SANITIZE_ADDRESS__
  cr_skip_test("the address sanitizer reserves more address space than the limit allows");
#endif
  const char *model = test_model();
  const char *const limited[] = {
      "/bin/sh",
      "-c",
      "ulimit -v 3000000; exec \"$0\" run -m \"$1\" -p hi -n 2 --parallel 64 --ctx 8192",
      CLQ_TEST_CLI,
      model,
      NULL};
  expect_refusal(command_run(limited, NULL, NULL), 1,
                 "; use a smaller --ctx or --parallel, or free memory\n");
  const char *const floats[] = {
      "/bin/sh",
      "-c",
      "ulimit -v 3000000; exec \"$0\" run -m \"$1\" -p hi -n 2 --parallel 64 --ctx 8192 --kv f32",
      CLQ_TEST_CLI,
      model,
      NULL};
  expect_refusal(command_run(floats, NULL, NULL), 1, "--parallel, --kv f16, or free memory\n");
}

Test(cli_run, a_trace_that_cannot_be_written_is_said_first) {
  scratch s = scratch_new("no.gguf");
  /* Said before the model is opened, which is not there. */
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a", "--trace", "/nonexistent/t.json"), 1,
                 "trace: /nonexistent/t.json cannot be written");
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a", "--trace", s.folder), 1,
                 "it is a folder");
  scratch_free(&s);
}
