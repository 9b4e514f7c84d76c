/* clq tokenize, logits and perplexity: text in, numbers out. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clq.h"
#include "gguf_writer.h"

static void put_foreign_tokenizer(const char *path, const char *model, const char *pre) {
  gguf_image image = {0};
  add_tokenizer(&image, model, pre);
  put_image(path, &image);
}

static void put_tokenizer(const char *path) { put_foreign_tokenizer(path, "gpt2", "smollm"); }

Test(cli_text, text_becomes_ids_and_back) {
  scratch s = scratch_new("t.gguf");
  put_tokenizer(s.file);
  expect_text(clq(NULL, "tokenize", "-m", s.file, "-p", "abba"), "3 2 1\n");
  expect_text(clq(NULL, "tokenize", "-m", s.file, "-p", ""), "");
  expect_text(clq_reading("ab\n\nb a", "tokenize", "-m", s.file, "-"), "3\n\n2 4 1\n");
  expect_text(clq_reading("ab\n", "tokenize", "--model", s.file, "-f", "-"), "3\n");
  expect_text(clq(NULL, "tokenize", "-m", s.file, "--pieces", "-p", "ab\xC3\xA9"),
              "\"ab\" \"\\xc3\" \"\\xa9\"\n");
  expect_text(clq_reading("3 2\t1\n\n5 6\n 0", "tokenize", "-m", s.file, "--decode", "-"),
              "abba\n\n\xC3\xA9\n<|im_end|>\n");
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "--decode", "-p", "1x 2"), 1,
                 "'1x' is no token id");
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "--decode", "-p", "7"), 1,
                 "clq: '7' is no token id of the model, expected whole numbers from 0 to 6; `clq "
                 "tokenize` without --decode");
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "--decode", "-p", "99999999999"), 1,
                 "'99999999999' is no token id");
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "-f", "/no/such/file"), 1,
                 "/no/such/file: cannot be opened: No such file or directory; give -f a file");
  put_foreign_tokenizer(s.file, "llama", "smollm");
  expect_refusal(
      clq(NULL, "tokenize", "-m", s.file, "-p", "a"), 1,
      "t.gguf: its tokenizer is \"llama\", supported is gpt2 (byte-level BPE); use another "
      "model\n");
  put_foreign_tokenizer(s.file, "gpt2", "chameleon");
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "-p", "a"), 1, "; use another model\n");
  scratch_free(&s);
}

/* A folder's tokenizer: the words that it decodes to have blanks between them. */
Test(cli_text, a_folder_has_a_tokenizer_too) {
  static const char lines[] = "[UNK]\n[CLS]\n[SEP]\na\n##b\n!\n";
  static const char bpe[] = "{\"model\":{\"type\":\"BPE\"}}";
  scratch s = scratch_new("vocab.txt");
  put_file(s.file, lines, sizeof lines - 1);
  expect_text(clq_reading("AB a!\n\n[SEP] \xC3\xA1", "tokenize", "-m", s.folder, "-"),
              "3 4 3 5\n\n0 0 0 3\n");
  expect_text(clq(NULL, "tokenize", "-m", s.folder, "--pieces", "-p", "ab!"),
              "\"a\" \"##b\" \"!\"\n");
  expect_text(clq_reading("3 4 3 5\n\n1 3 2", "tokenize", "-m", s.folder, "--decode", "-"),
              "ab a!\n\n[CLS] a [SEP]\n");
  expect_refusal(clq(NULL, "tokenize", "-m", s.folder, "--decode", "-p", "6"), 1,
                 "from 0 to 5; `clq tokenize` without --decode");
  put_file(s.file, lines, 4);
  expect_refusal(clq(NULL, "tokenize", "-m", s.folder, "-p", "a"), 1,
                 "vocab.txt: the cls_token \"[CLS]\" is not in the vocabulary; the file is damaged "
                 "or of another kind: download it again\n");
  char path[128];
  (void)snprintf(path, sizeof path, "%s/tokenizer.json", s.folder);
  put_file(path, bpe, sizeof bpe - 1);
  expect_refusal(clq(NULL, "tokenize", "-m", s.folder, "-p", "a"), 1,
                 "/tokenizer.json: model type is BPE, expected WordPiece; use another model\n");
  scratch_free(&s);
}

Test(cli_text, text_without_an_end_is_refused) {
  const char *const endless[] = {CLQ_TEST_CLI, "tokenize",  "-m", test_model(),
                                 "-f",         "/dev/zero", NULL};
  expect_refusal(command_run(endless, NULL, NULL), 1, "more than 256 MiB of text");
}

typedef struct matrix {
  int rows, cols;
  float *values;
} matrix;

