#include <clquant/checkpoint.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/plain_layer.h"
#include "io/quant_linear.h"
#include "io/safetensors.h"
#include "io/text.h"
#include "quant/formats.h"
#include "quant/pack.h"
#include "quant/progress.h"
#include "runtime/checked.h"
#include "runtime/memory.h"

enum { PATH_BYTES = 4096, NAME_BYTES = 512 };

struct clq_checkpoint {
  clqi_safetensors *set;
  clqi_quant_config config;
  char **names; /* of layers; each a block of its own */
  int64_t count;
};

static clqi_excerpt shown(const char *text) { return clqi_excerpt_of(clqi_text_of(text)); }

/* --- What there is. --- */

static bool is_float(const clqi_safetensors_tensor *t) {
  return t->dtype == CLQI_SAFETENSORS_F32 || t->dtype == CLQI_SAFETENSORS_F16 ||
         t->dtype == CLQI_SAFETENSORS_BF16;
}

/* Bytes of the layer's name if the tensor is the one that makes a layer, else 0. */
static size_t layer_length(const clqi_safetensors_tensor *t) {
  static const char packed[] = ".qweight";
  static const char plain[] = ".weight";
  const size_t length = strlen(t->name);
  if (length > sizeof packed - 1 && strcmp(t->name + length - (sizeof packed - 1), packed) == 0) {
    return length - (sizeof packed - 1);
  }
  const bool is_matrix = t->dim_count == 2 && is_float(t);
  if (is_matrix && length > sizeof plain - 1 &&
      strcmp(t->name + length - (sizeof plain - 1), plain) == 0) {
    return length - (sizeof plain - 1);
  }
  return 0;
}

static clq_status list_layers(clq_checkpoint *c) {
  const size_t tensors = clqi_safetensors_count(c->set);
  c->names = clqi_calloc(tensors == 0 ? 1 : tensors, sizeof *c->names);
  bool fits = c->names != NULL;
  for (size_t i = 0; fits && i < tensors; ++i) {
    const clqi_safetensors_tensor *t = clqi_safetensors_at(c->set, i);
    const size_t length = layer_length(t);
    if (length == 0) {
      continue;
    }
    char *name = clqi_malloc(length + 1);
    fits = name != NULL;
    if (fits) {
      memcpy(name, t->name, length);
      name[length] = '\0';
      c->names[c->count++] = name;
    }
  }
  return fits ? CLQ_OK
              : clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for the names of its layers",
                          clqi_safetensors_name(c->set));
}

