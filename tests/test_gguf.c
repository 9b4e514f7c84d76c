/* What the GGUF reader reads, and what it does when memory runs out. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "counting.h"
#include "gguf_example.h"
#include "runtime/memory.h"
#include "runtime/status.h"

/* --- What is read. -------------------------------------------------------- */

Test(gguf, reads_both_versions) {
  for (uint32_t version = 2; version <= 3; ++version) {
    gguf_bytes bytes = gguf_example(version);
    clqi_gguf *file = gguf_open_example(&bytes);
    cr_assert_str_eq(clqi_gguf_name(file), "valid.gguf");
    cr_assert_eq(clqi_gguf_version(file), version);
    cr_assert_eq(clqi_gguf_alignment(file), 32);
    cr_assert_eq(clqi_gguf_key_count(file), 10);
    cr_assert(gguf_string_is(clqi_gguf_key_at(file, 1), "llama.block_count"));
    cr_assert_eq(clqi_gguf_tensor_count(file), 4);
    clqi_gguf_close(file);
    free(bytes.data);
  }
}

Test(gguf, reads_scalars) {
  gguf_bytes bytes = gguf_example(3);
  clqi_gguf *file = gguf_open_example(&bytes);
  clqi_gguf_string text;
  uint32_t blocks;
  float base;
  double wide_base;
  bool flag;
  cr_assert_eq(clqi_gguf_get_string(file, "general.architecture", &text), CLQ_OK);
  cr_assert(gguf_string_is(text, "llama"));
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
  gguf_bytes bytes = gguf_example(3);
  clqi_gguf *file = gguf_open_example(&bytes);
  clqi_gguf_string *tokens;
  int32_t *types;
  float *scores;
  size_t count;
  cr_assert_eq(clqi_gguf_get_string_array(file, "tokenizer.ggml.tokens", &tokens, &count), CLQ_OK);
  cr_assert_eq(count, 4);
  cr_assert(gguf_string_is(tokens[0], "<s>") && gguf_string_is(tokens[1], "") &&
            gguf_string_is(tokens[2], "he") && gguf_string_is(tokens[3], "\xc4\xa0world"));
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
  gguf_bytes bytes = gguf_example(3);
  clqi_gguf *file = gguf_open_example(&bytes);
  const clqi_gguf_tensor *tensor;
  unsigned char data[40];
  cr_assert_eq(clqi_gguf_get_tensor(file, "token_embd.weight", &tensor), CLQ_OK);
  cr_assert_eq(tensor, clqi_gguf_tensor_at(file, 0));
  cr_assert_str_eq(tensor->type->name, "q4_1");
  cr_assert_eq(tensor->dim_count, 2);
  cr_assert(tensor->dims[0] == 32 && tensor->dims[1] == 2 && tensor->dims[2] == 1 &&
            tensor->dims[3] == 1);
  cr_assert_eq(tensor->bytes, 40);
  cr_assert_eq(tensor->offset % 32, 0);
  cr_assert_eq(clqi_gguf_read(file, tensor, 0, 40, data), CLQ_OK);
  cr_assert_arr_eq(data, bytes.data + tensor->offset, 40);
  cr_assert_eq(clqi_gguf_read(file, tensor, 38, 2, data), CLQ_OK);
  cr_assert(data[0] == 38 && data[1] == 39 && data[2] == bytes.data[tensor->offset + 2]);
  cr_assert_eq(clqi_gguf_read(file, tensor, 39, 2, data), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clqi_gguf_read(file, tensor, SIZE_MAX, 2, data), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clqi_gguf_find_tensor(file, "empty.weight")->bytes, 0);
  cr_assert_null(clqi_gguf_find_tensor(file, "output_norm"));
  cr_assert_eq(clqi_gguf_get_tensor(file, "output.weight", &tensor), CLQ_BAD_FILE);
  cr_assert_str_eq(clq_last_error(), "valid.gguf: tensor 'output.weight' is missing");
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
    clqi_gguf *file = gguf_open_example(&bytes);
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
  gguf_bytes bytes = gguf_example(3);
  clqi_gguf *file = gguf_open_example(&bytes);
  int64_t i64 = 0;
  float f32 = 0;
  bool flag = false;
  clqi_gguf_string text = {"x", 1};
  cr_assert(clqi_gguf_get_i64_or(file, "absent", -1, &i64) == CLQ_OK && i64 == -1);
  cr_assert(clqi_gguf_get_f32_or(file, "absent", 0.5f, &f32) == CLQ_OK && f32 == 0.5f);
  cr_assert(clqi_gguf_get_bool_or(file, "absent", true, &flag) == CLQ_OK && flag);
  cr_assert(clqi_gguf_get_string_or_none(file, "absent", &text) == CLQ_OK && text.data == NULL &&
            text.length == 0);
  cr_assert(clqi_gguf_get_i64_or(file, "llama.block_count", 7, &i64) == CLQ_OK && i64 == 30);
  cr_assert_eq(clqi_gguf_get_i64_or(file, "general.architecture", 7, &i64), CLQ_BAD_FILE);
  cr_assert_eq(i64, 30, "untouched on failure");
  cr_assert_eq(clqi_gguf_get_string_or_none(file, "llama.block_count", &text), CLQ_BAD_FILE);
  clqi_gguf_close(file);
  free(bytes.data);
}

/* Each message begins with the file and names key, found and expected type. */
Test(gguf, wrong_types_and_missing_keys_are_named) {
  gguf_bytes bytes = gguf_example(3);
  clqi_gguf *file = gguf_open_example(&bytes);
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
  clqi_gguf *file = gguf_open_example(&bytes);
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
    clqi_gguf *file = gguf_open_example(&bytes);
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
  cr_assert_eq(clqi_gguf_open_memory(bytes.data, bytes.size, "bare.gguf", &file), CLQ_OK, "%s",
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

/* --- Out of memory. ------------------------------------------------------- */

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
  gguf_bytes bytes = gguf_example(3);
  size_t failures = 0;
  for (int persistent = 0; persistent < 2; ++persistent) {
    for (size_t k = 1;; ++k) {
      counting_start(k, persistent);
      const clq_status status = open_and_read(&bytes);
      counting_stop();
      cr_assert_eq(counting_live(), 0, "allocation %zu: %zu blocks leak", k, counting_live());
      if (!counting_failed()) {
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
  cr_assert_eq(failures, 2 * 9);
  free(bytes.data);
}

/* A refused file leaks nothing either. */
Test(gguf, refusals_leak_nothing) {
  gguf_bytes bytes = gguf_example(3);
  counting_start(0, 0);
  for (size_t size = 1; size < bytes.size; ++size) {
    clqi_gguf *file;
    cr_assert_eq(clqi_gguf_open_memory(bytes.data, size, "cut.gguf", &file), CLQ_BAD_FILE);
    cr_assert_eq(counting_live(), 0, "length %zu", size);
  }
  counting_stop();
  cr_assert_gt(counting_calls(), 0);
  free(bytes.data);
}
