/* The header of one safetensors file: u64 length, so many bytes of JSON, then the data:
 *
 *   {"__metadata__": {"key": "text", ...},
 *    "name": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}, ...}
 *
 * Offsets count from the end of the header. The data of all tensors covers what follows it without
 * gaps or overlaps. Time and memory are bounded by the file's size. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/json.h"
#include "io/safetensors_private.h"
#include "io/text.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/sort_order.h"

enum { LENGTH_BYTES = 8, FIELDS = 3 };

typedef struct parser {
  clqi_safetensors *set;
  clqi_safetensors_shard *shard;
  uint32_t shard_index;
  size_t data_offset;
  clqi_json json;
} parser;

static clqi_excerpt shown(const char *name) { return clqi_excerpt_of(clqi_text_of(name)); }

/* --- Length and text. ----------------------------------------------------- */

static clq_status read_bytes(const clqi_safetensors_shard *shard, size_t first, size_t bytes,
                             void *out) {
  if (shard->image == NULL) {
    return clqi_file_read(&shard->source, shard->name, first, bytes, out);
  }
  memcpy(out, shard->image + first, bytes);
  return CLQ_OK;
}

static clq_status read_length(const clqi_safetensors_shard *shard, size_t *out) {
  unsigned char bytes[LENGTH_BYTES];
  if (shard->size < LENGTH_BYTES + 2) {
    return clqi_fail(CLQ_BAD_FILE,
                     "%s: not a safetensors file: it has %zu bytes, expected at least %d",
                     shard->name, shard->size, LENGTH_BYTES + 2);
  }
  CLQI_TRY(read_bytes(shard, 0, sizeof bytes, bytes));
  uint64_t length = 0;
  for (int i = LENGTH_BYTES - 1; i >= 0; --i) {
    length = length << 8 | bytes[i];
  }
  if (length < 2 || length > CLQI_SAFETENSORS_MAX_HEADER_BYTES) {
    return clqi_fail(CLQ_BAD_FILE,
                     "%s: not a safetensors file: it announces a header of %" PRIu64
                     " bytes, expected 2 to %d",
                     shard->name, length, CLQI_SAFETENSORS_MAX_HEADER_BYTES);
  }
  if (length > shard->size - LENGTH_BYTES) {
    return clqi_fail(CLQ_BAD_FILE,
                     "%s: the header of %" PRIu64
                     " bytes does not fit the file of %zu: it is truncated or damaged, fetch it "
                     "again",
                     shard->name, length, shard->size);
  }
  *out = (size_t)length;
  return CLQ_OK;
}

static clq_status read_header(clqi_safetensors_shard *shard, size_t *length) {
  CLQI_TRY(read_length(shard, length));
  shard->header = clqi_malloc(*length);
  if (shard->header == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for the %zu bytes of its header",
                     shard->name, *length);
  }
  CLQI_TRY(read_bytes(shard, LENGTH_BYTES, *length, shard->header));
  if (shard->header[0] != '{') {
    return clqi_fail(CLQ_BAD_FILE,
                     "%s: not a safetensors file: its header starts with the byte %02x, expected "
                     "7b ({)",
                     shard->name, (unsigned)(unsigned char)shard->header[0]);
  }
  return CLQ_OK;
}

/* --- One tensor. ---------------------------------------------------------- */

static clq_status parse_dtype(clqi_json *json, clqi_safetensors_dtype *out) {
  const char *name = NULL;
  CLQI_TRY(clqi_json_string(json, &name));
  return clqi_safetensors_dtype_find(name, out)
             ? CLQ_OK
             : clqi_json_refuse(json, "%s has the dtype '%s', which is not supported", json->what,
                                shown(name).text);
}

/* The product leaves zero dimensions out, so that any part of the dimensions, multiplied in any
 * order, fits too. */
static clq_status parse_shape(clqi_json *json, clqi_safetensors_tensor *tensor) {
  int64_t product = 1;
  bool more = false;
  CLQI_TRY(clqi_json_enter_array(json));
  for (;;) {
    CLQI_TRY(clqi_json_next_item(json, &more));
    if (!more) {
      return CLQ_OK;
    }
    if (tensor->dim_count == CLQI_SAFETENSORS_MAX_DIMS) {
      return clqi_json_refuse(json, "%s has more than %d dimensions", json->what,
                              CLQI_SAFETENSORS_MAX_DIMS);
    }
    int64_t dim = 0;
    CLQI_TRY(clqi_json_integer(json, 0, CLQI_JSON_MAX_INTEGER, &dim));
    if (!clqi_mul_i64(product, dim == 0 ? 1 : dim, &product)) {
      return clqi_json_refuse(json, "%s has dimensions whose product passes %" PRId64, json->what,
                              INT64_MAX);
    }
    tensor->dims[tensor->dim_count++] = dim;
  }
}

