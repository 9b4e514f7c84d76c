#include "model/float_matrix.h"

#include <math.h>
#include <string.h>

#include "io/text.h"
#include "quant/formats.h"
#include "quant/pack.h"
#include "runtime/checked.h"
#include "runtime/memory.h"

clq_format clqi_float_format(const clqi_safetensors_tensor *tensor) {
  switch (tensor->dtype) {
    case CLQI_SAFETENSORS_F32: return CLQ_FORMAT_F32;
    case CLQI_SAFETENSORS_F16: return CLQ_FORMAT_F16;
    case CLQI_SAFETENSORS_BF16: return CLQ_FORMAT_BF16;
    default: return (clq_format)0;
  }
}

static clqi_excerpt shown(const clqi_safetensors_tensor *tensor) {
  return clqi_excerpt_of(clqi_text_of(tensor->name));
}

/* ---------------------------------------------------------------- as floats */

clq_status clqi_float_read(const clqi_safetensors *set, const clqi_safetensors_tensor *tensor,
                           size_t first, size_t count, float *out) {
  const size_t size = clqi_safetensors_dtype_bytes(tensor->dtype);
  /* Halves go to the end of out: each is read before its place is written. */
  uint8_t *bytes = (uint8_t *)(out + count) - count * size;
  CLQI_TRY(clqi_safetensors_read(set, tensor, first * size, count * size, bytes));
  for (size_t i = 0; i < count; ++i) {
    if (tensor->dtype != CLQI_SAFETENSORS_F32) {
      out[i] = tensor->dtype == CLQI_SAFETENSORS_F16 ? clqi_load_f16(bytes + 2 * i)
                                                     : clqi_load_bf16(bytes + 2 * i);
    }
    if (!isfinite(out[i])) {
      return clqi_fail(CLQ_BAD_FILE,
                       "%s: tensor %s holds %g at element %zu; the file is damaged: download it "
                       "again",
                       clqi_safetensors_shard_name(set, tensor->shard), shown(tensor).text,
                       (double)out[i], first + i);
    }
  }
  return CLQ_OK;
}

/* ---------------------------------------------------------------- as halves */

/* Rounds to nearest even; what rounds to 65520 and more is infinite. */
static uint16_t f16_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000U;
  bits &= 0x7fffffffU;
  if (bits >= 0x477ff000U) {
    return (uint16_t)(sign | 0x7c00U);
  }
  if (bits < 0x38800000U) { /* subnormal: a multiple of 2^-24 */
    float magnitude;
    memcpy(&magnitude, &bits, sizeof magnitude);
    return (uint16_t)(sign | (uint32_t)lrintf(magnitude * 0x1p24f));
  }
  bits += 0xfffU + (bits >> 13 & 1U);
  return (uint16_t)(sign | (bits - 0x38000000U) >> 13);
}

static uint16_t bf16_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return (uint16_t)((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

static bool is_infinite(uint16_t half, clq_format format) {
  const uint16_t inf = format == CLQ_FORMAT_F16 ? 0x7c00U : 0x7f80U;
  return (half & 0x7fffU) == inf;
}

/* ---------------------------------------------------------------- float formats */

typedef struct float_source {
  const clqi_safetensors *set;
  const clqi_safetensors_tensor *const *tensors;
  clq_format format;
} float_source;

static clq_status too_large(const float_source *s, const clqi_safetensors_tensor *tensor, float x) {
  return clqi_fail(CLQ_UNSUPPORTED, "%s: tensor %s holds %g, which does not fit into %s; take f32",
                   clqi_safetensors_shard_name(s->set, tensor->shard), shown(tensor).text,
                   (double)x, clq_format_name(s->format));
}

/* A clqi_row_source. */
static clq_status read_rows(void *from, int32_t part, int64_t first_row, int64_t rows, void *out) {
  const float_source *s = from;
  const clqi_safetensors_tensor *tensor = s->tensors[part];
  const size_t cols = (size_t)tensor->dims[1];
  const size_t count = (size_t)rows * cols;
  const size_t first = (size_t)first_row * cols;
  if (s->format == CLQ_FORMAT_F32) {
    return clqi_float_read(s->set, tensor, first, count, out);
  }
  float *floats = clqi_malloc(count * sizeof *floats);
  if (floats == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "model: out of memory");
  }
  clq_status status = clqi_float_read(s->set, tensor, first, count, floats);
  uint16_t *halves = out;
  for (size_t i = 0; status == CLQ_OK && i < count; ++i) {
    halves[i] = s->format == CLQ_FORMAT_F16 ? f16_of(floats[i]) : bf16_of(floats[i]);
    if (is_infinite(halves[i], s->format)) {
      status = too_large(s, tensor, floats[i]);
    }
  }
  clqi_free(floats);
  return status;
}

/* ---------------------------------------------------------------- int8 codes */

/* Codes and scales of all tensors, one behind the other, in one block. */
typedef struct code_planes {
  float *scales; /* [rows, groups]; the block */
  int8_t *codes; /* [rows, cols] */
  float *row;    /* [cols] */
} code_planes;

static clq_status create_planes(int64_t rows, int64_t cols, int64_t groups, code_planes *planes) {
  size_t bytes = 0;
  size_t codes = 0;
  size_t scales = 0;
  *planes = (code_planes){NULL};
  if (clqi_mul_size((size_t)rows, (size_t)cols, &codes) &&
      clqi_mul_add_size((size_t)rows, (size_t)groups, (size_t)cols, &scales) &&
      clqi_mul_add_size(scales, sizeof(float), codes, &bytes)) {
    planes->scales = clqi_malloc(bytes);
  }
  if (planes->scales == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "model: out of memory for codes");
  }
  planes->row = planes->scales + rows * groups;
  planes->codes = (int8_t *)(planes->row + cols);
  return CLQ_OK;
}

