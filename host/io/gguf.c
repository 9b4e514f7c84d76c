/* The GGUF parser: one pass over the header, every extent checked before it is
 * used, then three proofs (keys unique, tensor names unique, data disjoint) by
 * sorting. Time and memory are bounded by the file's size.
 *
 * Layout: "GGUF", u32 version, u64 tensors, u64 entries; the entries {string
 * key, u32 type, value}; the tensors {string name, u32 dims, u64 dim[], u32 type,
 * u64 offset}; padding to the alignment; the data, which offsets refer to. A
 * string is u64 length and bytes; an array is u32 type, u64 count, elements. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "io/gguf_private.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/sort_order.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the GGUF reader copies little-endian numbers as they are"
#endif

enum {
  MIN_ENTRY_BYTES = 8 + 1 + 4 + 1,     /* a key and a value of one byte each */
  MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8 /* a name of one byte, no dimensions */
};

typedef struct parser {
  clqi_gguf *file;
  size_t offset;  /* of the next byte; never beyond the file's size */
  char what[128]; /* the part being read, for messages */
} parser;

/* --- Messages. ------------------------------------------------------------ */

clqi_gguf_quoted clqi_gguf_quote(const char *name, size_t length) {
  enum { SHOWN = 80 };
  clqi_gguf_quoted quoted;
  const bool whole = length <= SHOWN;
  const size_t shown = whole ? length : SHOWN;
  size_t at = 0;
  quoted.text[at++] = '\'';
  for (size_t i = 0; i < shown; ++i) {
    quoted.text[at++] = name[i] >= 0x20 && name[i] < 0x7f ? name[i] : '?';
  }
  (void)snprintf(quoted.text + at, sizeof quoted.text - at, "%s", whole ? "'" : "...'");
  return quoted;
}

__attribute__((format(printf, 3, 4))) static clq_status refuse(const parser *p, size_t offset,
                                                               const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return clqi_fail(CLQ_BAD_FILE, "%s: %s (at byte %zu)", p->file->name, text, offset);
}

static clq_status out_of_memory(const parser *p, size_t count, const char *things) {
  return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for %zu %s", p->file->name, count,
                   things);
}

/* --- Bounded reads. ------------------------------------------------------- */

static size_t remaining(const parser *p) { return p->file->size - p->offset; }

/* Moves past the next bytes; *out points at them. */
static clq_status take(parser *p, size_t bytes, const unsigned char **out) {
  if (bytes > remaining(p)) {
    return refuse(p, p->offset,
                  "the file ends inside %s, which needs %zu more bytes where %zu remain: it is "
                  "truncated or damaged, fetch it again",
                  p->what, bytes, remaining(p));
  }
  *out = p->file->bytes + p->offset;
  p->offset += bytes;
  return CLQ_OK;
}

static clq_status take_u32(parser *p, uint32_t *out) {
  const unsigned char *bytes = NULL;
  CLQI_TRY(take(p, sizeof *out, &bytes));
  memcpy(out, bytes, sizeof *out);
  return CLQ_OK;
}

static clq_status take_u64(parser *p, uint64_t *out) {
  const unsigned char *bytes = NULL;
  CLQI_TRY(take(p, sizeof *out, &bytes));
  memcpy(out, bytes, sizeof *out);
  return CLQ_OK;
}

static clq_status take_string(parser *p, clqi_gguf_string *out) {
  const size_t start = p->offset;
  uint64_t length = 0;
  const unsigned char *bytes = NULL;
  CLQI_TRY(take_u64(p, &length));
  if (length > remaining(p)) {
    return refuse(p, start,
                  "%s has a string of %" PRIu64
                  " bytes where %zu remain: the file is truncated "
                  "or damaged, fetch it again",
                  p->what, length, remaining(p));
  }
  CLQI_TRY(take(p, (size_t)length, &bytes));
  *out = (clqi_gguf_string){(const char *)bytes, (size_t)length};
  return CLQ_OK;
}

