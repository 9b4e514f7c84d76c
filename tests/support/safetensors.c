#include "safetensors.h"

#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test_safetensors {
  FILE *stream;
  cJSON *entries;
  long data; /* offset of the tensors' data */
};

static void read_exactly(FILE *stream, void *data, size_t bytes) {
  cr_assert_eq(fread(data, 1, bytes, stream), bytes, "a .safetensors file ends early");
}

test_safetensors *test_safetensors_open(const char *path) {
  test_safetensors *f = calloc(1, sizeof *f);
  f->stream = fopen(path, "rb");
  cr_assert_not_null(f->stream, "cannot open %s", path);
  uint8_t bytes[8];
  read_exactly(f->stream, bytes, sizeof bytes);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) {
    length = length << 8 | bytes[i];
  }
  cr_assert_lt(length, 100000000, "%s: a header of %llu bytes", path, (unsigned long long)length);
  char *text = malloc((size_t)length);
  read_exactly(f->stream, text, (size_t)length);
  f->entries = cJSON_ParseWithLength(text, (size_t)length);
  cr_assert_not_null(f->entries, "%s: the header is no JSON", path);
  f->data = (long)(sizeof bytes + length);
  free(text);
  return f;
}

void test_safetensors_close(test_safetensors *file) {
  (void)fclose(file->stream);
  cJSON_Delete(file->entries);
  free(file);
}

bool test_safetensors_has(const test_safetensors *file, const char *name) {
  return cJSON_GetObjectItemCaseSensitive(file->entries, name) != NULL;
}

static int64_t number_at(const cJSON *array, int index) {
  const cJSON *item = cJSON_GetArrayItem(array, index);
  cr_assert(cJSON_IsNumber(item));
  return (int64_t)item->valuedouble;
}

float *test_safetensors_read(const test_safetensors *file, const char *name, int64_t rows,
                             int64_t cols) {
  const cJSON *entry = cJSON_GetObjectItemCaseSensitive(file->entries, name);
  cr_assert_not_null(entry, "no tensor %s", name);
  const cJSON *type = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
  cr_assert_str_eq(cJSON_GetStringValue(type), "F32");
  const cJSON *shape = cJSON_GetObjectItemCaseSensitive(entry, "shape");
  const int dims = cJSON_GetArraySize(shape);
  cr_assert(dims == 2 || (dims == 1 && rows == 1), "%s has %d dimensions", name, dims);
  cr_assert_eq(number_at(shape, dims - 1), cols, "%s", name);
  cr_assert(dims == 1 || number_at(shape, 0) == rows, "%s", name);
  const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
  const int64_t begin = number_at(offsets, 0);
  const size_t bytes = (size_t)(rows * cols) * sizeof(float);
  cr_assert_eq((size_t)(number_at(offsets, 1) - begin), bytes, "%s", name);
  float *values = malloc(bytes);
  cr_assert_eq(fseek(file->stream, file->data + (long)begin, SEEK_SET), 0);
  read_exactly(file->stream, values, bytes);
  return values;
}
