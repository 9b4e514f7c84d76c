#include "io/plain_layer.h"

#include <inttypes.h>
#include <stdio.h>

#include "io/qserve.h"
#include "io/quant_linear.h"
#include "io/text.h"
#include "quant/formats.h"
#include "runtime/checked.h"
#include "runtime/memory.h"

enum { NAME_BYTES = 512 };

static clqi_excerpt shown(const char *text) { return clqi_excerpt_of(clqi_text_of(text)); }

static int bits_of(clq_format format) {
  switch (format) {
    case CLQ_FORMAT_W2: return 2;
    case CLQ_FORMAT_W3: return 3;
    case CLQ_FORMAT_W4: return 4;
    default: return 8;
  }
}

static clq_format format_of(int bits) {
  switch (bits) {
    case 2: return CLQ_FORMAT_W2;
    case 3: return CLQ_FORMAT_W3;
    case 4: return CLQ_FORMAT_W4;
    default: return CLQ_FORMAT_W8;
  }
}

static int64_t groups_of(const clqi_plain_layer *layer) {
  return layer->group == 0 ? 1 : clqi_div_up(layer->cols, layer->group);
}

/* count * each * bytes, zeros. */
static clq_status new_block(const char *prefix, int64_t count, int64_t each, size_t bytes,
                            void *block) {
  int64_t product = 0;
  void *made = NULL;
  if (clqi_mul_i64(count, each, &product)) {
    made = clqi_calloc((size_t)product, bytes);
  }
  if (made == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "layer '%s': no memory for its weights",
                     shown(prefix).text);
  }
  *(void **)block = made;
  return CLQ_OK;
}

/* --- GPTQ and AWQ --- */

/* Codes of a byte each to a row's bit string, which is zero. */
static void pack_bits(const uint8_t *codes, int64_t cols, int bits, uint8_t *out) {
  for (int64_t k = 0; k < cols; ++k) {
    const int64_t bit = k * bits;
    const unsigned code = (unsigned)codes[k] << (bit % 8);
    out[bit / 8] = (uint8_t)(out[bit / 8] | code);
    if (code > UINT8_MAX) {
      out[bit / 8 + 1] = (uint8_t)(out[bit / 8 + 1] | code >> 8);
    }
  }
}

static clq_status pack_codes(const char *prefix, const clqi_quant_linear *linear,
                             clqi_plain_layer *out) {
  size_t row_bytes = 0;
  if (!clqi_format_row_bytes(out->format, out->cols, &row_bytes)) {
    row_bytes = SIZE_MAX;
  }
  CLQI_TRY(new_block(prefix, out->rows, (int64_t)(row_bytes / 2 + row_bytes % 2), 2, &out->data));
  for (int64_t row = 0; row < out->rows; ++row) {
    pack_bits(linear->codes.codes + row * out->cols, out->cols, linear->bits,
              out->data + (size_t)row * row_bytes);
  }
  return CLQ_OK;
}

/* Takes the planes, which are what is wanted. */
static clq_status from_codes(const char *prefix, clqi_quant_linear *linear, clqi_plain_layer *out) {
  const bool one_group = linear->group_size >= linear->cols;
  *out = (clqi_plain_layer){
      .format = format_of(linear->bits),
      .rows = linear->rows,
      .cols = linear->cols,
      .group = one_group ? 0 : linear->group_size,
      .scale_dtype = linear->scale_dtype == CLQI_SAFETENSORS_F16 ? CLQ_F16 : CLQ_BF16,
  };
  CLQI_TRY(pack_codes(prefix, linear, out));
  if (linear->order != NULL) {
    CLQI_TRY(new_block(prefix, linear->cols, 1, sizeof *out->order, &out->order));
    for (int64_t k = 0; k < linear->cols; ++k) {
      out->order[k] = (int32_t)linear->order[k];
    }
  }
  out->zeros = linear->codes.zeros;
  out->scales = linear->codes.scales;
  linear->codes.zeros = NULL;
  linear->codes.scales = NULL;
  return CLQ_OK;
}

