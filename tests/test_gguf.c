/* The GGUF reader: what it reads, and one hostile file per check. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf_walk.h"
#include "gguf_writer.h"
#include "io/file_map.h"
#include "runtime/memory.h"
#include "runtime/status.h"

#define NAME "hostile.gguf"

/* --- Helpers. ------------------------------------------------------------- */

/* A file of every kind of entry and three tensors. */
static gguf_bytes valid_file(uint32_t version) {
  static const char *const tokens[] = {"<s>", "", "he", "\xc4\xa0world"};
  gguf_image image = {.version = version};
  gguf_add_string(&image, "general.architecture", "llama");
  gguf_add_u32(&image, "llama.block_count", 30);
  gguf_add_f32(&image, "llama.rope.freq_base", 100000.0f);
  gguf_add_bool(&image, "tokenizer.ggml.add_bos_token", false);
  gguf_add_bool(&image, "tokenizer.ggml.add_eos_token", true);
  gguf_add_string_array(&image, "tokenizer.ggml.tokens", tokens, 4);
  gguf_add_array(&image, "tokenizer.ggml.token_type", CLQI_GGUF_I32,
                 (const int32_t[]){3, -1, INT32_MAX, INT32_MIN}, 4, 16);
  gguf_add_array(&image, "tokenizer.ggml.scores", CLQI_GGUF_F32, (const float[]){0.5f, -1.0f}, 2,
                 8);
  gguf_add_array(&image, "empty", CLQI_GGUF_STRING, NULL, 0, 0);
  gguf_add_array(&image, "flags", CLQI_GGUF_BOOL, (const unsigned char[]){1, 0, 1}, 3, 3);
  unsigned char data[40];
  for (size_t i = 0; i < sizeof data; ++i) {
    data[i] = (unsigned char)i;
  }
  gguf_add_tensor(&image, "token_embd.weight", CLQI_GGML_Q4_1, 2, (const uint64_t[]){32, 2}, data,
                  40);
  gguf_add_tensor(&image, "output_norm.weight", CLQI_GGML_F32, 1, (const uint64_t[]){3}, data, 12);
  gguf_add_tensor(&image, "empty.weight", CLQI_GGML_F16, 3, (const uint64_t[]){8, 0, 5}, NULL, 0);
  gguf_add_tensor(&image, "last.weight", CLQI_GGML_Q8_0, 4, (const uint64_t[]){32, 1, 1, 1}, data,
                  34);
  return gguf_finish(&image);
}

/* The image flush against a page that cannot be read. */
typedef struct guarded {
  unsigned char *bytes;
  void *base;
  size_t mapped;
} guarded;

static guarded guard_new(size_t size) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t room = (size + page - 1) / page * page;
  guarded guard = {.mapped = room + page};
  guard.base = mmap(NULL, guard.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert(guard.base != MAP_FAILED);
  cr_assert_eq(mprotect((unsigned char *)guard.base + room, page, PROT_NONE), 0);
  guard.bytes = (unsigned char *)guard.base + room - size;
  return guard;
}

static void guard_free(guarded *guard) { (void)munmap(guard->base, guard->mapped); }

static bool one_clean_sentence(const char *text) {
  for (const char *c = text; *c != '\0'; ++c) {
    if (*c < 0x20 || *c > 0x7e) {
      return false;
    }
  }
  return text[0] != '\0' && strlen(text) < 600;
}

static void expect_refused_bytes(const unsigned char *bytes, size_t size, const char *message) {
  guarded guard = guard_new(size);
  if (size != 0) {
    memcpy(guard.bytes, bytes, size);
  }
  clqi_gguf *file = (clqi_gguf *)(uintptr_t)1;
  const clq_status status = clqi_gguf_open_memory(guard.bytes, size, NAME, &file);
  cr_assert_eq(status, CLQ_BAD_FILE, "%s for '%s': %s", clq_status_name(status), message,
               clq_last_error());
  cr_assert_null(file, "%s", message);
  const char *text = clq_last_error();
  cr_assert_eq(strncmp(text, NAME ": ", strlen(NAME) + 2), 0, "%s", text);
  cr_assert_not_null(strstr(text, message), "expected '%s' in '%s'", message, text);
  cr_assert(one_clean_sentence(text), "%s", text);
  guard_free(&guard);
}

/* Releases the image. */
static void expect_refused(gguf_image *image, const char *message) {
  gguf_bytes file = gguf_finish(image);
  expect_refused_bytes(file.data, file.size, message);
  free(file.data);
}

static clqi_gguf *open_valid(const gguf_bytes *bytes) {
  clqi_gguf *file;
  const clq_status status = clqi_gguf_open_memory(bytes->data, bytes->size, "valid.gguf", &file);
  cr_assert_eq(status, CLQ_OK, "%s", clq_last_error());
  return file;
}

static bool string_is(clqi_gguf_string string, const char *expected) {
  return string.length == strlen(expected) && memcmp(string.data, expected, string.length) == 0;
}

/* --- What is read. -------------------------------------------------------- */

Test(gguf, reads_both_versions) {
  for (uint32_t version = 2; version <= 3; ++version) {
    gguf_bytes bytes = valid_file(version);
    clqi_gguf *file = open_valid(&bytes);
    cr_assert_str_eq(clqi_gguf_name(file), "valid.gguf");
    cr_assert_eq(clqi_gguf_version(file), version);
    cr_assert_eq(clqi_gguf_alignment(file), 32);
    cr_assert_eq(clqi_gguf_key_count(file), 10);
    cr_assert(string_is(clqi_gguf_key_at(file, 1), "llama.block_count"));
    cr_assert_eq(clqi_gguf_tensor_count(file), 4);
    clqi_gguf_close(file);
    free(bytes.data);
  }
}

Test(gguf, reads_scalars) {
  gguf_bytes bytes = valid_file(3);
  clqi_gguf *file = open_valid(&bytes);
  clqi_gguf_string text;
  uint32_t blocks;
  float base;
  double wide_base;
  bool flag;
  cr_assert_eq(clqi_gguf_get_string(file, "general.architecture", &text), CLQ_OK);
  cr_assert(string_is(text, "llama"));
  cr_assert_eq(clqi_gguf_get_u32(file, "llama.block_count", &blocks), CLQ_OK);
  cr_assert_eq(blocks, 30);
  cr_assert_eq(clqi_gguf_get_f32(file, "llama.rope.freq_base", &base), CLQ_OK);
  cr_assert(base == 100000.0f);
  cr_assert_eq(clqi_gguf_get_f64(file, "llama.rope.freq_base", &wide_base), CLQ_OK);
  cr_assert(wide_base == 100000.0);
  cr_assert_eq(clqi_gguf_get_bool(file, "tokenizer.ggml.add_bos_token", &flag), CLQ_OK);
  cr_assert(!flag);
  cr_assert_eq(clqi_gguf_get_bool(file, "tokenizer.ggml.add_eos_token", &flag), CLQ_OK);
  cr_assert(flag);
  clqi_gguf_close(file);
  free(bytes.data);
}

