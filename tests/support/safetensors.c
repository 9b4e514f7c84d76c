#include "safetensors.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "io/safetensors.h"

struct test_safetensors {
  clqi_safetensors *set;
};

test_safetensors *test_safetensors_open(const char *path) {
  test_safetensors *f = calloc(1, sizeof *f);
  cr_assert_eq(clqi_safetensors_open(path, &f->set), CLQ_OK, "%s", clq_last_error());
  return f;
}

void test_safetensors_close(test_safetensors *file) {
  clqi_safetensors_close(file->set);
  free(file);
}

bool test_safetensors_has(const test_safetensors *file, const char *name) {
  return clqi_safetensors_find(file->set, name) != NULL;
}

float *test_safetensors_read(const test_safetensors *file, const char *name, int64_t rows,
                             int64_t cols) {
  const clqi_safetensors_tensor *tensor = NULL;
  cr_assert_eq(clqi_safetensors_get(file->set, name, &tensor), CLQ_OK, "%s", clq_last_error());
  cr_assert_eq(tensor->dtype, CLQI_SAFETENSORS_F32, "%s", name);
  const uint32_t dims = tensor->dim_count;
  cr_assert(dims == 2 || (dims == 1 && rows == 1), "%s has %u dimensions", name, dims);
  cr_assert_eq(tensor->dims[dims - 1], cols, "%s", name);
  cr_assert(dims == 1 || tensor->dims[0] == rows, "%s", name);
  float *values = malloc(tensor->bytes);
  cr_assert_eq(clqi_safetensors_read(file->set, tensor, 0, tensor->bytes, values), CLQ_OK, "%s",
               clq_last_error());
  return values;
}
