/* The safetensors reader: what it reads, one hostile file per check, sets of shards, files that
 * change, and what it does when memory runs out. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "counting.h"
#include "io/safetensors.h"
#include "safetensors_writer.h"

#define NAME "hostile.safetensors"

static st_bytes example(void) {
  st_image image = {0};
  unsigned char data[64];
  for (size_t i = 0; i < sizeof data; ++i) {
    data[i] = (unsigned char)i;
  }
  st_add(&image, "b.weight", "F32", 2, (const int64_t[]){2, 3}, data, 24);
  st_add(&image, "scalar", "I64", 0, NULL, data, 8);
  st_add(&image, "empty", "F16", 3, (const int64_t[]){4, 0, 5}, NULL, 0);
  st_add(&image, "a.weight", "BF16", 1, (const int64_t[]){5}, data + 24, 10);
  return st_finish(&image);
}

static clqi_safetensors *open_image(const st_bytes *bytes) {
  clqi_safetensors *set = NULL;
  cr_assert_eq(clqi_safetensors_open_memory(bytes->data, bytes->size, "valid.safetensors", &set),
               CLQ_OK, "%s", clq_last_error());
  return set;
}

/* --- What is read. -------------------------------------------------------- */

Test(safetensors, reads_tensors) {
  st_bytes bytes = example();
  clqi_safetensors *set = open_image(&bytes);
  static const char *const names[] = {"a.weight", "b.weight", "empty", "scalar"};
  unsigned char data[64];
  cr_assert_str_eq(clqi_safetensors_name(set), "valid.safetensors");
  cr_assert_eq(clqi_safetensors_shard_count(set), 1);
  cr_assert_eq(clqi_safetensors_count(set), 4);
  for (size_t i = 0; i < 4; ++i) {
    const clqi_safetensors_tensor *tensor = clqi_safetensors_at(set, i);
    cr_assert_str_eq(tensor->name, names[i]);
    cr_assert_eq(clqi_safetensors_find(set, names[i]), tensor);
  }
  const clqi_safetensors_tensor *b = clqi_safetensors_find(set, "b.weight");
  cr_assert(b->dtype == CLQI_SAFETENSORS_F32 && b->dim_count == 2 && b->dims[0] == 2 &&
            b->dims[1] == 3 && b->dims[2] == 1 && b->bytes == 24);
  cr_assert_eq(clqi_safetensors_read(set, b, 0, 24, data), CLQ_OK);
  for (unsigned i = 0; i < 24; ++i) {
    cr_assert_eq(data[i], i);
  }
  cr_assert_eq(clqi_safetensors_read(set, b, 22, 2, data), CLQ_OK);
  cr_assert(data[0] == 22 && data[1] == 23 && data[2] == 2);
  cr_assert_eq(clqi_safetensors_read(set, b, 23, 2, data), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clqi_safetensors_read(set, b, SIZE_MAX, 2, data), CLQ_INVALID_ARGUMENT);
  const clqi_safetensors_tensor *a = clqi_safetensors_find(set, "a.weight");
  cr_assert_eq(clqi_safetensors_read(set, a, 0, a->bytes, data), CLQ_OK);
  cr_assert(data[0] == 24 && data[9] == 33);
  const clqi_safetensors_tensor *scalar = clqi_safetensors_find(set, "scalar");
  cr_assert(scalar->dim_count == 0 && scalar->dims[0] == 1 && scalar->bytes == 8);
  cr_assert_eq(clqi_safetensors_find(set, "empty")->bytes, 0);
  cr_assert_null(clqi_safetensors_find(set, "c.weight"));
  const clqi_safetensors_tensor *tensor = b;
  cr_assert_eq(clqi_safetensors_get(set, "c.weight", &tensor), CLQ_BAD_FILE);
  cr_assert_eq(tensor, b, "untouched on failure");
  cr_assert_str_eq(clq_last_error(), "valid.safetensors: tensor 'c.weight' is missing");
  clqi_safetensors_close(set);
  free(bytes.data);
}