Test(gguf, reads_arrays) {
  gguf_bytes bytes = valid_file(3);
  clqi_gguf *file = open_valid(&bytes);
  clqi_gguf_string *tokens;
  int32_t *types;
  float *scores;
  size_t count;
  cr_assert_eq(clqi_gguf_get_string_array(file, "tokenizer.ggml.tokens", &tokens, &count), CLQ_OK);
  cr_assert_eq(count, 4);
  cr_assert(string_is(tokens[0], "<s>") && string_is(tokens[1], "") && string_is(tokens[2], "he") &&
            string_is(tokens[3], "\xc4\xa0world"));
  clqi_free(tokens);
  cr_assert_eq(clqi_gguf_get_i32_array(file, "tokenizer.ggml.token_type", &types, &count), CLQ_OK);
  cr_assert_eq(count, 4);
  cr_assert(types[0] == 3 && types[1] == -1 && types[2] == INT32_MAX && types[3] == INT32_MIN);
  clqi_free(types);
  cr_assert_eq(clqi_gguf_get_f32_array(file, "tokenizer.ggml.scores", &scores, &count), CLQ_OK);
  cr_assert_eq(count, 2);
  cr_assert(scores[0] == 0.5f && scores[1] == -1.0f);
  clqi_free(scores);
  cr_assert_eq(clqi_gguf_get_string_array(file, "empty", &tokens, &count), CLQ_OK);
  cr_assert_eq(count, 0);
  cr_assert_null(tokens);
  clqi_gguf_value_info info;
  cr_assert(clqi_gguf_find_key(file, "flags", &info));
  cr_assert(info.type == CLQI_GGUF_ARRAY && info.element_type == CLQI_GGUF_BOOL && info.count == 3);
  cr_assert(!clqi_gguf_find_key(file, "flag", NULL));
  clqi_gguf_close(file);
  free(bytes.data);
}

Test(gguf, reads_tensors) {
  gguf_bytes bytes = valid_file(3);
  clqi_gguf *file = open_valid(&bytes);
  const clqi_gguf_tensor *tensor;
  const void *data;
  cr_assert_eq(clqi_gguf_get_tensor(file, "token_embd.weight", &tensor), CLQ_OK);
  cr_assert_eq(tensor, clqi_gguf_tensor_at(file, 0));
  cr_assert_str_eq(tensor->type->name, "q4_1");
  cr_assert_eq(tensor->dim_count, 2);
  cr_assert(tensor->dims[0] == 32 && tensor->dims[1] == 2 && tensor->dims[2] == 1 &&
            tensor->dims[3] == 1);
  cr_assert_eq(tensor->bytes, 40);
  cr_assert_eq(tensor->offset % 32, 0);
  cr_assert_eq(clqi_gguf_tensor_data(file, tensor, &data), CLQ_OK);
  cr_assert_eq(data, bytes.data + tensor->offset);
  cr_assert_eq(((const unsigned char *)data)[39], 39);
  cr_assert_eq(clqi_gguf_find_tensor(file, "empty.weight")->bytes, 0);
  cr_assert_null(clqi_gguf_find_tensor(file, "output_norm"));
  cr_assert_eq(clqi_gguf_get_tensor(file, "output.weight", &tensor), CLQ_BAD_FILE);
  cr_assert_str_eq(clq_last_error(), "valid.gguf: tensor 'output.weight' is missing");
  clqi_gguf_release_pages(file, data, 40); /* must not touch a memory image */
  cr_assert_eq(((const unsigned char *)data)[39], 39);
  clqi_gguf_close(file);
  free(bytes.data);
}

