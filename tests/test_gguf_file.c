/* The GGUF reader on files: paths, changes behind its back, and the demonstration model. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf_example.h"
#include "gguf_walk.h"
#include "runtime/memory.h"

typedef struct scratch {
  char folder[64];
  char file[96];
} scratch;

static scratch scratch_new(void) {
  scratch s = {.folder = "/tmp/clq_gguf_XXXXXX"};
  cr_assert_not_null(mkdtemp(s.folder));
  (void)snprintf(s.file, sizeof s.file, "%s/model.gguf", s.folder);
  return s;
}

static void scratch_write(const scratch *s, const void *data, size_t size) {
  const int descriptor = open(s->file, O_CREAT | O_TRUNC | O_WRONLY, 0600);
  cr_assert(descriptor >= 0);
  size_t done = 0;
  while (done < size) {
    const ssize_t written = write(descriptor, (const unsigned char *)data + done, size - done);
    cr_assert(written > 0);
    done += (size_t)written;
  }
  cr_assert_eq(close(descriptor), 0);
}

static void scratch_free(const scratch *s) {
  (void)unlink(s->file);
  (void)rmdir(s->folder);
}

static void expect_open_fails(const char *path, clq_status expected, const char *message) {
  clqi_gguf *file;
  const clq_status status = clqi_gguf_open(path, &file);
  cr_assert_eq(status, expected, "%s: %s", clq_status_name(status), clq_last_error());
  cr_assert_null(file);
  cr_assert_eq(strncmp(clq_last_error(), path, strlen(path)), 0, "%s", clq_last_error());
  cr_assert_not_null(strstr(clq_last_error(), message), "%s", clq_last_error());
}

Test(gguf_file, is_read) {
  scratch s = scratch_new();
  gguf_bytes bytes = gguf_example(3);
  scratch_write(&s, bytes.data, bytes.size);
  clqi_gguf *file;
  cr_assert_eq(clqi_gguf_open(s.file, &file), CLQ_OK, "%s", clq_last_error());
  clqi_gguf *image = gguf_open_example(&bytes);
  cr_assert_eq(gguf_walk(file), gguf_walk(image));
  clqi_gguf_close(image);
  clqi_gguf_close(file);
  free(bytes.data);
  scratch_free(&s);
}

Test(gguf_file, unusable_paths_are_explained) {
  scratch s = scratch_new();
  expect_open_fails(s.file, CLQ_IO_ERROR, "no such file");
  expect_open_fails(s.folder, CLQ_IO_ERROR, "is a directory, expected a file");
  scratch_write(&s, "", 0);
  expect_open_fails(s.file, CLQ_BAD_FILE, "the file is empty");
  char inside[128];
  (void)snprintf(inside, sizeof inside, "%s/x", s.file);
  expect_open_fails(inside, CLQ_IO_ERROR, "no such file");
  scratch_write(&s, "hello", 5);
  expect_open_fails(s.file, CLQ_BAD_FILE, "not a GGUF file");
  expect_open_fails("/dev/null", CLQ_IO_ERROR, "expected a regular file");
  cr_assert_eq(unlink(s.file), 0);
  cr_assert_eq(mkfifo(s.file, 0600), 0);
  expect_open_fails(s.file, CLQ_IO_ERROR, "expected a regular file");
  scratch_free(&s);
}

Test(gguf_file, permission_is_missed) {
  scratch s = scratch_new();
  scratch_write(&s, "hello", 5);
  cr_assert_eq(chmod(s.file, 0), 0);
  cr_assert_eq(chmod(s.folder, 0755), 0);
  if (geteuid() == 0) { /* who may read everything */
    cr_assert_eq(seteuid(65534), 0);
  }
  expect_open_fails(s.file, CLQ_IO_ERROR, "no permission to read it");
  (void)seteuid(getuid());
  scratch_free(&s);
}

Test(gguf_file, no_descriptor_is_lost) {
  scratch s = scratch_new();
  const int before = dup(0);
  cr_assert(before >= 0);
  (void)close(before);
  scratch_write(&s, "hello", 5);
  expect_open_fails(s.file, CLQ_BAD_FILE, "not a GGUF file");
  gguf_bytes bytes = gguf_example(3);
  scratch_write(&s, bytes.data, bytes.size);
  clqi_gguf *file;
  cr_assert_eq(clqi_gguf_open(s.file, &file), CLQ_OK);
  clqi_gguf_close(file);
  const int after = dup(0);
  cr_assert_eq(after, before);
  (void)close(after);
  free(bytes.data);
  scratch_free(&s);
}

