/* Look-ups in an open GGUF file: typed metadata, tensors by name. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/gguf_private.h"
#include "runtime/memory.h"
#include "runtime/sort_order.h"

const char *clqi_gguf_name(const clqi_gguf *file) { return file->name; }
uint32_t clqi_gguf_version(const clqi_gguf *file) { return file->version; }
size_t clqi_gguf_alignment(const clqi_gguf *file) { return file->alignment; }
size_t clqi_gguf_key_count(const clqi_gguf *file) { return file->entry_count; }
size_t clqi_gguf_tensor_count(const clqi_gguf *file) { return file->tensor_count; }

const char *clqi_gguf_type_name(clqi_gguf_type type) {
  static const char *const names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                      "bool", "string", "array", "u64", "i64", "f64"};
  return names[type];
}

/* --- Entries. ------------------------------------------------------------- */

static int compare_key(const char *key, size_t length, clqi_gguf_string other) {
  const int bytes = memcmp(key, other.data, length < other.length ? length : other.length);
  return bytes != 0 ? bytes : (length > other.length) - (length < other.length);
}

typedef struct wanted_name {
  const clqi_gguf *file;
  const char *name;
} wanted_name;

static int against_entry(const void *wanted, uint32_t index) {
  const wanted_name *w = wanted;
  return compare_key(w->name, strlen(w->name), w->file->entries[index].key);
}

const clqi_gguf_entry *clqi_gguf_find_entry(const clqi_gguf *file, const char *key) {
  const uint32_t found = clqi_find_in_order(file->entry_order, file->entry_count, against_entry,
                                            &(wanted_name){file, key});
  return found == UINT32_MAX ? NULL : &file->entries[found];
}

static clqi_gguf_value_info describe(const clqi_gguf_entry *entry) {
  return (clqi_gguf_value_info){.type = entry->is_array ? CLQI_GGUF_ARRAY : entry->type,
                                .element_type = entry->type,
                                .count = entry->count};
}

clqi_gguf_string clqi_gguf_key_at(const clqi_gguf *file, size_t index) {
  return file->entries[index].key;
}

bool clqi_gguf_find_key(const clqi_gguf *file, const char *key, clqi_gguf_value_info *info) {
  const clqi_gguf_entry *entry = clqi_gguf_find_entry(file, key);
  if (entry != NULL && info != NULL) {
    *info = describe(entry);
  }
  return entry != NULL;
}

static clq_status wrong_type(const clqi_gguf *file, const clqi_gguf_entry *entry,
                             const char *expected) {
  return clqi_fail(CLQ_BAD_FILE, "%s: key %s is %s%s, expected %s (at byte %zu)", file->name,
                   clqi_gguf_quote(entry->key.data, entry->key.length).text,
                   entry->is_array ? "an array of " : "", clqi_gguf_type_name(entry->type),
                   expected, (size_t)(entry->data - file->bytes));
}

static bool is_integer(clqi_gguf_type type) {
  switch (type) {
    case CLQI_GGUF_U8:
    case CLQI_GGUF_I8:
    case CLQI_GGUF_U16:
    case CLQI_GGUF_I16:
    case CLQI_GGUF_U32:
    case CLQI_GGUF_I32:
    case CLQI_GGUF_U64:
    case CLQI_GGUF_I64: return true;
    case CLQI_GGUF_F32:
    case CLQI_GGUF_BOOL:
    case CLQI_GGUF_STRING:
    case CLQI_GGUF_ARRAY:
    case CLQI_GGUF_F64: return false;
  }
  return false;
}

static bool is_float(clqi_gguf_type type) { return type == CLQI_GGUF_F32 || type == CLQI_GGUF_F64; }

static bool is_exactly_bool(clqi_gguf_type type) { return type == CLQI_GGUF_BOOL; }
static bool is_string(clqi_gguf_type type) { return type == CLQI_GGUF_STRING; }

/* The entry, which must exist and hold (an array of) a type that accepts takes. */
static clq_status require(const clqi_gguf *file, const char *key, bool array,
                          bool (*accepts)(clqi_gguf_type), const char *expected,
                          const clqi_gguf_entry **out) {
  const clqi_gguf_entry *entry = clqi_gguf_find_entry(file, key);
  if (entry == NULL) {
    return clqi_fail(CLQ_BAD_FILE, "%s: key '%s' is missing, expected %s", file->name, key,
                     expected);
  }
  if (entry->is_array != array || !accepts(entry->type)) {
    return wrong_type(file, entry, expected);
  }
  *out = entry;
  return CLQ_OK;
}

