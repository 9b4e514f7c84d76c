/* A LLaMA-family model from inside: packed weights by layer. */
#ifndef CLQI_MODEL_LLAMA_H
#define CLQI_MODEL_LLAMA_H

#include <stdbool.h>

#include <clquant/model.h>

/* A linear layer, or several with the same input side by side (q, k and v; gate and up). Parts of
 * one format are stacked into one matrix; where formats differ there are several, each filling its
 * columns of the output. */
enum { CLQI_MAX_STACKED = 3 };
typedef struct clqi_linear {
  clq_weights *weights[CLQI_MAX_STACKED];
  int32_t count;
  int64_t out_cols; /* of all together */
} clqi_linear;

typedef struct clqi_llama_layer {
  cl_mem attention_gamma; /* f32 [width] */
  cl_mem feed_forward_gamma;
  clqi_linear qkv;
  clqi_linear attention_out;
  clqi_linear gate_up;
  clqi_linear down;
} clqi_llama_layer;

struct clq_model {
  clq_context *context;
  clq_tokenizer *tokenizer;
  clq_model_info info;
  float eps;
  double rope_base;
  double rope_divisor; /* linear scaling: positions are divided by it */
  int64_t rope_dims;
  float *rope_factors; /* [rope_dims / 2] divisors of the frequencies, or NULL */
  clqi_llama_layer *layers;
  clqi_linear embedding; /* one matrix */
  clqi_linear head;      /* its matrix may be the embedding's */
  bool head_is_embedding;
  cl_mem output_gamma;
};

#endif
