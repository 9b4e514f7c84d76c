/* SLaNC scales of a whole model: its weights come back from the device one layer at a time. */
#include <clquant/slanc.h>

#include "model/llama.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/status.h"
#include "runtime/stream.h"

/* One layer's matrices on the host, f32. */
typedef struct layer_weights {
  float *gamma; /* [width] */
  float *value, *out;
  float *gate, *up, *down;
} layer_weights;

/* Rows [first, first + count) of all matrices of `linear` together. */
static clq_status unpack_rows(const clqi_linear *linear, int64_t first, int64_t count, float *out) {
  int64_t start = 0;
  for (int32_t i = 0; i < linear->count && count > 0; ++i) {
    const clq_weights *w = linear->weights[i];
    const int64_t rows = clq_weights_rows(w);
    if (first < start + rows) {
      const int64_t here = count < start + rows - first ? count : start + rows - first;
      CLQI_TRY(clq_weights_unpack(w, first - start, here, out));
      out += here * clq_weights_cols(w);
      first += here;
      count -= here;
    }
    start += rows;
  }
  return CLQ_OK;
}

static clq_status read_gamma(clq_stream *stream, cl_mem gamma, int64_t width, float *out) {
  CLQI_TRY(clqi_stream_read(stream, gamma, (size_t)width * sizeof *out, out));
  return clq_stream_finish(stream);
}

/* The norms behind the layer's attention and behind its MLP. */
static clq_status scale_layer(clq_stream *stream, const clq_model *model, int64_t index,
                              clq_slanc_rounding rounding, layer_weights *w, float scales[2]) {
  const clqi_llama_layer *layer = &model->layers[index];
  const clq_model_info *info = &model->info;
  const int64_t value_rows = info->kv_heads * info->head_dim;
  CLQI_TRY(read_gamma(stream, layer->attention_gamma, info->width, w->gamma));
  CLQI_TRY(
      unpack_rows(&layer->qkv, info->heads * info->head_dim + value_rows, value_rows, w->value));
  CLQI_TRY(unpack_rows(&layer->attention_out, 0, info->width, w->out));
  const clq_slanc_attention_args attention = {.gamma = w->gamma,
                                              .value = w->value,
                                              .out = w->out,
                                              .width = info->width,
                                              .heads = info->heads,
                                              .kv_heads = info->kv_heads,
                                              .head_dim = info->head_dim,
                                              .rounding = rounding};
  CLQI_TRY(clq_slanc_attention(&attention, &scales[0]));
  CLQI_TRY(read_gamma(stream, layer->feed_forward_gamma, info->width, w->gamma));
  CLQI_TRY(unpack_rows(&layer->gate_up, 0, info->feed_forward, w->gate));
  CLQI_TRY(unpack_rows(&layer->gate_up, info->feed_forward, info->feed_forward, w->up));
  CLQI_TRY(unpack_rows(&layer->down, 0, info->width, w->down));
  const clq_slanc_mlp_args mlp = {.gamma = w->gamma,
                                  .gate = w->gate,
                                  .up = w->up,
                                  .down = w->down,
                                  .width = info->width,
                                  .hidden = info->feed_forward,
                                  .rounding = rounding};
  return clq_slanc_mlp(&mlp, &scales[1]);
}

/* One block for all matrices of a layer. */
static clq_status allocate(const clq_model_info *info, layer_weights *w, float **block) {
  const int64_t q_rows = info->heads * info->head_dim;
  const int64_t kv_rows = info->kv_heads * info->head_dim;
  size_t columns = 0; /* elements of `width` */
  if (!clqi_mul_add_size(3, (size_t)info->feed_forward, (size_t)(1 + kv_rows + q_rows), &columns) ||
      !clqi_mul_size(columns, (size_t)info->width, &columns)) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "slanc: the layers' extents overflow");
  }
  *block = clqi_calloc(columns, sizeof **block);
  if (*block == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "slanc: out of memory");
  }
  w->gamma = *block;
  w->value = w->gamma + info->width;
  w->out = w->value + kv_rows * info->width;
  w->gate = w->out + info->width * q_rows;
  w->up = w->gate + info->feed_forward * info->width;
  w->down = w->up + info->feed_forward * info->width;
  return CLQ_OK;
}

clq_status clq_slanc_model(const clq_model *model, clq_slanc_rounding rounding, int64_t count,
                           float *scales) {
  CLQI_REQUIRE(model != NULL && scales != NULL, "slanc_model: model and result must not be NULL");
  const int64_t layers = model->info.layers;
  CLQI_REQUIRE(count == 2 * layers + 1, "slanc_model: room for %lld scales, expected %lld",
               (long long)count, (long long)(2 * layers + 1));
  clq_status status = CLQ_OK;
  clq_stream *stream = NULL;
  float *block = NULL;
  layer_weights w = {0};
  CLQI_TRY_CLEAN(clq_stream_create(model->context, NULL, &stream));
  CLQI_TRY_CLEAN(allocate(&model->info, &w, &block));
  scales[0] = 1.0f;
  for (int64_t i = 0; i < layers; ++i) {
    float pair[2];
    status = scale_layer(stream, model, i, rounding, &w, pair);
    if (status != CLQ_OK) {
      clqi_fail_prefix(status, "layer %lld", (long long)i);
      goto cleanup;
    }
    scales[2 * i + 1] = pair[0];
    scales[2 * i + 2] = pair[1];
  }
cleanup:
  clqi_free(block);
  clq_stream_destroy(stream);
  return status;
}