/* --- Integers. ------------------------------------------------------------ */

/* -2^63 to 2^64-1: value holds it modulo 2^64. */
typedef struct wide_integer {
  uint64_t value;
  bool negative;
} wide_integer;

#define LOAD(type, from) \
  type value;            \
  memcpy(&value, (from), sizeof value)

static wide_integer from_signed(int64_t value) {
  return (wide_integer){(uint64_t)value, value < 0};
}

static wide_integer load_integer(const clqi_gguf_entry *entry, size_t index) {
  const unsigned char *from = entry->data + index * clqi_gguf_type_bytes(entry->type);
  switch (entry->type) {
    case CLQI_GGUF_U8: {
      LOAD(uint8_t, from);
      return (wide_integer){value, false};
    }
    case CLQI_GGUF_I8: {
      LOAD(int8_t, from);
      return from_signed(value);
    }
    case CLQI_GGUF_U16: {
      LOAD(uint16_t, from);
      return (wide_integer){value, false};
    }
    case CLQI_GGUF_I16: {
      LOAD(int16_t, from);
      return from_signed(value);
    }
    case CLQI_GGUF_U32: {
      LOAD(uint32_t, from);
      return (wide_integer){value, false};
    }
    case CLQI_GGUF_I32: {
      LOAD(int32_t, from);
      return from_signed(value);
    }
    case CLQI_GGUF_U64: {
      LOAD(uint64_t, from);
      return (wide_integer){value, false};
    }
    case CLQI_GGUF_I64: {
      LOAD(int64_t, from);
      return from_signed(value);
    }
    case CLQI_GGUF_F32:
    case CLQI_GGUF_BOOL:
    case CLQI_GGUF_STRING:
    case CLQI_GGUF_ARRAY:
    case CLQI_GGUF_F64: break;
  }
  return (wide_integer){0, false};
}

/* Checks min <= the integer <= max, min <= 0 <= max. index is that of an array's
 * element, ignored for a scalar. */
static clq_status load_ranged(const clqi_gguf *file, const clqi_gguf_entry *entry, size_t index,
                              int64_t min, uint64_t max, wide_integer *out) {
  const wide_integer loaded = load_integer(entry, index);
  const bool fits = loaded.negative ? (int64_t)loaded.value >= min : loaded.value <= max;
  if (!fits) {
    char text[24];
    char element[40] = "";
    if (loaded.negative) {
      (void)snprintf(text, sizeof text, "%" PRId64, (int64_t)loaded.value);
    } else {
      (void)snprintf(text, sizeof text, "%" PRIu64, loaded.value);
    }
    if (entry->is_array) {
      (void)snprintf(element, sizeof element, " in element %zu", index);
    }
    return clqi_fail(
        CLQ_BAD_FILE, "%s: key %s is %s%s, expected %" PRId64 " to %" PRIu64 " (at byte %zu)",
        file->name, clqi_gguf_quote(entry->key.data, entry->key.length).text, text, element, min,
        max, (size_t)(entry->data - file->bytes) + index * clqi_gguf_type_bytes(entry->type));
  }
  *out = loaded;
  return CLQ_OK;
}

static clq_status get_ranged(const clqi_gguf *file, const char *key, int64_t min, uint64_t max,
                             wide_integer *out) {
  const clqi_gguf_entry *entry = NULL;
  CLQI_TRY(require(file, key, false, is_integer, "an integer", &entry));
  return load_ranged(file, entry, 0, min, max, out);
}

clq_status clqi_gguf_get_u32(const clqi_gguf *file, const char *key, uint32_t *out) {
  wide_integer loaded = {0};
  CLQI_TRY(get_ranged(file, key, 0, UINT32_MAX, &loaded));
  *out = (uint32_t)loaded.value;
  return CLQ_OK;
}

clq_status clqi_gguf_get_u64(const clqi_gguf *file, const char *key, uint64_t *out) {
  wide_integer loaded = {0};
  CLQI_TRY(get_ranged(file, key, 0, UINT64_MAX, &loaded));
  *out = loaded.value;
  return CLQ_OK;
}

clq_status clqi_gguf_get_i64(const clqi_gguf *file, const char *key, int64_t *out) {
  wide_integer loaded = {0};
  CLQI_TRY(get_ranged(file, key, INT64_MIN, INT64_MAX, &loaded));
  *out = (int64_t)loaded.value;
  return CLQ_OK;
}

