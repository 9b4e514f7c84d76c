/* The command clq, run as a program: usage, files that are none, what all commands share. What one
 * command does stands in test_cli_<command>.c. */
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clq.h"
#include "gguf_writer.h"

Test(cli, help_and_version_are_data) {
  expect_ok(clq(NULL, "--help"), "usage: clq COMMAND");
  expect_ok(clq(NULL, "-h"), "usage: clq COMMAND");
  expect_ok(clq(NULL, "--version"), "clq 0.");
  static const char *const commands[] = {"cache",      "devices", "logits",
                                         "perplexity", "run",     "tokenize"};
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; ++i) {
    char usage[64];
    (void)snprintf(usage, sizeof usage, "usage: clq %s", commands[i]);
    expect_ok(clq(NULL, commands[i], "--help"), usage);
    expect_ok(clq(NULL, commands[i], "-h"), usage);
    expect_ok(clq(NULL, "--help"), commands[i]);
  }
}

Test(cli, wrong_usage_is_named) {
  command_result none = command_run((const char *const[]){CLQ_TEST_CLI, NULL}, NULL, NULL);
  cr_assert(none.code == 2 && *none.out == '\0' && strstr(none.err, "usage:") != NULL);
  command_free(&none);
  expect_refusal(clq(NULL, "rnu"), 2, "unknown command 'rnu', did you mean 'run'");
  expect_refusal(clq(NULL, "--verison"), 2, "unknown option '--verison'");
  expect_refusal(clq(NULL, "run", "--tepm", "1"), 2, "'--tepm', did you mean '--temp'");
  expect_refusal(clq(NULL, "run", "--qqqqqq"), 2, "unknown option '--qqqqqq'; try");
  expect_refusal(clq(NULL, "run", "-x"), 2, "unknown option '-x'");
  expect_refusal(clq(NULL, "run", "-seed", "1"), 2, "did you mean '--seed'");
  static const char *const readers[] = {"run", "logits", "perplexity", "tokenize"};
  for (size_t i = 0; i < sizeof readers / sizeof readers[0]; ++i) {
    expect_refusal(clq(NULL, readers[i]), 2, "name the model with -m FILE");
  }
  expect_refusal(clq(NULL, "run", "-p", "a"), 2, "-m FILE");
  expect_refusal(clq(NULL, "run", "-m", "x"), 2, "give the text with -p");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "-"), 2, "more than one of");
  expect_refusal(clq(NULL, "run", "-m", "x", "hello"), 2, "'hello' is one word too many");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p"), 2, "-p needs a value");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "-n", "many"), 2,
                 "expected a whole number");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "-n", "-1"), 2,
                 "clq run: -n is '-1', expected a whole number from 0 to 1073741823;");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--tokens=-1"), 2, "--tokens is '-1'");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--seed", "x"), 2,
                 "--seed is 'x', expected a whole number from 0 to 9223372036854775807;");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--parallel", "0"), 2, "from 1 to 64");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--parallel=65"), 2, "from 1 to 64");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "-n9999999999999999999"), 2, "from 0");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--temp=nan"), 2, "expected a number");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--top-p=1.5"), 2, "from 0 to 1");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--acts", "q7"), 2, "one of q8g32|q8|f32");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--chat=yes"), 2, "takes no value");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--greedy", "--seed", "1"), 2,
                 "--greedy excludes");
  expect_refusal(clq(NULL, "devices", "-o", "xml"), 2, "one of text|json");
  expect_refusal(clq(NULL, "devices", "0"), 2, "one word too many");
  expect_refusal(clq(NULL, "logits", "-m", "x", "-p", "a"), 2, "--out");
  expect_refusal(clq(NULL, "logits", "-m", "x", "--out", "y"), 2, "--ids");
  expect_refusal(clq(NULL, "logits", "-m", "x", "--ids", "1,,2"), 2, "separated by commas");
  expect_refusal(clq(NULL, "logits", "-m", "x", "--ids", "1,-2"), 2, "from 0");
  expect_refusal(clq(NULL, "tokenize", "-p", "a"), 2, "-m FILE");
  expect_refusal(clq(NULL, "tokenize", "-m", "", "-p", "a"), 2,
                 "clq tokenize: -m is empty: name the model with -m FILE;");
  expect_refusal(clq(NULL, "run", "-m", "", "-p", "a"), 2, "-m is empty");
  expect_refusal(clq(NULL, "run", "-m", "-", "-p", "a"), 2, "not read from standard input; name");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--trace", "-"), 2, "name a file with");
  expect_refusal(clq(NULL, "logits", "-m", "x", "-p", "a", "--out", ""), 2, "--out FILE.npy");
  expect_refusal(clq(NULL, "tokenize", "-m", "x", "-p", "a", "--decode", "--pieces"), 2,
                 "exclude each other");
  expect_refusal(clq(NULL, "perplexity", "-m", "x", "-f", "y", "--stride", "512"), 2,
                 "less than --ctx");
}