Test(safetensors, every_dtype_has_its_size) {
  static const struct {
    const char *name;
    size_t bytes;
  } types[] = {{"F64", 8}, {"F32", 4}, {"F16", 2},  {"BF16", 2},    {"I64", 8},
               {"I32", 4}, {"I16", 2}, {"I8", 1},   {"U8", 1},      {"U16", 2},
               {"U32", 4}, {"U64", 8}, {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
  for (size_t i = 0; i < sizeof types / sizeof *types; ++i) {
    st_image image = {0};
    st_add(&image, "t", types[i].name, 1, (const int64_t[]){3}, NULL, 3 * types[i].bytes);
    st_bytes bytes = st_finish(&image);
    clqi_safetensors *set = open_image(&bytes);
    const clqi_safetensors_tensor *tensor = clqi_safetensors_at(set, 0);
    cr_assert_str_eq(clqi_safetensors_dtype_name(tensor->dtype), types[i].name);
    cr_assert_eq(clqi_safetensors_dtype_bytes(tensor->dtype), types[i].bytes);
    clqi_safetensors_close(set);
    free(bytes.data);
  }
}

Test(safetensors, what_other_writers_do_is_read) {
  static const struct {
    const char *header;
    size_t data;
    size_t tensors;
  } cases[] = {
      {"{}", 0, 0},
      {"{}      ", 0, 0},
      {"{\"__metadata__\":{}}", 0, 0},
      {"{\"__metadata__\":{\"format\":\"pt\",\"a\":\"\"},\"t\":{\"dtype\":\"U8\",\"shape\":[2],"
       "\"data_offsets\":[0,2]}}",
       2, 1},
      {"{\"t\":{\"data_offsets\":[0,2],\"shape\":[1,2,1],\"dtype\":\"I8\"}}", 2, 1},
      /* data in another order than the header's, empty tensors among it */
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]},"
       "\"z\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]},"
       "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
       3, 3},
      {"{\"\\u00e9\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    st_bytes bytes = st_file(cases[i].header, cases[i].data);
    clqi_safetensors *set = open_image(&bytes);
    cr_assert_eq(clqi_safetensors_count(set), cases[i].tensors, "%s", cases[i].header);
    clqi_safetensors_close(set);
    free(bytes.data);
  }
}

Test(safetensors, null_arguments_are_named) {
  clqi_safetensors *set = NULL;
  cr_assert_eq(clqi_safetensors_open(NULL, &set), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clqi_safetensors_open("x", NULL), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clqi_safetensors_open_memory(NULL, 3, "x", &set), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clqi_safetensors_open_memory("abc", 3, NULL, &set), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clqi_safetensors_open_memory("abc", 3, "x", NULL), CLQ_INVALID_ARGUMENT);
  clqi_safetensors_close(NULL);
}

/* --- What is refused. ----------------------------------------------------- */

static void expect_sentence(const char *name, const char *message) {
  const char *text = clq_last_error();
  cr_assert_eq(strncmp(text, name, strlen(name)), 0, "%s", text);
  cr_assert_not_null(strstr(text, message), "expected '%s' in '%s'", message, text);
  cr_assert_lt(strlen(text), 600);
  for (const char *c = text; *c != '\0'; ++c) {
    cr_assert(*c >= 0x20 && *c <= 0x7e, "%s", text);
  }
}

static void expect_refused_bytes(const unsigned char *bytes, size_t size, const char *message) {
  /* ends where its allocation does, for sanitizers */
  unsigned char *copy = malloc(size == 0 ? 1 : size);
  if (size != 0) {
    memcpy(copy, bytes, size);
  }
  clqi_safetensors *set = (clqi_safetensors *)(uintptr_t)1;
  const clq_status status = clqi_safetensors_open_memory(copy, size, NAME, &set);
  cr_assert_eq(status, CLQ_BAD_FILE, "%s for '%s': %s", clq_status_name(status), message,
               clq_last_error());
  cr_assert_null(set);
  expect_sentence(NAME ": ", message);
  free(copy);
}

