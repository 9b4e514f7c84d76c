/* Parsing of a GGUF file's tensor records. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/gguf_cursor.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/sort_order.h"

static clq_status take_tensor_name(clqi_gguf_cursor *p, size_t index, clqi_gguf_tensor *tensor) {
  clqi_gguf_string name = {0};
  (void)snprintf(p->what, sizeof p->what, "tensor %zu", index);
  CLQI_TRY(clqi_gguf_take_name(p, CLQI_GGUF_NAME_BYTES - 1, &name));
  memcpy(tensor->name, name.data, name.length);
  (void)snprintf(p->what, sizeof p->what, "tensor %s",
                 clqi_gguf_quote(name.data, name.length).text);
  return CLQ_OK;
}

/* The product leaves zero dimensions out, so that any part of the dimensions,
 * multiplied in any order, fits too. */
static clq_status take_dims(clqi_gguf_cursor *p, clqi_gguf_tensor *tensor) {
  const size_t start = p->offset;
  int64_t product = 1;
  CLQI_TRY(clqi_gguf_take_u32(p, &tensor->dim_count));
  if (tensor->dim_count > CLQI_GGUF_MAX_DIMS) {
    return clqi_gguf_damaged(p, start, "%s has %" PRIu32 " dimensions, more than %d", p->what,
                             tensor->dim_count, CLQI_GGUF_MAX_DIMS);
  }
  for (uint32_t i = 0; i < CLQI_GGUF_MAX_DIMS; ++i) {
    uint64_t dim = 1;
    if (i < tensor->dim_count) {
      CLQI_TRY(clqi_gguf_take_u64(p, &dim));
    }
    if (dim > INT64_MAX) {
      return clqi_gguf_damaged(p, p->offset - sizeof dim,
                               "%s has %" PRIu64 " elements in dimension %" PRIu32
                               ", more than %" PRId64,
                               p->what, dim, i, INT64_MAX);
    }
    tensor->dims[i] = (int64_t)dim;
    if (!clqi_mul_i64(product, dim == 0 ? 1 : (int64_t)dim, &product)) {
      return clqi_gguf_damaged(p, start, "%s has dimensions whose product passes %" PRId64, p->what,
                               INT64_MAX);
    }
  }
  return CLQ_OK;
}

static clq_status take_tensor_type(clqi_gguf_cursor *p, clqi_gguf_tensor *tensor) {
  const size_t start = p->offset;
  uint32_t id = 0;
  CLQI_TRY(clqi_gguf_take_u32(p, &id));
  tensor->type = clqi_ggml_type_find(id);
  if (tensor->type != NULL) {
    return CLQ_OK;
  }
  const char *removed = clqi_ggml_removed_type_name(id);
  if (removed != NULL) {
    return clqi_gguf_refuse(
        p, start,
        "%s has type %s, which was removed from the format: quantize the model again to "
        "a current type such as q4_0",
        p->what, removed);
  }
  return clqi_gguf_unknown(p, start, "%s has the unknown type id %" PRIu32, p->what, id);
}