static matrix read_npy(const char *path) {
  FILE *file = fopen(path, "rb");
  cr_assert_not_null(file);
  char header[129] = {0};
  cr_assert_eq(fread(header, 1, 128, file), 128);
  cr_assert_eq(memcmp(header, "\x93NUMPY\x01\x00\x76\x00", 10), 0);
  matrix m = {0};
  cr_assert_eq(sscanf(header + 10, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }",
                      &m.rows, &m.cols),
               2, "%s", header + 10);
  const size_t count = (size_t)m.rows * (size_t)m.cols;
  m.values = malloc((count + 1) * sizeof *m.values);
  cr_assert_not_null(m.values);
  cr_assert_eq(fread(m.values, sizeof *m.values, count + 1, file), count);
  (void)fclose(file);
  return m;
}

static int likeliest(const matrix *m, int row) {
  const float *values = m->values + (size_t)row * (size_t)m->cols;
  int best = 0;
  for (int i = 1; i < m->cols; ++i) {
    best = values[i] > values[best] ? i : best;
  }
  return best;
}

static double nll_of(const matrix *m, int row, int id) {
  const float *values = m->values + (size_t)row * (size_t)m->cols;
  const double top = values[likeliest(m, row)];
  double sum = 0;
  for (int i = 0; i < m->cols; ++i) {
    sum += exp(values[i] - top);
  }
  return top + log(sum) - values[id];
}

/* Three commands that must agree: the last row's largest logit is what run draws; the rows' losses
 * are what perplexity adds up, whatever the windows, for one window. */
Test(cli_text, logits_agree_with_run_and_perplexity) {
  const char *model = test_model();
  scratch s = scratch_new("logits.npy");
  const char *text = "The quick brown fox jumps over the lazy";
  expect_text(clq(NULL, "logits", "-m", model, "-p", text, "--out", s.file), "");
  const matrix m = read_npy(s.file);
  cJSON *json = expect_json(clq(NULL, "run", "-m", model, "-p", text, "-n", "1", "-o", "json"));
  const cJSON *prompt = cJSON_GetObjectItem(json, "prompt_tokens");
  const int count = cJSON_GetArraySize(prompt);
  cr_assert(m.rows == count && m.cols > 1000);
  cr_assert_eq(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "tokens"), 0)->valueint,
               likeliest(&m, count - 1));
  char ids[256] = "";
  double nll = 0;
  for (int i = 0; i < count; ++i) {
    const int id = cJSON_GetArrayItem(prompt, i)->valueint;
    const size_t used = strlen(ids);
    (void)snprintf(ids + used, sizeof ids - used, "%s%d", i == 0 ? "" : ",", id);
    nll += i == 0 ? 0 : nll_of(&m, i - 1, id);
  }
  cJSON_Delete(json);
  json = expect_json(clq(NULL, "perplexity", "-m", model, "-p", text, "-o", "json"));
  cr_assert_eq(json_number(json, "tokens_scored"), count - 1);
  cr_assert_float_eq(json_number(json, "nll"), nll, 1e-6 * nll);
  cr_assert_float_eq(json_number(json, "perplexity"), exp(nll / (count - 1)), 1e-4);
  cr_assert(json_number(json, "ctx") == 512 && json_number(json, "stride") == 256);
  cJSON_Delete(json);
  /* Windows of 4 score as many tokens, each with less before it. */
  json = expect_json(clq(NULL, "perplexity", "-m", model, "-p", text, "--ctx", "4", "--stride", "2",
                         "-o", "json"));
  cr_assert_eq(json_number(json, "tokens_scored"), count - 1);
  cr_assert(fabs(json_number(json, "nll") - nll) > 1e-3);
  cJSON_Delete(json);
  char other[128];
  (void)snprintf(other, sizeof other, "%s/ids.npy", s.folder);
  expect_text(clq(NULL, "logits", "-m", model, "--ids", ids, "--out", other), "");
  const matrix same = read_npy(other);
  cr_assert_eq(memcmp(same.values, m.values, (size_t)m.rows * (size_t)m.cols * sizeof(float)), 0);
  expect_refusal(clq(NULL, "logits", "-m", model, "--ids", "2147483647", "--out", other), 1,
                 "--ids has 2147483647, expected token ids of the model, 0 to ");
  cr_assert_eq(for_files(s.folder, leave_file), 2, "a failed command leaves what was there");
  free(m.values);
  free(same.values);
  scratch_free(&s);
}