/* --- Floats, bool, string. ------------------------------------------------ */

static double load_float(const clqi_gguf_entry *entry, size_t index) {
  const unsigned char *from = entry->data + index * clqi_gguf_type_bytes(entry->type);
  if (entry->type == CLQI_GGUF_F32) {
    LOAD(float, from);
    return (double)value;
  }
  LOAD(double, from);
  return value;
}

static const char float_range[] = "%s: key %s has a number too large for f32 (at byte %zu)";

/* Rounds; a finite number that would become infinite is refused. */
static clq_status load_f32(const clqi_gguf *file, const clqi_gguf_entry *entry, size_t index,
                           float *out) {
  const double wide = load_float(entry, index);
  const float narrow = (float)wide;
  if (isinf(narrow) && !isinf(wide)) {
    return clqi_fail(
        CLQ_BAD_FILE, float_range, file->name,
        clqi_gguf_quote(entry->key.data, entry->key.length).text,
        (size_t)(entry->data - file->bytes) + index * clqi_gguf_type_bytes(entry->type));
  }
  *out = narrow;
  return CLQ_OK;
}

clq_status clqi_gguf_get_f32(const clqi_gguf *file, const char *key, float *out) {
  const clqi_gguf_entry *entry = NULL;
  CLQI_TRY(require(file, key, false, is_float, "f32 or f64", &entry));
  return load_f32(file, entry, 0, out);
}

clq_status clqi_gguf_get_f64(const clqi_gguf *file, const char *key, double *out) {
  const clqi_gguf_entry *entry = NULL;
  CLQI_TRY(require(file, key, false, is_float, "f32 or f64", &entry));
  *out = load_float(entry, 0);
  return CLQ_OK;
}

clq_status clqi_gguf_get_bool(const clqi_gguf *file, const char *key, bool *out) {
  const clqi_gguf_entry *entry = NULL;
  CLQI_TRY(require(file, key, false, is_exactly_bool, "bool", &entry));
  *out = entry->data[0] != 0;
  return CLQ_OK;
}

clq_status clqi_gguf_get_string(const clqi_gguf *file, const char *key, clqi_gguf_string *out) {
  const clqi_gguf_entry *entry = NULL;
  CLQI_TRY(require(file, key, false, is_string, "string", &entry));
  *out = (clqi_gguf_string){(const char *)entry->data, entry->bytes};
  return CLQ_OK;
}

/* --- With a fallback. ----------------------------------------------------- */

#define GET_OR(get, file, key, fallback, out)          \
  do {                                                 \
    if (clqi_gguf_find_entry((file), (key)) == NULL) { \
      *(out) = (fallback);                             \
      return CLQ_OK;                                   \
    }                                                  \
    return get((file), (key), (out));                  \
  } while (0)

clq_status clqi_gguf_get_i64_or(const clqi_gguf *file, const char *key, int64_t fallback,
                                int64_t *out) {
  GET_OR(clqi_gguf_get_i64, file, key, fallback, out);
}

clq_status clqi_gguf_get_f32_or(const clqi_gguf *file, const char *key, float fallback,
                                float *out) {
  GET_OR(clqi_gguf_get_f32, file, key, fallback, out);
}

clq_status clqi_gguf_get_bool_or(const clqi_gguf *file, const char *key, bool fallback, bool *out) {
  GET_OR(clqi_gguf_get_bool, file, key, fallback, out);
}

clq_status clqi_gguf_get_string_or_none(const clqi_gguf *file, const char *key,
                                        clqi_gguf_string *out) {
  GET_OR(clqi_gguf_get_string, file, key, ((clqi_gguf_string){NULL, 0}), out);
}

/* --- Arrays. -------------------------------------------------------------- */

static clq_status no_array_memory(const clqi_gguf *file, const clqi_gguf_entry *entry) {
  return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for the %zu elements of key %s",
                   file->name, entry->count,
                   clqi_gguf_quote(entry->key.data, entry->key.length).text);
}

/* The lengths were checked at open. */
static void view_strings(const clqi_gguf_entry *entry, clqi_gguf_string *views) {
  const unsigned char *next = entry->data;
  for (size_t i = 0; i < entry->count; ++i) {
    uint64_t length;
    memcpy(&length, next, sizeof length);
    next += sizeof length;
    views[i] = (clqi_gguf_string){(const char *)next, (size_t)length};
    next += length;
  }
}