/* A key or a tensor's name: 1 to limit bytes, none of them NUL. */
static clq_status take_name(parser *p, size_t limit, clqi_gguf_string *out) {
  const size_t start = p->offset;
  uint64_t length = 0;
  const unsigned char *bytes = NULL;
  CLQI_TRY(take_u64(p, &length));
  if (length == 0) {
    return refuse(p, start, "%s has an empty name", p->what);
  }
  if (length > limit) {
    return refuse(p, start, "%s has a name of %" PRIu64 " bytes, more than the %zu allowed",
                  p->what, length, limit);
  }
  CLQI_TRY(take(p, (size_t)length, &bytes));
  if (memchr(bytes, 0, (size_t)length) != NULL) {
    return refuse(p, start, "%s has a NUL byte in its name", p->what);
  }
  *out = (clqi_gguf_string){(const char *)bytes, (size_t)length};
  return CLQ_OK;
}

/* --- Orders. --------------------------------------------------------------- */

static int compare_strings(const char *a, size_t a_length, const char *b, size_t b_length) {
  const int bytes = memcmp(a, b, a_length < b_length ? a_length : b_length);
  return bytes != 0 ? bytes : (a_length > b_length) - (a_length < b_length);
}

static int compare_positions(uint32_t a, uint32_t b) { return (a > b) - (a < b); }

static int compare_entries(const void *context, uint32_t a, uint32_t b) {
  const clqi_gguf *file = context;
  const clqi_gguf_string x = file->entries[a].key;
  const clqi_gguf_string y = file->entries[b].key;
  const int names = compare_strings(x.data, x.length, y.data, y.length);
  return names != 0 ? names : compare_positions(a, b);
}

static int compare_tensor_names(const void *context, uint32_t a, uint32_t b) {
  const clqi_gguf *file = context;
  const int names = strcmp(file->tensors[a].name, file->tensors[b].name);
  return names != 0 ? names : compare_positions(a, b);
}

static int compare_tensor_extents(const void *context, uint32_t a, uint32_t b) {
  const clqi_gguf *file = context;
  const size_t x = file->tensors[a].offset;
  const size_t y = file->tensors[b].offset;
  return x != y ? (x > y) - (x < y) : compare_positions(a, b);
}

static clq_status new_order(const parser *p, size_t count, uint32_t **out) {
  if (count == 0) {
    return CLQ_OK;
  }
  *out = clqi_calloc(count, sizeof **out);
  if (*out == NULL) {
    return out_of_memory(p, count, "indices");
  }
  for (size_t i = 0; i < count; ++i) {
    (*out)[i] = (uint32_t)i;
  }
  return CLQ_OK;
}

/* --- Metadata. ------------------------------------------------------------ */

size_t clqi_gguf_type_bytes(clqi_gguf_type type) {
  switch (type) {
    case CLQI_GGUF_U8:
    case CLQI_GGUF_I8:
    case CLQI_GGUF_BOOL: return 1;
    case CLQI_GGUF_U16:
    case CLQI_GGUF_I16: return 2;
    case CLQI_GGUF_U32:
    case CLQI_GGUF_I32:
    case CLQI_GGUF_F32: return 4;
    case CLQI_GGUF_U64:
    case CLQI_GGUF_I64:
    case CLQI_GGUF_F64: return 8;
    case CLQI_GGUF_STRING:
    case CLQI_GGUF_ARRAY: return 0;
  }
  return 0;
}

static clq_status take_type(parser *p, clqi_gguf_type *out) {
  const size_t start = p->offset;
  uint32_t id = 0;
  CLQI_TRY(take_u32(p, &id));
  if (id > CLQI_GGUF_F64) {
    return refuse(p, start, "%s has the unknown value type %" PRIu32, p->what, id);
  }
  *out = (clqi_gguf_type)id;
  return CLQ_OK;
}

static clq_status check_bools(const parser *p, const clqi_gguf_entry *entry) {
  for (size_t i = 0; i < entry->count; ++i) {
    if (entry->data[i] > 1) {
      return refuse(p, (size_t)(entry->data - p->file->bytes) + i,
                    "%s has a bool of value %u, expected 0 or 1", p->what, entry->data[i]);
    }
  }
  return CLQ_OK;
}

/* entry->count strings; entry->data and bytes get their extent. */
static clq_status take_string_elements(parser *p, clqi_gguf_entry *entry) {
  const size_t start = p->offset;
  for (size_t i = 0; i < entry->count; ++i) {
    clqi_gguf_string ignored = {0};
    CLQI_TRY(take_string(p, &ignored));
  }
  entry->data = p->file->bytes + start;
  entry->bytes = p->offset - start;
  return CLQ_OK;
}