static clq_status load_codes(const clqi_safetensors *set, const clqi_quant_config *config,
                             const char *prefix, clqi_plain_layer *out) {
  clqi_quant_linear linear = {0};
  CLQI_TRY(clqi_quant_linear_load(set, config, prefix, &linear));
  const bool one_group = linear.group_size >= linear.cols;
  const clq_status status =
      one_group || linear.group_size % 8 == 0
          ? from_codes(prefix, &linear, out)
          : clqi_fail(CLQ_UNSUPPORTED,
                      "%s: layer '%s': group_size is %lld, offered: multiples of 8",
                      clqi_safetensors_name(set), shown(prefix).text, (long long)linear.group_size);
  clqi_quant_linear_free(&linear);
  return status;
}

/* --- QServe --- */

typedef struct qserve_loader {
  const clqi_safetensors *set;
  const char *prefix;
  void *qweight, *scales, *s2_scales, *s2_zeros; /* as stored, to be released */
} qserve_loader;

static const clqi_safetensors_tensor *find_part(const clqi_safetensors *set, const char *prefix,
                                                const char *part) {
  char name[NAME_BYTES];
  const int length = snprintf(name, sizeof name, "%s.%s", prefix, part);
  return length > 0 && length < NAME_BYTES ? clqi_safetensors_find(set, name) : NULL;
}

static clq_status get_part(const qserve_loader *l, const char *part,
                           const clqi_safetensors_tensor **out) {
  *out = find_part(l->set, l->prefix, part);
  if (*out == NULL) {
    return clqi_fail(CLQ_BAD_FILE, "%s: tensor '%s.%s' is missing", clqi_safetensors_name(l->set),
                     shown(l->prefix).text, part);
  }
  return CLQ_OK;
}

/* Reads a tensor that must be [first, second] (second 0: [first]) and I8 or F16, into a new block.
 */
static clq_status read_part(const qserve_loader *l, const char *part, clqi_safetensors_dtype dtype,
                            int64_t first, int64_t second, void **block) {
  const clqi_safetensors_tensor *t = NULL;
  CLQI_TRY(get_part(l, part, &t));
  if (t->dtype != dtype || t->dim_count != (second == 0 ? 1U : 2U) || t->dims[0] != first ||
      (second != 0 && t->dims[1] != second)) {
    return clqi_fail(CLQ_BAD_FILE,
                     "%s: tensor '%s' is %s [%" PRId64 ", %" PRId64
                     "] of %u dimensions, expected "
                     "%s [%" PRId64 ", %" PRId64 "]",
                     clqi_safetensors_shard_name(l->set, t->shard), shown(t->name).text,
                     clqi_safetensors_dtype_name(t->dtype), t->dims[0], t->dims[1], t->dim_count,
                     clqi_safetensors_dtype_name(dtype), first, second == 0 ? 1 : second);
  }
  CLQI_TRY(new_block(l->prefix, (int64_t)t->bytes, 1, 1, block));
  return clqi_safetensors_read(l->set, t, 0, t->bytes, *block);
}

static clq_status check_tiles(const qserve_loader *l, bool grouped, clqi_plain_layer *out) {
  const clqi_safetensors_tensor *t = NULL;
  CLQI_TRY(get_part(l, "qweight", &t));
  const int64_t step = grouped ? CLQI_QSERVE_GROUP : CLQI_QSERVE_TILE;
  out->format = CLQ_FORMAT_W4;
  out->group = grouped ? CLQI_QSERVE_GROUP : 0;
  out->scale_dtype = grouped ? CLQ_F32 : CLQ_F16;
  out->rows = t->dims[0];
  if (t->dim_count != 2 || !clqi_mul_i64(t->dims[1], 2, &out->cols) || out->rows < 1 ||
      out->cols < 1 || out->rows % CLQI_QSERVE_TILE != 0 || out->cols % step != 0) {
    return clqi_fail(CLQ_BAD_FILE,
                     "%s: tensor '%s' has %u dimensions, %" PRId64 " by %" PRId64
                     " and so on, expected rows in multiples of 32 and inputs in multiples of "
                     "%" PRId64 ", two a byte",
                     clqi_safetensors_shard_name(l->set, t->shard), shown(t->name).text,
                     t->dim_count, t->dims[0], t->dims[1], step);
  }
  return CLQ_OK;
}

/* Weights are code * scale - szero. */
static clq_status take_rows(qserve_loader *l, clqi_plain_layer *out) {
  void *mins = NULL;
  const clq_status status = read_part(l, "s1_szeros", CLQI_SAFETENSORS_F16, out->rows, 0, &mins);
  out->mins = mins;
  for (int64_t row = 0; status == CLQ_OK && row < out->rows; ++row) {
    ((uint16_t *)mins)[row] ^= 0x8000U;
  }
  out->scales = l->scales;
  l->scales = NULL;
  return status;
}

