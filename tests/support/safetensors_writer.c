#include "safetensors_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void st_put(st_bytes *bytes, const void *data, size_t size) {
  if (size == 0) {
    return;
  }
  if (bytes->size + size > bytes->capacity) {
    bytes->capacity = 2 * (bytes->size + size);
    bytes->data = realloc(bytes->data, bytes->capacity);
    if (bytes->data == NULL) {
      abort();
    }
  }
  if (data != NULL) {
    memcpy(bytes->data + bytes->size, data, size);
  } else {
    memset(bytes->data + bytes->size, 0, size);
  }
  bytes->size += size;
}

static void put_text(st_bytes *bytes, const char *text) { st_put(bytes, text, strlen(text)); }

static void put_number(st_bytes *bytes, int64_t number) {
  char text[32];
  (void)snprintf(text, sizeof text, "%" PRId64, number);
  put_text(bytes, text);
}

void st_add(st_image *image, const char *name, const char *dtype, size_t dim_count,
            const int64_t *dims, const void *data, size_t size) {
  st_bytes *header = &image->header;
  put_text(header, header->size == 0 ? "{\"" : ",\"");
  put_text(header, name);
  put_text(header, "\":{\"dtype\":\"");
  put_text(header, dtype);
  put_text(header, "\",\"shape\":[");
  for (size_t i = 0; i < dim_count; ++i) {
    put_text(header, i == 0 ? "" : ",");
    put_number(header, dims[i]);
  }
  put_text(header, "],\"data_offsets\":[");
  put_number(header, (int64_t)image->data.size);
  st_put(&image->data, data, size);
  put_text(header, ",");
  put_number(header, (int64_t)image->data.size);
  put_text(header, "]}");
}

static st_bytes assemble(const st_bytes *header, const st_bytes *data) {
  st_bytes file = {0};
  const uint64_t length = header->size;
  unsigned char bytes[8];
  for (int i = 0; i < 8; ++i) {
    bytes[i] = (unsigned char)(length >> 8 * i);
  }
  st_put(&file, bytes, sizeof bytes);
  st_put(&file, header->data, header->size);
  st_put(&file, data->data, data->size);
  free(header->data);
  free(data->data);
  return file;
}

st_bytes st_finish(st_image *image) {
  put_text(&image->header, image->header.size == 0 ? "{}" : "}");
  while (image->header.size % 8 != 0) {
    put_text(&image->header, " ");
  }
  const st_bytes file = assemble(&image->header, &image->data);
  *image = (st_image){0};
  return file;
}

st_bytes st_file(const char *header, size_t data_bytes) {
  st_bytes text = {0};
  st_bytes data = {0};
  put_text(&text, header);
  for (size_t i = 0; i < data_bytes; ++i) {
    const unsigned char value = (unsigned char)i;
    st_put(&data, &value, 1);
  }
  return assemble(&text, &data);
}