Test(gguf, integers_of_any_width_are_range_checked) {
  static const struct {
    clqi_gguf_type type;
    uint64_t bits;
    size_t size;
    bool u32, u64, i64;
  } cases[] = {
      {CLQI_GGUF_U8, 255, 1, true, true, true},
      {CLQI_GGUF_I8, 0x80, 1, false, false, true},
      {CLQI_GGUF_I8, 0x7f, 1, true, true, true},
      {CLQI_GGUF_U16, 65535, 2, true, true, true},
      {CLQI_GGUF_I16, 0x8000, 2, false, false, true},
      {CLQI_GGUF_U32, UINT32_MAX, 4, true, true, true},
      {CLQI_GGUF_I32, UINT32_MAX, 4, false, false, true},
      {CLQI_GGUF_U64, UINT32_MAX, 8, true, true, true},
      {CLQI_GGUF_U64, (uint64_t)UINT32_MAX + 1, 8, false, true, true},
      {CLQI_GGUF_U64, (uint64_t)INT64_MAX + 1, 8, false, true, false},
      {CLQI_GGUF_U64, UINT64_MAX, 8, false, true, false},
      {CLQI_GGUF_I64, UINT64_MAX, 8, false, false, true},
      {CLQI_GGUF_I64, (uint64_t)INT64_MAX, 8, false, true, true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    gguf_image image = {0};
    gguf_add_value(&image, "n", cases[i].type, &cases[i].bits, cases[i].size);
    gguf_bytes bytes = gguf_finish(&image);
    clqi_gguf *file = open_valid(&bytes);
    uint32_t u32 = 0;
    uint64_t u64 = 0;
    int64_t i64 = 0;
    cr_assert_eq(clqi_gguf_get_u32(file, "n", &u32) == CLQ_OK, cases[i].u32, "case %zu", i);
    if (!cases[i].u32) {
      cr_assert_not_null(strstr(clq_last_error(), "expected 0 to 4294967295"), "case %zu", i);
    }
    cr_assert_eq(clqi_gguf_get_u64(file, "n", &u64) == CLQ_OK, cases[i].u64, "case %zu", i);
    cr_assert_eq(clqi_gguf_get_i64(file, "n", &i64) == CLQ_OK, cases[i].i64, "case %zu", i);
    cr_assert(!cases[i].u32 || u32 == cases[i].bits, "case %zu", i);
    cr_assert(!cases[i].u64 || u64 == cases[i].bits, "case %zu", i);
    if (cases[i].i64) {
      const unsigned shift = (unsigned)(64 - 8 * cases[i].size);
      const bool is_signed = cases[i].type == CLQI_GGUF_I8 || cases[i].type == CLQI_GGUF_I16 ||
                             cases[i].type == CLQI_GGUF_I32 || cases[i].type == CLQI_GGUF_I64;
      const int64_t expected =
          is_signed ? (int64_t)(cases[i].bits << shift) >> shift : (int64_t)cases[i].bits;
      cr_assert_eq(i64, expected, "case %zu: %" PRId64, i, i64);
    }
    clqi_gguf_close(file);
    free(bytes.data);
  }
}

Test(gguf, fallbacks_stand_for_absent_keys_only) {
  gguf_bytes bytes = valid_file(3);
  clqi_gguf *file = open_valid(&bytes);
  uint32_t u32 = 0;
  uint64_t u64 = 0;
  int64_t i64 = 0;
  float f32 = 0;
  bool flag = false;
  clqi_gguf_string text = {"x", 1};
  cr_assert(clqi_gguf_get_u32_or(file, "absent", 7, &u32) == CLQ_OK && u32 == 7);
  cr_assert(clqi_gguf_get_u64_or(file, "absent", 8, &u64) == CLQ_OK && u64 == 8);
  cr_assert(clqi_gguf_get_i64_or(file, "absent", -1, &i64) == CLQ_OK && i64 == -1);
  cr_assert(clqi_gguf_get_f32_or(file, "absent", 0.5f, &f32) == CLQ_OK && f32 == 0.5f);
  cr_assert(clqi_gguf_get_bool_or(file, "absent", true, &flag) == CLQ_OK && flag);
  cr_assert(clqi_gguf_get_string_or_none(file, "absent", &text) == CLQ_OK && text.data == NULL &&
            text.length == 0);
  cr_assert(clqi_gguf_get_u32_or(file, "llama.block_count", 7, &u32) == CLQ_OK && u32 == 30);
  cr_assert_eq(clqi_gguf_get_u32_or(file, "general.architecture", 7, &u32), CLQ_BAD_FILE);
  cr_assert_eq(u32, 30, "untouched on failure");
  cr_assert_eq(clqi_gguf_get_string_or_none(file, "llama.block_count", &text), CLQ_BAD_FILE);
  clqi_gguf_close(file);
  free(bytes.data);
}

/* Each message begins with the file and names key, found and expected type. */
Test(gguf, wrong_types_and_missing_keys_are_named) {
  gguf_bytes bytes = valid_file(3);
  clqi_gguf *file = open_valid(&bytes);
  uint32_t u32;
  float f32;
  bool flag;
  int32_t *integers;
  clqi_gguf_string text;
  clqi_gguf_string *texts;
  size_t count;
#define EXPECT(call, message)                                            \
  do {                                                                   \
    cr_assert_eq((call), CLQ_BAD_FILE, "%s", message);                   \
    cr_assert_eq(strncmp(clq_last_error(), message, strlen(message)), 0, \
                 "%s is not "                                            \
                 "the start of %s",                                      \
                 message, clq_last_error());                             \
  } while (0)
  EXPECT(clqi_gguf_get_u32(file, "llama.head_count", &u32),
         "valid.gguf: key 'llama.head_count' is missing, expected an integer");
  EXPECT(clqi_gguf_get_u32(file, "general.architecture", &u32),
         "valid.gguf: key 'general.architecture' is string, expected an integer (at byte ");
  EXPECT(clqi_gguf_get_u32(file, "tokenizer.ggml.token_type", &u32),
         "valid.gguf: key 'tokenizer.ggml.token_type' is an array of i32, expected an integer");
  EXPECT(clqi_gguf_get_f32(file, "llama.block_count", &f32),
         "valid.gguf: key 'llama.block_count' is u32, expected f32 or f64");
  EXPECT(clqi_gguf_get_bool(file, "llama.block_count", &flag),
         "valid.gguf: key 'llama.block_count' is u32, expected bool");
  EXPECT(clqi_gguf_get_string(file, "llama.block_count", &text),
         "valid.gguf: key 'llama.block_count' is u32, expected string");
  EXPECT(clqi_gguf_get_string_array(file, "general.architecture", &texts, &count),
         "valid.gguf: key 'general.architecture' is string, expected an array of string");
  EXPECT(clqi_gguf_get_i32_array(file, "tokenizer.ggml.scores", &integers, &count),
         "valid.gguf: key 'tokenizer.ggml.scores' is an array of f32, expected an array of int");
#undef EXPECT
  clqi_gguf_close(file);
  free(bytes.data);
}

Test(gguf, numbers_that_do_not_fit_are_refused) {
  gguf_image image = {0};
  const double large = 1e300;
  const double infinite = INFINITY;
  gguf_add_value(&image, "large", CLQI_GGUF_F64, &large, 8);
  gguf_add_value(&image, "infinite", CLQI_GGUF_F64, &infinite, 8);
  gguf_add_array(&image, "u32s", CLQI_GGUF_U32, (const uint32_t[]){1, 0x80000000u}, 2, 8);
  gguf_add_array(&image, "f64s", CLQI_GGUF_F64, (const double[]){1.0, 1e39}, 2, 16);
  gguf_bytes bytes = gguf_finish(&image);
  clqi_gguf *file = open_valid(&bytes);
  float narrow;
  double wide;
  int32_t *integers;
  float *floats;
  size_t count;
  cr_assert_eq(clqi_gguf_get_f32(file, "large", &narrow), CLQ_BAD_FILE);
  cr_assert_not_null(strstr(clq_last_error(), "key 'large' has a number too large for f32"));
  cr_assert_eq(clqi_gguf_get_f64(file, "large", &wide), CLQ_OK);
  cr_assert(wide == 1e300);
  cr_assert_eq(clqi_gguf_get_f32(file, "infinite", &narrow), CLQ_OK);
  cr_assert(isinf(narrow));
  cr_assert_eq(clqi_gguf_get_i32_array(file, "u32s", &integers, &count), CLQ_BAD_FILE);
  cr_assert_not_null(strstr(clq_last_error(), "key 'u32s' is 2147483648 in element 1, expected "));
  cr_assert_eq(clqi_gguf_get_f32_array(file, "f64s", &floats, &count), CLQ_BAD_FILE);
  clqi_gguf_close(file);
  free(bytes.data);
}

Test(gguf, type_table_is_consistent) {
  size_t known = 0;
  for (uint32_t id = 0; id < 1000; ++id) {
    const clqi_ggml_type_info *type = clqi_ggml_type_find(id);
    if (type == NULL) {
      continue;
    }
    ++known;
    cr_assert_eq((uint32_t)type->id, id);
    cr_assert_not_null(type->name);
    cr_assert(type->block_elements >= 1 && type->block_bytes >= 1, "%s", type->name);
    cr_assert_null(clqi_ggml_removed_type_name(id), "%s", type->name);
    for (const char *c = type->name; *c != '\0'; ++c) {
      cr_assert(*c < 'A' || *c > 'Z', "%s", type->name);
    }
  }
  cr_assert_eq(known, 34);
  cr_assert_str_eq(clqi_ggml_removed_type_name(31), "q4_0_4_4");
  cr_assert_null(clqi_ggml_type_find(UINT32_MAX));
  cr_assert_null(clqi_ggml_removed_type_name(UINT32_MAX));
}

Test(gguf, alignment_of_the_file_is_used) {
  for (uint32_t alignment = 8; alignment <= 65536; alignment *= 2) {
    gguf_image image = {.alignment = alignment};
    gguf_add_u32(&image, "general.alignment", alignment);
    gguf_add_tensor(&image, "a", CLQI_GGML_F32, 1, (const uint64_t[]){1}, NULL, 4);
    gguf_add_tensor(&image, "b", CLQI_GGML_F32, 1, (const uint64_t[]){1},
                    (const unsigned char[]){1, 2, 3, 4}, 4);
    gguf_bytes bytes = gguf_finish(&image);
    clqi_gguf *file = open_valid(&bytes);
    const clqi_gguf_tensor *tensor = clqi_gguf_find_tensor(file, "b");
    cr_assert_eq(clqi_gguf_alignment(file), alignment);
    cr_assert_eq(tensor->offset % alignment, 0);
    cr_assert_eq(bytes.data[tensor->offset + 3], 4);
    clqi_gguf_close(file);
    free(bytes.data);
  }
}

Test(gguf, a_file_may_be_empty_of_entries_and_tensors) {
  gguf_image image = {0};
  gguf_bytes bytes = gguf_finish(&image);
  bytes.size = 24;
  clqi_gguf *file;
  cr_assert_eq(clqi_gguf_open_memory(bytes.data, bytes.size, NAME, &file), CLQ_OK, "%s",
               clq_last_error());
  cr_assert_eq(clqi_gguf_key_count(file) + clqi_gguf_tensor_count(file), 0);
  cr_assert_null(clqi_gguf_find_tensor(file, "x"));
  cr_assert(!clqi_gguf_find_key(file, "x", NULL));
  clqi_gguf_close(file);
  clqi_gguf_close(NULL);
  free(bytes.data);
}

Test(gguf, null_arguments_are_named) {
  clqi_gguf *file;
  cr_assert_eq(clqi_gguf_open(NULL, &file), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clqi_gguf_open("x", NULL), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clqi_gguf_open_memory(NULL, 4, "x", &file), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clqi_gguf_open_memory("GGUF", 4, NULL, &file), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clqi_gguf_open_memory("GGUF", 4, "x", NULL), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clqi_gguf_open_memory(NULL, 0, "x", &file), CLQ_BAD_FILE);
  cr_assert_null(file);
}

/* --- One hostile file per check. ------------------------------------------ */

Test(gguf_hostile, header) {
  expect_refused_bytes(NULL, 0, "the file is empty");
  expect_refused_bytes((const unsigned char *)"GG", 2, "the file ends inside the header");
  expect_refused_bytes((const unsigned char *)"PK\3\4zip", 7,
                       "not a GGUF file: it starts with the bytes 50 4b 03 04");

  gguf_bytes bytes = valid_file(3);
  expect_refused_bytes(bytes.data, 23, "the file ends inside the header");
  free(bytes.data);

  for (uint32_t version = 0; version < 8; ++version) {
    gguf_image image = {.version = version};
    if (version != 0 && version != 2 && version != 3) {
      expect_refused(&image, "is not supported, versions 2 and 3 are");
    }
  }
  gguf_image swapped = {.version = 0x03000000};
  expect_refused(&swapped, "the file is big-endian (version 3 with its bytes swapped)");
}

Test(gguf_hostile, counts_that_cannot_fit) {
  static const uint64_t counts[] = {
      UINT64_MAX, UINT64_MAX / 24,   UINT64_MAX / 24 + 1, SIZE_MAX / 120,
      INT64_MAX,  (uint64_t)1 << 32, UINT32_MAX,          2};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; ++i) {
    gguf_image tensors = {.tensor_count = counts[i]};
    expect_refused(&tensors, "tensors, which cannot fit in the");
    gguf_image entries = {.entry_count = counts[i]};
    expect_refused(&entries, "metadata entries, which cannot fit in the");
  }
}

