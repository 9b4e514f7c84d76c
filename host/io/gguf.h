/* Reader of GGUF files, versions 2 and 3, little-endian.
 *
 * Metadata and tensor records are copied from the file and checked completely when
 * it is opened; strings point into that copy and live until clqi_gguf_close().
 * After a successful open no look-up can leave the file, whatever is in it or
 * whatever becomes of it. Tensor data is read when it is asked for.
 *
 *   clqi_gguf *file;
 *   uint32_t blocks;
 *   CLQI_TRY(clqi_gguf_open("model.gguf", &file));
 *   CLQI_TRY_CLEAN(clqi_gguf_get_u32(file, "llama.block_count", &blocks));
 *   CLQI_TRY_CLEAN(clqi_gguf_get_tensor(file, "output_norm.weight", &tensor));
 *   CLQI_TRY_CLEAN(clqi_gguf_read(file, tensor, 0, tensor->bytes, data));
 *
 * Errors: CLQ_BAD_FILE for content that is malformed, or a key or tensor that
 * is missing or has another type; CLQ_IO_ERROR; CLQ_OUT_OF_HOST_MEMORY. Each
 * sentence begins with the file's name.
 * Threads: an open file may be read by many; open and close are not shared. */
#ifndef CLQI_IO_GGUF_H
#define CLQI_IO_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/ggml_types.h"
#include "runtime/status.h"

enum {
  CLQI_GGUF_MAX_DIMS = 4,
  CLQI_GGUF_NAME_BYTES = 64, /* of a tensor's name, its NUL included */
  CLQI_GGUF_MAX_KEY_BYTES = 65535,
  CLQI_GGUF_MAX_RECORDS = 1 << 18, /* metadata entries; tensors */
  CLQI_GGUF_MIN_ALIGNMENT = 8,
  CLQI_GGUF_DEFAULT_ALIGNMENT = 32,
  CLQI_GGUF_MAX_ALIGNMENT = 65536,
  CLQI_GGUF_MAX_HEADER_BYTES = 1 << 30 /* of a file: metadata and tensor records */
};

/* Metadata types, with the ids of the file format. */
typedef enum clqi_gguf_type {
  CLQI_GGUF_U8 = 0,
  CLQI_GGUF_I8 = 1,
  CLQI_GGUF_U16 = 2,
  CLQI_GGUF_I16 = 3,
  CLQI_GGUF_U32 = 4,
  CLQI_GGUF_I32 = 5,
  CLQI_GGUF_F32 = 6,
  CLQI_GGUF_BOOL = 7,
  CLQI_GGUF_STRING = 8,
  CLQI_GGUF_ARRAY = 9,
  CLQI_GGUF_U64 = 10,
  CLQI_GGUF_I64 = 11,
  CLQI_GGUF_F64 = 12
} clqi_gguf_type;

/* Bytes of the file: not NUL-terminated, any content, not checked for UTF-8. */
typedef struct clqi_gguf_string {
  const char *data;
  size_t length;
} clqi_gguf_string;

typedef struct clqi_gguf_tensor {
  char name[CLQI_GGUF_NAME_BYTES];
  const clqi_ggml_type_info *type;
  uint32_t dim_count;               /* as the file says it, 0 to 4 */
  int64_t dims[CLQI_GGUF_MAX_DIMS]; /* elements, fastest first, 1 where absent; the
                                       product of the nonzero ones fits int64 */
  size_t offset;                    /* from the start of the file */
  size_t bytes;                     /* of data, no padding; 0 if a dimension is 0 */
} clqi_gguf_tensor;

/* What a metadata key holds. */
typedef struct clqi_gguf_value_info {
  clqi_gguf_type type;         /* CLQI_GGUF_ARRAY for an array */
  clqi_gguf_type element_type; /* of an array; equals type otherwise */
  size_t count;                /* elements of an array; 1 otherwise */
} clqi_gguf_value_info;

typedef struct clqi_gguf clqi_gguf;

/* *out is NULL on failure. */
CLQ_NODISCARD clq_status clqi_gguf_open(const char *path, clqi_gguf **out);

/* Reads an image in memory, which must stay unchanged until close; name stands
 * for the path in messages. */
CLQ_NODISCARD clq_status clqi_gguf_open_memory(const void *image, size_t bytes, const char *name,
                                               clqi_gguf **out);

/* NULL is allowed. */
void clqi_gguf_close(clqi_gguf *file);