static clq_status take_groups(qserve_loader *l, clqi_qserve_linear *linear, clqi_plain_layer *out) {
  const int64_t groups = groups_of(out);
  CLQI_TRY(read_part(l, "s2_scales", CLQI_SAFETENSORS_I8, groups, out->rows, &l->s2_scales));
  CLQI_TRY(read_part(l, "s2_zeros", CLQI_SAFETENSORS_I8, groups, out->rows, &l->s2_zeros));
  linear->s2_scales = l->s2_scales;
  linear->s2_zeros = l->s2_zeros;
  CLQI_TRY(new_block(l->prefix, out->rows, groups, sizeof(float), &out->scales));
  CLQI_TRY(new_block(l->prefix, out->rows, groups, 1, &out->zeros));
  const clq_status status = clqi_qserve_planes(linear, out->scales, out->zeros);
  return status == CLQ_OK ? CLQ_OK
                          : clqi_fail_prefix(status, "%s: layer '%s'",
                                             clqi_safetensors_name(l->set), shown(l->prefix).text);
}

static clq_status read_qserve(qserve_loader *l, clqi_plain_layer *out) {
  const bool grouped = find_part(l->set, l->prefix, "s2_scales") != NULL;
  CLQI_TRY(check_tiles(l, grouped, out));
  CLQI_TRY(read_part(l, "qweight", CLQI_SAFETENSORS_I8, out->rows, out->cols / 2, &l->qweight));
  CLQI_TRY(read_part(l, "s1_scales", CLQI_SAFETENSORS_F16, out->rows, 0, &l->scales));
  clqi_qserve_linear linear = {
      .rows = out->rows, .cols = out->cols, .qweight = l->qweight, .scales = l->scales};
  CLQI_TRY(new_block(l->prefix, out->rows, out->cols / 2, 1, &out->data));
  clqi_qserve_codes(&linear, out->data);
  return grouped ? take_groups(l, &linear, out) : take_rows(l, out);
}

static clq_status load_qserve(const clqi_safetensors *set, const char *prefix,
                              clqi_plain_layer *out) {
  qserve_loader l = {.set = set, .prefix = prefix};
  const clq_status status = read_qserve(&l, out);
  clqi_free(l.qweight);
  clqi_free(l.scales);
  clqi_free(l.s2_scales);
  clqi_free(l.s2_zeros);
  return status;
}

clq_status clqi_plain_layer_load(const clqi_safetensors *set, const clqi_quant_config *config,
                                 const char *prefix, clqi_plain_layer *out) {
  *out = (clqi_plain_layer){0};
  clq_status status = CLQ_OK;
  if (find_part(set, prefix, "s1_scales") != NULL) {
    status = load_qserve(set, prefix, out);
  } else if (config->method == CLQI_QUANT_NONE) {
    status = clqi_fail(CLQ_BAD_FILE,
                       "%s: layer '%s' is packed, but neither config.json nor "
                       "quantize_config.json beside it says how",
                       clqi_safetensors_name(set), shown(prefix).text);
  } else {
    status = load_codes(set, config, prefix, out);
  }
  if (status != CLQ_OK) {
    clqi_plain_layer_free(out);
  }
  return status;
}

void clqi_plain_layer_free(clqi_plain_layer *layer) {
  clqi_free(layer->data);
  clqi_free(layer->scales);
  clqi_free(layer->zeros);
  clqi_free(layer->mins);
  clqi_free(layer->order);
  *layer = (clqi_plain_layer){0};
}

/* --- Zero points that say nothing. --- */

bool clqi_plain_layer_is_symmetric(const clqi_plain_layer *layer) {
  const int middle = 1 << (bits_of(layer->format) - 1);
  if (layer->zeros == NULL) {
    return false;
  }
  for (int64_t i = 0; i < layer->rows * groups_of(layer); ++i) {
    if (layer->zeros[i] != middle) {
      return false;
    }
  }
  return true;
}

void clqi_plain_layer_drop_zeros(clqi_plain_layer *layer) {
  clqi_free(layer->zeros);
  layer->zeros = NULL;
  for (int64_t i = 0; layer->format == CLQ_FORMAT_W8 && i < layer->rows * layer->cols; ++i) {
    layer->data[i] ^= 0x80U;
  }
}