static void quantize_row(const float *row, int64_t cols, int64_t group, int8_t *codes,
                         float *scales) {
  for (int64_t first = 0; first < cols; first += group) {
    const int64_t end = first + group < cols ? first + group : cols;
    float absmax = 0.0f;
    for (int64_t i = first; i < end; ++i) {
      absmax = fmaxf(absmax, fabsf(row[i]));
    }
    /* As clq_quantize has it: what is too small for the reciprocal is zero. */
    const bool zero = absmax < 0x1p-119f;
    const float mult = zero ? 0.0f : 127.0f / absmax;
    scales[first / group] = zero ? 0.0f : absmax / 127.0f;
    for (int64_t i = first; i < end; ++i) {
      codes[i] = (int8_t)lrintf(row[i] * mult);
    }
  }
}

static clq_status quantize(const float_source *s, int32_t count, int64_t group, int64_t groups,
                           const code_planes *planes) {
  int64_t at = 0;
  for (int32_t t = 0; t < count; ++t) {
    const int64_t cols = s->tensors[t]->dims[1];
    for (int64_t r = 0; r < s->tensors[t]->dims[0]; ++r, ++at) {
      CLQI_TRY(
          clqi_float_read(s->set, s->tensors[t], (size_t)(r * cols), (size_t)cols, planes->row));
      quantize_row(planes->row, cols, group, planes->codes + at * cols,
                   planes->scales + at * groups);
    }
  }
  return CLQ_OK;
}

static clq_status pack_codes(clq_context *context, const float_source *source,
                             clq_weights_desc *desc, clq_weights **weights) {
  clq_weights_part *part = (clq_weights_part *)desc->parts;
  const int64_t group = desc->group == 0 ? desc->cols : desc->group;
  const int64_t groups = clqi_div_up(desc->cols, group);
  int64_t rows = 0;
  for (int32_t i = 0; i < desc->part_count; ++i) {
    rows += part[i].rows;
  }
  code_planes planes;
  CLQI_TRY(create_planes(rows, desc->cols, groups, &planes));
  clq_status status = quantize(source, desc->part_count, group, groups, &planes);
  if (status == CLQ_OK) {
    *part = (clq_weights_part){.data = planes.codes, .scales = planes.scales, .rows = rows};
    desc->part_count = 1;
    status = clq_weights_pack(context, desc, weights);
  }
  clqi_free(planes.scales);
  return status;
}

clq_status clqi_matrix_pack(clq_context *context, const clqi_safetensors *set,
                            const clqi_safetensors_tensor *const *tensors, int32_t count,
                            clqi_matrix_format format, clq_weights **weights) {
  *weights = NULL;
  clq_weights_part *parts = clqi_calloc((size_t)count, sizeof *parts);
  if (parts == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "model: out of memory");
  }
  for (int32_t i = 0; i < count; ++i) {
    parts[i].rows = tensors[i]->dims[0];
  }
  clq_weights_desc desc = {.format = format.format,
                           .cols = tensors[0]->dims[1],
                           .group = format.group,
                           .parts = parts,
                           .part_count = count};
  float_source from = {.set = set, .tensors = tensors, .format = format.format};
  const clqi_row_source source = {.read = read_rows, .from = &from};
  const clq_status status = format.format == CLQ_FORMAT_W8
                                ? pack_codes(context, &from, &desc, weights)
                                : clqi_weights_pack_from(context, &desc, &source, weights);
  clqi_free(parts);
  return status;
}