const char *clqi_gguf_name(const clqi_gguf *file);
uint32_t clqi_gguf_version(const clqi_gguf *file);
size_t clqi_gguf_alignment(const clqi_gguf *file);

/* --- Metadata. --------------------------------------------------------------
 * get: the key must exist. get_..._or: an absent key yields the fallback, one
 * of another type is still an error. Integers may have any width and sign in
 * the file, their value is checked against the range of the result; floats may
 * be f32 or f64. *out is untouched on failure. */

size_t clqi_gguf_key_count(const clqi_gguf *file);
/* In file order; index < clqi_gguf_key_count(). */
clqi_gguf_string clqi_gguf_key_at(const clqi_gguf *file, size_t index);
/* False if the file has no such key; info may be NULL. */
bool clqi_gguf_find_key(const clqi_gguf *file, const char *key, clqi_gguf_value_info *info);

CLQ_NODISCARD clq_status clqi_gguf_get_u32(const clqi_gguf *file, const char *key, uint32_t *out);
CLQ_NODISCARD clq_status clqi_gguf_get_u64(const clqi_gguf *file, const char *key, uint64_t *out);
CLQ_NODISCARD clq_status clqi_gguf_get_i64(const clqi_gguf *file, const char *key, int64_t *out);
CLQ_NODISCARD clq_status clqi_gguf_get_f32(const clqi_gguf *file, const char *key, float *out);
CLQ_NODISCARD clq_status clqi_gguf_get_f64(const clqi_gguf *file, const char *key, double *out);
CLQ_NODISCARD clq_status clqi_gguf_get_bool(const clqi_gguf *file, const char *key, bool *out);
CLQ_NODISCARD clq_status clqi_gguf_get_string(const clqi_gguf *file, const char *key,
                                              clqi_gguf_string *out);

CLQ_NODISCARD clq_status clqi_gguf_get_i64_or(const clqi_gguf *file, const char *key,
                                              int64_t fallback, int64_t *out);
CLQ_NODISCARD clq_status clqi_gguf_get_f32_or(const clqi_gguf *file, const char *key,
                                              float fallback, float *out);
CLQ_NODISCARD clq_status clqi_gguf_get_bool_or(const clqi_gguf *file, const char *key,
                                               bool fallback, bool *out);
/* An absent key yields {NULL, 0}. */
CLQ_NODISCARD clq_status clqi_gguf_get_string_or_none(const clqi_gguf *file, const char *key,
                                                      clqi_gguf_string *out);

/* Arrays: *out is a new block of *count elements, NULL if there are none; the
 * caller releases it with clqi_free(). The strings themselves stay where they are.
 * Number arrays convert and check ranges as the scalars do. */
CLQ_NODISCARD clq_status clqi_gguf_get_string_array(const clqi_gguf *file, const char *key,
                                                    clqi_gguf_string **out, size_t *count);
CLQ_NODISCARD clq_status clqi_gguf_get_i32_array(const clqi_gguf *file, const char *key,
                                                 int32_t **out, size_t *count);
CLQ_NODISCARD clq_status clqi_gguf_get_f32_array(const clqi_gguf *file, const char *key,
                                                 float **out, size_t *count);

/* --- Tensors. ------------------------------------------------------------- */

size_t clqi_gguf_tensor_count(const clqi_gguf *file);
/* In file order; index < clqi_gguf_tensor_count(). */
const clqi_gguf_tensor *clqi_gguf_tensor_at(const clqi_gguf *file, size_t index);
/* NULL if the file has no such tensor. */
const clqi_gguf_tensor *clqi_gguf_find_tensor(const clqi_gguf *file, const char *name);
/* A missing tensor is CLQ_BAD_FILE. */
CLQ_NODISCARD clq_status clqi_gguf_get_tensor(const clqi_gguf *file, const char *name,
                                              const clqi_gguf_tensor **out);

/* Copies so many bytes of the tensor's data, from its byte `first` on. CLQ_IO_ERROR if the file has
 * another size than when it was opened; out is then undefined. */
CLQ_NODISCARD clq_status clqi_gguf_read(const clqi_gguf *file, const clqi_gguf_tensor *tensor,
                                        size_t first, size_t bytes, void *out);

/* Passes the status on. The sentence of a CLQ_BAD_FILE that came of look-ups gets what to do. */
clq_status clqi_gguf_advise(clq_status status);

#endif
