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
  MIN_ENTRY_BYTES = 8 + 1 + 4 + 1,      /* a key and a value of one byte each */
  MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8, /* a name of one byte, no dimensions */
  FIRST_HELD = 1 << 20                  /* most headers are of a few MiB */
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

static clq_status parse(clqi_gguf_cursor *p) {
  uint64_t tensors = 0;
  uint64_t entries = 0;
  CLQI_TRY(parse_magic(p));
  CLQI_TRY(parse_version(p));
  CLQI_TRY(clqi_gguf_take_u64(p, &tensors));
  CLQI_TRY(clqi_gguf_take_u64(p, &entries));
  CLQI_TRY(check_count(p, tensors, "tensors", MIN_TENSOR_BYTES, 8));
  CLQI_TRY(check_count(p, entries, "metadata entries", MIN_ENTRY_BYTES, 16));
  CLQI_TRY(clqi_gguf_parse_entries(p, (size_t)entries));
  return clqi_gguf_parse_tensors(p, (size_t)tensors);
}

static void release_records(clqi_gguf *file) {
  clqi_free(file->entries);
  clqi_free(file->entry_order);
  clqi_free(file->tensors);
  clqi_free(file->tensor_order);
  file->entries = NULL;
  file->entry_order = NULL;
  file->tensors = NULL;
  file->tensor_order = NULL;
  file->entry_count = 0;
  file->tensor_count = 0;
}

/* Makes at least `wanted` bytes of the file held, and doubles what is held at least, so that all
 * attempts to parse together cost as much as two. */
static clq_status hold(clqi_gguf *file, size_t wanted) {
  size_t target = wanted > 2 * file->held ? wanted : 2 * file->held;
  target = target < FIRST_HELD ? FIRST_HELD : target;
  target = target > file->size ? file->size : target;
  unsigned char *bytes = clqi_realloc(file->copy, target, 1);
  if (bytes == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for the %zu bytes of its header",
                     file->name, target);
  }
  file->copy = bytes;
  file->bytes = bytes;
  CLQI_TRY(clqi_file_read(&file->source, file->name, file->held, target - file->held,
                          bytes + file->held));
  file->held = target;
  return CLQ_OK;
}

/* The length of the header is known once it has been parsed: tries with more until it is there. */
static clq_status parse_source(clqi_gguf *file) {
  size_t wanted = FIRST_HELD;
  clq_status status = CLQ_OK;
  while (wanted != 0) {
    clqi_gguf_cursor p = {.file = file};
    release_records(file);
    CLQI_TRY(hold(file, wanted));
    status = parse(&p);
    wanted = status == CLQ_OK ? 0 : p.wanted;
    if (wanted > CLQI_GGUF_MAX_HEADER_BYTES) {
      return clqi_gguf_damaged(&p, p.offset,
                               "%s ends at byte %zu, more than the %d allowed for "
                               "metadata and tensor records",
                               p.what, wanted, CLQI_GGUF_MAX_HEADER_BYTES);
    }
  }
  return status;
}

static clq_status create(const char *name, clqi_gguf **out) {
  clqi_gguf *file = clqi_calloc(1, sizeof *file);
  char *copy = clqi_strdup(name);
  if (file == NULL || copy == NULL) {
    clqi_free(file);
    clqi_free(copy);
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory to open it", name);
  }
  file->name = copy;
  file->source.descriptor = -1;
  *out = file;
  return CLQ_OK;
}

clq_status clqi_gguf_open(const char *path, clqi_gguf **out) {
  CLQI_REQUIRE(out != NULL, "gguf_open: out is NULL");
  *out = NULL;
  CLQI_REQUIRE(path != NULL, "gguf_open: path is NULL");
  clq_status status = CLQ_OK;
  clqi_gguf *file = NULL;
  CLQI_TRY(create(path, &file));
  CLQI_TRY_CLEAN(clqi_file_open(path, &file->source));
  file->size = file->source.size;
  CLQI_TRY_CLEAN(parse_source(file));
  *out = file;
  file = NULL;
cleanup:
  clqi_gguf_close(file);
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
  clq_status status = CLQ_OK;
  clqi_gguf *file = NULL;
  CLQI_TRY(create(name, &file));
  file->bytes = image;
  file->held = bytes;
  file->size = bytes;
  clqi_gguf_cursor p = {.file = file};
  CLQI_TRY_CLEAN(parse(&p));
  *out = file;
  file = NULL;
cleanup:
  clqi_gguf_close(file);
  return status;
}

void clqi_gguf_close(clqi_gguf *file) {
  if (file == NULL) {
    return;
  }
  release_records(file);
  clqi_file_close(&file->source);
  clqi_free(file->copy);
  clqi_free(file->name);
  clqi_free(file);
}