Test(gguf_hostile, counts_beyond_the_limit) {
  gguf_image image = {.entry_count = CLQI_GGUF_MAX_RECORDS + 1};
  gguf_put(&image.data, NULL, (size_t)CLQI_GGUF_MAX_RECORDS * 32);
  expect_refused(&image, "262145 metadata entries, more than the 262144 allowed");
}

Test(gguf_hostile, keys) {
  gguf_image image = {0};
  gguf_add_u32(&image, "", 1);
  expect_refused(&image, "metadata entry 0 has an empty name (at byte 24)");

  gguf_add_u32(&image, "first", 1);
  gguf_put_u64(&image.entries, UINT64_MAX);
  gguf_put_u64(&image.entries, 0);
  image.entry_count = 2;
  expect_refused(&image, "metadata entry 1 has a name of 18446744073709551615 bytes, more than");

  image.entry_count = 1;
  gguf_put_u64(&image.entries, 65536);
  gguf_put(&image.entries, NULL, 70000);
  expect_refused(&image, "has a name of 65536 bytes, more than the 65535 allowed");

  image.entry_count = 1;
  gguf_put_u64(&image.entries, 65535);
  gguf_put(&image.entries, NULL, 100);
  expect_refused(&image, "the file ends inside metadata entry 0, which needs 65535 more bytes");

  image.entry_count = 1;
  gguf_put_u64(&image.entries, 3);
  gguf_put(&image.entries, "a\0b", 3);
  gguf_put_u32(&image.entries, CLQI_GGUF_U8);
  gguf_put(&image.entries, NULL, 1);
  expect_refused(&image, "metadata entry 0 has a NUL byte in its name");

  gguf_add_u32(&image, "one", 1);
  gguf_add_u32(&image, "two", 1);
  gguf_add_string(&image, "one", "again");
  expect_refused(&image, "key 'one' occurs twice (at byte ");
}

Test(gguf_hostile, the_longest_key_is_read) {
  char key[65536];
  memset(key, 'k', sizeof key - 1);
  key[sizeof key - 1] = '\0';
  gguf_image image = {0};
  gguf_add_u32(&image, key, 5);
  gguf_bytes bytes = gguf_finish(&image);
  clqi_gguf *file = open_valid(&bytes);
  uint32_t value = 0;
  float wrong;
  cr_assert_eq(clqi_gguf_get_u32(file, key, &value), CLQ_OK);
  cr_assert_eq(value, 5);
  cr_assert_eq(clqi_gguf_get_f32(file, key, &wrong), CLQ_BAD_FILE);
  cr_assert(strlen(clq_last_error()) < 200);
  clqi_gguf_close(file);
  free(bytes.data);
}