/* entry->count numbers or bools. */
static clq_status take_plain_elements(parser *p, clqi_gguf_entry *entry) {
  /* cannot wrap: the count is 1 or was bounded by the bytes that remain */
  entry->bytes = entry->count * clqi_gguf_type_bytes(entry->type);
  CLQI_TRY(take(p, entry->bytes, &entry->data));
  return entry->type == CLQI_GGUF_BOOL ? check_bools(p, entry) : CLQ_OK;
}

static clq_status take_array(parser *p, clqi_gguf_entry *entry) {
  const size_t start = p->offset;
  uint64_t count = 0;
  CLQI_TRY(take_type(p, &entry->type));
  if (entry->type == CLQI_GGUF_ARRAY) {
    return refuse(p, start, "%s is an array of arrays, which is not supported", p->what);
  }
  CLQI_TRY(take_u64(p, &count));
  const size_t least = entry->type == CLQI_GGUF_STRING ? 8 : clqi_gguf_type_bytes(entry->type);
  if (count > remaining(p) / least) {
    return refuse(p, start,
                  "%s is an array of %" PRIu64
                  " elements of type %s, which cannot fit in the %zu "
                  "bytes that remain: the file is truncated or damaged, fetch it again",
                  p->what, count, clqi_gguf_type_name(entry->type), remaining(p));
  }
  entry->is_array = true;
  entry->count = (size_t)count;
  return entry->type == CLQI_GGUF_STRING ? take_string_elements(p, entry)
                                         : take_plain_elements(p, entry);
}

static clq_status take_entry(parser *p, size_t index, clqi_gguf_entry *entry) {
  (void)snprintf(p->what, sizeof p->what, "metadata entry %zu", index);
  CLQI_TRY(take_name(p, CLQI_GGUF_MAX_KEY_BYTES, &entry->key));
  (void)snprintf(p->what, sizeof p->what, "key %s",
                 clqi_gguf_quote(entry->key.data, entry->key.length).text);
  CLQI_TRY(take_type(p, &entry->type));
  if (entry->type == CLQI_GGUF_ARRAY) {
    return take_array(p, entry);
  }
  entry->count = 1;
  if (entry->type != CLQI_GGUF_STRING) {
    return take_plain_elements(p, entry);
  }
  clqi_gguf_string text = {0};
  CLQI_TRY(take_string(p, &text));
  entry->data = (const unsigned char *)text.data;
  entry->bytes = text.length;
  return CLQ_OK;
}

static clq_status check_keys_differ(const parser *p) {
  const clqi_gguf *file = p->file;
  for (size_t i = 1; i < file->entry_count; ++i) {
    const clqi_gguf_string first = file->entries[file->entry_order[i - 1]].key;
    const clqi_gguf_string second = file->entries[file->entry_order[i]].key;
    if (compare_strings(first.data, first.length, second.data, second.length) == 0) {
      return refuse(p, (size_t)((const unsigned char *)second.data - file->bytes),
                    "key %s occurs twice", clqi_gguf_quote(second.data, second.length).text);
    }
  }
  return CLQ_OK;
}

/* Moves the keys out of the mapping, so that finding one needs no re-check. */
static clq_status copy_keys(const parser *p) {
  clqi_gguf *file = p->file;
  size_t bytes = 0; /* cannot wrap: the keys are disjoint parts of the file */
  for (size_t i = 0; i < file->entry_count; ++i) {
    bytes += file->entries[i].key.length;
  }
  file->keys = clqi_malloc(bytes);
  if (file->keys == NULL && bytes != 0) {
    return out_of_memory(p, bytes, "bytes of keys");
  }
  char *next = file->keys;
  for (size_t i = 0; i < file->entry_count; ++i) {
    clqi_gguf_string *key = &file->entries[i].key;
    memcpy(next, key->data, key->length);
    key->data = next;
    next += key->length;
  }
  return CLQ_OK;
}

