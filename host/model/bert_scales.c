#include "model/bert_scales.h"

#include <math.h>

#include "runtime/buffer.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/status.h"

static clq_status out_of_memory(void) {
  return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "encoder: out of memory");
}

/* ---------------------------------------------------------------- ranges */

clq_status clqi_bert_ranges_create(const clqi_bert *bert, clqi_bert_ranges *ranges) {
  const size_t layers = (size_t)bert->config.layers;
  const size_t sums = (size_t)(clqi_bert_sums(bert) * bert->config.width);
  *ranges = (clqi_bert_ranges){.sums = clqi_calloc(sums + 2 * layers, sizeof(float))};
  if (ranges->sums == NULL) {
    return out_of_memory();
  }
  ranges->lows = ranges->sums + sums;
  ranges->highs = ranges->lows + layers;
  return CLQ_OK;
}

void clqi_bert_ranges_free(clqi_bert_ranges *ranges) {
  clqi_free(ranges->sums);
  *ranges = (clqi_bert_ranges){.sums = NULL};
}

void clqi_bert_ranges_add(const clqi_bert *bert, int64_t rows, const float *sums, const float *ups,
                          clqi_bert_ranges *ranges) {
  const int64_t width = bert->config.width;
  const int64_t of_layer = rows * bert->config.feed_forward;
  for (int64_t row = 0; row < clqi_bert_sums(bert) * rows; ++row) {
    float *most = ranges->sums + row / rows * width;
    for (int64_t c = 0; c < width; ++c) {
      most[c] = fmaxf(most[c], fabsf(sums[row * width + c]));
    }
  }
  for (int64_t i = 0; i < bert->config.layers; ++i) {
    for (int64_t k = i * of_layer; k < (i + 1) * of_layer; ++k) {
      ranges->lows[i] = fminf(ranges->lows[i], ups[k]);
      ranges->highs[i] = fmaxf(ranges->highs[i], ups[k]);
    }
  }
}

/* ---------------------------------------------------------------- scales */

/* Channels have the tensor's scale times a power of two, and so up to twice the room that they
 * were seen to need: of texts that come later some need more. */
static void choose_channel_scales(const float *most, int64_t width, float *scales) {
  enum { LEAST = -7 };
  float all = 0.0f;
  for (int64_t c = 0; c < width; ++c) {
    all = fmaxf(all, most[c]);
  }
  all = all > 0.0f ? all : 1.0f;
  for (int64_t c = 0; c < width; ++c) {
    int exponent = LEAST;
    while (exponent < 0 && most[c] > ldexpf(all, exponent)) {
      ++exponent;
    }
    scales[c] = ldexpf(all / 127.0f, exponent);
  }
}

/* Below, GELU and SiLU are as good as zero, and ReLU is: codes go to what is above. */
static float least_input(clq_activation activation) {
  switch (activation) {
    case CLQ_ACTIVATION_RELU: return 0.0f;
    case CLQ_ACTIVATION_SILU: return -8.0f;
    default: return -4.0f;
  }
}

static double (*function_of(clq_activation activation))(double, void *) {
  switch (activation) {
    case CLQ_ACTIVATION_RELU: return clq_scalar_relu;
    case CLQ_ACTIVATION_SILU: return clq_scalar_silu;
    case CLQ_ACTIVATION_GELU_TANH: return clq_scalar_gelu_tanh;
    default: return clq_scalar_gelu;
  }
}

typedef struct host_scales {
  float *sums; /* the block that holds the others too */
  float *up_scales;
  int32_t *up_zeros;
  uint16_t *tables;
} host_scales;

static clq_status fill_layer(const clqi_bert *bert, const clqi_bert_ranges *ranges, int64_t i,
                             const host_scales *h) {
  const clqi_bert_config *c = &bert->config;
  const float low = fmaxf(ranges->lows[i], least_input(c->activation));
  const float range = ranges->highs[i] - low;
  const float scale = range > 0.0f ? range / 255.0f : 1.0f;
  const int32_t zero = (int32_t)lrintf(-low / scale);
  h->up_scales[i] = scale;
  h->up_zeros[i] = zero;
  for (int64_t s = 2 * i; s < 2 * i + 2; ++s) {
    choose_channel_scales(ranges->sums + s * c->width, c->width, h->sums + s * c->width);
  }
  const clq_lookup_desc desc = {.x = CLQ_U8,
                                .x_scale = scale,
                                .x_zero = zero,
                                .out = CLQ_F16,
                                .function = function_of(c->activation)};
  return clq_lookup_fill(&desc, h->tables + i * CLQI_BERT_TABLE);
}

static clq_status upload(clq_context *context, const clqi_bert *bert, const host_scales *h,
                         clqi_bert_scales *scales) {
  const size_t layers = (size_t)bert->config.layers;
  const size_t sums = (size_t)(clqi_bert_sums(bert) * bert->config.width);
  CLQI_TRY(clqi_buffer_create_from(context, h->sums, sums * sizeof(float), &scales->sums));
  CLQI_TRY(
      clqi_buffer_create_from(context, h->up_scales, layers * sizeof(float), &scales->up_scales));
  CLQI_TRY(
      clqi_buffer_create_from(context, h->up_zeros, layers * sizeof(int32_t), &scales->up_zeros));
  return clqi_buffer_create_from(context, h->tables, layers * CLQI_BERT_TABLE * sizeof(uint16_t),
                                 &scales->tables);
}

clq_status clqi_bert_scales_create(clq_context *context, const clqi_bert *bert,
                                   const clqi_bert_ranges *ranges, clqi_bert_scales *scales) {
  const size_t layers = (size_t)bert->config.layers;
  const size_t sums = (size_t)(clqi_bert_sums(bert) * bert->config.width);
  clq_status status = CLQ_OK;
  *scales = (clqi_bert_scales){.sums = NULL};
  host_scales h = {.sums = clqi_calloc(sums + layers * (2 + CLQI_BERT_TABLE / 2), sizeof(float))};
  if (h.sums == NULL) {
    return out_of_memory();
  }
  h.up_scales = h.sums + sums;
  h.up_zeros = (int32_t *)(h.up_scales + layers);
  h.tables = (uint16_t *)(h.up_zeros + layers);
  for (int64_t i = 0; i < bert->config.layers; ++i) {
    CLQI_TRY_CLEAN(fill_layer(bert, ranges, i, &h));
  }
  CLQI_TRY_CLEAN(upload(context, bert, &h, scales));
cleanup:
  clqi_free(h.sums);
  if (status != CLQ_OK) {
    clqi_bert_scales_free(scales);
  }
  return status;
}

void clqi_bert_scales_free(clqi_bert_scales *scales) {
  clqi_buffer_release(scales->sums);
  clqi_buffer_release(scales->up_scales);
  clqi_buffer_release(scales->up_zeros);
  clqi_buffer_release(scales->tables);
  *scales = (clqi_bert_scales){.sums = NULL};
}