static void expect_refused(const char *header, size_t data_bytes, const char *message) {
  st_bytes bytes = st_file(header, data_bytes);
  expect_refused_bytes(bytes.data, bytes.size, message);
  free(bytes.data);
}

Test(safetensors, hostile_lengths) {
  unsigned char bytes[32] = {0};
  expect_refused_bytes(NULL, 0, "not a safetensors file: it has 0 bytes, expected at least 10");
  expect_refused_bytes(bytes, 9, "not a safetensors file: it has 9 bytes, expected at least 10");
  static const struct {
    uint64_t length;
    const char *message;
  } cases[] = {{0, "a header of 0 bytes, expected 2 to 100000000"},
               {1, "a header of 1 bytes"},
               {100000001, "a header of 100000001 bytes, expected 2 to 100000000"},
               {UINT64_MAX, "a header of 18446744073709551615 bytes"},
               {UINT64_MAX - 7, "a header of 18446744073709551608 bytes"},
               {(uint64_t)1 << 63, "a header of 9223372036854775808 bytes"},
               {100000000, "the header of 100000000 bytes does not fit the file of 32"},
               {25, "the header of 25 bytes does not fit the file of 32: it is truncated"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    for (int j = 0; j < 8; ++j) {
      bytes[j] = (unsigned char)(cases[i].length >> 8 * j);
    }
    expect_refused_bytes(bytes, sizeof bytes, cases[i].message);
  }
  expect_refused_bytes((const unsigned char *)"GGUF\3\0\0\0\0\0\0\0\0\0\0\0", 16,
                       "not a safetensors file");
}

Test(safetensors, hostile_json) {
  expect_refused(" {}", 0, "its header starts with the byte 20, expected 7b ({)");
  expect_refused("[]", 0, "its header starts with the byte 5b");
  expect_refused("{\"a\xff\":1}", 0, "the JSON is not UTF-8 (at byte 11)");
  expect_refused("{} x", 0, "the header has the character x where the end is expected");
  expect_refused("{\"a\":{}", 0, "tensor 'a' has no dtype");
  expect_refused("{\"a\":1}", 0, "tensor 'a' has the character 1 where an object is expected");
  expect_refused("{\"__metadata__\":[]}", 0, "__metadata__ has the character [ where an object");
  expect_refused("{\"__metadata__\":{\"a\":1}}", 0,
                 "__metadata__ has the character 1 where a string is expected");
  expect_refused("{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0,
                 "__metadata__ has the key 'a' twice");
  expect_refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0,
                 "the header has the key '__metadata__' twice");
  expect_refused("{\"\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0,
                 "a tensor has an empty name");
  expect_refused(
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
      "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
      0, "the header has the key 'a' twice");
  /* control sequences reach no terminal */
  expect_refused("{\"\\u001b[31m\":{}}", 0, "tensor '?[31m' has no dtype");
}

/* A tensor 't' with these fields, and eight bytes of data. */
static void expect_tensor_refused(const char *fields, const char *message) {
  char header[512];
  (void)snprintf(header, sizeof header, "{\"t\":{%s}}", fields);
  expect_refused(header, 8, message);
}

