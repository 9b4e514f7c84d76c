/* The GGUF parser: one pass over the header, every extent checked before it is
 * used, then three proofs (keys unique, tensor names unique, data disjoint) by
 * sorting. Time and memory are bounded by the file's size.
 *
 * Layout: "GGUF", u32 version, u64 tensors, u64 entries; the entries {string
 * key, u32 type, value}; the tensors {string name, u32 dims, u64 dim[], u32 type,
 * u64 offset}; padding to the alignment; the data, which offsets refer to. A
 * string is u64 length and bytes; an array is u32 type, u64 count, elements. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/gguf_cursor.h"
#include "runtime/memory.h"

enum {
  MIN_ENTRY_BYTES = 8 + 1 + 4 + 1,     /* a key and a value of one byte each */
  MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8 /* a name of one byte, no dimensions */
};

static clq_status parse_magic(clqi_gguf_cursor *p) {
  const unsigned char *magic = NULL;
  (void)snprintf(p->what, sizeof p->what, "the header");
  CLQI_TRY(clqi_gguf_take(p, 4, &magic));
  if (memcmp(magic, "GGUF", 4) != 0) {
    return clqi_gguf_refuse(
        p, 0,
        "not a GGUF file: it starts with the bytes %02x %02x %02x %02x, expected 47 47 55 "
        "46 (GGUF); convert the model to GGUF, or download it so",
        magic[0], magic[1], magic[2], magic[3]);
  }
  return CLQ_OK;
}

static clq_status parse_version(clqi_gguf_cursor *p) {
  uint32_t version = 0;
  CLQI_TRY(clqi_gguf_take_u32(p, &version));
  if (version == 2 || version == 3) {
    p->file->version = version;
    return CLQ_OK;
  }
  const uint32_t swapped = __builtin_bswap32(version);
  if (swapped >= 1 && swapped <= 3) {
    return clqi_gguf_refuse(p, 4,
                            "the file is big-endian (version %" PRIu32
                            " with its bytes swapped): convert it to little-endian",
                            swapped);
  }
  return clqi_gguf_refuse(p, 4,
                          "GGUF version %" PRIu32
                          " is not supported, versions 2 and 3 are: convert the model again",
                          version);
}

/* least_bytes: of one record. at: where the header has the count. */
static clq_status check_count(const clqi_gguf_cursor *p, uint64_t count, const char *things,
                              size_t least_bytes, size_t at) {
  if (count > clqi_gguf_remaining(p) / least_bytes) {
    return clqi_gguf_refuse(p, at,
                            "the header announces %" PRIu64
                            " %s, which cannot fit in the %zu bytes that "
                            "remain: the file is truncated or damaged, fetch it again",
                            count, things, clqi_gguf_remaining(p));
  }
  if (count > CLQI_GGUF_MAX_RECORDS) {
    return clqi_gguf_damaged(p, at, "the header announces %" PRIu64 " %s, more than the %d allowed",
                             count, things, CLQI_GGUF_MAX_RECORDS);
  }
  return CLQ_OK;
}

static clq_status parse(clqi_gguf *file) {
  clqi_gguf_cursor p = {.file = file};
  uint64_t tensors = 0;
  uint64_t entries = 0;
  CLQI_TRY(parse_magic(&p));
  CLQI_TRY(parse_version(&p));
  CLQI_TRY(clqi_gguf_take_u64(&p, &tensors));
  CLQI_TRY(clqi_gguf_take_u64(&p, &entries));
  CLQI_TRY(check_count(&p, tensors, "tensors", MIN_TENSOR_BYTES, 8));
  CLQI_TRY(check_count(&p, entries, "metadata entries", MIN_ENTRY_BYTES, 16));
  CLQI_TRY(clqi_gguf_parse_entries(&p, (size_t)entries));
  return clqi_gguf_parse_tensors(&p, (size_t)tensors);
}

/* The bytes are those of a memory image if map is NULL; else the map becomes the
 * file's on success. */
static clq_status open_bytes(const void *bytes, size_t size, const char *name,
                             const clqi_file_map *map, clqi_gguf **out) {
  clq_status status = CLQ_OK;
  clqi_gguf *file = clqi_calloc(1, sizeof *file);
  if (file == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory to open it", name);
  }
  file->bytes = bytes;
  file->size = size;
  file->name = clqi_strdup(name);
  if (file->name == NULL) {
    status = clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory to open it", name);
    goto cleanup;
  }
  CLQI_TRY_CLEAN(parse(file));
  if (map != NULL) {
    file->map = *map;
  }
  *out = file;
cleanup:
  if (status != CLQ_OK) {
    clqi_gguf_close(file);
  }
  return status;
}

clq_status clqi_gguf_open(const char *path, clqi_gguf **out) {
  clqi_file_map map;
  CLQI_REQUIRE(out != NULL, "gguf_open: out is NULL");
  *out = NULL;
  CLQI_REQUIRE(path != NULL, "gguf_open: path is NULL");
  CLQI_TRY(clqi_file_map_open(path, &map));
  const clq_status status = open_bytes(map.bytes, map.size, path, &map, out);
  if (status != CLQ_OK) {
    clqi_file_map_close(&map);
  }
  return status;
}

clq_status clqi_gguf_open_memory(const void *image, size_t bytes, const char *name,
                                 clqi_gguf **out) {
  CLQI_REQUIRE(out != NULL, "gguf_open_memory: out is NULL");
  *out = NULL;
  CLQI_REQUIRE(name != NULL, "gguf_open_memory: name is NULL");
  CLQI_REQUIRE(image != NULL || bytes == 0, "gguf_open_memory: image is NULL, expected %zu bytes",
               bytes);
  if (bytes == 0) {
    return clqi_fail(CLQ_BAD_FILE, "%s: the file is empty", name);
  }
  return open_bytes(image, bytes, name, NULL, out);
}

void clqi_gguf_close(clqi_gguf *file) {
  if (file == NULL) {
    return;
  }
  clqi_file_map_close(&file->map);
  clqi_free(file->keys);
  clqi_free(file->entries);
  clqi_free(file->entry_order);
  clqi_free(file->tensors);
  clqi_free(file->tensor_order);
  clqi_free(file->name);
  clqi_free(file);
}

clq_status clqi_gguf_recheck(const clqi_gguf *file) {
  return file->map.bytes == NULL ? CLQ_OK : clqi_file_map_recheck(&file->map, file->name);
}

void clqi_gguf_release_pages(const clqi_gguf *file, const void *begin, size_t bytes) {
  if (file->map.bytes != NULL) {
    clqi_file_map_release_pages(&file->map, begin, bytes);
  }
}