static bool ends_with(const char *text, const char *end) {
  const size_t length = strlen(text);
  return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

/* The folder that configs lie in. */
static clq_status folder_of(const char *path, char folder[PATH_BYTES]) {
  const bool is_file = ends_with(path, ".safetensors") || ends_with(path, ".json");
  const char *slash = strrchr(path, '/');
  const size_t length = !is_file ? strlen(path) : slash == NULL ? 0 : (size_t)(slash - path);
  if (length >= PATH_BYTES) {
    return clqi_fail(CLQ_IO_ERROR, "%s: the path is too long", path);
  }
  memcpy(folder, path, length);
  folder[length] = '\0';
  if (is_file && length == 0) {
    (void)snprintf(folder, PATH_BYTES, "%s", slash == NULL ? "." : "/");
  }
  return CLQ_OK;
}

clq_status clq_checkpoint_open(const char *path, clq_checkpoint **checkpoint) {
  CLQI_REQUIRE(checkpoint != NULL, "checkpoint_open: the result pointer is NULL");
  *checkpoint = NULL;
  CLQI_REQUIRE(path != NULL, "checkpoint_open: the path is NULL");
  clq_status status = CLQ_OK;
  char folder[PATH_BYTES];
  CLQI_TRY(folder_of(path, folder));
  clq_checkpoint *c = clqi_calloc(1, sizeof *c);
  if (c == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory to open it", path);
  }
  CLQI_TRY_CLEAN(clqi_safetensors_open(path, &c->set));
  CLQI_TRY_CLEAN(clqi_quant_config_open(folder, &c->config));
  CLQI_TRY_CLEAN(list_layers(c));
  *checkpoint = c;
  c = NULL;
cleanup:
  clq_checkpoint_close(c);
  return status;
}

void clq_checkpoint_close(clq_checkpoint *checkpoint) {
  if (checkpoint == NULL) {
    return;
  }
  for (int64_t i = 0; i < checkpoint->count; ++i) {
    clqi_free(checkpoint->names[i]);
  }
  clqi_free(checkpoint->names);
  clqi_safetensors_close(checkpoint->set);
  clqi_free(checkpoint);
}

int64_t clq_checkpoint_layers(const clq_checkpoint *checkpoint) { return checkpoint->count; }

const char *clq_checkpoint_layer(const clq_checkpoint *checkpoint, int64_t index) {
  return index >= 0 && index < checkpoint->count ? checkpoint->names[index] : NULL;
}

/* --- Tensors of floats. --- */

static int64_t elements_of(const clqi_safetensors_tensor *t) {
  return (int64_t)(t->bytes / clqi_safetensors_dtype_bytes(t->dtype));
}

int64_t clq_checkpoint_elements(const clq_checkpoint *checkpoint, const char *name) {
  const clqi_safetensors_tensor *t = clqi_safetensors_find(checkpoint->set, name);
  return t == NULL ? -1 : elements_of(t);
}

clq_status clq_checkpoint_floats(const clq_checkpoint *checkpoint, const char *name, float *out,
                                 int64_t count) {
  CLQI_REQUIRE(checkpoint != NULL && name != NULL && (out != NULL || count == 0),
               "checkpoint_floats: checkpoint, name and result must not be NULL");
  const clqi_safetensors_tensor *t = NULL;
  CLQI_TRY(clqi_safetensors_get(checkpoint->set, name, &t));
  const char *file = clqi_safetensors_shard_name(checkpoint->set, t->shard);
  if (!is_float(t)) {
    return clqi_fail(CLQ_UNSUPPORTED, "%s: tensor '%s' is %s, expected F32, F16 or BF16", file,
                     shown(name).text, clqi_safetensors_dtype_name(t->dtype));
  }
  CLQI_REQUIRE(elements_of(t) == count,
               "checkpoint_floats: %" PRId64 " elements of tensor '%s' are wanted, it has %" PRId64,
               count, shown(name).text, elements_of(t));
  if (count == 0) {
    return CLQ_OK;
  }
  /* Halves go to the end of out, from where they are spread: an element is read before its place
   * is written. */
  uint8_t *bytes = (uint8_t *)out + (size_t)count * sizeof(float) - t->bytes;
  CLQI_TRY(clqi_safetensors_read(checkpoint->set, t, 0, t->bytes, bytes));
  for (int64_t i = 0; t->dtype != CLQI_SAFETENSORS_F32 && i < count; ++i) {
    const uint8_t *half = bytes + 2 * i;
    out[i] = t->dtype == CLQI_SAFETENSORS_F16 ? clqi_load_f16(half) : clqi_load_bf16(half);
  }
  return CLQ_OK;
}

/* --- Layers of floats: rows go straight from the file to the device. --- */

typedef struct float_stack {
  const clqi_safetensors *set;
  const clqi_safetensors_tensor **tensors;
} float_stack;

static clq_status read_rows(void *from, int32_t part, int64_t first_row, int64_t rows, void *out) {
  const float_stack *s = from;
  const clqi_safetensors_tensor *t = s->tensors[part];
  const size_t row_bytes = t->bytes / (size_t)t->dims[0];
  return clqi_safetensors_read(s->set, t, (size_t)first_row * row_bytes, (size_t)rows * row_bytes,
                               out);
}

static clq_format float_format(clqi_safetensors_dtype dtype) {
  switch (dtype) {
    case CLQI_SAFETENSORS_F32: return CLQ_FORMAT_F32;
    case CLQI_SAFETENSORS_F16: return CLQ_FORMAT_F16;
    default: return CLQ_FORMAT_BF16;
  }
}

static clq_status find_matrix(const clqi_safetensors *set, const char *name,
                              const clqi_safetensors_tensor **out) {
  char whole[NAME_BYTES];
  const int length = snprintf(whole, sizeof whole, "%s.weight", name);
  const clqi_safetensors_tensor *t =
      length > 0 && length < NAME_BYTES ? clqi_safetensors_find(set, whole) : NULL;
  if (t == NULL) {
    return clqi_fail(CLQ_BAD_FILE, "%s: there is no layer '%s': neither .weight nor .qweight",
                     clqi_safetensors_name(set), shown(name).text);
  }
  if (!is_float(t) || t->dim_count != 2 || t->bytes == 0) {
    return clqi_fail(
        CLQ_UNSUPPORTED,
        "%s: tensor '%s' is %s of %u dimensions%s, expected two of F32, F16 or BF16 with "
        "at least a row and a column",
        clqi_safetensors_shard_name(set, t->shard), shown(t->name).text,
        clqi_safetensors_dtype_name(t->dtype), t->dim_count,
        t->bytes == 0 ? " without elements" : "");
  }
  *out = t;
  return CLQ_OK;
}

static clq_status differs(const clq_checkpoint *c, const char *a, const char *b, const char *what) {
  return clqi_fail(CLQ_UNSUPPORTED, "%s: layers '%s' and '%s' differ in %s; load them one by one",
                   clqi_safetensors_name(c->set), shown(a).text, shown(b).text, what);
}

static clq_status load_floats(clq_context *context, const clq_checkpoint *c,
                              const char *const *names, clq_weights_desc *desc,
                              clq_weights_part *parts, clq_weights **weights) {
  clq_status status = CLQ_OK;
  float_stack stack = {.set = c->set,
                       .tensors = clqi_calloc((size_t)desc->part_count, sizeof *stack.tensors)};
  if (stack.tensors == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "weights_load: out of memory");
  }
  for (int32_t i = 0; i < desc->part_count; ++i) {
    CLQI_TRY_CLEAN(find_matrix(c->set, names[i], &stack.tensors[i]));
    parts[i].rows = stack.tensors[i]->dims[0];
    if (stack.tensors[i]->dtype != stack.tensors[0]->dtype ||
        stack.tensors[i]->dims[1] != stack.tensors[0]->dims[1]) {
      status = differs(c, names[0], names[i], "their dtype or their columns");
      goto cleanup;
    }
  }
  desc->format = float_format(stack.tensors[0]->dtype);
  desc->cols = stack.tensors[0]->dims[1];
  const clqi_row_source source = {.read = read_rows, .from = &stack};
  status = clqi_weights_pack_from(context, desc, &source, weights);
cleanup:
  clqi_free(stack.tensors);
  return status;
}