/* Shortening an open file is an error of the next read, not a signal; metadata is held already. */
Test(gguf_file, truncation_after_opening_is_noticed) {
  scratch s = scratch_new();
  gguf_bytes bytes = gguf_example(3);
  scratch_write(&s, bytes.data, bytes.size);
  clqi_gguf *file;
  cr_assert_eq(clqi_gguf_open(s.file, &file), CLQ_OK);
  const clqi_gguf_tensor *tensor = clqi_gguf_find_tensor(file, "last.weight");
  unsigned char data[4096];
  clqi_gguf_string *texts;
  size_t count;
  cr_assert_leq(tensor->bytes, sizeof data);
  cr_assert_eq(clqi_gguf_read(file, tensor, 0, tensor->bytes, data), CLQ_OK);
  for (size_t size = bytes.size - 1;; size = 0) {
    cr_assert_eq(truncate(s.file, (off_t)size), 0);
    cr_assert_eq(clqi_gguf_read(file, tensor, 0, tensor->bytes, data), CLQ_IO_ERROR);
    char message[96];
    (void)snprintf(message, sizeof message, "had %zu bytes when it was opened and has %zu now",
                   bytes.size, size);
    cr_assert_not_null(strstr(clq_last_error(), message), "%s", clq_last_error());
    if (size == 0) {
      break;
    }
  }
  cr_assert_eq(clqi_gguf_get_string_array(file, "tokenizer.ggml.tokens", &texts, &count), CLQ_OK);
  cr_assert(gguf_string_is(texts[0], "<s>"));
  clqi_free(texts);
  clqi_gguf_close(file);
  free(bytes.data);
  scratch_free(&s);
}

/* Rewriting an open file in place reaches no metadata. */
Test(gguf_file, strings_rewritten_after_opening_stay_as_they_were) {
  scratch s = scratch_new();
  gguf_bytes bytes = gguf_example(3);
  scratch_write(&s, bytes.data, bytes.size);
  clqi_gguf *file;
  cr_assert_eq(clqi_gguf_open(s.file, &file), CLQ_OK);
  const unsigned char *token = memmem(bytes.data, bytes.size, "<s>", 3);
  cr_assert_not_null(token);
  const int descriptor = open(s.file, O_WRONLY);
  cr_assert(descriptor >= 0);
  const uint64_t length = UINT64_MAX - 2;
  cr_assert_eq(pwrite(descriptor, &length, 8, token - 8 - bytes.data), 8);
  (void)close(descriptor);
  clqi_gguf_string *texts;
  size_t count;
  cr_assert_eq(clqi_gguf_get_string_array(file, "tokenizer.ggml.tokens", &texts, &count), CLQ_OK);
  cr_assert(gguf_string_is(texts[0], "<s>"));
  clqi_free(texts);
  clqi_gguf_close(file);
  free(bytes.data);
  scratch_free(&s);
}

/* A header is read in pieces: it may end anywhere in them, and in a string or array of any length.
 */
Test(gguf_file, long_headers_are_read_whole) {
  for (size_t size = (1 << 20) - 200; size < 40 << 20;
       size = size < 1 << 20 ? size + 7 : size * 3) {
    scratch s = scratch_new();
    gguf_image image = {0};
    unsigned char *values = calloc(size, 1);
    cr_assert_not_null(values);
    values[size - 1] = 42;
    gguf_add_array(&image, "big", CLQI_GGUF_U8, values, size, size);
    gguf_add_u32(&image, "after", 7);
    gguf_add_tensor(&image, "w", CLQI_GGML_I8, 1, (const uint64_t[]){1}, "x", 1);
    gguf_bytes bytes = gguf_finish(&image);
    scratch_write(&s, bytes.data, bytes.size);
    clqi_gguf *file;
    uint32_t after = 0;
    int32_t *read = NULL;
    size_t count = 0;
    char x = 0;
    cr_assert_eq(clqi_gguf_open(s.file, &file), CLQ_OK, "%zu: %s", size, clq_last_error());
    cr_assert_eq(clqi_gguf_get_u32(file, "after", &after), CLQ_OK);
    cr_assert_eq(after, 7);
    cr_assert_eq(clqi_gguf_get_i32_array(file, "big", &read, &count), CLQ_OK);
    cr_assert(count == size && read[size - 1] == 42);
    cr_assert_eq(clqi_gguf_read(file, clqi_gguf_find_tensor(file, "w"), 0, 1, &x), CLQ_OK);
    cr_assert_eq(x, 'x');
    clqi_free(read);
    clqi_gguf_close(file);
    free(values);
    free(bytes.data);
    scratch_free(&s);
  }
}

