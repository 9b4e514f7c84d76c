#include "io/safetensors.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "io/safetensors_private.h"
#include "io/text.h"
#include "runtime/memory.h"
#include "runtime/sort_order.h"

enum { PATH_BYTES = 4096 };

static const struct {
  const char *name;
  size_t bytes;
} dtypes[] = {
#define X(name, bytes) {#name, bytes},
    CLQI_SAFETENSORS_DTYPES(X)
#undef X
};

const char *clqi_safetensors_dtype_name(clqi_safetensors_dtype dtype) { return dtypes[dtype].name; }

size_t clqi_safetensors_dtype_bytes(clqi_safetensors_dtype dtype) { return dtypes[dtype].bytes; }

bool clqi_safetensors_dtype_find(const char *name, clqi_safetensors_dtype *out) {
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; ++i) {
    if (strcmp(name, dtypes[i].name) == 0) {
      *out = (clqi_safetensors_dtype)i;
      return true;
    }
  }
  return false;
}

/* --- Open and close. ------------------------------------------------------ */

clq_status clqi_safetensors_new_order(const clqi_safetensors *set, size_t count, uint32_t **out) {
  *out = clqi_calloc(count, sizeof **out);
  if (*out == NULL && count != 0) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for %zu indices", set->name, count);
  }
  for (size_t i = 0; i < count; ++i) {
    (*out)[i] = (uint32_t)i;
  }
  return CLQ_OK;
}

static int compare_names(const void *context, uint32_t a, uint32_t b) {
  const clqi_safetensors_tensor *tensors = context;
  const int order = strcmp(tensors[a].name, tensors[b].name);
  return order != 0 ? order : (a > b) - (a < b);
}

clq_status clqi_safetensors_sort(clqi_safetensors *set) {
  CLQI_TRY(clqi_safetensors_new_order(set, set->tensor_count, &set->order));
  clqi_sort_order(set->order, set->tensor_count, compare_names, set->tensors);
  for (size_t i = 1; i < set->tensor_count; ++i) {
    const clqi_safetensors_tensor *a = &set->tensors[set->order[i - 1]];
    const clqi_safetensors_tensor *b = &set->tensors[set->order[i]];
    if (strcmp(a->name, b->name) == 0) {
      return clqi_fail(CLQ_BAD_FILE,
                       "%s: tensor '%s' is in two files, %s and %s: fetch the model again",
                       set->name, clqi_excerpt_of(clqi_text_of(a->name)).text,
                       set->shards[a->shard].name, set->shards[b->shard].name);
    }
  }
  return CLQ_OK;
}

clq_status clqi_safetensors_add_file(clqi_safetensors *set, const char *path) {
  clqi_safetensors_shard *shard = &set->shards[set->shard_count];
  *shard = (clqi_safetensors_shard){.source = {.descriptor = -1}, .name = clqi_strdup(path)};
  if (shard->name == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory to open it", path);
  }
  ++set->shard_count;
  CLQI_TRY(clqi_file_open(path, &shard->source));
  shard->size = shard->source.size;
  return clqi_safetensors_parse_header(set, (uint32_t)(set->shard_count - 1));
}

static clq_status create(const char *name, clqi_safetensors **out) {
  clqi_safetensors *set = clqi_calloc(1, sizeof *set);
  char *copy = clqi_strdup(name);
  if (set == NULL || copy == NULL) {
    clqi_free(set);
    clqi_free(copy);
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory to open it", name);
  }
  set->name = copy;
  *out = set;
  return CLQ_OK;
}

static clq_status new_shard(clqi_safetensors *set) {
  set->shards = clqi_calloc(1, sizeof *set->shards);
  return set->shards != NULL
             ? CLQ_OK
             : clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory to open it", set->name);
}

static clq_status open_file(clqi_safetensors *set, const char *path) {
  CLQI_TRY(new_shard(set));
  CLQI_TRY(clqi_safetensors_add_file(set, path));
  return clqi_safetensors_sort(set);
}

/* A folder's model file: model.safetensors, as other readers do, if both are there. */
static clq_status choose_in_folder(const char *folder, char path[PATH_BYTES]) {
  static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
  struct stat info;
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    const int length = snprintf(path, PATH_BYTES, "%s/%s", folder, names[i]);
    if (length < 0 || length >= PATH_BYTES) {
      return clqi_fail(CLQ_IO_ERROR, "%s: the path is too long", folder);
    }
    if (stat(path, &info) == 0) {
      return CLQ_OK;
    }
  }
  return clqi_fail(CLQ_IO_ERROR, "%s: the folder has neither %s nor %s", folder, names[0],
                   names[1]);
}

