/* Writes small safetensors images for tests, well formed or deliberately not.
 *
 *   st_image image = {0};
 *   st_add(&image, "norm.weight", "F32", 1, (int64_t[]){64}, data, 256);
 *   st_bytes file = st_finish(&image);
 *   ...
 *   free(file.data);
 *
 * Running out of memory aborts. */
#ifndef CLQ_TESTS_SAFETENSORS_WRITER_H
#define CLQ_TESTS_SAFETENSORS_WRITER_H

#include <stddef.h>
#include <stdint.h>

typedef struct st_bytes {
  unsigned char *data; /* to be freed with free() */
  size_t size;
  size_t capacity;
} st_bytes;

typedef struct st_image {
  st_bytes header; /* without the last brace */
  st_bytes data;
} st_image;

/* Zeros if data is NULL. */
void st_put(st_bytes *bytes, const void *data, size_t size);
void st_add(st_image *image, const char *name, const char *dtype, size_t dim_count,
            const int64_t *dims, const void *data, size_t size);
/* The file, its header padded with spaces to a multiple of 8; releases the image. */
st_bytes st_finish(st_image *image);
/* A file of this header, whatever it says, and so many bytes 0, 1, 2, ... of data. */
st_bytes st_file(const char *header, size_t data_bytes);

#endif
