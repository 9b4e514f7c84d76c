#include "io/quant_linear.h"

#include <inttypes.h>
#include <stdio.h>

#include "io/awq.h"
#include "io/gptq.h"
#include "io/text.h"
#include "runtime/memory.h"

enum { NAME_BYTES = 512 };

typedef struct loader {
  const clqi_safetensors *set;
  const clqi_quant_config *config;
  const char *prefix;
  clqi_quant_linear *out;
  /* as stored, to be released */
  uint32_t *qweight;
  uint32_t *qzeros;
  uint16_t *scales;
  int32_t *g_idx;
} loader;

static clqi_excerpt shown(const char *text) { return clqi_excerpt_of(clqi_text_of(text)); }

/* --- Tensors. ------------------------------------------------------------- */

static bool name_of(const char *prefix, const char *part, char name[NAME_BYTES]) {
  const int length = snprintf(name, NAME_BYTES, "%s.%s", prefix, part);
  return length > 0 && length < NAME_BYTES;
}

bool clqi_quant_linear_exists(const clqi_safetensors *set, const char *prefix) {
  char name[NAME_BYTES];
  return name_of(prefix, "qweight", name) && clqi_safetensors_find(set, name) != NULL;
}

static clq_status find_part(const loader *l, const char *part,
                            const clqi_safetensors_tensor **out) {
  char name[NAME_BYTES];
  if (!name_of(l->prefix, part, name)) {
    return clqi_fail(CLQ_BAD_FILE, "%s: the name of layer '%s' is too long",
                     clqi_safetensors_name(l->set), shown(l->prefix).text);
  }
  return clqi_safetensors_get(l->set, name, out);
}

static clq_status check_shape(const loader *l, const clqi_safetensors_tensor *t, uint32_t dims,
                              int64_t first, int64_t second) {
  if (t->dim_count == dims && t->dims[0] == first && t->dims[1] == second) {
    return CLQ_OK;
  }
  return clqi_fail(CLQ_BAD_FILE,
                   "%s: tensor '%s' has %u dimensions, %" PRId64 " by %" PRId64
                   " and so on, expected %u, %" PRId64 " by %" PRId64,
                   clqi_safetensors_shard_name(l->set, t->shard), shown(t->name).text, t->dim_count,
                   t->dims[0], t->dims[1], dims, first, second);
}

static clq_status refuse_dtype(const loader *l, const clqi_safetensors_tensor *t,
                               const char *expected) {
  return clqi_fail(CLQ_BAD_FILE, "%s: tensor '%s' is %s, expected %s",
                   clqi_safetensors_shard_name(l->set, t->shard), shown(t->name).text,
                   clqi_safetensors_dtype_name(t->dtype), expected);
}

static clq_status check_words(const loader *l, const clqi_safetensors_tensor *t) {
  return t->dtype == CLQI_SAFETENSORS_I32 || t->dtype == CLQI_SAFETENSORS_U32
             ? CLQ_OK
             : refuse_dtype(l, t, "I32");
}

static clq_status no_memory(const loader *l, size_t bytes) {
  return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for %zu bytes of layer '%s'",
                   clqi_safetensors_name(l->set), bytes, shown(l->prefix).text);
}

/* The tensor's data in *block, a new one; NULL if it has none. */
static clq_status read_whole(const loader *l, const clqi_safetensors_tensor *t, void **block) {
  *block = clqi_malloc(t->bytes);
  if (*block == NULL && t->bytes != 0) {
    return no_memory(l, t->bytes);
  }
  return clqi_safetensors_read(l->set, t, 0, t->bytes, *block);
}

static clq_status read_words(const loader *l, const clqi_safetensors_tensor *t, uint32_t **out) {
  void *block = NULL;
  const clq_status status = read_whole(l, t, &block);
  *out = block;
  return status;
}

/* --- Shapes. -------------------------------------------------------------- */

/* Rows and columns of the layer from qweight and scales, which both methods have. */
static clq_status read_weight_and_scales(loader *l) {
  clqi_quant_linear *out = l->out;
  const clqi_safetensors_tensor *weight = NULL;
  const clqi_safetensors_tensor *scales = NULL;
  CLQI_TRY(find_part(l, "qweight", &weight));
  CLQI_TRY(find_part(l, "scales", &scales));
  CLQI_TRY(check_words(l, weight));
  const bool gptq = l->config->method == CLQI_QUANT_GPTQ;
  const int64_t fields = 32 / l->config->bits; /* of AWQ */
  bool fits = true;
  if (gptq) {
    fits = clqi_mul_i64(weight->dims[0], 32, &out->cols) && out->cols % l->config->bits == 0;
    out->cols /= l->config->bits;
    out->rows = weight->dims[1];
  } else {
    out->cols = weight->dims[0];
    fits = clqi_mul_i64(weight->dims[1], fields, &out->rows);
  }
  /* none of either: a header may then name any number of the other */
  if (!fits || weight->dim_count != 2 || out->rows == 0 || out->cols == 0) {
    return clqi_fail(CLQ_BAD_FILE,
                     "%s: tensor '%s' has %u dimensions, %" PRId64 " by %" PRId64
                     " and so on, which no layer of %d bits has",
                     clqi_safetensors_shard_name(l->set, weight->shard), shown(weight->name).text,
                     weight->dim_count, weight->dims[0], weight->dims[1], l->config->bits);
  }
  out->bits = l->config->bits;
  out->group_size = clqi_group_columns(out->cols, l->config->group_size);
  out->groups = clqi_group_count(out->cols, l->config->group_size);
  if (scales->dtype != CLQI_SAFETENSORS_F16 && scales->dtype != CLQI_SAFETENSORS_BF16) {
    return refuse_dtype(l, scales, "F16 or BF16");
  }
  out->scale_dtype = scales->dtype;
  CLQI_TRY(check_shape(l, scales, 2, out->groups, out->rows));
  CLQI_TRY(read_words(l, weight, &l->qweight));
  void *block = NULL;
  const clq_status status = read_whole(l, scales, &block);
  l->scales = block;
  return status;
}

