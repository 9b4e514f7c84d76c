/* One hostile GGUF file per check of the reader, then mutations. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gguf_example.h"
#include "gguf_walk.h"

#define NAME "hostile.gguf"

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

Test(gguf_hostile, header) {
  expect_refused_bytes(NULL, 0, "the file is empty");
  expect_refused_bytes((const unsigned char *)"GG", 2, "the file ends inside the header");
  expect_refused_bytes((const unsigned char *)"PK\3\4zip", 7,
                       "not a GGUF file: it starts with the bytes 50 4b 03 04, expected 47 47 55 "
                       "46 (GGUF); convert the model to GGUF");

  gguf_bytes bytes = gguf_example(3);
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
  expect_refused(&image,
                 "262145 metadata entries, more than the 262144 allowed (at byte 16): the file is "
                 "damaged, fetch it again");
}

Test(gguf_hostile, keys) {
  gguf_image image = {0};
  gguf_add_u32(&image, "", 1);
  expect_refused(
      &image,
      "metadata entry 0 has an empty name (at byte 24): the file is damaged, fetch it again");

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
  clqi_gguf *file = gguf_open_example(&bytes);
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
  expect_refused(&image,
                 "tensor 0 has a name of 64 bytes, more than the 63 allowed (at byte 24): the file "
                 "is damaged, fetch it again");

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
  expect_refused(&image,
                 "tensor 'w' occurs twice (at byte 192): the file is damaged, fetch it again");

  name[63] = '\0';
  gguf_add_tensor(&image, name, CLQI_GGML_F32, 1, (const uint64_t[]){1}, NULL, 4);
  gguf_bytes bytes = gguf_finish(&image);
  clqi_gguf *file = gguf_open_example(&bytes);
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
  clqi_gguf_close(gguf_open_example(&bytes));
  free(bytes.data);
}

/* Every length shorter than the file is refused; nothing reads past the end. */
Test(gguf_hostile, truncated_at_every_length) {
  gguf_bytes bytes = gguf_example(3);
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
  gguf_bytes bytes = gguf_example(3);
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
  clqi_gguf *file = gguf_open_example(&bytes);
  uint32_t value;
  cr_assert_eq(clqi_gguf_get_u32(file, "name.2654435761", &value), CLQ_OK);
  cr_assert_eq(value, 1);
  cr_assert_eq(clqi_gguf_find_tensor(file, "name.2654435761"), clqi_gguf_tensor_at(file, 1));
  clqi_gguf_close(file);
  free(bytes.data);
}