Test(safetensors, hostile_fields) {
  static const struct {
    const char *fields;
    const char *message;
  } cases[] = {
      {"\"shape\":[8],\"data_offsets\":[0,8]", "tensor 't' has no dtype"},
      {"\"dtype\":\"U8\",\"data_offsets\":[0,8]", "tensor 't' has no shape"},
      {"\"dtype\":\"U8\",\"shape\":[8]", "tensor 't' has no data_offsets"},
      {"\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]",
       "tensor 't' has the key 'dtype' twice"},
      {"\"dtype\":\"U8\",\"shape\":[2],\"shape\":[4],\"data_offsets\":[0,8]",
       "tensor 't' has the key 'shape' twice"},
      {"\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8],\"zip\":true",
       "tensor 't' has the unknown field 'zip'"},
      {"\"dtype\":\"F4\",\"shape\":[16],\"data_offsets\":[0,8]",
       "tensor 't' has the dtype 'F4', which is not supported"},
      {"\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]", "the dtype 'f32'"},
      {"\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]", "where a string is expected"},
      {"\"dtype\":\"U8\",\"shape\":8,\"data_offsets\":[0,8]", "where an array is expected"},
      {"\"dtype\":\"U8\",\"shape\":[-8],\"data_offsets\":[0,8]", "the number -8, expected an"},
      {"\"dtype\":\"U8\",\"shape\":[8.0],\"data_offsets\":[0,8]", "the number 8.0, expected an"},
      {"\"dtype\":\"U8\",\"shape\":[9007199254740993],\"data_offsets\":[0,8]",
       "the number 9007199254740993, expected an integer from 0 to 9007199254740992"},
      {"\"dtype\":\"U8\",\"shape\":[2,18446744073709551614],\"data_offsets\":[0,8]",
       "the number 18446744073709551614, expected an integer"},
      {"\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,8],\"data_offsets\":[0,8]",
       "tensor 't' has more than 8 dimensions"},
      {"\"dtype\":\"U8\",\"shape\":[4294967296,2147483648],\"data_offsets\":[0,8]",
       "tensor 't' has dimensions whose product passes 9223372036854775807"},
      {"\"dtype\":\"U8\",\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]",
       "tensor 't' has dimensions whose product passes 9223372036854775807"},
      {"\"dtype\":\"F64\",\"shape\":[4294967296,1073741824],\"data_offsets\":[0,8]",
       "tensor 't' has more bytes than a size can count"},
      {"\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":8", "where an array is expected"},
      {"\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[]", "has fewer than two data_offsets"},
      {"\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0]", "has fewer than two data_offsets"},
      {"\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8,8]", "has more than two data_offsets"},
      {"\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[-1,7]", "the number -1, expected an"},
      {"\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,1e1]", "the number 1e1, expected an"},
      {"\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[8,0]",
       "tensor 't' ends before it begins: data_offsets 8 and 0"},
      {"\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]",
       "tensor 't' has 8 bytes of data, expected 12 for its shape and dtype F32"},
      {"\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]",
       "tensor 't' ends at byte 9 of the data, of which the file has 8: it is truncated"},
      {"\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[9007199254740984,9007199254740992]",
       "tensor 't' ends at byte 9007199254740992 of the data"},
      {"\"dtype\":\"U8\",\"shape\":[7],\"data_offsets\":[0,7]",
       "1 bytes at the end of the data belong to no tensor"},
      {"\"dtype\":\"U8\",\"shape\":[6],\"data_offsets\":[2,8]",
       "2 bytes before the data of tensor 't' belong to none"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    expect_tensor_refused(cases[i].fields, cases[i].message);
  }
}

/* Two tensors of u8 in eight bytes. */
static void expect_pair_refused(const int a[2], const int b[2], const char *message) {
  char header[512];
  (void)snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"U8\",\"shape\":[%d],\"data_offsets\":[%d,%d]},"
                 "\"b\":{\"dtype\":\"U8\",\"shape\":[%d],\"data_offsets\":[%d,%d]}}",
                 a[1] - a[0], a[0], a[1], b[1] - b[0], b[0], b[1]);
  expect_refused(header, 8, message);
}

Test(safetensors, hostile_extents) {
  expect_pair_refused((const int[]){0, 8}, (const int[]){0, 8},
                      "the data of tensors 'a' and 'b' overlap");
  expect_pair_refused((const int[]){0, 5}, (const int[]){4, 8},
                      "the data of tensors 'a' and 'b' overlap");
  expect_pair_refused((const int[]){1, 8}, (const int[]){0, 2},
                      "the data of tensors 'b' and 'a' overlap");
  expect_pair_refused((const int[]){0, 8}, (const int[]){4, 4},
                      "the data of tensors 'a' and 'b' overlap");
  expect_pair_refused((const int[]){0, 3}, (const int[]){5, 8},
                      "2 bytes before the data of tensor 'b' belong to none");
  expect_pair_refused((const int[]){0, 3}, (const int[]){3, 6},
                      "2 bytes at the end of the data belong to no tensor");
  expect_refused("{}", 3, "3 bytes at the end of the data belong to no tensor");
}

/* Every length shorter or longer than the file's is refused. */
Test(safetensors, truncated_at_every_length) {
  st_bytes bytes = example();
  counting_start(0, 0);
  for (size_t size = 0; size < bytes.size; ++size) {
    expect_refused_bytes(bytes.data, size, size < 10 ? "not a safetensors file" : "truncated");
    cr_assert_eq(counting_live(), 0, "%zu bytes", size);
  }
  counting_stop();
  st_put(&bytes, NULL, 1);
  expect_refused_bytes(bytes.data, bytes.size, "1 bytes at the end of the data");
  free(bytes.data);
}

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

Test(safetensors, mutations_do_not_crash) {
  enum { ROUNDS = 20000 };
  static const char bytes_of_json[] = "{}[]\",:0123456789-.eE\\u \x01\xff";
  st_bytes bytes = example();
  unsigned char *copy = malloc(bytes.size);
  unsigned char data[64];
  uint64_t random = 42;
  size_t opened = 0;
  for (int round = 0; round < ROUNDS; ++round) {
    memcpy(copy, bytes.data, bytes.size);
    for (uint64_t i = next_random(&random) % 3; i <= 2; ++i) {
      copy[next_random(&random) % bytes.size] =
          (unsigned char)bytes_of_json[next_random(&random) % (sizeof bytes_of_json - 1)];
    }
    clqi_safetensors *set = NULL;
    const clq_status status = clqi_safetensors_open_memory(copy, bytes.size, NAME, &set);
    cr_assert(status == CLQ_OK || status == CLQ_BAD_FILE, "round %d: %s", round, clq_last_error());
    if (status == CLQ_OK) {
      ++opened;
      for (size_t i = 0; i < clqi_safetensors_count(set); ++i) {
        const clqi_safetensors_tensor *tensor = clqi_safetensors_at(set, i);
        cr_assert_eq(clqi_safetensors_find(set, tensor->name), tensor);
        cr_assert_leq(tensor->bytes, sizeof data);
        cr_assert_eq(clqi_safetensors_read(set, tensor, 0, tensor->bytes, data), CLQ_OK);
      }
    }
    clqi_safetensors_close(set);
  }
  cr_assert(opened > ROUNDS / 100 && opened < ROUNDS, "%zu of %d opened", opened, ROUNDS);
  free(copy);
  free(bytes.data);
}

Test(safetensors, many_tensors, .timeout = 20) {
  enum { COUNT = 20000 };
  st_image image = {0};
  for (uint32_t i = 0; i < COUNT; ++i) {
    char name[32];
    (void)snprintf(name, sizeof name, "name.%" PRIu32, i * 2654435761u);
    st_add(&image, name, "U8", 1, (const int64_t[]){1}, &i, 1);
  }
  st_bytes bytes = st_finish(&image);
  clqi_safetensors *set = open_image(&bytes);
  unsigned char value = 0;
  cr_assert_eq(clqi_safetensors_count(set), COUNT);
  cr_assert_eq(
      clqi_safetensors_read(set, clqi_safetensors_find(set, "name.2654435761"), 0, 1, &value),
      CLQ_OK);
  cr_assert_eq(value, 1);
  clqi_safetensors_close(set);
  free(bytes.data);
}

/* --- Files and sets of them. ---------------------------------------------- */

typedef struct scratch {
  char folder[64];
  char path[3][128]; /* of files that were written */
} scratch;

static scratch scratch_new(void) {
  scratch s = {.folder = "/tmp/clq_safetensors_XXXXXX"};
  cr_assert_not_null(mkdtemp(s.folder));
  return s;
}

static const char *scratch_write(scratch *s, int slot, const char *name, const void *data,
                                 size_t size) {
  char path[sizeof s->path[slot]];
  (void)snprintf(path, sizeof path, "%s/%s", s->folder, name);
  memcpy(s->path[slot], path, sizeof path);
  FILE *stream = fopen(s->path[slot], "wb");
  cr_assert_not_null(stream);
  cr_assert_eq(fwrite(data, 1, size, stream), size);
  cr_assert_eq(fclose(stream), 0);
  return s->path[slot];
}

static void scratch_free(const scratch *s) {
  for (size_t i = 0; i < 3; ++i) {
    if (s->path[i][0] != '\0') {
      (void)unlink(s->path[i]);
    }
  }
  cr_assert_eq(rmdir(s->folder), 0);
}

static void expect_open_fails(const char *path, clq_status expected, const char *message) {
  clqi_safetensors *set = NULL;
  const clq_status status = clqi_safetensors_open(path, &set);
  cr_assert_eq(status, expected, "%s: %s", clq_status_name(status), clq_last_error());
  cr_assert_null(set);
  expect_sentence("/", message);
}

Test(safetensors_file, is_read_with_its_bands) {
  scratch s = scratch_new();
  st_bytes bytes = example();
  const char *path = scratch_write(&s, 0, "model.safetensors", bytes.data, bytes.size);
  unsigned char data[4];
  for (int folder = 0; folder < 2; ++folder) {
    clqi_safetensors *set = NULL;
    cr_assert_eq(clqi_safetensors_open(folder ? s.folder : path, &set), CLQ_OK, "%s",
                 clq_last_error());
    cr_assert_str_eq(clqi_safetensors_shard_name(set, 0), path);
    const clqi_safetensors_tensor *b = clqi_safetensors_find(set, "b.weight");
    cr_assert_eq(clqi_safetensors_read(set, b, 20, 4, data), CLQ_OK);
    cr_assert(data[0] == 20 && data[3] == 23);
    clqi_safetensors_close(set);
  }
  free(bytes.data);
  scratch_free(&s);
}

Test(safetensors_file, unusable_paths_are_explained) {
  scratch s = scratch_new();
  char path[128];
  expect_open_fails(s.folder, CLQ_IO_ERROR,
                    "the folder has neither model.safetensors nor model.safetensors.index.json");
  (void)snprintf(path, sizeof path, "%s/absent.safetensors", s.folder);
  expect_open_fails(path, CLQ_IO_ERROR, "no such file");
  expect_open_fails(scratch_write(&s, 0, "a.safetensors", "", 0), CLQ_BAD_FILE,
                    "the file is empty");
  expect_open_fails(scratch_write(&s, 0, "a.safetensors", "hello", 5), CLQ_BAD_FILE,
                    "not a safetensors file");
  expect_open_fails("/dev/null", CLQ_IO_ERROR, "expected a regular file");
  scratch_free(&s);
}

Test(safetensors_file, changes_after_opening_are_noticed) {
  scratch s = scratch_new();
  st_bytes bytes = example();
  const char *path = scratch_write(&s, 0, "a.safetensors", bytes.data, bytes.size);
  clqi_safetensors *set = NULL;
  unsigned char data[64];
  cr_assert_eq(clqi_safetensors_open(path, &set), CLQ_OK);
  const clqi_safetensors_tensor *a = clqi_safetensors_find(set, "a.weight");
  cr_assert_eq(clqi_safetensors_read(set, a, 0, a->bytes, data), CLQ_OK);
  cr_assert_eq(truncate(path, (off_t)bytes.size - 1), 0);
  cr_assert_eq(clqi_safetensors_read(set, a, 0, a->bytes, data), CLQ_IO_ERROR);
  expect_sentence(path, "when it was opened and has");
  cr_assert_str_eq(a->name, "a.weight");
  clqi_safetensors_close(set);
  free(bytes.data);
  scratch_free(&s);
}

/* Two shards with a tensor each, "a" of bytes 7 and "b" of bytes 9. */
static void write_shards(scratch *s) {
  static const char *const names[] = {"a", "b"};
  for (int i = 0; i < 2; ++i) {
    st_image image = {0};
    char file[64];
    const unsigned char value[2] = {(unsigned char)(7 + 2 * i), 0};
    st_add(&image, names[i], "U8", 1, (const int64_t[]){2}, value, 2);
    st_bytes bytes = st_finish(&image);
    (void)snprintf(file, sizeof file, "model-%05d-of-00002.safetensors", i + 1);
    (void)scratch_write(s, i, file, bytes.data, bytes.size);
    free(bytes.data);
  }
}

#define SHARD(n) "model-0000" #n "-of-00002.safetensors"
static const char *write_index(scratch *s, const char *text) {
  return scratch_write(s, 2, "model.safetensors.index.json", text, strlen(text));
}

Test(safetensors_set, shards_are_one_set) {
  scratch s = scratch_new();
  write_shards(&s);
  const char *index =
      write_index(&s, "{\"metadata\":{\"total_size\":4},\"weight_map\":{\"b\":\"" SHARD(
                          2) "\",\"a\":\"" SHARD(1) "\"}}\n");
  for (int folder = 0; folder < 2; ++folder) {
    clqi_safetensors *set = NULL;
    unsigned char value = 0;
    cr_assert_eq(clqi_safetensors_open(folder ? s.folder : index, &set), CLQ_OK, "%s",
                 clq_last_error());
    cr_assert_eq(clqi_safetensors_shard_count(set), 2);
    cr_assert_eq(clqi_safetensors_count(set), 2);
    const clqi_safetensors_tensor *a = clqi_safetensors_find(set, "a");
    const clqi_safetensors_tensor *b = clqi_safetensors_find(set, "b");
    cr_assert_str_eq(clqi_safetensors_shard_name(set, a->shard), s.path[0]);
    cr_assert_str_eq(clqi_safetensors_shard_name(set, b->shard), s.path[1]);
    cr_assert_eq(clqi_safetensors_read(set, a, 0, 1, &value), CLQ_OK);
    cr_assert_eq(value, 7);
    cr_assert_eq(clqi_safetensors_read(set, b, 0, 1, &value), CLQ_OK);
    cr_assert_eq(value, 9);
    clqi_safetensors_close(set);
  }
  scratch_free(&s);
}

Test(safetensors_set, hostile_indices) {
  static const struct {
    const char *text;
    const char *message;
  } cases[] = {
      {"[]", "the index has the character [ where an object is expected"},
      {"{}", "the index has no weight_map"},
      {"{\"weight_map\":{}}", "the index has no weight_map"},
      {"{\"weight_map\":[]}", "weight_map has the character [ where an object is expected"},
      {"{\"weight_map\":{\"a\":1}}", "weight_map has the character 1 where a string is expected"},
      {"{\"weight_map\":{\"a\":\"" SHARD(1) "\",\"a\":\"" SHARD(1) "\"}}",
       "weight_map has the key 'a' twice"},
      {"{\"weight_map\":{\"a\":\"" SHARD(1) "\"},\"weight_map\":{}}",
       "the index has the key 'weight_map' twice"},
      {"{\"weight_map\":{\"a\":\"../" SHARD(1) "\"}}",
       "tensor 'a' is said to be in '../model-00001-of-00002.safetensors', expected the name of a "
       "file in the folder of the index"},
      {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "is said to be in '/etc/passwd'"},
      {"{\"weight_map\":{\"a\":\"x\\\\y\"}}", "is said to be in"},
      {"{\"weight_map\":{\"a\":\"\\u001b[31m\"}}", "is said to be in '?[31m'"},
      {"{\"weight_map\":{\"a\":\"\"}}", "is said to be in ''"},
      {"{\"weight_map\":{\"a\":\".\"}}", "is said to be in '.'"},
      {"{\"weight_map\":{\"a\":\"..\"}}", "is said to be in '..'"},
      {"{\"weight_map\":{\"a\":\"" SHARD(2) "\"}}",
       "tensor 'a' is not in 'model-00002-of-00002.safetensors', where the weight_map has it"},
      {"{\"weight_map\":{\"a\":\"" SHARD(2) "\",\"b\":\"" SHARD(1) "\"}}", "tensor 'b' is not in"},
      {"{\"weight_map\":{\"a\":\"" SHARD(1) "\",\"c\":\"" SHARD(1) "\"}}",
       "tensor 'c' is not in 'model-00001-of-00002.safetensors'"},
      {"{\"weight_map\":{\"a\":\"model.safetensors.index.json\"}}", "not a safetensors file"},
  };
  scratch s = scratch_new();
  write_shards(&s);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    expect_open_fails(write_index(&s, cases[i].text), CLQ_BAD_FILE, cases[i].message);
  }
  expect_open_fails(write_index(&s, "{\"weight_map\":{\"a\":\"absent\"}}"), CLQ_IO_ERROR,
                    "absent: no such file");
  /* the same tensor in both */
  st_image image = {0};
  st_add(&image, "a", "U8", 1, (const int64_t[]){2}, NULL, 2);
  st_bytes bytes = st_finish(&image);
  (void)scratch_write(&s, 1, SHARD(2), bytes.data, bytes.size);
  expect_open_fails(
      write_index(&s, "{\"weight_map\":{\"a\":\"" SHARD(1) "\",\"b\":\"" SHARD(2) "\"}}"),
      CLQ_BAD_FILE, "tensor 'a' is in two files, ");
  free(bytes.data);
  scratch_free(&s);
}