Test(cli_text, logits_go_to_stdout) {
  const char *model = test_model();
  scratch s = scratch_new("logits.npy");
  expect_text(clq(NULL, "logits", "-m", model, "-p", "Once upon a", "--out", s.file), "");
  const matrix m = read_npy(s.file);
  /* In the folder, to see that no file named - comes up. */
  const char *const argv[] = {
      "/bin/sh",    "-c",  "cd \"$2\"; exec \"$0\" logits -m \"$1\" -p 'Once upon a' --out -",
      CLQ_TEST_CLI, model, s.folder,
      NULL};
  command_result result = command_run(argv, NULL, NULL);
  cr_assert_eq(result.code, 0, "%s", result.err);
  const size_t bytes = (size_t)m.rows * (size_t)m.cols * sizeof(float);
  cr_assert_eq(result.out_length, 128 + bytes);
  cr_assert_eq(memcmp(result.out, "\x93NUMPY", 6), 0);
  cr_assert_eq(memcmp(result.out + 128, m.values, bytes), 0);
  cr_assert_eq(for_files(s.folder, leave_file), 1);
  command_free(&result);
  free(m.values);
  scratch_free(&s);
}

/* The master of a pseudo-terminal is one, too. */
Test(cli_text, logits_are_not_for_a_terminal) {
  const char *const argv[] = {"/bin/sh", "-c",
                              CLQ_TEST_CLI " logits -m none -p a --out - > /dev/ptmx", NULL};
  const int terminal = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal < 0) { /* a container may have the file and nothing behind it */
    cr_skip_test("/dev/ptmx gives no terminal");
  }
  (void)close(terminal);
  expect_refusal(command_run(argv, NULL, NULL), 1, "standard output is a terminal");
}

Test(cli_text, what_cannot_be_written_or_read_is_said_first) {
  scratch s = scratch_new("no/logits.npy");
  expect_refusal(clq(NULL, "logits", "-m", "none", "-p", "a", "--out", s.file), 1,
                 "cannot be written: No such file or directory; give --out another name\n");
  expect_refusal(clq(NULL, "logits", "-m", "none", "-p", "a", "--out", s.folder), 1,
                 "no regular file");
  (void)snprintf(s.file, sizeof s.file, "%s/logits.npy", s.folder);
  expect_refusal(clq(NULL, "logits", "-m", "none", "-p", "a", "--out", s.file), 1,
                 "none: no such file");
  cr_assert_eq(for_files(s.folder, leave_file), 0, "a failed command leaves no file");
  scratch_free(&s);
}

/* What would be half a file goes with the process. */
Test(cli_text, a_kill_leaves_no_temporary_file) {
  const char *model = test_model();
  static const int signals[] = {SIGTERM, SIGHUP};
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; ++i) {
    scratch s = scratch_new("out.npy");
    int end = -1;
    const char *const argv[] = {CLQ_TEST_CLI, "logits", "-m", model, "-", "--out", s.file, NULL};
    command running = clq_start_waiting(argv, &end);
    for (int t = 0; t < 3000 && for_files(s.folder, leave_file) == 0; ++t) {
      (void)usleep(10000);
    }
    cr_assert_eq(for_files(s.folder, leave_file), 1, "the temporary file did not appear");
    cr_assert_eq(kill(running.process, signals[i]), 0);
    command_result result = command_wait(&running);
    cr_assert_eq(result.code, 128 + signals[i]);
    cr_assert_eq(for_files(s.folder, leave_file), 0);
    command_free(&result);
    (void)close(end);
    scratch_free(&s);
  }
}

/* A copy of the model whose weights are 0xFF: scales that are NaN. */
static void damage(const char *model, const char *to) {
  enum { KEPT = 4 << 20 }; /* names and numbers lie before it */
  FILE *in = fopen(model, "rb");
  FILE *out = fopen(to, "wb");
  cr_assert(in != NULL && out != NULL);
  static char piece[1 << 16];
  long at = 0;
  for (size_t got; (got = fread(piece, 1, sizeof piece, in)) > 0; at += (long)got) {
    if (at >= KEPT) {
      memset(piece, 0xFF, got);
    }
    cr_assert_eq(fwrite(piece, 1, got, out), got);
  }
  (void)fclose(in);
  cr_assert_eq(fclose(out), 0);
}

Test(cli_text, logits_that_are_nan_are_a_failure) {
  const char *model = test_model();
  scratch s = scratch_new("nan.gguf");
  char out[128];
  (void)snprintf(out, sizeof out, "%s/out.npy", s.folder);
  damage(model, s.file);
  expect_refusal(clq(NULL, "perplexity", "-m", s.file, "-p", "Once upon a time", "-o", "json"), 1,
                 "try --acts f32 --kv f32");
  expect_refusal(clq(NULL, "logits", "-m", s.file, "-p", "Once upon", "--out", out), 1,
                 "NaN or infinite, nothing is written");
  cr_assert_neq(access(out, F_OK), 0);
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "Once", "--acts", "f32", "--kv", "f32"), 1,
                 "; fetch the file again");
  scratch_free(&s);
}
