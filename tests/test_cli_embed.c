/* clq embed: texts in, vectors out. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clq.h"
#include "tiny_bert.h"

enum { TEXTS = 3 };

/* Lines of numbers: one a text, TINY_WIDTH each. */
static void read_lines(command_result result, float vectors[TEXTS][TINY_WIDTH]) {
  cr_assert_eq(result.code, 0, "%s", result.err);
  cr_assert(clq_is_silent(result.err), "%s", result.err);
  const char *at = result.out;
  for (int t = 0; t < TEXTS; ++t) {
    for (int i = 0; i < TINY_WIDTH; ++i) {
      char *end = NULL;
      vectors[t][i] = strtof(at, &end);
      cr_assert(end > at && *end == (i + 1 < TINY_WIDTH ? ' ' : '\n'), "%s", result.out);
      at = end + 1;
    }
  }
  cr_assert_str_empty(at);
  command_free(&result);
}

static void expect_vector(const cJSON *list, int text, const float *vector) {
  const cJSON *row = cJSON_GetArrayItem(list, text);
  cr_assert_eq(cJSON_GetArraySize(row), TINY_WIDTH);
  for (int i = 0; i < TINY_WIDTH; ++i) {
    cr_assert_eq((float)cJSON_GetNumberValue(cJSON_GetArrayItem(row, i)), vector[i]);
  }
}

Test(cli_embed, words_lines_json_and_files_are_one) {
  scratch s = scratch_new("vectors.npy");
  scratch m = scratch_new("x");
  const tiny_bert model = {0};
  float words[TEXTS][TINY_WIDTH];
  float lines[TEXTS][TINY_WIDTH];
  float file[TEXTS][TINY_WIDTH];
  tiny_bert_write(m.folder, &model);
  read_lines(clq(NULL, "embed", "-m", m.folder, "abc!", "", "a b c ."), words);
  read_lines(clq_reading("abc!\n\na b c .\n", "embed", "-m", m.folder, "-"), lines);
  cr_assert_eq(memcmp(words, lines, sizeof words), 0);
  read_lines(clq_reading("abc!\n\na b c .", "embed", "-m", m.folder, "-f", "-"), lines);
  cr_assert_eq(memcmp(words, lines, sizeof words), 0);

  cJSON *json = expect_json(clq(NULL, "embed", "-m", m.folder, "-o", "json", "--weights", "w8",
                                "--acts", "q8g32", "--", "abc!", "", "a b c ."));
  const cJSON *list = cJSON_GetObjectItem(json, "embeddings");
  cr_assert_eq(cJSON_GetArraySize(list), TEXTS);
  cr_assert_str_eq(json_string(json, "weights"), "w8");
  cr_assert_str_eq(json_string(json, "acts"), "q8g32");
  cr_assert_str_eq(json_string(json, "pooling"), "mean");
  cr_assert_str_eq(json_string(json, "stop_reason"), "end");
  cr_assert_eq(json_number(json, "width"), TINY_WIDTH);
  cr_assert_eq(json_number(json, "texts"), TEXTS);
  cr_assert_eq(json_number(json, "tokens"), 14);
  cr_assert_gt(json_number(json, "weight_bytes"), 0);
  cr_assert_geq(json_number(json, "embed_s"), 0);
  cJSON_Delete(json);
  json = expect_json(clq(NULL, "embed", "-m", m.folder, "-o", "json", "abc!", "", "a b c ."));
  for (int t = 0; t < TEXTS; ++t) {
    expect_vector(cJSON_GetObjectItem(json, "embeddings"), t, words[t]);
  }
  cr_assert_str_eq(json_string(json, "weights"), "f32");
  cJSON_Delete(json);

  expect_text(clq(NULL, "embed", "-m", m.folder, "--out", s.file, "abc!", "", "a b c ."), "");
  FILE *npy = fopen(s.file, "rb");
  cr_assert_not_null(npy);
  cr_assert_eq(fseek(npy, 128, SEEK_SET), 0);
  cr_assert_eq(fread(file, 1, sizeof file, npy), sizeof file);
  (void)fclose(npy);
  cr_assert_eq(memcmp(words, file, sizeof words), 0);
  expect_text(clq_reading("", "embed", "-m", m.folder, "-"), "");
  tiny_bert_remove(m.folder);
  scratch_free(&m);
  scratch_free(&s);
}

Test(cli_embed, what_is_wrong_is_said) {
  scratch m = scratch_new("x");
  expect_refusal(clq(NULL, "embed", "abc"), 2, "name the model's folder with -m DIR");
  expect_refusal(clq(NULL, "embed", "-m", ""), 2, "-m is empty");
  expect_refusal(clq(NULL, "embed", "-m", m.folder), 2, "give texts, -f FILE or -");
  expect_refusal(clq(NULL, "embed", "-m", m.folder, "-f", "x", "y"), 2, "give one of both");
  expect_refusal(clq(NULL, "embed", "-m", m.folder, "--out", "x", "-o", "json", "y"), 2, "exclude");
  expect_refusal(clq(NULL, "embed", "-m", m.folder, "--weights", "q4_0", "y"), 2,
                 "expected one of f32|f16|bf16|w8");
  expect_refusal(clq(NULL, "embed", "-m", m.folder, "--int8", "norm,gelu", "y"), 2,
                 "--int8 has 'gelu', expected attention, softmax");
  expect_refusal(clq(NULL, "embed", "-m", m.folder, "--int8", "norm", "y"), 2,
                 "name a file of them with --calibrate");
  expect_refusal(clq(NULL, "embed", "-m", m.folder, "--calibrate", "x", "y"), 2,
                 "--calibrate is for --int8 activation and norm");
  expect_refusal(clq(NULL, "embed", "-m", m.folder, "--int8", "residual", "y"), 2,
                 "takes --acts q8g32 or q8 with it");
  expect_refusal(clq(NULL, "embed", "-m", m.folder, "a"), 1,
                 "the folder has no config.json; name the folder of a model");
  expect_refusal(clq(NULL, "embed", "-m", m.file, "a"), 1, "is no folder; name the folder");
  const tiny_bert model = {0};
  tiny_bert_write(m.folder, &model);
  char path[512];
  (void)snprintf(path, sizeof path, "%s/model.safetensors", m.folder);
  cr_assert_eq(unlink(path), 0);
  expect_refusal(clq(NULL, "embed", "-m", m.folder, "a"), 1,
                 "model.safetensors.index.json; give -m the folder of a model");
  tiny_bert_remove(m.folder);
  scratch_free(&m);
}