static clq_status parse_offsets(clqi_json *json, int64_t offsets[2]) {
  bool more = false;
  CLQI_TRY(clqi_json_enter_array(json));
  for (size_t i = 0; i <= 2; ++i) {
    CLQI_TRY(clqi_json_next_item(json, &more));
    if (more != (i < 2)) {
      return clqi_json_refuse(json, "%s has %s two data_offsets", json->what,
                              more ? "more than" : "fewer than");
    }
    if (more) {
      CLQI_TRY(clqi_json_integer(json, 0, CLQI_JSON_MAX_INTEGER, &offsets[i]));
    }
  }
  return CLQ_OK;
}

static clq_status place_tensor(const parser *p, size_t at, const int64_t offsets[2],
                               clqi_safetensors_tensor *tensor) {
  const size_t data_bytes = p->shard->size - p->data_offset;
  size_t bytes = clqi_safetensors_dtype_bytes(tensor->dtype);
  bool fits = true;
  for (uint32_t i = 0; i < tensor->dim_count; ++i) {
    fits = fits && clqi_mul_size(bytes, (size_t)tensor->dims[i], &bytes);
  }
  if (!fits) {
    return clqi_json_refuse_at(&p->json, at, "%s has more bytes than a size can count",
                               p->json.what);
  }
  if (offsets[0] > offsets[1]) {
    return clqi_json_refuse_at(&p->json, at,
                               "%s ends before it begins: data_offsets %" PRId64 " and %" PRId64,
                               p->json.what, offsets[0], offsets[1]);
  }
  if ((uint64_t)(offsets[1] - offsets[0]) != bytes) {
    return clqi_json_refuse_at(&p->json, at,
                               "%s has %" PRId64
                               " bytes of data, expected %zu for its shape and "
                               "dtype %s",
                               p->json.what, offsets[1] - offsets[0], bytes,
                               clqi_safetensors_dtype_name(tensor->dtype));
  }
  if ((uint64_t)offsets[1] > data_bytes) {
    return clqi_json_refuse_at(&p->json, at,
                               "%s ends at byte %" PRId64
                               " of the data, of which the file has %zu: it is truncated or "
                               "damaged",
                               p->json.what, offsets[1], data_bytes);
  }
  tensor->offset = p->data_offset + (size_t)offsets[0];
  tensor->bytes = bytes;
  return CLQ_OK;
}

static clq_status parse_tensor(parser *p, clqi_safetensors_tensor *tensor) {
  static const char *const fields[FIELDS] = {"dtype", "shape", "data_offsets"};
  clqi_json *json = &p->json;
  const size_t start = json->at;
  bool seen[FIELDS] = {false};
  int64_t offsets[2] = {0};
  const char *key = NULL;
  CLQI_TRY(clqi_json_enter_object(json));
  for (;;) {
    CLQI_TRY(clqi_json_next_key(json, &key));
    if (key == NULL) {
      break;
    }
    size_t field = 0;
    while (field < FIELDS && strcmp(key, fields[field]) != 0) {
      ++field;
    }
    if (field == FIELDS) {
      return clqi_json_refuse(json, "%s has the unknown field '%s'", json->what, shown(key).text);
    }
    if (seen[field]) { /* before a shape would be read onto a shape */
      return clqi_json_refuse(json, "%s has the key '%s' twice", json->what, key);
    }
    seen[field] = true;
    CLQI_TRY(field == 0   ? parse_dtype(json, &tensor->dtype)
             : field == 1 ? parse_shape(json, tensor)
                          : parse_offsets(json, offsets));
  }
  for (size_t i = 0; i < FIELDS; ++i) {
    if (!seen[i]) {
      return clqi_json_refuse_at(json, start, "%s has no %s", json->what, fields[i]);
    }
  }
  return place_tensor(p, start, offsets, tensor);
}

static clq_status new_tensor(parser *p, const char *name, clqi_safetensors_tensor **out) {
  clqi_safetensors *set = p->set;
  if (set->tensor_count == UINT32_MAX) {
    return clqi_json_refuse(&p->json, "there are more than %" PRIu32 " tensors", UINT32_MAX);
  }
  if (set->tensor_count == set->tensor_capacity) {
    const size_t capacity = set->tensor_capacity == 0 ? 256 : 2 * set->tensor_capacity;
    clqi_safetensors_tensor *tensors = clqi_realloc(set->tensors, capacity, sizeof *tensors);
    if (tensors == NULL) {
      return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for %zu tensors", p->shard->name,
                       capacity);
    }
    set->tensors = tensors;
    set->tensor_capacity = capacity;
  }
  *out = &set->tensors[set->tensor_count++];
  **out = (clqi_safetensors_tensor){
      .name = name, .shard = p->shard_index, .dims = {1, 1, 1, 1, 1, 1, 1, 1}};
  return CLQ_OK;
}

