#include "gguf_walk.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/memory.h"

static uint64_t mix(uint64_t sum, const void *data, size_t size) {
  const unsigned char *bytes = data;
  for (size_t i = 0; i < size; ++i) {
    sum = sum * 31 + bytes[i];
  }
  return sum;
}

static uint64_t walk_arrays(const clqi_gguf *file, const char *key, uint64_t sum) {
  clqi_gguf_string *strings;
  int32_t *integers;
  float *floats;
  size_t count;
  if (clqi_gguf_get_string_array(file, key, &strings, &count) == CLQ_OK) {
    for (size_t i = 0; i < count; ++i) {
      sum = mix(sum, strings[i].data, strings[i].length);
    }
    clqi_free(strings);
  }
  if (clqi_gguf_get_i32_array(file, key, &integers, &count) == CLQ_OK) {
    sum = mix(sum, integers, count * sizeof *integers);
    clqi_free(integers);
  }
  if (clqi_gguf_get_f32_array(file, key, &floats, &count) == CLQ_OK) {
    sum = mix(sum, floats, count * sizeof *floats);
    clqi_free(floats);
  }
  return sum;
}

static uint64_t walk_scalars(const clqi_gguf *file, const char *key, uint64_t sum) {
  uint32_t u32;
  uint64_t u64;
  int64_t i64;
  float f32;
  double f64;
  bool flag;
  clqi_gguf_string text;
  sum += clqi_gguf_get_u32(file, key, &u32) == CLQ_OK ? u32 : 1;
  sum += clqi_gguf_get_u64(file, key, &u64) == CLQ_OK ? u64 : 2;
  sum += clqi_gguf_get_i64(file, key, &i64) == CLQ_OK ? (uint64_t)i64 : 3;
  sum = clqi_gguf_get_f32(file, key, &f32) == CLQ_OK ? mix(sum, &f32, sizeof f32) : sum;
  sum = clqi_gguf_get_f64(file, key, &f64) == CLQ_OK ? mix(sum, &f64, sizeof f64) : sum;
  sum += clqi_gguf_get_bool(file, key, &flag) == CLQ_OK && flag;
  if (clqi_gguf_get_string(file, key, &text) == CLQ_OK) {
    sum = mix(sum, text.data, text.length);
  }
  return sum;
}

static uint64_t walk_tensors(const clqi_gguf *file, uint64_t sum) {
  for (size_t i = 0; i < clqi_gguf_tensor_count(file); ++i) {
    const clqi_gguf_tensor *tensor = clqi_gguf_tensor_at(file, i);
    void *data = malloc(tensor->bytes + 1);
    if (data == NULL || clqi_gguf_find_tensor(file, tensor->name) != tensor) {
      abort(); /* names are unique and found: what the sorted order promises */
    }
    if (clqi_gguf_read(file, tensor, 0, tensor->bytes, data) == CLQ_OK) {
      sum = mix(sum, data, tensor->bytes);
    }
    free(data);
  }
  return sum;
}

uint64_t gguf_walk(const clqi_gguf *file) {
  uint64_t sum = clqi_gguf_version(file) + clqi_gguf_alignment(file);
  for (size_t i = 0; i < clqi_gguf_key_count(file); ++i) {
    const clqi_gguf_string name = clqi_gguf_key_at(file, i);
    char *key = malloc(name.length + 1);
    if (key == NULL) {
      abort();
    }
    memcpy(key, name.data, name.length);
    key[name.length] = '\0';
    if (!clqi_gguf_find_key(file, key, NULL)) {
      abort();
    }
    sum = walk_scalars(file, key, sum);
    sum = walk_arrays(file, key, sum);
    free(key);
  }
  return walk_tensors(file, sum);
}
