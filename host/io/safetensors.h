/* Reader of models in .safetensors files, one file or a set of shards.
 *
 * The headers are copied from the files and checked completely when the set is opened; after that
 * no look-up can leave a file, whatever becomes of it. Tensor data is read when it is asked for.
 *
 *   clqi_safetensors *set;
 *   CLQI_TRY(clqi_safetensors_open("model-folder", &set));
 *   CLQI_TRY_CLEAN(clqi_safetensors_get(set, "model.norm.weight", &tensor));
 *   CLQI_TRY_CLEAN(clqi_safetensors_read(set, tensor, 0, tensor->bytes, data));
 *
 * Errors: CLQ_BAD_FILE for content that is malformed and for tensors that are missing;
 * CLQ_IO_ERROR; CLQ_OUT_OF_HOST_MEMORY. Each sentence begins with the file's name.
 * Threads: an open set may be read by many; open and close are not shared. */
#ifndef CLQI_IO_SAFETENSORS_H
#define CLQI_IO_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum {
  CLQI_SAFETENSORS_MAX_DIMS = 8,
  CLQI_SAFETENSORS_MAX_HEADER_BYTES = 100000000, /* as the format's own reader has it */
  CLQI_SAFETENSORS_MAX_INDEX_BYTES = 100000000
};

/* NAME, bytes of an element. */
#define CLQI_SAFETENSORS_DTYPES(X) \
  X(F64, 8)                        \
  X(F32, 4)                        \
  X(F16, 2)                        \
  X(BF16, 2)                       \
  X(I64, 8)                        \
  X(I32, 4)                        \
  X(I16, 2)                        \
  X(I8, 1)                         \
  X(U64, 8)                        \
  X(U32, 4)                        \
  X(U16, 2)                        \
  X(U8, 1)                         \
  X(BOOL, 1)                       \
  X(F8_E4M3, 1)                    \
  X(F8_E5M2, 1)

typedef enum clqi_safetensors_dtype {
#define X(name, bytes) CLQI_SAFETENSORS_##name,
  CLQI_SAFETENSORS_DTYPES(X)
#undef X
} clqi_safetensors_dtype;

/* As the format spells it: "F8_E4M3". */
const char *clqi_safetensors_dtype_name(clqi_safetensors_dtype dtype);
size_t clqi_safetensors_dtype_bytes(clqi_safetensors_dtype dtype);
/* False if the name is none of them. */
bool clqi_safetensors_dtype_find(const char *name, clqi_safetensors_dtype *out);

typedef struct clqi_safetensors_tensor {
  const char *name; /* any UTF-8 but the empty text: not to be printed as it is */
  clqi_safetensors_dtype dtype;
  uint32_t shard;                          /* index of the file */
  uint32_t dim_count;                      /* 0: one element */
  int64_t dims[CLQI_SAFETENSORS_MAX_DIMS]; /* row-major, 1 where absent; the product of the nonzero
                                              ones fits int64 */
  size_t offset;                           /* from the start of its file */
  size_t bytes;                            /* of data; 0 if a dimension is 0 */
} clqi_safetensors_tensor;

typedef struct clqi_safetensors clqi_safetensors;

/* path: a .safetensors file; the .json index of a sharded model; or a folder with
 * model.safetensors or model.safetensors.index.json. Of an index: every tensor that it names must
 * be in the file that it names, in its own folder, and no tensor may be in two files. *out is NULL
 * on failure. */
CLQ_NODISCARD clq_status clqi_safetensors_open(const char *path, clqi_safetensors **out);

/* Reads an image of one file, which must stay unchanged until close; name stands for the path in
 * messages. */
CLQ_NODISCARD clq_status clqi_safetensors_open_memory(const void *image, size_t bytes,
                                                      const char *name, clqi_safetensors **out);

/* NULL is allowed. */
void clqi_safetensors_close(clqi_safetensors *set);

/* As it was opened. */
const char *clqi_safetensors_name(const clqi_safetensors *set);
size_t clqi_safetensors_shard_count(const clqi_safetensors *set);
const char *clqi_safetensors_shard_name(const clqi_safetensors *set, uint32_t shard);

/* By name ascending, bytewise. */
size_t clqi_safetensors_count(const clqi_safetensors *set);
const clqi_safetensors_tensor *clqi_safetensors_at(const clqi_safetensors *set, size_t index);
/* NULL if there is no such tensor. */
const clqi_safetensors_tensor *clqi_safetensors_find(const clqi_safetensors *set, const char *name);
/* A missing tensor is CLQ_BAD_FILE. */
CLQ_NODISCARD clq_status clqi_safetensors_get(const clqi_safetensors *set, const char *name,
                                              const clqi_safetensors_tensor **out);

/* Copies so many bytes of the tensor's data, from its byte `first` on. CLQ_IO_ERROR if its file has
 * changed since it was opened; out is then undefined. */
CLQ_NODISCARD clq_status clqi_safetensors_read(const clqi_safetensors *set,
                                               const clqi_safetensors_tensor *tensor, size_t first,
                                               size_t bytes, void *out);

#endif