/* --- The whole. ----------------------------------------------------------- */

static clq_status parse_metadata(clqi_json *json) {
  const char *text = NULL;
  (void)snprintf(json->what, sizeof json->what, "__metadata__");
  CLQI_TRY(clqi_json_enter_object(json));
  for (;;) {
    CLQI_TRY(clqi_json_next_key(json, &text));
    if (text == NULL) {
      return CLQ_OK;
    }
    CLQI_TRY(clqi_json_string(json, &text));
  }
}

static clq_status parse_entries(parser *p) {
  clqi_json *json = &p->json;
  const char *key = NULL;
  CLQI_TRY(clqi_json_enter_object(json));
  for (;;) {
    (void)snprintf(json->what, sizeof json->what, "the header");
    CLQI_TRY(clqi_json_next_key(json, &key));
    if (key == NULL) {
      return clqi_json_finish(json);
    }
    if (key[0] == '\0') {
      return clqi_json_refuse(json, "a tensor has an empty name");
    }
    if (strcmp(key, "__metadata__") == 0) {
      CLQI_TRY(parse_metadata(json));
      continue;
    }
    clqi_safetensors_tensor *tensor = NULL;
    CLQI_TRY(new_tensor(p, key, &tensor));
    (void)snprintf(json->what, sizeof json->what, "tensor '%s'", shown(key).text);
    CLQI_TRY(parse_tensor(p, tensor));
  }
}

static int compare_extents(const void *context, uint32_t a, uint32_t b) {
  const clqi_safetensors_tensor *x = (const clqi_safetensors_tensor *)context + a;
  const clqi_safetensors_tensor *y = (const clqi_safetensors_tensor *)context + b;
  if (x->offset != y->offset) {
    return x->offset < y->offset ? -1 : 1;
  }
  return x->bytes != y->bytes ? (x->bytes > y->bytes) - (x->bytes < y->bytes) : (a > b) - (a < b);
}

/* The tensors, in the order of their data, follow each other from the first byte to the last. */
static clq_status check_extents(const parser *p, const clqi_safetensors_tensor *tensors,
                                size_t count, const uint32_t *order) {
  size_t end = p->data_offset;
  const char *last = NULL;
  for (size_t i = 0; i < count; ++i) {
    const clqi_safetensors_tensor *tensor = &tensors[order[i]];
    if (tensor->offset < end) {
      return clqi_json_refuse_at(&p->json, tensor->offset - LENGTH_BYTES,
                                 "the data of tensors '%s' and '%s' overlap", shown(last).text,
                                 shown(tensor->name).text);
    }
    if (tensor->offset > end) {
      return clqi_json_refuse_at(&p->json, end - LENGTH_BYTES,
                                 "%zu bytes before the data of tensor '%s' belong to none",
                                 tensor->offset - end, shown(tensor->name).text);
    }
    end += tensor->bytes;
    last = tensor->name;
  }
  if (end != p->shard->size) {
    return clqi_json_refuse_at(&p->json, end - LENGTH_BYTES,
                               "%zu bytes at the end of the data belong to no tensor",
                               p->shard->size - end);
  }
  return CLQ_OK;
}

static clq_status check_coverage(const parser *p, size_t first) {
  const size_t count = p->set->tensor_count - first;
  const clqi_safetensors_tensor *tensors = count == 0 ? NULL : p->set->tensors + first;
  uint32_t *order = NULL;
  CLQI_TRY(clqi_safetensors_new_order(p->set, count, &order));
  clqi_sort_order(order, count, compare_extents, tensors);
  const clq_status status = check_extents(p, tensors, count, order);
  clqi_free(order);
  return status;
}

clq_status clqi_safetensors_parse_header(clqi_safetensors *set, uint32_t shard) {
  clq_status status = CLQ_OK;
  parser p = {.set = set, .shard = &set->shards[shard], .shard_index = shard};
  const size_t first = set->tensor_count;
  size_t length = 0;
  CLQI_TRY(read_header(p.shard, &length));
  p.data_offset = LENGTH_BYTES + length;
  CLQI_TRY_CLEAN(clqi_json_begin(&p.json, p.shard->name, LENGTH_BYTES, p.shard->header, length));
  CLQI_TRY_CLEAN(parse_entries(&p));
  CLQI_TRY_CLEAN(check_coverage(&p, first));
cleanup:
  clqi_json_free(&p.json);
  return status;
}