/* --- Packed layers. --- */

static bool same_order(const clqi_plain_layer *a, const clqi_plain_layer *b) {
  if (a->order == NULL || b->order == NULL) {
    return a->order == b->order;
  }
  return memcmp(a->order, b->order, (size_t)a->cols * sizeof *a->order) == 0;
}

static clq_status check_stacked(const clq_checkpoint *c, const char *const *names,
                                const clqi_plain_layer *layers, int32_t i) {
  const clqi_plain_layer *a = &layers[0];
  const clqi_plain_layer *b = &layers[i];
  const char *what = NULL;
  if (a->cols != b->cols) {
    what = "their columns";
  } else if (a->format != b->format || a->group != b->group || a->scale_dtype != b->scale_dtype ||
             (a->mins == NULL) != (b->mins == NULL)) {
    what = "how they are quantized";
  } else if (!same_order(a, b)) {
    what = "the order of their columns";
  }
  return what == NULL ? CLQ_OK : differs(c, names[0], names[i], what);
}

/* Bytes of a packed layer's codes; 0 if there are none. */
static uint64_t code_bytes(const clq_checkpoint *c, const char *name) {
  char whole[NAME_BYTES];
  const int length = snprintf(whole, sizeof whole, "%s.qweight", name);
  const clqi_safetensors_tensor *t =
      length > 0 && length < NAME_BYTES ? clqi_safetensors_find(c->set, whole) : NULL;
  return t == NULL ? 0 : t->bytes;
}

