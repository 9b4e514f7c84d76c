/* Reads f32 tensors from a .safetensors file with the library. Whatever is wrong ends the test. */
#ifndef CLQ_TESTS_SAFETENSORS_H
#define CLQ_TESTS_SAFETENSORS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct test_safetensors test_safetensors;

test_safetensors *test_safetensors_open(const char *path);
void test_safetensors_close(test_safetensors *file);

bool test_safetensors_has(const test_safetensors *file, const char *name);
/* A copy of the tensor, which must be [rows, cols], or [cols] with rows 1; to be freed. */
float *test_safetensors_read(const test_safetensors *file, const char *name, int64_t rows,
                             int64_t cols);

#endif