Test(gguf_hostile, values) {
  gguf_image image = {0};
  gguf_add_value(&image, "k", (clqi_gguf_type)13, "12345678", 8);
  expect_refused(&image, "key 'k' has the unknown value type 13 (at byte 33)");

  gguf_add_value(&image, "flag", CLQI_GGUF_BOOL, "\2", 1);
  expect_refused(&image, "key 'flag' has a bool of value 2, expected 0 or 1 (at byte 40)");

  gguf_add_value(&image, "text", CLQI_GGUF_STRING, &(const uint64_t){UINT64_MAX}, 8);
  expect_refused(&image, "key 'text' has a string of 18446744073709551615 bytes where");

  gguf_add_value(&image, "text", CLQI_GGUF_STRING, &(const uint64_t){UINT64_MAX - 7}, 8);
  expect_refused(&image, "key 'text' has a string of 18446744073709551608 bytes where");

  gguf_add_value(&image, "cut", CLQI_GGUF_U64, NULL, 8);
  gguf_bytes bytes = gguf_finish(&image);
  expect_refused_bytes(bytes.data, 24 + 8 + 3 + 4 + 5,
                       "the file ends inside key 'cut', which needs 8 more bytes where 5 remain");
  free(bytes.data);

  gguf_add_u32(&image, "\x1b[31mred\n\xff", 1);
  gguf_add_u32(&image, "\x1b[31mred\n\xff", 1);
  expect_refused(&image, "key '?[31mred?\?' occurs twice");
}

Test(gguf_hostile, arrays) {
  gguf_image image = {0};
  gguf_add_array(&image, "nested", CLQI_GGUF_ARRAY, NULL, 1, 64);
  expect_refused(&image, "key 'nested' is an array of arrays, which is not supported");

  gguf_add_array(&image, "odd", (clqi_gguf_type)99, NULL, 1, 64);
  expect_refused(&image, "key 'odd' has the unknown value type 99");

  static const uint64_t counts[] = {UINT64_MAX, UINT64_MAX / 4 + 1, UINT64_MAX / 8 + 1,
                                    (uint64_t)1 << 62, 100};
  static const clqi_gguf_type types[] = {CLQI_GGUF_U32, CLQI_GGUF_F64, CLQI_GGUF_STRING,
                                         CLQI_GGUF_U8};
  for (size_t c = 0; c < sizeof counts / sizeof *counts; ++c) {
    for (size_t t = 0; t < sizeof types / sizeof *types; ++t) {
      gguf_add_array(&image, "big", types[t], NULL, (size_t)counts[c], 16);
      expect_refused(&image, "which cannot fit in the");
    }
  }

  gguf_add_array(&image, "texts", CLQI_GGUF_STRING, NULL, 2, 8);
  gguf_put_u64(&image.entries, 1000);
  expect_refused(&image, "key 'texts' has a string of 1000 bytes where");

  gguf_add_array(&image, "flags", CLQI_GGUF_BOOL, "\1\0\3", 3, 3);
  expect_refused(&image, "key 'flags' has a bool of value 3");
}

Test(gguf_hostile, alignment) {
  static const uint32_t values[] = {0, 1, 4, 7, 9, 24, 48, 65535, 131072, 0x80000000u, UINT32_MAX};
  gguf_image image = {0};
  for (size_t i = 0; i < sizeof values / sizeof *values; ++i) {
    gguf_add_u32(&image, "general.alignment", values[i]);
    expect_refused(&image, "expected a power of two from 8 to 65536 (at byte ");
  }
  gguf_add_string(&image, "general.alignment", "32");
  expect_refused(&image, "key 'general.alignment' is string, expected u32");
  gguf_add_value(&image, "general.alignment", CLQI_GGUF_U64, &(const uint64_t){32}, 8);
  expect_refused(&image, "key 'general.alignment' is u64, expected u32");
  gguf_add_array(&image, "general.alignment", CLQI_GGUF_U32, NULL, 0, 0);
  expect_refused(&image, "key 'general.alignment' is an array of u32, expected u32");
}

Test(gguf_hostile, tensor_names) {
  gguf_image image = {0};
  char name[65];
  memset(name, 'n', sizeof name - 1);
  name[64] = '\0';
  gguf_add_tensor(&image, name, CLQI_GGML_F32, 1, (const uint64_t[]){1}, NULL, 4);
  expect_refused(&image, "tensor 0 has a name of 64 bytes, more than the 63 allowed (at byte 24)");

  gguf_add_tensor(&image, "", CLQI_GGML_F32, 1, (const uint64_t[]){1}, NULL, 4);
  expect_refused(&image, "tensor 0 has an empty name");

  gguf_put_u64(&image.tensors, 3);
  gguf_put(&image.tensors, "a\0b", 3);
  image.tensor_count = 1;
  gguf_put(&image.data, NULL, 64);
  expect_refused(&image, "tensor 0 has a NUL byte in its name");

  gguf_add_tensor(&image, "w", CLQI_GGML_F32, 1, (const uint64_t[]){1}, NULL, 4);
  gguf_add_tensor(&image, "v", CLQI_GGML_F32, 1, (const uint64_t[]){1}, NULL, 4);
  gguf_add_tensor(&image, "w", CLQI_GGML_F32, 1, (const uint64_t[]){2}, NULL, 8);
  expect_refused(&image, "tensor 'w' occurs twice");

  name[63] = '\0';
  gguf_add_tensor(&image, name, CLQI_GGML_F32, 1, (const uint64_t[]){1}, NULL, 4);
  gguf_bytes bytes = gguf_finish(&image);
  clqi_gguf *file = open_valid(&bytes);
  cr_assert_not_null(clqi_gguf_find_tensor(file, name));
  clqi_gguf_close(file);
  free(bytes.data);
}

