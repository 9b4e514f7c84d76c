/* The index of a sharded model: {"metadata": {...}, "weight_map": {"tensor": "file", ...}}. */
#include <stdio.h>
#include <string.h>

#include "io/json.h"
#include "io/safetensors_private.h"
#include "io/text.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/sort_order.h"

/* Strings lie in the index' text. */
typedef struct entry {
  const char *tensor;
  const char *file;
} entry;

typedef struct index_parts {
  const char *path;
  char *text;
  entry *entries;
  size_t count;
  size_t capacity;
  uint32_t *by_file; /* of entries */
} index_parts;

static clqi_excerpt shown(const char *name) { return clqi_excerpt_of(clqi_text_of(name)); }

static clq_status no_memory(const index_parts *index) {
  return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for its weight_map", index->path);
}

static clq_status add_entry(index_parts *index, const char *tensor, const char *file) {
  if (index->count == index->capacity) {
    const size_t capacity = index->capacity == 0 ? 256 : 2 * index->capacity;
    entry *entries = clqi_realloc(index->entries, capacity, sizeof *entries);
    if (entries == NULL) {
      return no_memory(index);
    }
    index->entries = entries;
    index->capacity = capacity;
  }
  index->entries[index->count++] = (entry){tensor, file};
  return CLQ_OK;
}

/* Nor may the name write control sequences to a terminal when a message has it. */
static bool stays_in_folder(const char *file) {
  for (const char *c = file; *c != '\0'; ++c) {
    if ((unsigned char)*c < 0x20 || *c == 0x7f) {
      return false;
    }
  }
  return file[0] != '\0' && strpbrk(file, "/\\") == NULL && strcmp(file, ".") != 0 &&
         strcmp(file, "..") != 0;
}

static clq_status parse_weight_map(clqi_json *json, index_parts *index) {
  const char *tensor = NULL;
  const char *file = NULL;
  (void)snprintf(json->what, sizeof json->what, "weight_map");
  CLQI_TRY(clqi_json_enter_object(json));
  for (;;) {
    CLQI_TRY(clqi_json_next_key(json, &tensor));
    if (tensor == NULL) {
      return CLQ_OK;
    }
    CLQI_TRY(clqi_json_string(json, &file));
    if (!stays_in_folder(file)) {
      return clqi_json_refuse(json,
                              "tensor '%s' is said to be in '%s', expected the name of a file in "
                              "the folder of the index",
                              shown(tensor).text, shown(file).text);
    }
    CLQI_TRY(add_entry(index, tensor, file));
  }
}

static clq_status parse_root(clqi_json *json, index_parts *index) {
  static const char what[] = "the index";
  const char *key = NULL;
  memcpy(json->what, what, sizeof what);
  CLQI_TRY(clqi_json_enter_object(json));
  for (;;) {
    memcpy(json->what, what, sizeof what); /* again, after weight_map */
    CLQI_TRY(clqi_json_next_key(json, &key));
    if (key == NULL) {
      break;
    }
    CLQI_TRY(strcmp(key, "weight_map") == 0 ? parse_weight_map(json, index) : clqi_json_skip(json));
  }
  CLQI_TRY(clqi_json_finish(json));
  return index->count != 0 ? CLQ_OK : clqi_json_refuse(json, "the index has no weight_map");
}

static clq_status parse_index(index_parts *index) {
  clq_status status = CLQ_OK;
  clqi_json json;
  size_t length = 0;
  CLQI_TRY(clqi_file_load(index->path, CLQI_SAFETENSORS_MAX_INDEX_BYTES, &index->text, &length));
  CLQI_TRY_CLEAN(clqi_json_begin(&json, index->path, 0, index->text, length));
  CLQI_TRY_CLEAN(parse_root(&json, index));
cleanup:
  clqi_json_free(&json);
  return status;
}

static int compare_files(const void *context, uint32_t a, uint32_t b) {
  const entry *entries = context;
  const int order = strcmp(entries[a].file, entries[b].file);
  return order != 0 ? order : (a > b) - (a < b);
}

static bool starts_shard(const index_parts *index, size_t i) {
  return i == 0 || strcmp(index->entries[index->by_file[i - 1]].file,
                          index->entries[index->by_file[i]].file) != 0;
}

/* The shard beside the index. */
static clq_status add_shard(clqi_safetensors *set, const char *index_path, const char *file) {
  const char *slash = strrchr(index_path, '/');
  const size_t folder = slash == NULL ? 0 : (size_t)(slash - index_path) + 1;
  size_t bytes = 0;
  char *path = clqi_add_size(folder, strlen(file) + 1, &bytes) ? clqi_malloc(bytes) : NULL;
  if (path == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for the path of %s", index_path,
                     shown(file).text);
  }
  memcpy(path, index_path, folder);
  memcpy(path + folder, file, strlen(file) + 1);
  const clq_status status = clqi_safetensors_add_file(set, path);
  clqi_free(path);
  return status;
}

static clq_status open_shards(clqi_safetensors *set, index_parts *index) {
  size_t shards = 0;
  CLQI_TRY(clqi_safetensors_new_order(set, index->count, &index->by_file));
  clqi_sort_order(index->by_file, index->count, compare_files, index->entries);
  for (size_t i = 0; i < index->count; ++i) {
    shards += starts_shard(index, i);
  }
  set->shards = clqi_calloc(shards, sizeof *set->shards);
  if (set->shards == NULL) {
    return no_memory(index);
  }
  for (size_t i = 0; i < index->count; ++i) {
    if (starts_shard(index, i)) {
      CLQI_TRY(add_shard(set, index->path, index->entries[index->by_file[i]].file));
    }
  }
  return CLQ_OK;
}

/* by_file and the shards are in the same order. */
static clq_status check_places(const clqi_safetensors *set, const index_parts *index) {
  size_t shards = 0;
  for (size_t i = 0; i < index->count; ++i) {
    const entry *e = &index->entries[index->by_file[i]];
    shards += starts_shard(index, i);
    const clqi_safetensors_tensor *tensor = clqi_safetensors_find(set, e->tensor);
    if (tensor == NULL || tensor->shard != shards - 1) {
      return clqi_fail(CLQ_BAD_FILE,
                       "%s: tensor '%s' is not in '%s', where the weight_map has it: fetch the "
                       "model again",
                       index->path, shown(e->tensor).text, shown(e->file).text);
    }
  }
  return CLQ_OK;
}

clq_status clqi_safetensors_open_index(clqi_safetensors *set, const char *path) {
  clq_status status = CLQ_OK;
  index_parts index = {.path = path};
  CLQI_TRY_CLEAN(parse_index(&index));
  CLQI_TRY_CLEAN(open_shards(set, &index));
  CLQI_TRY_CLEAN(clqi_safetensors_sort(set));
  CLQI_TRY_CLEAN(check_places(set, &index));
cleanup:
  clqi_free(index.text);
  clqi_free(index.entries);
  clqi_free(index.by_file);
  return status;
}
