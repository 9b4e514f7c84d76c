#include "clq.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool clq_is_silent(const char *err) {
  return strncmp(err, "clq", 3) != 0 && strstr(err, "\nclq") == NULL;
}

void expect_ok(command_result result, const char *part) {
  cr_assert_eq(result.code, 0, "%s", result.err);
  cr_assert_not_null(strstr(result.out, part), "%s", result.out);
  cr_assert(clq_is_silent(result.err), "%s", result.err);
  command_free(&result);
}

void expect_refusal(command_result result, int code, const char *part) {
  cr_assert_eq(result.code, code, "%d: %s", result.code, result.err);
  cr_assert_str_empty(result.out);
  cr_assert_not_null(strstr(result.err, part), "'%s' is not in: %s", part, result.err);
  const char *newline = strchr(result.err, '\n');
  cr_assert(newline != NULL && newline[1] == '\0', "not one line: %s", result.err);
  command_free(&result);
}

cJSON *expect_json(command_result result) {
  cr_assert_eq(result.code, 0, "%s", result.err);
  const char *end = NULL;
  cJSON *json = cJSON_ParseWithOpts(result.out, &end, 0);
  cr_assert(cJSON_IsObject(json), "%s", result.out);
  cr_assert_str_eq(end, "\n");
  cr_assert_eq(cJSON_GetNumberValue(cJSON_GetObjectItem(json, "schema_version")), 1);
  command_free(&result);
  return json;
}

double json_number(const cJSON *json, const char *key) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
  cr_assert(cJSON_IsNumber(item), "%s", key);
  return item->valuedouble;
}

const char *json_string(const cJSON *json, const char *key) {
  const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, key));
  cr_assert_not_null(text, "%s", key);
  return text;
}

scratch scratch_new(const char *name) {
  scratch s = {.folder = "/tmp/clq_cli_XXXXXX"};
  cr_assert_not_null(mkdtemp(s.folder));
  (void)snprintf(s.file, sizeof s.file, "%s/%s", s.folder, name);
  return s;
}

void put_file(const char *path, const void *data, size_t size) {
  FILE *file = fopen(path, "wb");
  cr_assert_not_null(file, "%s", path);
  cr_assert_eq(fwrite(data, 1, size, file), size);
  cr_assert_eq(fclose(file), 0);
}

int for_files(const char *folder, void (*visit)(const char *path)) {
  DIR *dir = opendir(folder);
  cr_assert_not_null(dir, "%s", folder);
  int count = 0;
  for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
    if (entry->d_name[0] != '.') {
      char path[512];
      (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
      visit(path);
      ++count;
    }
  }
  (void)closedir(dir);
  return count;
}

void remove_file(const char *path) { cr_assert_eq(unlink(path), 0, "%s", path); }
void leave_file(const char *path) { (void)path; }

void scratch_free(const scratch *s) {
  (void)for_files(s->folder, remove_file);
  cr_assert_eq(rmdir(s->folder), 0);
}

const char *test_model(void) {
  const char *path = getenv("CLQ_TEST_MODEL");
  if (path == NULL) {
    cr_skip_test("CLQ_TEST_MODEL is not set");
  }
  return path;
}

void expect_text(command_result result, const char *text) {
  cr_assert_eq(result.code, 0, "%s", result.err);
  cr_assert_str_eq(result.out, text);
  command_free(&result);
}

command clq_start_waiting(const char *const *argv, int *end) {
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  (void)fcntl(ends[1], F_SETFD, FD_CLOEXEC); /* else its reader would wait for itself */
  char path[32];
  (void)snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
  const char *words[CLQ_MOST_WORDS] = {"/bin/sh", "-c", "exec \"$@\" < \"$0\"", path};
  for (size_t i = 0; argv[i] != NULL; ++i) {
    words[4 + i] = argv[i];
  }
  command running = command_start(words, NULL, NULL);
  (void)close(ends[0]);
  *end = ends[1];
  return running;
}

void add_tokenizer(gguf_image *image, const char *model, const char *pre) {
  static const char *const tokens[] = {"<|im_end|>", "a",        "b",       "ab",
                                       "\xC4\xA0",   "\xC3\x83", "\xC2\xA9"};
  static const char *const merge[] = {"a b"};
  static const int32_t types[] = {3, 1, 1, 1, 1, 1, 1};
  gguf_add_string(image, "tokenizer.ggml.model", model);
  gguf_add_string(image, "tokenizer.ggml.pre", pre);
  gguf_add_string_array(image, "tokenizer.ggml.tokens", tokens, 7);
  gguf_add_array(image, "tokenizer.ggml.token_type", CLQI_GGUF_I32, types, 7, sizeof types);
  gguf_add_string_array(image, "tokenizer.ggml.merges", merge, 1);
  gguf_add_u32(image, "tokenizer.ggml.eos_token_id", 0);
}

void put_image(const char *path, gguf_image *image) {
  gguf_bytes bytes = gguf_finish(image);
  put_file(path, bytes.data, bytes.size);
  free(bytes.data);
}