Test(gguf_hostile, tensor_dimensions) {
  gguf_image image = {0};
  gguf_add_tensor(&image, "w", CLQI_GGML_F32, 5, (const uint64_t[]){1, 1, 1, 1, 1}, NULL, 4);
  expect_refused(&image, "tensor 'w' has 5 dimensions, more than 4 (at byte 33)");

  gguf_add_tensor_record(&image, "w", CLQI_GGML_F32, 0, NULL, 0);
  image.tensors.data[9] = image.tensors.data[10] = 0xff;
  gguf_put(&image.data, NULL, 4);
  expect_refused(&image, "tensor 'w' has 65535 dimensions, more than 4");

  gguf_add_tensor(&image, "w", CLQI_GGML_F32, 2, (const uint64_t[]){4, UINT64_MAX}, NULL, 64);
  expect_refused(&image,
                 "tensor 'w' has 18446744073709551615 elements in dimension 1, more than "
                 "9223372036854775807 (at byte 45)");

  static const uint64_t overflowing[][4] = {
      {INT64_MAX, 2, 1, 1},
      {(uint64_t)1 << 32, (uint64_t)1 << 32, 1, 1},
      {1, (uint64_t)1 << 62, 4, 1},
      {(uint64_t)1 << 16, (uint64_t)1 << 16, (uint64_t)1 << 16, (uint64_t)1 << 16},
      {0, (uint64_t)1 << 40, (uint64_t)1 << 40, 1},
      {(uint64_t)1 << 40, 0, (uint64_t)1 << 40, 1}};
  for (size_t i = 0; i < sizeof overflowing / sizeof *overflowing; ++i) {
    gguf_add_tensor(&image, "w", CLQI_GGML_I8, 4, overflowing[i], NULL, 64);
    expect_refused(&image, "tensor 'w' has dimensions whose product passes 9223372036854775807");
  }

  static const uint64_t huge[] = {INT64_MAX / 8 + 1, INT64_MAX};
  for (size_t i = 0; i < sizeof huge / sizeof *huge; ++i) {
    gguf_add_tensor(&image, "w", CLQI_GGML_F64, 1, &huge[i], NULL, 64);
    expect_refused(&image, "tensor 'w' has more bytes than a size can count");
  }

  gguf_add_tensor(&image, "w", CLQI_GGML_Q4_1, 2, (const uint64_t[]){33, 32}, NULL, 4096);
  expect_refused(&image,
                 "tensor 'w' has rows of 33 elements, expected a multiple of 32, the block "
                 "of type q4_1");
  gguf_add_tensor(&image, "w", CLQI_GGML_Q6_K, 1, (const uint64_t[]){128}, NULL, 4096);
  expect_refused(&image,
                 "rows of 128 elements, expected a multiple of 256, the block of type q6_k");
}

Test(gguf_hostile, tensor_types) {
  gguf_image image = {0};
  static const uint32_t unknown[] = {21000, 42, UINT32_MAX, 0x80000000u, 35 + 256};
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; ++i) {
    char message[64];
    (void)snprintf(message, sizeof message, "tensor 'w' has the unknown type id %" PRIu32,
                   unknown[i]);
    gguf_add_tensor(&image, "w", unknown[i], 1, (const uint64_t[]){32}, NULL, 64);
    expect_refused(&image, message);
  }
  static const uint32_t removed[] = {4, 5, 31, 32, 33, 36, 37, 38};
  for (size_t i = 0; i < sizeof removed / sizeof *removed; ++i) {
    char message[64];
    (void)snprintf(message, sizeof message, "tensor 'w' has type %s, which was removed",
                   clqi_ggml_removed_type_name(removed[i]));
    gguf_add_tensor(&image, "w", removed[i], 1, (const uint64_t[]){32}, NULL, 64);
    expect_refused(&image, message);
  }
}

Test(gguf_hostile, tensor_extents) {
  gguf_image image = {0};
  gguf_add_tensor_record(&image, "w", CLQI_GGML_F32, 1, (const uint64_t[]){4}, 4);
  gguf_put(&image.data, NULL, 64);
  expect_refused(&image,
                 "tensor 'w' has the data offset 4, expected a multiple of the alignment "
                 "32 (at byte 49)");

  static const uint64_t far[] = {UINT64_MAX - 31, UINT64_MAX / 2 + 1, (uint64_t)1 << 40, 1024};
  for (size_t i = 0; i < sizeof far / sizeof *far; ++i) {
    gguf_add_tensor_record(&image, "w", CLQI_GGML_F32, 1, (const uint64_t[]){4}, far[i]);
    gguf_put(&image.data, NULL, 64);
    expect_refused(&image, "beyond the end of the file of");
  }

  gguf_add_tensor_record(&image, "w", CLQI_GGML_F32, 1, (const uint64_t[]){4}, 64);
  gguf_put(&image.data, NULL, 79);
  expect_refused(&image,
                 "tensor 'w' needs 16 bytes at byte 64 of the data, which starts at byte "
                 "64, but the file has 143 bytes");

  static const uint64_t sizes[] = {INT64_MAX, INT64_MAX - 31, (uint64_t)1 << 40, 65};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    gguf_add_tensor_record(&image, "w", CLQI_GGML_I8, 1, &sizes[i], 0);
    gguf_put(&image.data, NULL, 64);
    expect_refused(&image, "truncated or damaged");
  }

  /* even without data, the place must be in the file */
  gguf_add_tensor_record(&image, "w", CLQI_GGML_F32, 1, (const uint64_t[]){0}, 96);
  gguf_put(&image.data, NULL, 32);
  expect_refused(&image, "tensor 'w' needs 0 bytes at byte 96 of the data");
}

/* The sum of the padded sizes wraps around 2^64, each size alone does not. */
Test(gguf_hostile, sizes_whose_sum_wraps) {
  gguf_image image = {0};
  const uint64_t half = (uint64_t)INT64_MAX - 31;
  gguf_add_tensor_record(&image, "a", CLQI_GGML_I8, 1, &half, 0);
  gguf_add_tensor_record(&image, "b", CLQI_GGML_I8, 1, &half, half & ~(uint64_t)31);
  gguf_put(&image.data, NULL, 256);
  expect_refused(&image, "beyond the end of the file");
}

Test(gguf_hostile, overlapping_tensors) {
  gguf_image image = {0};
  gguf_add_tensor_record(&image, "a", CLQI_GGML_F32, 1, (const uint64_t[]){16}, 32);
  gguf_add_tensor_record(&image, "b", CLQI_GGML_F32, 1, (const uint64_t[]){9}, 0);
  gguf_put(&image.data, NULL, 128);
  expect_refused(&image, "the data of tensors 'b' and 'a' overlap (at byte ");

  gguf_add_tensor_record(&image, "a", CLQI_GGML_F32, 1, (const uint64_t[]){16}, 0);
  gguf_add_tensor_record(&image, "b", CLQI_GGML_F32, 1, (const uint64_t[]){16}, 0);
  gguf_put(&image.data, NULL, 128);
  expect_refused(&image, "the data of tensors 'a' and 'b' overlap");

  /* an empty one in between hides nothing */
  gguf_add_tensor_record(&image, "a", CLQI_GGML_F32, 1, (const uint64_t[]){17}, 0);
  gguf_add_tensor_record(&image, "none", CLQI_GGML_F32, 1, (const uint64_t[]){0}, 32);
  gguf_add_tensor_record(&image, "b", CLQI_GGML_F32, 1, (const uint64_t[]){16}, 64);
  gguf_put(&image.data, NULL, 128);
  expect_refused(&image, "the data of tensors 'a' and 'b' overlap");

  /* side by side in the other order is fine */
  gguf_add_tensor_record(&image, "a", CLQI_GGML_F32, 1, (const uint64_t[]){16}, 32);
  gguf_add_tensor_record(&image, "b", CLQI_GGML_F32, 1, (const uint64_t[]){8}, 0);
  gguf_put(&image.data, NULL, 96);
  gguf_bytes bytes = gguf_finish(&image);
  clqi_gguf_close(open_valid(&bytes));
  free(bytes.data);
}