/* --- When memory or descriptors run out. ---------------------------------- */

static clq_status open_close(const char *path, const st_bytes *bytes) {
  clqi_safetensors *set = NULL;
  const clq_status status =
      path != NULL ? clqi_safetensors_open(path, &set)
                   : clqi_safetensors_open_memory(bytes->data, bytes->size, "/image", &set);
  clqi_safetensors_close(set);
  return status;
}

static void fail_every_allocation(const char *path, const st_bytes *bytes, size_t expected) {
  size_t failures = 0;
  for (int persistent = 0; persistent < 2; ++persistent) {
    for (size_t k = 1;; ++k) {
      counting_start(k, persistent);
      const clq_status status = open_close(path, bytes);
      counting_stop();
      cr_assert_eq(counting_live(), 0, "allocation %zu: %zu blocks leak", k, counting_live());
      if (!counting_failed()) {
        cr_assert_eq(status, CLQ_OK, "%s", clq_last_error());
        break;
      }
      ++failures;
      cr_assert_eq(status, CLQ_OUT_OF_HOST_MEMORY, "allocation %zu: %s", k,
                   clq_status_name(status));
      expect_sentence("/", ": no memory ");
    }
  }
  cr_assert_geq(failures, 2 * expected, "%zu", failures);
}

Test(safetensors, every_failed_allocation_is_reported_and_nothing_leaks) {
  st_bytes bytes = example();
  fail_every_allocation(NULL, &bytes, 8);
  free(bytes.data);
  scratch s = scratch_new();
  write_shards(&s);
  fail_every_allocation(
      write_index(&s, "{\"weight_map\":{\"b\":\"" SHARD(2) "\",\"a\":\"" SHARD(1) "\"}}"), NULL,
      14);
  scratch_free(&s);
}

Test(safetensors_set, no_descriptor_is_lost) {
  scratch s = scratch_new();
  write_shards(&s);
  const char *index =
      write_index(&s, "{\"weight_map\":{\"a\":\"" SHARD(1) "\",\"c\":\"" SHARD(2) "\"}}");
  const int before = dup(0);
  cr_assert(before >= 0);
  (void)close(before);
  expect_open_fails(index, CLQ_BAD_FILE, "tensor 'c' is not in");
  expect_open_fails(write_index(&s, "{"), CLQ_BAD_FILE, "ends inside the index");
  const int after = dup(0);
  cr_assert_eq(after, before);
  (void)close(after);
  scratch_free(&s);
}