clq_status clqi_gguf_get_string_array(const clqi_gguf *file, const char *key,
                                      clqi_gguf_string **out, size_t *count) {
  const clqi_gguf_entry *entry = NULL;
  CLQI_TRY(require(file, key, true, is_string, "an array of string", &entry));
  clqi_gguf_string *views = clqi_calloc(entry->count, sizeof *views);
  if (views == NULL && entry->count != 0) {
    return no_array_memory(file, entry);
  }
  view_strings(entry, views);
  *out = views;
  *count = entry->count;
  return CLQ_OK;
}

clq_status clqi_gguf_get_i32_array(const clqi_gguf *file, const char *key, int32_t **out,
                                   size_t *count) {
  const clqi_gguf_entry *entry = NULL;
  CLQI_TRY(require(file, key, true, is_integer, "an array of integers", &entry));
  int32_t *values = clqi_calloc(entry->count, sizeof *values);
  if (values == NULL && entry->count != 0) {
    return no_array_memory(file, entry);
  }
  for (size_t i = 0; i < entry->count; ++i) {
    wide_integer loaded = {0};
    const clq_status status = load_ranged(file, entry, i, INT32_MIN, INT32_MAX, &loaded);
    if (status != CLQ_OK) {
      clqi_free(values);
      return status;
    }
    values[i] = (int32_t)(int64_t)loaded.value;
  }
  *out = values;
  *count = entry->count;
  return CLQ_OK;
}

clq_status clqi_gguf_get_f32_array(const clqi_gguf *file, const char *key, float **out,
                                   size_t *count) {
  const clqi_gguf_entry *entry = NULL;
  CLQI_TRY(require(file, key, true, is_float, "an array of f32 or f64", &entry));
  float *values = clqi_calloc(entry->count, sizeof *values);
  if (values == NULL && entry->count != 0) {
    return no_array_memory(file, entry);
  }
  for (size_t i = 0; i < entry->count; ++i) {
    const clq_status status = load_f32(file, entry, i, &values[i]);
    if (status != CLQ_OK) {
      clqi_free(values);
      return status;
    }
  }
  *out = values;
  *count = entry->count;
  return CLQ_OK;
}

/* --- Tensors. ------------------------------------------------------------- */

const clqi_gguf_tensor *clqi_gguf_tensor_at(const clqi_gguf *file, size_t index) {
  return &file->tensors[index];
}

static int against_tensor(const void *wanted, uint32_t index) {
  const wanted_name *w = wanted;
  return strcmp(w->name, w->file->tensors[index].name);
}

const clqi_gguf_tensor *clqi_gguf_find_tensor(const clqi_gguf *file, const char *name) {
  const uint32_t found = clqi_find_in_order(file->tensor_order, file->tensor_count, against_tensor,
                                            &(wanted_name){file, name});
  return found == UINT32_MAX ? NULL : &file->tensors[found];
}

clq_status clqi_gguf_get_tensor(const clqi_gguf *file, const char *name,
                                const clqi_gguf_tensor **out) {
  const clqi_gguf_tensor *tensor = clqi_gguf_find_tensor(file, name);
  if (tensor == NULL) {
    return clqi_fail(CLQ_BAD_FILE, "%s: tensor '%s' is missing", file->name, name);
  }
  *out = tensor;
  return CLQ_OK;
}

clq_status clqi_gguf_read(const clqi_gguf *file, const clqi_gguf_tensor *tensor, size_t first,
                          size_t bytes, void *out) {
  CLQI_REQUIRE(first <= tensor->bytes && bytes <= tensor->bytes - first,
               "%s: %zu bytes from byte %zu of tensor %s are wanted, it has %zu", file->name, bytes,
               first, tensor->name, tensor->bytes);
  if (file->source.descriptor >= 0) {
    return clqi_file_read(&file->source, file->name, tensor->offset + first, bytes, out);
  }
  if (bytes != 0) {
    memcpy(out, file->bytes + tensor->offset + first, bytes);
  }
  return CLQ_OK;
}

clq_status clqi_gguf_advise(clq_status status) {
  return status != CLQ_BAD_FILE
             ? status
             : clqi_fail(CLQ_BAD_FILE,
                         "%s; the file is damaged or not a model of this kind: download it again",
                         clq_last_error());
}
