#include "gguf_writer.h"

#include <stdlib.h>
#include <string.h>

static void reserve(gguf_bytes *bytes, size_t size) {
  if (bytes->size + size <= bytes->capacity) {
    return;
  }
  bytes->capacity = 2 * (bytes->size + size);
  bytes->data = realloc(bytes->data, bytes->capacity);
  if (bytes->data == NULL) {
    abort();
  }
}

void gguf_put(gguf_bytes *bytes, const void *data, size_t size) {
  if (size == 0) {
    return;
  }
  reserve(bytes, size);
  if (data != NULL) {
    memcpy(bytes->data + bytes->size, data, size);
  } else {
    memset(bytes->data + bytes->size, 0, size);
  }
  bytes->size += size;
}

void gguf_put_u32(gguf_bytes *bytes, uint32_t value) { gguf_put(bytes, &value, sizeof value); }
void gguf_put_u64(gguf_bytes *bytes, uint64_t value) { gguf_put(bytes, &value, sizeof value); }

void gguf_put_string(gguf_bytes *bytes, const char *text) {
  gguf_put_u64(bytes, strlen(text));
  gguf_put(bytes, text, strlen(text));
}

void gguf_pad(gguf_bytes *bytes, size_t alignment) {
  gguf_put(bytes, NULL, (alignment - bytes->size % alignment) % alignment);
}

static void begin_entry(gguf_image *image, const char *key, clqi_gguf_type type) {
  gguf_put_string(&image->entries, key);
  gguf_put_u32(&image->entries, type);
  ++image->entry_count;
}

void gguf_add_value(gguf_image *image, const char *key, clqi_gguf_type type, const void *value,
                    size_t size) {
  begin_entry(image, key, type);
  gguf_put(&image->entries, value, size);
}

void gguf_add_u32(gguf_image *image, const char *key, uint32_t value) {
  gguf_add_value(image, key, CLQI_GGUF_U32, &value, sizeof value);
}

void gguf_add_f32(gguf_image *image, const char *key, float value) {
  gguf_add_value(image, key, CLQI_GGUF_F32, &value, sizeof value);
}

void gguf_add_bool(gguf_image *image, const char *key, bool value) {
  gguf_add_value(image, key, CLQI_GGUF_BOOL, &value, 1);
}

void gguf_add_string(gguf_image *image, const char *key, const char *text) {
  begin_entry(image, key, CLQI_GGUF_STRING);
  gguf_put_string(&image->entries, text);
}

static void begin_array(gguf_image *image, const char *key, clqi_gguf_type element_type,
                        size_t count) {
  begin_entry(image, key, CLQI_GGUF_ARRAY);
  gguf_put_u32(&image->entries, element_type);
  gguf_put_u64(&image->entries, count);
}

void gguf_add_array(gguf_image *image, const char *key, clqi_gguf_type element_type,
                    const void *values, size_t count, size_t size) {
  begin_array(image, key, element_type, count);
  gguf_put(&image->entries, values, size);
}

void gguf_add_string_array(gguf_image *image, const char *key, const char *const *texts,
                           size_t count) {
  begin_array(image, key, CLQI_GGUF_STRING, count);
  for (size_t i = 0; i < count; ++i) {
    gguf_put_string(&image->entries, texts[i]);
  }
}

void gguf_add_tensor_record(gguf_image *image, const char *name, uint32_t type, uint32_t dim_count,
                            const uint64_t *dims, uint64_t offset) {
  gguf_put_string(&image->tensors, name);
  gguf_put_u32(&image->tensors, dim_count);
  gguf_put(&image->tensors, dims, dim_count * sizeof *dims);
  gguf_put_u32(&image->tensors, type);
  gguf_put_u64(&image->tensors, offset);
  ++image->tensor_count;
}

static size_t alignment_of(const gguf_image *image) {
  return image->alignment == 0 ? CLQI_GGUF_DEFAULT_ALIGNMENT : image->alignment;
}

void gguf_add_tensor(gguf_image *image, const char *name, uint32_t type, uint32_t dim_count,
                     const uint64_t *dims, const void *data, size_t size) {
  gguf_pad(&image->data, alignment_of(image));
  gguf_add_tensor_record(image, name, type, dim_count, dims, image->data.size);
  gguf_put(&image->data, data, size);
}

gguf_bytes gguf_finish(gguf_image *image) {
  gguf_bytes file = {0};
  gguf_put(&file, "GGUF", 4);
  gguf_put_u32(&file, image->version == 0 ? 3 : image->version);
  gguf_put_u64(&file, image->tensor_count);
  gguf_put_u64(&file, image->entry_count);
  gguf_put(&file, image->entries.data, image->entries.size);
  gguf_put(&file, image->tensors.data, image->tensors.size);
  gguf_pad(&file, alignment_of(image));
  gguf_put(&file, image->data.data, image->data.size);
  free(image->entries.data);
  free(image->tensors.data);
  free(image->data.data);
  *image = (gguf_image){0};
  return file;
}
