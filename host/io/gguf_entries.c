/* Parsing of a GGUF file's metadata. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/gguf_cursor.h"
#include "runtime/memory.h"
#include "runtime/sort_order.h"

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

static clq_status take_type(clqi_gguf_cursor *p, clqi_gguf_type *out) {
  const size_t start = p->offset;
  uint32_t id = 0;
  CLQI_TRY(clqi_gguf_take_u32(p, &id));
  if (id > CLQI_GGUF_F64) {
    return clqi_gguf_unknown(p, start, "%s has the unknown value type %" PRIu32, p->what, id);
  }
  *out = (clqi_gguf_type)id;
  return CLQ_OK;
}

static clq_status check_bools(const clqi_gguf_cursor *p, const clqi_gguf_entry *entry) {
  for (size_t i = 0; i < entry->count; ++i) {
    if (entry->data[i] > 1) {
      return clqi_gguf_damaged(p, (size_t)(entry->data - p->file->bytes) + i,
                               "%s has a bool of value %u, expected 0 or 1", p->what,
                               entry->data[i]);
    }
  }
  return CLQ_OK;
}

/* entry->count strings; entry->data and bytes get their extent. */
static clq_status take_string_elements(clqi_gguf_cursor *p, clqi_gguf_entry *entry) {
  const size_t start = p->offset;
  for (size_t i = 0; i < entry->count; ++i) {
    clqi_gguf_string ignored = {0};
    CLQI_TRY(clqi_gguf_take_string(p, &ignored));
  }
  entry->data = p->file->bytes + start;
  entry->bytes = p->offset - start;
  return CLQ_OK;
}

/* entry->count numbers or bools. */
static clq_status take_plain_elements(clqi_gguf_cursor *p, clqi_gguf_entry *entry) {
  /* cannot wrap: the count is 1 or was bounded by the bytes that remain */
  entry->bytes = entry->count * clqi_gguf_type_bytes(entry->type);
  CLQI_TRY(clqi_gguf_take(p, entry->bytes, &entry->data));
  return entry->type == CLQI_GGUF_BOOL ? check_bools(p, entry) : CLQ_OK;
}

static clq_status take_array(clqi_gguf_cursor *p, clqi_gguf_entry *entry) {
  const size_t start = p->offset;
  uint64_t count = 0;
  CLQI_TRY(take_type(p, &entry->type));
  if (entry->type == CLQI_GGUF_ARRAY) {
    return clqi_gguf_refuse(p, start,
                            "%s is an array of arrays, which is not supported: "
                            "convert the model again",
                            p->what);
  }
  CLQI_TRY(clqi_gguf_take_u64(p, &count));
  const size_t least = entry->type == CLQI_GGUF_STRING ? 8 : clqi_gguf_type_bytes(entry->type);
  if (count > clqi_gguf_remaining(p) / least) {
    return clqi_gguf_refuse(p, start,
                            "%s is an array of %" PRIu64
                            " elements of type %s, which cannot fit in the %zu "
                            "bytes that remain: the file is truncated or damaged, fetch it again",
                            p->what, count, clqi_gguf_type_name(entry->type),
                            clqi_gguf_remaining(p));
  }
  entry->is_array = true;
  entry->count = (size_t)count;
  return entry->type == CLQI_GGUF_STRING ? take_string_elements(p, entry)
                                         : take_plain_elements(p, entry);
}

static clq_status take_entry(clqi_gguf_cursor *p, size_t index, clqi_gguf_entry *entry) {
  (void)snprintf(p->what, sizeof p->what, "metadata entry %zu", index);
  CLQI_TRY(clqi_gguf_take_name(p, CLQI_GGUF_MAX_KEY_BYTES, &entry->key));
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
  CLQI_TRY(clqi_gguf_take_string(p, &text));
  entry->data = (const unsigned char *)text.data;
  entry->bytes = text.length;
  return CLQ_OK;
}

static int compare_strings(const char *a, size_t a_length, const char *b, size_t b_length) {
  const int bytes = memcmp(a, b, a_length < b_length ? a_length : b_length);
  return bytes != 0 ? bytes : (a_length > b_length) - (a_length < b_length);
}

static int compare_entries(const void *context, uint32_t a, uint32_t b) {
  const clqi_gguf *file = context;
  const clqi_gguf_string x = file->entries[a].key;
  const clqi_gguf_string y = file->entries[b].key;
  const int names = compare_strings(x.data, x.length, y.data, y.length);
  return names != 0 ? names : clqi_gguf_compare_positions(a, b);
}

static clq_status check_keys_differ(const clqi_gguf_cursor *p) {
  const clqi_gguf *file = p->file;
  for (size_t i = 1; i < file->entry_count; ++i) {
    const clqi_gguf_string first = file->entries[file->entry_order[i - 1]].key;
    const clqi_gguf_string second = file->entries[file->entry_order[i]].key;
    if (compare_strings(first.data, first.length, second.data, second.length) == 0) {
      return clqi_gguf_damaged(p, (size_t)((const unsigned char *)second.data - file->bytes),
                               "key %s occurs twice",
                               clqi_gguf_quote(second.data, second.length).text);
    }
  }
  return CLQ_OK;
}

static clq_status parse_alignment(clqi_gguf_cursor *p) {
  static const char key[] = "general.alignment";
  clqi_gguf *file = p->file;
  file->alignment = CLQI_GGUF_DEFAULT_ALIGNMENT;
  const clqi_gguf_entry *entry = clqi_gguf_find_entry(file, key);
  if (entry == NULL) {
    return CLQ_OK;
  }
  const size_t start = (size_t)(entry->data - file->bytes);
  if (entry->is_array || entry->type != CLQI_GGUF_U32) {
    return clqi_gguf_damaged(p, start, "key '%s' is %s%s, expected u32", key,
                             entry->is_array ? "an array of " : "",
                             clqi_gguf_type_name(entry->type));
  }
  uint32_t value;
  memcpy(&value, entry->data, sizeof value);
  if (value < CLQI_GGUF_MIN_ALIGNMENT || value > CLQI_GGUF_MAX_ALIGNMENT ||
      (value & (value - 1)) != 0) {
    return clqi_gguf_damaged(p, start,
                             "key '%s' is %" PRIu32 ", expected a power of two from %d to %d", key,
                             value, CLQI_GGUF_MIN_ALIGNMENT, CLQI_GGUF_MAX_ALIGNMENT);
  }
  file->alignment = value;
  return CLQ_OK;
}

clq_status clqi_gguf_parse_entries(clqi_gguf_cursor *p, size_t count) {
  clqi_gguf *file = p->file;
  if (count != 0) {
    file->entries = clqi_calloc(count, sizeof *file->entries);
    if (file->entries == NULL) {
      return clqi_gguf_no_memory(p, count, "metadata entries");
    }
  }
  for (size_t i = 0; i < count; ++i) {
    CLQI_TRY(take_entry(p, i, &file->entries[i]));
  }
  file->entry_count = count;
  CLQI_TRY(clqi_gguf_new_order(p, count, &file->entry_order));
  clqi_sort_order(file->entry_order, count, compare_entries, file);
  CLQI_TRY(check_keys_differ(p));
  return parse_alignment(p);
}