static clq_status parse_entries(parser *p, size_t count) {
  clqi_gguf *file = p->file;
  if (count != 0) {
    file->entries = clqi_calloc(count, sizeof *file->entries);
    if (file->entries == NULL) {
      return out_of_memory(p, count, "metadata entries");
    }
  }
  for (size_t i = 0; i < count; ++i) {
    CLQI_TRY(take_entry(p, i, &file->entries[i]));
  }
  file->entry_count = count;
  CLQI_TRY(new_order(p, count, &file->entry_order));
  clqi_sort_order(file->entry_order, count, compare_entries, file);
  CLQI_TRY(check_keys_differ(p));
  return copy_keys(p);
}

static clq_status parse_alignment(parser *p) {
  static const char key[] = "general.alignment";
  clqi_gguf *file = p->file;
  file->alignment = CLQI_GGUF_DEFAULT_ALIGNMENT;
  const clqi_gguf_entry *entry = clqi_gguf_find_entry(file, key);
  if (entry == NULL) {
    return CLQ_OK;
  }
  const size_t start = (size_t)(entry->data - file->bytes);
  if (entry->is_array || entry->type != CLQI_GGUF_U32) {
    return refuse(p, start, "key '%s' is %s%s, expected u32", key,
                  entry->is_array ? "an array of " : "", clqi_gguf_type_name(entry->type));
  }
  uint32_t value;
  memcpy(&value, entry->data, sizeof value);
  if (value < CLQI_GGUF_MIN_ALIGNMENT || value > CLQI_GGUF_MAX_ALIGNMENT ||
      (value & (value - 1)) != 0) {
    return refuse(p, start, "key '%s' is %" PRIu32 ", expected a power of two from %d to %d", key,
                  value, CLQI_GGUF_MIN_ALIGNMENT, CLQI_GGUF_MAX_ALIGNMENT);
  }
  file->alignment = value;
  return CLQ_OK;
}

/* --- Tensors. ------------------------------------------------------------- */

static clq_status take_tensor_name(parser *p, size_t index, clqi_gguf_tensor *tensor) {
  clqi_gguf_string name = {0};
  (void)snprintf(p->what, sizeof p->what, "tensor %zu", index);
  CLQI_TRY(take_name(p, CLQI_GGUF_NAME_BYTES - 1, &name));
  memcpy(tensor->name, name.data, name.length);
  (void)snprintf(p->what, sizeof p->what, "tensor %s",
                 clqi_gguf_quote(name.data, name.length).text);
  return CLQ_OK;
}

/* The product leaves zero dimensions out, so that any part of the dimensions,
 * multiplied in any order, fits too. */
static clq_status take_dims(parser *p, clqi_gguf_tensor *tensor) {
  const size_t start = p->offset;
  int64_t product = 1;
  CLQI_TRY(take_u32(p, &tensor->dim_count));
  if (tensor->dim_count > CLQI_GGUF_MAX_DIMS) {
    return refuse(p, start, "%s has %" PRIu32 " dimensions, more than %d", p->what,
                  tensor->dim_count, CLQI_GGUF_MAX_DIMS);
  }
  for (uint32_t i = 0; i < CLQI_GGUF_MAX_DIMS; ++i) {
    uint64_t dim = 1;
    if (i < tensor->dim_count) {
      CLQI_TRY(take_u64(p, &dim));
    }
    if (dim > INT64_MAX) {
      return refuse(p, p->offset - sizeof dim,
                    "%s has %" PRIu64 " elements in dimension %" PRIu32 ", more than %" PRId64,
                    p->what, dim, i, INT64_MAX);
    }
    tensor->dims[i] = (int64_t)dim;
    if (!clqi_mul_i64(product, dim == 0 ? 1 : (int64_t)dim, &product)) {
      return refuse(p, start, "%s has dimensions whose product passes %" PRId64, p->what,
                    INT64_MAX);
    }
  }
  return CLQ_OK;
}

static clq_status take_tensor_type(parser *p, clqi_gguf_tensor *tensor) {
  const size_t start = p->offset;
  uint32_t id = 0;
  CLQI_TRY(take_u32(p, &id));
  tensor->type = clqi_ggml_type_find(id);
  if (tensor->type != NULL) {
    return CLQ_OK;
  }
  const char *removed = clqi_ggml_removed_type_name(id);
  if (removed != NULL) {
    return refuse(p, start,
                  "%s has type %s, which was removed from the format: quantize the model again to "
                  "a current type such as q4_0",
                  p->what, removed);
  }
  return refuse(p, start, "%s has the unknown type id %" PRIu32, p->what, id);
}