static clq_status read_zeros(loader *l) {
  const clqi_safetensors_tensor *zeros = NULL;
  int64_t bits = 0;
  CLQI_TRY(find_part(l, "qzeros", &zeros));
  CLQI_TRY(check_words(l, zeros));
  /* cannot wrap: the scales have so many elements of two bytes */
  (void)clqi_mul_i64(l->out->rows, l->config->bits, &bits);
  CLQI_TRY(check_shape(l, zeros, 2, l->out->groups, bits / 32));
  return read_words(l, zeros, &l->qzeros);
}

static clq_status read_g_idx(loader *l) {
  const clqi_safetensors_tensor *tensor = NULL;
  char name[NAME_BYTES];
  if (!l->config->desc_act &&
      (!name_of(l->prefix, "g_idx", name) || clqi_safetensors_find(l->set, name) == NULL)) {
    return CLQ_OK;
  }
  CLQI_TRY(find_part(l, "g_idx", &tensor));
  if (tensor->dtype != CLQI_SAFETENSORS_I32) {
    return refuse_dtype(l, tensor, "I32");
  }
  CLQI_TRY(check_shape(l, tensor, 1, l->out->cols, 1));
  void *block = NULL;
  const clq_status status = read_whole(l, tensor, &block);
  l->g_idx = block;
  return status;
}

/* --- Decoding. ------------------------------------------------------------ */

static clq_status new_block(const loader *l, int64_t count, int64_t each, size_t bytes,
                            void **block) {
  int64_t product = 0;
  size_t total = 0;
  if (!clqi_mul_i64(count, each, &product) || !clqi_mul_size((size_t)product, bytes, &total)) {
    return no_memory(l, SIZE_MAX);
  }
  *block = clqi_malloc(total);
  return *block != NULL || total == 0 ? CLQ_OK : no_memory(l, total);
}

static clq_status allocate(const loader *l) {
  clqi_quant_linear *out = l->out;
  void *block = NULL;
  CLQI_TRY(new_block(l, out->rows, out->cols, 1, &block));
  out->codes.codes = block;
  CLQI_TRY(new_block(l, out->rows, out->groups, 1, &block));
  out->codes.zeros = block;
  CLQI_TRY(new_block(l, out->rows, out->groups, sizeof(uint16_t), &block));
  out->codes.scales = block;
  if (l->config->method == CLQI_QUANT_GPTQ) {
    CLQI_TRY(new_block(l, out->cols, 1, sizeof(uint32_t), &block));
    out->order = block;
  }
  return CLQ_OK;
}

static clq_status decode_gptq(const loader *l) {
  bool ordered = false;
  const clqi_gptq_linear linear = {.rows = l->out->rows,
                                   .cols = l->out->cols,
                                   .group_size = l->config->group_size,
                                   .bits = l->config->bits,
                                   .zero_is_true = l->config->zero_is_true,
                                   .sym = l->config->sym,
                                   .qweight = l->qweight,
                                   .qzeros = l->qzeros,
                                   .scales = l->scales,
                                   .g_idx = l->g_idx};
  CLQI_TRY(clqi_gptq_decode(&linear, &l->out->codes, l->out->order, &ordered));
  if (ordered) {
    clqi_free(l->out->order);
    l->out->order = NULL;
  }
  return CLQ_OK;
}

static clq_status decode_awq(const loader *l) {
  const clqi_awq_linear linear = {.rows = l->out->rows,
                                  .cols = l->out->cols,
                                  .group_size = l->config->group_size,
                                  .qweight = l->qweight,
                                  .qzeros = l->qzeros,
                                  .scales = l->scales};
  return clqi_awq_decode(&linear, &l->out->codes);
}

static clq_status decode(const loader *l) {
  const clq_status status = l->config->method == CLQI_QUANT_GPTQ ? decode_gptq(l) : decode_awq(l);
  return status == CLQ_OK ? CLQ_OK
                          : clqi_fail_prefix(status, "%s: layer '%s'",
                                             clqi_safetensors_name(l->set), shown(l->prefix).text);
}

clq_status clqi_quant_linear_load(const clqi_safetensors *set, const clqi_quant_config *config,
                                  const char *prefix, clqi_quant_linear *out) {
  clq_status status = CLQ_OK;
  loader l = {.set = set, .config = config, .prefix = prefix, .out = out};
  *out = (clqi_quant_linear){0};
  CLQI_REQUIRE(config->method != CLQI_QUANT_NONE, "quant_linear: the model is not quantized");
  CLQI_TRY_CLEAN(read_weight_and_scales(&l));
  CLQI_TRY_CLEAN(read_zeros(&l));
  if (config->method == CLQI_QUANT_GPTQ) {
    CLQI_TRY_CLEAN(read_g_idx(&l));
  }
  CLQI_TRY_CLEAN(allocate(&l));
  CLQI_TRY_CLEAN(decode(&l));
cleanup:
  clqi_free(l.qweight);
  clqi_free(l.qzeros);
  clqi_free(l.scales);
  clqi_free(l.g_idx);
  if (status != CLQ_OK) {
    clqi_quant_linear_free(out);
  }
  return status;
}

void clqi_quant_linear_free(clqi_quant_linear *linear) {
  clqi_free(linear->codes.codes);
  clqi_free(linear->codes.zeros);
  clqi_free(linear->codes.scales);
  clqi_free(linear->order);
  *linear = (clqi_quant_linear){0};
}