Test(cli, what_is_no_model_is_refused) {
  scratch s = scratch_new("model.gguf");
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a"), 1,
                 "model.gguf: no such file; give -m the path of a GGUF file\n");
  expect_refusal(clq(NULL, "run", "-m", s.folder, "-p", "a"), 1,
                 "is a directory, expected a file; give -m the GGUF file in it\n");
  expect_refusal(
      clq(NULL, "tokenize", "-m", s.folder, "-p", "a"), 1,
      ": the folder has neither tokenizer.json nor vocab.txt; give -m a GGUF file, or the "
      "folder of a model that has one of them\n");
  expect_refusal(clq(NULL, "tokenize", "-m", "/dev/null", "-p", "a"), 1,
                 "; save the model to a file first\n");
  put_file(s.file, "", 0);
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a"), 1, "is empty; download it again\n");
  put_file(s.file, "GGUF\3\0\0\0\1", 9);
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a"), 1, "model.gguf: ");
  put_file(s.file, "<html>", 6);
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "-p", "a"), 1, "not a GGUF file");
  gguf_image image = {0};
  gguf_add_string(&image, "general.architecture", "mamba");
  gguf_bytes bytes = gguf_finish(&image);
  put_file(s.file, bytes.data, bytes.size);
  expect_refusal(
      clq(NULL, "perplexity", "-m", s.file, "-p", "a"), 1,
      "architecture 'mamba' (general.architecture) is not supported, only llama is; use");
  free(bytes.data);
  scratch_free(&s);
}

/* Metadata of a small LLaMA model, one number of it odd. */
static void add_metadata(gguf_image *image, const char *odd, float value) {
  static const char *const extents[] = {"llama.block_count",
                                        "llama.embedding_length",
                                        "llama.feed_forward_length",
                                        "llama.attention.head_count",
                                        "llama.context_length",
                                        "llama.rope.dimension_count",
                                        "llama.attention.head_count_kv"};
  static const uint32_t usual[] = {1, 64, 64, 4, 64, 16, 2};
  static const char *const floats[] = {"llama.attention.layer_norm_rms_epsilon",
                                       "llama.rope.freq_base", "llama.rope.scaling.factor"};
  gguf_add_string(image, "general.architecture", "llama");
  for (size_t i = 0; i < sizeof extents / sizeof extents[0]; ++i) {
    const bool is_odd = strcmp(extents[i], odd) == 0;
    gguf_add_u32(image, extents[i], is_odd ? (uint32_t)value : usual[i]);
  }
  for (size_t i = 0; i < sizeof floats / sizeof floats[0]; ++i) {
    gguf_add_f32(image, floats[i], strcmp(floats[i], odd) == 0 ? value : 2.0f);
  }
}

static void put_metadata(const char *path, const char *odd, float value) {
  gguf_image image = {0};
  add_metadata(&image, odd, value);
  put_image(path, &image);
}

/* The key, what it is, what it may be, and the way out. */
Test(cli, metadata_that_cannot_be_right_is_named) {
  static const struct {
    const char *key;
    float value;
    const char *sentence;
  } cases[] = {
      {"llama.rope.freq_base", NAN, " is nan, expected a finite number above 1"},
      {"llama.rope.scaling.factor", -1, " is -1, expected a finite number above 0"},
      {"llama.rope.dimension_count", 7, " is 7, expected an even number"},
      {"llama.attention.layer_norm_rms_epsilon", NAN,
       " is nan, expected a finite number of at least 0"},
      {"llama.attention.head_count_kv", 3,
       " is 3, expected a divisor of llama.attention.head_count, 4,"},
      {"llama.block_count", 0, " is 0, expected 1 to 1024"},
      {"none", 0, "key 'tokenizer.ggml.tokens' is missing"},
  };
  scratch s = scratch_new("model.gguf");
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    put_metadata(s.file, cases[i].key, cases[i].value);
    command_result result = clq(NULL, "run", "-m", s.file, "-p", "a");
    cr_assert(strcmp(cases[i].key, "none") == 0 || strstr(result.err, cases[i].key) != NULL);
    cr_assert_not_null(strstr(result.err, cases[i].sentence), "%s", result.err);
    expect_refusal(result, 1,
                   "; the file is damaged or not a model of this kind: download it again\n");
  }
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "-p", "a"), 1, ": download it again\n");
  scratch_free(&s);
}

