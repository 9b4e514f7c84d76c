/** @file checkpoint.h
 *  Models as other tools write them, in safetensors files: their linear layers as packed weights.
 *
 *      clq_checkpoint *c;
 *      clq_checkpoint_open("Llama-3-8B-GPTQ", &c);
 *      const char *names[] = { "model.layers.0.self_attn.q_proj",
 *                              "model.layers.0.self_attn.k_proj",
 *                              "model.layers.0.self_attn.v_proj" };
 *      clq_weights_load(context, c, names, 3, &qkv);
 *      clq_checkpoint_close(c);
 *
 *  A layer NAME is one of these, found by its tensors and the model's configs:
 *      NAME.weight, f32, f16 or bf16 of two dimensions     as it is
 *      GPTQ       NAME.qweight, .qzeros, .scales, .g_idx   W2, W3, W4 or W8 with scales as in the
 *                 (gptq and gptq_v2, act-order)            file, and an order of columns if it has
 *                                                          one
 *      AWQ        NAME.qweight, .qzeros, .scales           W4 ("gemm")
 *      QServe     NAME.qweight, .s1_scales, .s2_scales,    W4 in groups of 128, scale s1 * s2 in
 *                 .s2_zeros                                f32 (exact)
 *                 NAME.qweight, .s1_scales, .s1_szeros     W4 with a minimum a row
 *
 *  Weights are what the tool's own formula says, rounded once to f32: scale * (code - zero). Zero
 *  points that all lie in the middle of the codes take no plane.
 *
 *  Errors: CLQ_BAD_FILE for what is malformed or missing, CLQ_UNSUPPORTED, CLQ_IO_ERROR; each
 *  sentence names the file, and the layer or tensor if it is one's. Nothing in a file is believed
 *  before it is checked. An open checkpoint may be read by several threads. */
#ifndef CLQUANT_CHECKPOINT_H
#define CLQUANT_CHECKPOINT_H

#include <clquant/quantize.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clq_checkpoint clq_checkpoint;

/** @p path: a folder with model.safetensors or model.safetensors.index.json; such an index; or any
 *  .safetensors file. config.json and quantize_config.json in the same folder are read, if they are
 *  there. The files stay open; tensors are read when they are asked for. */
CLQ_API CLQ_NODISCARD clq_status clq_checkpoint_open(const char *path, clq_checkpoint **checkpoint);
/** NULL is allowed. Weights that were loaded stay. */
CLQ_API void clq_checkpoint_close(clq_checkpoint *checkpoint);

/** Layers that there are names of, in the order of their tensors' names; tables of embeddings are
 *  among them. */
CLQ_API int64_t clq_checkpoint_layers(const clq_checkpoint *checkpoint);
/** The name of layer 0 <= @p index < layers, the checkpoint's; any UTF-8. NULL beyond. */
CLQ_API const char *clq_checkpoint_layer(const clq_checkpoint *checkpoint, int64_t index);

/** Packs @p count layers, stacked along N, of one kind, K, group and order of columns. */
CLQ_API CLQ_NODISCARD clq_status clq_weights_load(clq_context *context,
                                                  const clq_checkpoint *checkpoint,
                                                  const char *const *names, int32_t count,
                                                  clq_weights **weights);

/** The same, reporting to @p progress (NULL: nobody). Bytes are those of the layers' matrices; of
 *  packed layers one half is reported as they are read and decoded, a layer at a time, and the
 *  other as they are packed. CLQ_CANCELLED. */
CLQ_API CLQ_NODISCARD clq_status clq_weights_load_with_progress(
    clq_context *context, const clq_checkpoint *checkpoint, const char *const *names, int32_t count,
    const clq_progress *progress, clq_weights **weights);

/** Elements of tensor @p name, a bias for example ("NAME.bias"); -1 if there is none. */
CLQ_API int64_t clq_checkpoint_elements(const clq_checkpoint *checkpoint, const char *name);
/** Copies tensor @p name, f32, f16 or bf16, of @p count elements, to @p out as f32. */
CLQ_API CLQ_NODISCARD clq_status clq_checkpoint_floats(const clq_checkpoint *checkpoint,
                                                       const char *name, float *out, int64_t count);

#ifdef __cplusplus
}
#endif
#endif