/* Every length shorter than the file is refused; nothing reads past the end. */
Test(gguf_hostile, truncated_at_every_length) {
  gguf_bytes bytes = valid_file(3);
  for (size_t size = 0; size < bytes.size; ++size) {
    expect_refused_bytes(bytes.data, size, size == 0 ? "the file is empty" : "truncated");
  }
  free(bytes.data);
}

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/* One to four changes: bytes, or a u64 extreme at any place. Returns the size. */
static size_t mutate(unsigned char *bytes, size_t size, uint64_t *random) {
  static const uint64_t extremes[] = {
      0, 1, UINT64_MAX, INT64_MAX, SIZE_MAX / 24, UINT32_MAX, (uint64_t)1 << 63, 31};
  const uint64_t changes = 1 + next_random(random) % 4;
  for (uint64_t i = 0; i < changes; ++i) {
    const size_t at = (size_t)(next_random(random) % size);
    switch (next_random(random) % 4) {
      case 0: bytes[at] = (unsigned char)next_random(random); break;
      case 1: bytes[at] ^= (unsigned char)(1u << (next_random(random) % 8)); break;
      case 2:
        if (at + 8 <= size) {
          memcpy(bytes + at, &extremes[next_random(random) % 8], 8);
        }
        break;
      default:
        if (next_random(random) % 4 == 0) {
          size = at + 1;
        }
        break;
    }
  }
  return size;
}

Test(gguf_hostile, mutations_do_not_crash) {
  enum { ROUNDS = 20000 };
  gguf_bytes bytes = valid_file(3);
  unsigned char *copy = malloc(bytes.size);
  guarded guard = guard_new(bytes.size);
  uint64_t random = 42;
  size_t opened = 0;
  for (int round = 0; round < ROUNDS; ++round) {
    memcpy(copy, bytes.data, bytes.size);
    const size_t size = mutate(copy, bytes.size, &random);
    unsigned char *image = guard.bytes + (bytes.size - size);
    memcpy(image, copy, size);
    clqi_gguf *file;
    const clq_status status = clqi_gguf_open_memory(image, size, NAME, &file);
    cr_assert(status == CLQ_OK || status == CLQ_BAD_FILE, "round %d: %s", round, clq_last_error());
    cr_assert(status == CLQ_OK || one_clean_sentence(clq_last_error()), "round %d", round);
    if (status == CLQ_OK) {
      ++opened;
      (void)gguf_walk(file);
    }
    clqi_gguf_close(file);
  }
  cr_assert(opened > ROUNDS / 100 && opened < ROUNDS, "%zu of %d opened", opened, ROUNDS);
  guard_free(&guard);
  free(copy);
  free(bytes.data);
}

/* Many entries and tensors must not take quadratic time, sorted or not. */
Test(gguf_hostile, many_records, .timeout = 20) {
  enum { COUNT = 100000 };
  gguf_image image = {0};
  for (uint32_t i = 0; i < COUNT; ++i) {
    char name[32];
    (void)snprintf(name, sizeof name, "name.%" PRIu32, i * 2654435761u);
    gguf_add_u32(&image, name, i);
    gguf_add_tensor(&image, name, CLQI_GGML_I8, 1, (const uint64_t[]){1}, NULL, 1);
  }
  gguf_bytes bytes = gguf_finish(&image);
  clqi_gguf *file = open_valid(&bytes);
  uint32_t value;
  cr_assert_eq(clqi_gguf_get_u32(file, "name.2654435761", &value), CLQ_OK);
  cr_assert_eq(value, 1);
  cr_assert_eq(clqi_gguf_find_tensor(file, "name.2654435761"), clqi_gguf_tensor_at(file, 1));
  clqi_gguf_close(file);
  free(bytes.data);
}

/* --- Out of memory. ------------------------------------------------------- */

typedef struct counter {
  size_t calls;
  size_t fail_at;  /* this allocation, counted from 1 */
  bool persistent; /* and all that follow */
  size_t live;
} counter;

static void *count_allocate(void *user, size_t bytes) {
  counter *c = user;
  ++c->calls;
  if (c->calls == c->fail_at || (c->persistent && c->calls > c->fail_at)) {
    return NULL;
  }
  ++c->live;
  return malloc(bytes);
}

static void *count_reallocate(void *user, void *block, size_t bytes) {
  return block == NULL ? count_allocate(user, bytes) : realloc(block, bytes);
}

static void count_release(void *user, void *block) {
  counter *c = user;
  --c->live;
  free(block);
}

static clq_status open_and_read(const gguf_bytes *bytes) {
  clqi_gguf *file = NULL;
  clqi_gguf_string *texts = NULL;
  int32_t *integers = NULL;
  float *floats = NULL;
  size_t count;
  clq_status status;
  CLQI_TRY_CLEAN(clqi_gguf_open_memory(bytes->data, bytes->size, "valid.gguf", &file));
  CLQI_TRY_CLEAN(clqi_gguf_get_string_array(file, "tokenizer.ggml.tokens", &texts, &count));
  CLQI_TRY_CLEAN(clqi_gguf_get_i32_array(file, "tokenizer.ggml.token_type", &integers, &count));
  CLQI_TRY_CLEAN(clqi_gguf_get_f32_array(file, "tokenizer.ggml.scores", &floats, &count));
cleanup:
  clqi_free(texts);
  clqi_free(integers);
  clqi_free(floats);
  clqi_gguf_close(file);
  return status;
}