static clq_status measure_tensor(parser *p, size_t start, clqi_gguf_tensor *tensor) {
  const clqi_ggml_type_info *type = tensor->type;
  if (tensor->dims[0] % type->block_elements != 0) {
    return refuse(p, start,
                  "%s has rows of %" PRId64 " elements, expected a multiple of %" PRIu32
                  ", the block of type %s",
                  p->what, tensor->dims[0], type->block_elements, type->name);
  }
  const int64_t blocks = tensor->dims[0] / type->block_elements;
  int64_t bytes = type->block_bytes;
  bool fits = clqi_mul_i64(bytes, blocks, &bytes);
  for (int i = 1; i < CLQI_GGUF_MAX_DIMS; ++i) {
    fits = fits && clqi_mul_i64(bytes, tensor->dims[i], &bytes);
  }
  if (!fits || (uint64_t)bytes > SIZE_MAX) {
    return refuse(p, start, "%s has more bytes than a size can count", p->what);
  }
  tensor->bytes = (size_t)bytes;
  return CLQ_OK;
}

/* tensor->offset still counts from the data section, which starts only behind
 * the last tensor's record. */
static clq_status take_tensor(parser *p, size_t index, clqi_gguf_tensor *tensor) {
  const size_t start = p->offset;
  CLQI_TRY(take_tensor_name(p, index, tensor));
  CLQI_TRY(take_dims(p, tensor));
  CLQI_TRY(take_tensor_type(p, tensor));
  CLQI_TRY(measure_tensor(p, start, tensor));
  const size_t offset_start = p->offset;
  uint64_t offset = 0;
  CLQI_TRY(take_u64(p, &offset));
  if (offset % p->file->alignment != 0) {
    return refuse(p, offset_start,
                  "%s has the data offset %" PRIu64 ", expected a multiple of the alignment %zu",
                  p->what, offset, p->file->alignment);
  }
  if (offset > p->file->size) {
    return refuse(p, offset_start,
                  "%s has the data offset %" PRIu64
                  ", beyond the end of the file of %zu bytes: it "
                  "is truncated or damaged, fetch it again",
                  p->what, offset, p->file->size);
  }
  tensor->offset = (size_t)offset;
  return CLQ_OK;
}

static clq_status parse_tensors(parser *p, size_t count) {
  clqi_gguf *file = p->file;
  if (count != 0) {
    file->tensors = clqi_calloc(count, sizeof *file->tensors);
    if (file->tensors == NULL) {
      return out_of_memory(p, count, "tensors");
    }
  }
  for (size_t i = 0; i < count; ++i) {
    CLQI_TRY(take_tensor(p, i, &file->tensors[i]));
  }
  file->tensor_count = count;
  return CLQ_OK;
}

/* Turns offsets into file positions and checks that all data is present. */
static clq_status place_tensors(parser *p) {
  clqi_gguf *file = p->file;
  const size_t header_end = p->offset;
  if (!clqi_align_size(header_end, file->alignment, &file->data_offset)) {
    return refuse(p, header_end, "the header is too long to be padded");
  }
  for (size_t i = 0; i < file->tensor_count; ++i) {
    clqi_gguf_tensor *tensor = &file->tensors[i];
    const size_t relative = tensor->offset;
    size_t end;
    if (!clqi_add_size(file->data_offset, relative, &tensor->offset) ||
        !clqi_add_size(tensor->offset, tensor->bytes, &end) || end > file->size) {
      return refuse(p, header_end,
                    "tensor %s needs %zu bytes at byte %zu of the data, which starts at byte %zu, "
                    "but the file has %zu bytes: it is truncated or damaged, fetch it again",
                    clqi_gguf_quote(tensor->name, strlen(tensor->name)).text, tensor->bytes,
                    relative, file->data_offset, file->size);
    }
  }
  return CLQ_OK;
}