/* Reads the layers into `layers`, which the caller releases whatever comes. */
static clq_status read_layers(const clq_checkpoint *c, const char *const *names, int32_t count,
                              clqi_progress *progress, clqi_plain_layer *layers) {
  bool symmetric = true;
  for (int32_t i = 0; i < count; ++i) {
    if (!clqi_quant_linear_exists(c->set, names[i])) {
      return differs(c, names[0], names[i], "whether they are packed");
    }
    CLQI_TRY(clqi_plain_layer_load(c->set, &c->config, names[i], &layers[i]));
    CLQI_TRY(check_stacked(c, names, layers, i));
    CLQI_TRY(clqi_progress_add(progress, code_bytes(c, names[i]) / 2, "weights_load"));
    symmetric = symmetric && clqi_plain_layer_is_symmetric(&layers[i]);
  }
  for (int32_t i = 0; i < count && symmetric; ++i) {
    clqi_plain_layer_drop_zeros(&layers[i]);
  }
  return CLQ_OK;
}

static clq_status load_packed(clq_context *context, const clq_checkpoint *c,
                              const char *const *names, clq_weights_desc *desc,
                              clq_weights_part *parts, clq_weights **weights) {
  const int32_t count = desc->part_count;
  clq_status status = CLQ_OK;
  clqi_plain_layer *layers = clqi_calloc((size_t)count, sizeof *layers);
  if (layers == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "weights_load: out of memory");
  }
  clqi_progress progress = {.to = desc->progress};
  for (int32_t i = 0; i < count; ++i) {
    progress.total += code_bytes(c, names[i]);
  }
  CLQI_TRY_CLEAN(read_layers(c, names, count, &progress, layers));
  for (int32_t i = 0; i < count; ++i) {
    parts[i] = (clq_weights_part){.data = layers[i].data,
                                  .scales = layers[i].scales,
                                  .zeros = layers[i].zeros,
                                  .mins = layers[i].mins,
                                  .rows = layers[i].rows};
  }
  desc->format = layers[0].format;
  desc->cols = layers[0].cols;
  desc->group = layers[0].group;
  desc->scale_dtype = layers[0].scale_dtype;
  desc->order = layers[0].order;
  const clq_progress packing = clqi_progress_part(&progress, progress.total - progress.done);
  desc->progress = &packing;
  status = clq_weights_pack(context, desc, weights);
  desc->progress = NULL;
  if (status != CLQ_OK) {
    status = clqi_fail_prefix(status, "%s: layer '%s'", clqi_safetensors_name(c->set),
                              shown(names[0]).text);
  }
cleanup:
  for (int32_t i = 0; i < count; ++i) {
    clqi_plain_layer_free(&layers[i]);
  }
  clqi_free(layers);
  return status;
}

clq_status clq_weights_load(clq_context *context, const clq_checkpoint *checkpoint,
                            const char *const *names, int32_t count, clq_weights **weights) {
  return clq_weights_load_with_progress(context, checkpoint, names, count, NULL, weights);
}

clq_status clq_weights_load_with_progress(clq_context *context, const clq_checkpoint *checkpoint,
                                          const char *const *names, int32_t count,
                                          const clq_progress *progress, clq_weights **weights) {
  CLQI_REQUIRE(weights != NULL, "weights_load: the result pointer is NULL");
  *weights = NULL;
  CLQI_REQUIRE(context != NULL && checkpoint != NULL && names != NULL && count >= 1,
               "weights_load: context, checkpoint and at least one name must be given");
  for (int32_t i = 0; i < count; ++i) {
    CLQI_REQUIRE(names[i] != NULL, "weights_load: name %d is NULL", (int)i);
  }
  clq_weights_part *parts = clqi_calloc((size_t)count, sizeof *parts);
  if (parts == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "weights_load: out of memory");
  }
  clq_weights_desc desc = {.parts = parts, .part_count = count, .progress = progress};
  const bool packed = clqi_quant_linear_exists(checkpoint->set, names[0]);
  const clq_status status = packed ? load_packed(context, checkpoint, names, &desc, parts, weights)
                                   : load_floats(context, checkpoint, names, &desc, parts, weights);
  clqi_free(parts);
  return status;
}