/* Two places of a file that say how many tokens there are. */
Test(cli, a_vocabulary_size_that_is_not_the_tokenizers_is_refused) {
  static const struct {
    int64_t stated;
    const char *sentence;
  } cases[] = {
      {7, "tensor 'token_embd.weight' is missing"}, /* right: the next thing is missed */
      {8, "model.gguf: llama.vocab_size is 8, but tokenizer.ggml.tokens has 7 tokens; "},
      {0, "llama.vocab_size is 0, but tokenizer.ggml.tokens has 7 tokens; "},
      {-1, "llama.vocab_size is -1, but tokenizer.ggml.tokens has 7 tokens; "},
      {INT64_MAX, "llama.vocab_size is 9223372036854775807, but tokenizer.ggml.tokens has 7 "},
  };
  scratch s = scratch_new("model.gguf");
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    gguf_image image = {0};
    add_metadata(&image, "none", 0);
    add_tokenizer(&image, "gpt2", "smollm");
    gguf_add_value(&image, "llama.vocab_size", CLQI_GGUF_I64, &cases[i].stated, 8);
    put_image(s.file, &image);
    expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a"), 1, cases[i].sentence);
  }
  scratch_free(&s);
}

Test(cli, a_full_stdout_is_an_error) {
  if (access("/dev/full", W_OK) != 0) {
    cr_skip_test("there is no /dev/full");
  }
  const char *const argv[] = {"/bin/sh", "-c", CLQ_TEST_CLI " --version > /dev/full", NULL};
  expect_refusal(command_run(argv, NULL, NULL), 1, "cannot write to standard output");
}

/* As a script's shell does for `clq ... &`: the keyboard's Ctrl-C is not for it. */
Test(cli, an_ignored_interrupt_stays_ignored) {
  int end = -1;
  const char *const argv[] = {
      "/bin/sh",    "-c",         "trap '' INT; exec \"$0\" tokenize -m \"$1\" -",
      CLQ_TEST_CLI, test_model(), NULL};
  command running = clq_start_waiting(argv, &end);
  (void)sleep(3);
  cr_assert_eq(kill(running.process, SIGINT), 0);
  (void)usleep(100000);
  cr_assert_eq(write(end, "a", 1), 1);
  (void)close(end);
  command_result result = command_wait(&running);
  cr_assert_eq(result.code, 0, "%d: %s", result.code, result.err);
  cr_assert_str_not_empty(result.out);
  command_free(&result);
}

/* A matrix whose rows no tokenizer, or no packing, could have. */
Test(cli, embeddings_that_are_not_the_tokenizers_are_refused) {
  static const uint64_t rows[] = {0, 6, 8};
  static const float values[64 * 8];
  scratch s = scratch_new("model.gguf");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    gguf_image image = {0};
    char sentence[96];
    add_metadata(&image, "none", 0);
    add_tokenizer(&image, "gpt2", "smollm");
    gguf_add_tensor(&image, "token_embd.weight", CLQI_GGML_F32, 2, (uint64_t[]){64, rows[i]},
                    values, 64 * rows[i] * sizeof *values);
    put_image(s.file, &image);
    (void)snprintf(sentence, sizeof sentence,
                   "model.gguf: the tokenizer has 7 tokens, token_embd.weight %d rows; ",
                   (int)rows[i]);
    expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a"), 1, sentence);
  }
  scratch_free(&s);
}

Test(cli, an_interrupt_ends_the_wait_for_stdin) {
  const char *model = test_model();
  static const char *const commands[] = {"tokenize", "run", "perplexity"};
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; ++i) {
    int end = -1;
    const char *const argv[] = {CLQ_TEST_CLI, commands[i], "-m", model, "-", NULL};
    command running = clq_start_waiting(argv, &end);
    (void)sleep(3); /* the model is loaded and the wait has begun, or soon will */
    cr_assert_eq(kill(running.process, SIGINT), 0);
    command_result result = command_wait(&running);
    cr_assert_eq(result.code, 0, "%s: %d: %s", commands[i], result.code, result.err);
    cr_assert_str_empty(result.out);
    cr_assert(clq_is_silent(result.err), "%s", result.err);
    command_free(&result);
    (void)close(end);
  }
}