Test(gguf, every_failed_allocation_is_reported_and_nothing_leaks) {
  gguf_bytes bytes = valid_file(3);
  size_t failures = 0;
  for (int persistent = 0; persistent < 2; ++persistent) {
    for (size_t k = 1;; ++k) {
      counter c = {.fail_at = k, .persistent = persistent != 0};
      clq_set_allocator(&(clq_allocator){count_allocate, count_reallocate, count_release, &c});
      const clq_status status = open_and_read(&bytes);
      clq_set_allocator(NULL);
      cr_assert_eq(c.live, 0, "allocation %zu: %zu blocks leak", k, c.live);
      if (c.calls < k) {
        cr_assert_eq(status, CLQ_OK);
        break;
      }
      ++failures;
      cr_assert_eq(status, CLQ_OUT_OF_HOST_MEMORY, "allocation %zu: %s", k,
                   clq_status_name(status));
      cr_assert_eq(strncmp(clq_last_error(), "valid.gguf: no memory", 21), 0, "%s",
                   clq_last_error());
    }
  }
  cr_assert_eq(failures, 2 * 10);
  free(bytes.data);
}

/* A refused file leaks nothing either. */
Test(gguf, refusals_leak_nothing) {
  gguf_bytes bytes = valid_file(3);
  counter c = {0};
  clq_set_allocator(&(clq_allocator){count_allocate, count_reallocate, count_release, &c});
  for (size_t size = 1; size < bytes.size; ++size) {
    clqi_gguf *file;
    cr_assert_eq(clqi_gguf_open_memory(bytes.data, size, NAME, &file), CLQ_BAD_FILE);
    cr_assert_eq(c.live, 0, "length %zu", size);
  }
  clq_set_allocator(NULL);
  cr_assert(c.calls > 0);
  free(bytes.data);
}

/* --- Files. --------------------------------------------------------------- */

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
  gguf_bytes bytes = valid_file(3);
  scratch_write(&s, bytes.data, bytes.size);
  clqi_gguf *file;
  cr_assert_eq(clqi_gguf_open(s.file, &file), CLQ_OK, "%s", clq_last_error());
  clqi_gguf *image = open_valid(&bytes);
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

Test(gguf_file, no_descriptor_or_mapping_is_lost) {
  scratch s = scratch_new();
  const int before = dup(0);
  cr_assert(before >= 0);
  (void)close(before);
  scratch_write(&s, "hello", 5);
  expect_open_fails(s.file, CLQ_BAD_FILE, "not a GGUF file");
  gguf_bytes bytes = valid_file(3);
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

/* Shortening an open file would make its pages a SIGBUS: the next access says so. */
Test(gguf_file, truncation_after_opening_is_noticed) {
  scratch s = scratch_new();
  gguf_bytes bytes = valid_file(3);
  scratch_write(&s, bytes.data, bytes.size);
  clqi_gguf *file;
  cr_assert_eq(clqi_gguf_open(s.file, &file), CLQ_OK);
  const clqi_gguf_tensor *tensor = clqi_gguf_find_tensor(file, "last.weight");
  const void *data;
  clqi_gguf_string *texts;
  size_t count;
  cr_assert_eq(clqi_gguf_tensor_data(file, tensor, &data), CLQ_OK);
  cr_assert_eq(truncate(s.file, 0), 0);
  cr_assert(clqi_gguf_find_key(file, "tokenizer.ggml.tokens", NULL));
  cr_assert_eq(clqi_gguf_tensor_data(file, tensor, &data), CLQ_IO_ERROR);
  char message[64];
  (void)snprintf(message, sizeof message, "had %zu bytes when it was opened and has 0 now",
                 bytes.size);
  cr_assert_not_null(strstr(clq_last_error(), message), "%s", clq_last_error());
  cr_assert_eq(clqi_gguf_get_string_array(file, "tokenizer.ggml.tokens", &texts, &count),
               CLQ_IO_ERROR);
  clqi_gguf_close(file);
  free(bytes.data);
  scratch_free(&s);
}

/* Rewriting an open file in place may change values, but not lead outside. */
Test(gguf_file, strings_rewritten_after_opening_stay_inside) {
  scratch s = scratch_new();
  gguf_bytes bytes = valid_file(3);
  scratch_write(&s, bytes.data, bytes.size);
  clqi_gguf *file;
  cr_assert_eq(clqi_gguf_open(s.file, &file), CLQ_OK);
  unsigned char *token = memmem(bytes.data, bytes.size, "<s>", 3);
  cr_assert_not_null(token);
  const int descriptor = open(s.file, O_WRONLY);
  cr_assert(descriptor >= 0);
  const uint64_t length = UINT64_MAX - 2;
  cr_assert_eq(pwrite(descriptor, &length, 8, token - 8 - bytes.data), 8);
  (void)close(descriptor);
  clqi_gguf_string *texts;
  size_t count;
  cr_assert_eq(clqi_gguf_get_string_array(file, "tokenizer.ggml.tokens", &texts, &count),
               CLQ_IO_ERROR);
  cr_assert_not_null(strstr(clq_last_error(), "key 'tokenizer.ggml.tokens' has changed"));
  clqi_gguf_close(file);
  free(bytes.data);
  scratch_free(&s);
}

static size_t resident_file_pages(void) {
  FILE *stream = fopen("/proc/self/statm", "r");
  size_t size = 0;
  size_t resident = 0;
  size_t shared = 0;
  cr_assert_not_null(stream);
  cr_assert_eq(fscanf(stream, "%zu %zu %zu", &size, &resident, &shared), 3);
  (void)fclose(stream);
  return shared;
}

Test(gguf_file, released_pages_leave_memory_and_can_be_read_again) {
  enum { BYTES = 16 << 20 };
  scratch s = scratch_new();
  gguf_image image = {0};
  unsigned char *data = malloc(BYTES);
  cr_assert_not_null(data);
  memset(data, 7, BYTES);
  gguf_add_tensor(&image, "w", CLQI_GGML_I8, 1, (const uint64_t[]){BYTES}, data, BYTES);
  gguf_bytes bytes = gguf_finish(&image);
  scratch_write(&s, bytes.data, bytes.size);
  clqi_gguf *file;
  cr_assert_eq(clqi_gguf_open(s.file, &file), CLQ_OK);
  const void *mapped;
  cr_assert_eq(clqi_gguf_tensor_data(file, clqi_gguf_tensor_at(file, 0), &mapped), CLQ_OK);
  cr_assert_eq((uintptr_t)mapped % 32, 0);
  cr_assert_eq(memcmp(mapped, data, BYTES), 0);
  const size_t pages = BYTES / (size_t)sysconf(_SC_PAGESIZE);
  const size_t before = resident_file_pages();
  clqi_gguf_release_pages(file, mapped, BYTES);
  const size_t after = resident_file_pages();
  cr_assert(after + pages * 9 / 10 < before, "%zu pages before, %zu after", before, after);
  cr_assert_eq(memcmp(mapped, data, BYTES), 0);
  clqi_gguf_close(file);
  free(data);
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
  cr_assert(string_is(tokens[1], "<|im_start|>") && string_is(tokens[2], "<|im_end|>"));
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