/* order: by extent. Empty tensors overlap nothing. */
static clq_status check_disjoint(parser *p, const uint32_t *order) {
  const clqi_gguf *file = p->file;
  const clqi_gguf_tensor *last = NULL;
  for (size_t i = 0; i < file->tensor_count; ++i) {
    const clqi_gguf_tensor *tensor = &file->tensors[order[i]];
    if (tensor->bytes == 0) {
      continue;
    }
    if (last != NULL && tensor->offset - last->offset < last->bytes) {
      return refuse(p, tensor->offset, "the data of tensors %s and %s overlap",
                    clqi_gguf_quote(last->name, strlen(last->name)).text,
                    clqi_gguf_quote(tensor->name, strlen(tensor->name)).text);
    }
    last = tensor;
  }
  return CLQ_OK;
}

static clq_status check_tensors(parser *p) {
  clqi_gguf *file = p->file;
  const size_t header_end = p->offset;
  CLQI_TRY(new_order(p, file->tensor_count, &file->tensor_order));
  clqi_sort_order(file->tensor_order, file->tensor_count, compare_tensor_extents, file);
  CLQI_TRY(check_disjoint(p, file->tensor_order));
  clqi_sort_order(file->tensor_order, file->tensor_count, compare_tensor_names, file);
  for (size_t i = 1; i < file->tensor_count; ++i) {
    const char *name = file->tensors[file->tensor_order[i]].name;
    if (strcmp(file->tensors[file->tensor_order[i - 1]].name, name) == 0) {
      return refuse(p, header_end, "tensor %s occurs twice",
                    clqi_gguf_quote(name, strlen(name)).text);
    }
  }
  return CLQ_OK;
}

/* --- The whole file. ------------------------------------------------------ */

static clq_status parse_magic(parser *p) {
  const unsigned char *magic = NULL;
  (void)snprintf(p->what, sizeof p->what, "the header");
  CLQI_TRY(take(p, 4, &magic));
  if (memcmp(magic, "GGUF", 4) != 0) {
    return refuse(
        p, 0,
        "not a GGUF file: it starts with the bytes %02x %02x %02x %02x, expected 47 47 55 "
        "46 (GGUF)",
        magic[0], magic[1], magic[2], magic[3]);
  }
  return CLQ_OK;
}

static clq_status parse_version(parser *p) {
  uint32_t version = 0;
  CLQI_TRY(take_u32(p, &version));
  if (version == 2 || version == 3) {
    p->file->version = version;
    return CLQ_OK;
  }
  const uint32_t swapped = __builtin_bswap32(version);
  if (swapped >= 1 && swapped <= 3) {
    return refuse(p, 4,
                  "the file is big-endian (version %" PRIu32
                  " with its bytes swapped): convert it to little-endian",
                  swapped);
  }
  return refuse(p, 4,
                "GGUF version %" PRIu32
                " is not supported, versions 2 and 3 are: convert the model again",
                version);
}

/* least_bytes: of one record. at: where the header has the count. */
static clq_status check_count(const parser *p, uint64_t count, const char *things,
                              size_t least_bytes, size_t at) {
  if (count > remaining(p) / least_bytes) {
    return refuse(p, at,
                  "the header announces %" PRIu64
                  " %s, which cannot fit in the %zu bytes that "
                  "remain: the file is truncated or damaged, fetch it again",
                  count, things, remaining(p));
  }
  if (count > CLQI_GGUF_MAX_RECORDS) {
    return refuse(p, at, "the header announces %" PRIu64 " %s, more than the %d allowed", count,
                  things, CLQI_GGUF_MAX_RECORDS);
  }
  return CLQ_OK;
}

static clq_status parse(clqi_gguf *file) {
  parser p = {.file = file};
  uint64_t tensors = 0;
  uint64_t entries = 0;
  CLQI_TRY(parse_magic(&p));
  CLQI_TRY(parse_version(&p));
  CLQI_TRY(take_u64(&p, &tensors));
  CLQI_TRY(take_u64(&p, &entries));
  CLQI_TRY(check_count(&p, tensors, "tensors", MIN_TENSOR_BYTES, 8));
  CLQI_TRY(check_count(&p, entries, "metadata entries", MIN_ENTRY_BYTES, 16));
  CLQI_TRY(parse_entries(&p, (size_t)entries));
  CLQI_TRY(parse_alignment(&p));
  CLQI_TRY(parse_tensors(&p, (size_t)tensors));
  CLQI_TRY(place_tensors(&p));
  return check_tensors(&p);
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