static bool ends_with(const char *text, const char *end) {
  const size_t length = strlen(text);
  return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

clq_status clqi_safetensors_open(const char *path, clqi_safetensors **out) {
  CLQI_REQUIRE(out != NULL, "safetensors_open: out is NULL");
  *out = NULL;
  CLQI_REQUIRE(path != NULL, "safetensors_open: path is NULL");
  clq_status status = CLQ_OK;
  clqi_safetensors *set = NULL;
  char chosen[PATH_BYTES];
  const char *file = path;
  if (clqi_is_folder(path)) {
    CLQI_TRY(choose_in_folder(path, chosen));
    file = chosen;
  }
  CLQI_TRY(create(path, &set));
  CLQI_TRY_CLEAN(ends_with(file, ".json") ? clqi_safetensors_open_index(set, file)
                                          : open_file(set, file));
  *out = set;
  set = NULL;
cleanup:
  clqi_safetensors_close(set);
  return status;
}

clq_status clqi_safetensors_open_memory(const void *image, size_t bytes, const char *name,
                                        clqi_safetensors **out) {
  CLQI_REQUIRE(out != NULL, "safetensors_open_memory: out is NULL");
  *out = NULL;
  CLQI_REQUIRE(name != NULL, "safetensors_open_memory: name is NULL");
  CLQI_REQUIRE(image != NULL || bytes == 0,
               "safetensors_open_memory: image is NULL, expected %zu bytes", bytes);
  clq_status status = CLQ_OK;
  clqi_safetensors *set = NULL;
  CLQI_TRY(create(name, &set));
  CLQI_TRY_CLEAN(new_shard(set));
  set->shards[0] = (clqi_safetensors_shard){
      .name = clqi_strdup(name), .source = {.descriptor = -1}, .image = image, .size = bytes};
  set->shard_count = 1;
  if (set->shards[0].name == NULL) {
    status = clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory to open it", name);
    goto cleanup;
  }
  CLQI_TRY_CLEAN(clqi_safetensors_parse_header(set, 0));
  CLQI_TRY_CLEAN(clqi_safetensors_sort(set));
  *out = set;
  set = NULL;
cleanup:
  clqi_safetensors_close(set);
  return status;
}

void clqi_safetensors_close(clqi_safetensors *set) {
  if (set == NULL) {
    return;
  }
  for (size_t i = 0; i < set->shard_count; ++i) {
    clqi_file_close(&set->shards[i].source);
    clqi_free(set->shards[i].header);
    clqi_free(set->shards[i].name);
  }
  clqi_free(set->shards);
  clqi_free(set->tensors);
  clqi_free(set->order);
  clqi_free(set->name);
  clqi_free(set);
}

/* --- Look-ups. ------------------------------------------------------------ */

const char *clqi_safetensors_name(const clqi_safetensors *set) { return set->name; }

size_t clqi_safetensors_shard_count(const clqi_safetensors *set) { return set->shard_count; }

const char *clqi_safetensors_shard_name(const clqi_safetensors *set, uint32_t shard) {
  return set->shards[shard].name;
}

size_t clqi_safetensors_count(const clqi_safetensors *set) { return set->tensor_count; }

const clqi_safetensors_tensor *clqi_safetensors_at(const clqi_safetensors *set, size_t index) {
  return &set->tensors[set->order[index]];
}

typedef struct wanted_tensor {
  const clqi_safetensors *set;
  const char *name;
} wanted_tensor;

static int against_tensor(const void *wanted, uint32_t index) {
  const wanted_tensor *w = wanted;
  return strcmp(w->name, w->set->tensors[index].name);
}

const clqi_safetensors_tensor *clqi_safetensors_find(const clqi_safetensors *set,
                                                     const char *name) {
  const uint32_t found = clqi_find_in_order(set->order, set->tensor_count, against_tensor,
                                            &(wanted_tensor){set, name});
  return found == UINT32_MAX ? NULL : &set->tensors[found];
}

clq_status clqi_safetensors_get(const clqi_safetensors *set, const char *name,
                                const clqi_safetensors_tensor **out) {
  const clqi_safetensors_tensor *tensor = clqi_safetensors_find(set, name);
  if (tensor == NULL) {
    return clqi_fail(CLQ_BAD_FILE, "%s: tensor '%s' is missing", set->name, name);
  }
  *out = tensor;
  return CLQ_OK;
}

clq_status clqi_safetensors_read(const clqi_safetensors *set, const clqi_safetensors_tensor *tensor,
                                 size_t first, size_t bytes, void *out) {
  const clqi_safetensors_shard *shard = &set->shards[tensor->shard];
  CLQI_REQUIRE(first <= tensor->bytes && bytes <= tensor->bytes - first,
               "%s: %zu bytes from byte %zu of tensor '%s' are wanted, it has %zu", shard->name,
               bytes, first, clqi_excerpt_of(clqi_text_of(tensor->name)).text, tensor->bytes);
  if (shard->image == NULL) {
    return clqi_file_read(&shard->source, shard->name, tensor->offset + first, bytes, out);
  }
  if (bytes != 0) {
    memcpy(out, shard->image + tensor->offset + first, bytes);
  }
  return CLQ_OK;
}
