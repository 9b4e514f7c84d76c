/* The parsed form of a set of safetensors files, shared by header, index and look-ups. */
#ifndef CLQI_IO_SAFETENSORS_PRIVATE_H
#define CLQI_IO_SAFETENSORS_PRIVATE_H

#include "io/file.h"
#include "io/safetensors.h"

typedef struct clqi_safetensors_shard {
  char *name;
  clqi_file source;           /* descriptor -1 for a memory image */
  const unsigned char *image; /* NULL for a file */
  size_t size;                /* of the whole */
  char *header;               /* its JSON, where names were decoded in place */
} clqi_safetensors_shard;

struct clqi_safetensors {
  char *name;
  clqi_safetensors_shard *shards;
  size_t shard_count;
  clqi_safetensors_tensor *tensors; /* shard by shard */
  size_t tensor_count;
  size_t tensor_capacity;
  uint32_t *order; /* of tensors: by name once the set is open */
};

/* Appends the tensors of the shard with that index, whose name, source, image and size are set. */
CLQ_NODISCARD clq_status clqi_safetensors_parse_header(clqi_safetensors *set, uint32_t shard);

/* Opens the file as the next shard and parses its header; there is room in set->shards. */
CLQ_NODISCARD clq_status clqi_safetensors_add_file(clqi_safetensors *set, const char *path);

/* Opens what the index at path, which is not changed while it is read, lists. */
CLQ_NODISCARD clq_status clqi_safetensors_open_index(clqi_safetensors *set, const char *path);

/* Sorts set->order by name and refuses names that occur twice. */
CLQ_NODISCARD clq_status clqi_safetensors_sort(clqi_safetensors *set);

/* A new array 0, 1, ..., count-1 to be sorted, to be released; NULL if count is 0. */
CLQ_NODISCARD clq_status clqi_safetensors_new_order(const clqi_safetensors *set, size_t count,
                                                    uint32_t **out);

#endif
