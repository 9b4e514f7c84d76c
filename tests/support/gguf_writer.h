/* Writes small GGUF images for tests, well formed or deliberately not.
 *
 *   gguf_image image = {0};
 *   gguf_add_string(&image, "general.architecture", "llama");
 *   gguf_add_tensor(&image, "output_norm.weight", CLQI_GGML_F32, 1, (uint64_t[]){64}, data, 256);
 *   gguf_bytes file = gguf_finish(&image);
 *   ...
 *   free(file.data);
 *
 * Every field can be set to a lie before gguf_finish(), and the three parts can
 * be appended to with gguf_put(). Running out of memory aborts. */
#ifndef CLQ_TEST_GGUF_WRITER_H
#define CLQ_TEST_GGUF_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/gguf.h"

typedef struct gguf_bytes {
  unsigned char *data; /* to be freed with free() */
  size_t size;
  size_t capacity;
} gguf_bytes;

/* All zero is a valid start: an empty file of version 3, alignment 32. */
typedef struct gguf_image {
  uint32_t version;      /* 0 means 3 */
  size_t alignment;      /* of the data, 0 means 32; does not write general.alignment */
  uint64_t entry_count;  /* as the header will say */
  uint64_t tensor_count; /* as the header will say */
  gguf_bytes entries;
  gguf_bytes tensors;
  gguf_bytes data;
} gguf_image;

void gguf_put(gguf_bytes *bytes, const void *data, size_t size);
void gguf_put_u32(gguf_bytes *bytes, uint32_t value);
void gguf_put_u64(gguf_bytes *bytes, uint64_t value);
void gguf_put_string(gguf_bytes *bytes, const char *text);
/* Zeros up to a multiple of alignment. */
void gguf_pad(gguf_bytes *bytes, size_t alignment);

/* A scalar of any type: size bytes at value. */
void gguf_add_value(gguf_image *image, const char *key, clqi_gguf_type type, const void *value,
                    size_t size);
void gguf_add_u32(gguf_image *image, const char *key, uint32_t value);
void gguf_add_f32(gguf_image *image, const char *key, float value);
void gguf_add_bool(gguf_image *image, const char *key, bool value);
void gguf_add_string(gguf_image *image, const char *key, const char *text);
/* An array of any plain type: size bytes at values. */
void gguf_add_array(gguf_image *image, const char *key, clqi_gguf_type element_type,
                    const void *values, size_t count, size_t size);
void gguf_add_string_array(gguf_image *image, const char *key, const char *const *texts,
                           size_t count);

/* The record alone, with any lie in it. */
void gguf_add_tensor_record(gguf_image *image, const char *name, uint32_t type, uint32_t dim_count,
                            const uint64_t *dims, uint64_t offset);
/* Record and data, which is zero if data is NULL. */
void gguf_add_tensor(gguf_image *image, const char *name, uint32_t type, uint32_t dim_count,
                     const uint64_t *dims, const void *data, size_t size);

/* The file; releases the image. */
gguf_bytes gguf_finish(gguf_image *image);

#endif