/* A sparse file costs its maker nothing; copying its "metadata" would cost its reader everything.
 */
Test(gguf_file, a_header_of_gigabytes_is_refused) {
  scratch s = scratch_new();
  gguf_image image = {0};
  gguf_add_array(&image, "big", CLQI_GGUF_U8, "", 0, 0);
  const uint64_t count = (uint64_t)3 << 30;
  memcpy(image.entries.data + image.entries.size - 8, &count, 8);
  gguf_bytes bytes = gguf_finish(&image);
  scratch_write(&s, bytes.data, bytes.size);
  cr_assert_eq(truncate(s.file, (off_t)4 << 30), 0);
  expect_open_fails(s.file, CLQ_BAD_FILE,
                    "key 'big' ends at byte 3221225523, more than the 1073741824 allowed for "
                    "metadata and tensor records");
  free(bytes.data);
  scratch_free(&s);
}

/* The demonstration model (SmolLM2-135M-Instruct, Q4_1), where it is at hand. */
Test(gguf_file, real_model) {
  const char *path = getenv("CLQ_TEST_MODEL");
  if (path == NULL) {
    cr_skip_test("CLQ_TEST_MODEL is not set");
  }
  clqi_gguf *file;
  cr_assert_eq(clqi_gguf_open(path, &file), CLQ_OK, "%s", clq_last_error());
  cr_assert_eq(clqi_gguf_version(file), 3);
  cr_assert_eq(clqi_gguf_tensor_count(file), 272);
  cr_assert_eq(clqi_gguf_key_count(file), 33);
  static const struct {
    const char *key;
    uint32_t value;
  } integers[] = {{"llama.block_count", 30},          {"llama.context_length", 8192},
                  {"llama.embedding_length", 576},    {"llama.feed_forward_length", 1536},
                  {"llama.attention.head_count", 9},  {"llama.attention.head_count_kv", 3},
                  {"llama.vocab_size", 49152},        {"llama.rope.dimension_count", 64},
                  {"tokenizer.ggml.bos_token_id", 1}, {"tokenizer.ggml.eos_token_id", 2}};
  for (size_t i = 0; i < sizeof integers / sizeof *integers; ++i) {
    uint32_t value = 0;
    cr_assert_eq(clqi_gguf_get_u32(file, integers[i].key, &value), CLQ_OK, "%s", clq_last_error());
    cr_assert_eq(value, integers[i].value, "%s", integers[i].key);
  }
  float base;
  float epsilon;
  cr_assert_eq(clqi_gguf_get_f32(file, "llama.rope.freq_base", &base), CLQ_OK);
  cr_assert(base == 100000.0f);
  cr_assert_eq(clqi_gguf_get_f32(file, "llama.attention.layer_norm_rms_epsilon", &epsilon), CLQ_OK);
  cr_assert(epsilon == 1e-5f);
  clqi_gguf_string *tokens;
  clqi_gguf_string *merges;
  size_t count;
  cr_assert_eq(clqi_gguf_get_string_array(file, "tokenizer.ggml.tokens", &tokens, &count), CLQ_OK);
  cr_assert_eq(count, 49152);
  cr_assert(gguf_string_is(tokens[1], "<|im_start|>") && gguf_string_is(tokens[2], "<|im_end|>"));
  clqi_free(tokens);
  cr_assert_eq(clqi_gguf_get_string_array(file, "tokenizer.ggml.merges", &merges, &count), CLQ_OK);
  cr_assert_eq(count, 48900);
  clqi_free(merges);
  size_t f32 = 0;
  size_t q4_1 = 0;
  size_t q8_0 = 0;
  for (size_t i = 0; i < clqi_gguf_tensor_count(file); ++i) {
    const clqi_ggml_type type = clqi_gguf_tensor_at(file, i)->type->id;
    f32 += type == CLQI_GGML_F32;
    q4_1 += type == CLQI_GGML_Q4_1;
    q8_0 += type == CLQI_GGML_Q8_0;
  }
  cr_assert(f32 == 61 && q4_1 == 210 && q8_0 == 1, "%zu %zu %zu", f32, q4_1, q8_0);
  const clqi_gguf_tensor *tensor = clqi_gguf_find_tensor(file, "blk.0.ffn_down.weight");
  cr_assert_not_null(tensor);
  cr_assert(tensor->dims[0] == 1536 && tensor->dims[1] == 576 && tensor->bytes == 552960 &&
            tensor->offset == 31868992);
  (void)gguf_walk(file);
  clqi_gguf_close(file);
}