static clq_status measure_tensor(clqi_gguf_cursor *p, size_t start, clqi_gguf_tensor *tensor) {
  const clqi_ggml_type_info *type = tensor->type;
  if (tensor->dims[0] % type->block_elements != 0) {
    return clqi_gguf_damaged(p, start,
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
    return clqi_gguf_damaged(p, start, "%s has more bytes than a size can count", p->what);
  }
  tensor->bytes = (size_t)bytes;
  return CLQ_OK;
}

/* tensor->offset still counts from the data section, which starts only behind
 * the last tensor's record. */
static clq_status take_tensor(clqi_gguf_cursor *p, size_t index, clqi_gguf_tensor *tensor) {
  const size_t start = p->offset;
  CLQI_TRY(take_tensor_name(p, index, tensor));
  CLQI_TRY(take_dims(p, tensor));
  CLQI_TRY(take_tensor_type(p, tensor));
  CLQI_TRY(measure_tensor(p, start, tensor));
  const size_t offset_start = p->offset;
  uint64_t offset = 0;
  CLQI_TRY(clqi_gguf_take_u64(p, &offset));
  if (offset % p->file->alignment != 0) {
    return clqi_gguf_damaged(p, offset_start,
                             "%s has the data offset %" PRIu64
                             ", expected a multiple of the alignment %zu",
                             p->what, offset, p->file->alignment);
  }
  if (offset > p->file->size) {
    return clqi_gguf_refuse(p, offset_start,
                            "%s has the data offset %" PRIu64
                            ", beyond the end of the file of %zu bytes: it "
                            "is truncated or damaged, fetch it again",
                            p->what, offset, p->file->size);
  }
  tensor->offset = (size_t)offset;
  return CLQ_OK;
}

static clq_status parse_records(clqi_gguf_cursor *p, size_t count) {
  clqi_gguf *file = p->file;
  if (count != 0) {
    file->tensors = clqi_calloc(count, sizeof *file->tensors);
    if (file->tensors == NULL) {
      return clqi_gguf_no_memory(p, count, "tensors");
    }
  }
  for (size_t i = 0; i < count; ++i) {
    CLQI_TRY(take_tensor(p, i, &file->tensors[i]));
  }
  file->tensor_count = count;
  return CLQ_OK;
}

/* Turns offsets into file positions and checks that all data is present. */
static clq_status place_tensors(clqi_gguf_cursor *p) {
  clqi_gguf *file = p->file;
  const size_t header_end = p->offset;
  if (!clqi_align_size(header_end, file->alignment, &file->data_offset)) {
    return clqi_gguf_damaged(p, header_end, "the header is too long to be padded");
  }
  for (size_t i = 0; i < file->tensor_count; ++i) {
    clqi_gguf_tensor *tensor = &file->tensors[i];
    const size_t relative = tensor->offset;
    size_t end;
    if (!clqi_add_size(file->data_offset, relative, &tensor->offset) ||
        !clqi_add_size(tensor->offset, tensor->bytes, &end) || end > file->size) {
      return clqi_gguf_refuse(
          p, header_end,
          "tensor %s needs %zu bytes at byte %zu of the data, which starts at byte %zu, "
          "but the file has %zu bytes: it is truncated or damaged, fetch it again",
          clqi_gguf_quote(tensor->name, strlen(tensor->name)).text, tensor->bytes, relative,
          file->data_offset, file->size);
    }
  }
  return CLQ_OK;
}

static int compare_tensor_names(const void *context, uint32_t a, uint32_t b) {
  const clqi_gguf *file = context;
  const int names = strcmp(file->tensors[a].name, file->tensors[b].name);
  return names != 0 ? names : clqi_gguf_compare_positions(a, b);
}

static int compare_tensor_extents(const void *context, uint32_t a, uint32_t b) {
  const clqi_gguf *file = context;
  const size_t x = file->tensors[a].offset;
  const size_t y = file->tensors[b].offset;
  return x != y ? (x > y) - (x < y) : clqi_gguf_compare_positions(a, b);
}

/* order: by extent. Empty tensors overlap nothing. */
static clq_status check_disjoint(clqi_gguf_cursor *p, const uint32_t *order) {
  const clqi_gguf *file = p->file;
  const clqi_gguf_tensor *last = NULL;
  for (size_t i = 0; i < file->tensor_count; ++i) {
    const clqi_gguf_tensor *tensor = &file->tensors[order[i]];
    if (tensor->bytes == 0) {
      continue;
    }
    if (last != NULL && tensor->offset - last->offset < last->bytes) {
      return clqi_gguf_damaged(p, tensor->offset, "the data of tensors %s and %s overlap",
                               clqi_gguf_quote(last->name, strlen(last->name)).text,
                               clqi_gguf_quote(tensor->name, strlen(tensor->name)).text);
    }
    last = tensor;
  }
  return CLQ_OK;
}

static clq_status check_tensors(clqi_gguf_cursor *p) {
  clqi_gguf *file = p->file;
  CLQI_TRY(clqi_gguf_new_order(p, file->tensor_count, &file->tensor_order));
  clqi_sort_order(file->tensor_order, file->tensor_count, compare_tensor_extents, file);
  CLQI_TRY(check_disjoint(p, file->tensor_order));
  clqi_sort_order(file->tensor_order, file->tensor_count, compare_tensor_names, file);
  for (size_t i = 1; i < file->tensor_count; ++i) {
    const clqi_gguf_tensor *tensor = &file->tensors[file->tensor_order[i]];
    if (strcmp(file->tensors[file->tensor_order[i - 1]].name, tensor->name) == 0) {
      return clqi_gguf_damaged(p, tensor->offset, "tensor %s occurs twice",
                               clqi_gguf_quote(tensor->name, strlen(tensor->name)).text);
    }
  }
  return CLQ_OK;
}

clq_status clqi_gguf_parse_tensors(clqi_gguf_cursor *p, size_t count) {
  CLQI_TRY(parse_records(p, count));
  CLQI_TRY(place_tensors(p));
  return check_tensors(p);
}
