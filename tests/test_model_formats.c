/* Small LLaMA models whose tensors are of many formats, beside the same models in f32. */
#include <clquant/model.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device.h"
#include "gguf_writer.h"
#include "opencl.h"
#include "weights.h"

TestSuite(model_formats, .fini = opencl_none_live);

enum { WIDTH = 256, HEADS = 4, LAYERS = 2, MATRICES = 7, TOKENS = 7, STEPS = 5 };

/* The names by which files know formats, and which it is. */
typedef struct named {
  clqi_ggml_type type;
  clq_format format;
} named;

#define NAMED(name) \
  { CLQI_GGML_##name, CLQ_FORMAT_##name }
static const named formats[LAYERS][MATRICES] = {
    {NAMED(Q4_K), NAMED(Q5_K), NAMED(Q6_K), NAMED(Q3_K), NAMED(Q2_K), NAMED(IQ4_NL), NAMED(MXFP4)},
    {NAMED(Q5_0), NAMED(Q5_1), NAMED(Q8_0), NAMED(Q4_0), NAMED(Q4_K), NAMED(Q4_K), NAMED(Q6_K)},
};
static const named embedding = NAMED(Q6_K);
static const named head = NAMED(Q4_1);

/* `cols` and `rows` of a tensor in its format, or what that means in f32. */
static void add_matrix(gguf_image *image, const char *name, named n, uint64_t cols, uint64_t rows,
                       uint64_t seed, bool as_floats) {
  test_random random = {seed};
  test_weights w = test_weights_new(&random, n.format, (int64_t)rows, (int64_t)cols, 0, false);
  const uint64_t dims[] = {cols, rows};
  if (as_floats) {
    float *values = malloc(rows * cols * sizeof *values);
    for (uint64_t i = 0; i < rows * cols; ++i) {
      values[i] = clqi_ref_weight(&w.ref, (int64_t)(i / cols), (int64_t)(i % cols));
    }
    gguf_add_tensor(image, name, CLQI_GGML_F32, 2, dims, values, rows * cols * sizeof *values);
    free(values);
  } else {
    const clqi_ggml_type_info *info = clqi_ggml_type_find(n.type);
    gguf_add_tensor(image, name, n.type, 2, dims, w.ref.data,
                    rows * cols / info->block_elements * info->block_bytes);
  }
  test_weights_free(&w);
}

/* Gammas bring the rows, which random weights of any size made, to what the next ones take well. */
static void add_gamma(gguf_image *image, const char *name) {
  float values[WIDTH];
  for (int i = 0; i < WIDTH; ++i) {
    values[i] = 0.0625f;
  }
  gguf_add_tensor(image, name, CLQI_GGML_F32, 1, (uint64_t[]){WIDTH}, values, sizeof values);
}

static void add_metadata(gguf_image *image) {
  static const char *const tokens[TOKENS] = {"<|im_end|>", "<|im_start|>", "a", "b", "ab", "s",
                                             "u"};
  static const char *const merge[] = {"a b"};
  static const int32_t types[TOKENS] = {3, 3, 1, 1, 1, 1, 1};
  gguf_add_string(image, "general.architecture", "llama");
  gguf_add_u32(image, "llama.block_count", LAYERS);
  gguf_add_u32(image, "llama.embedding_length", WIDTH);
  gguf_add_u32(image, "llama.feed_forward_length", WIDTH);
  gguf_add_u32(image, "llama.attention.head_count", HEADS);
  gguf_add_u32(image, "llama.context_length", 64);
  gguf_add_f32(image, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
  gguf_add_string(image, "tokenizer.ggml.model", "gpt2");
  gguf_add_string(image, "tokenizer.ggml.pre", "smollm");
  gguf_add_string_array(image, "tokenizer.ggml.tokens", tokens, TOKENS);
  gguf_add_array(image, "tokenizer.ggml.token_type", CLQI_GGUF_I32, types, TOKENS, sizeof types);
  gguf_add_string_array(image, "tokenizer.ggml.merges", merge, 1);
  gguf_add_u32(image, "tokenizer.ggml.eos_token_id", 0);
}

/* Writes the model to `path`. */
static void write_model(const char *path, bool as_floats) {
  static const char *const names[MATRICES] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                              "ffn_gate", "ffn_up", "ffn_down"};
  gguf_image image = {0};
  add_metadata(&image);
  add_matrix(&image, "token_embd.weight", embedding, WIDTH, TOKENS, 1, as_floats);
  add_matrix(&image, "output.weight", head, WIDTH, TOKENS, 2, as_floats);
  add_gamma(&image, "output_norm.weight");
  for (int layer = 0; layer < LAYERS; ++layer) {
    char name[64];
    (void)snprintf(name, sizeof name, "blk.%d.attn_norm.weight", layer);
    add_gamma(&image, name);
    (void)snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", layer);
    add_gamma(&image, name);
    for (int i = 0; i < MATRICES; ++i) {
      (void)snprintf(name, sizeof name, "blk.%d.%s.weight", layer, names[i]);
      add_matrix(&image, name, formats[layer][i], WIDTH, WIDTH, (uint64_t)(10 * layer + i + 3),
                 as_floats);
    }
  }
  gguf_bytes bytes = gguf_finish(&image);
  FILE *file = fopen(path, "wb");
  cr_assert(file != NULL && fwrite(bytes.data, 1, bytes.size, file) == bytes.size);
  cr_assert_eq(fclose(file), 0);
  free(bytes.data);
}

/* Logits of all rows; what was loaded takes so many bytes. */
static uint64_t logits_of(clq_context *context, const char *path, clq_acts acts,
                          float logits[STEPS * TOKENS]) {
  static const int32_t ids[STEPS] = {2, 3, 6, 4, 5};
  clq_model *model = NULL;
  clq_session *session = NULL;
  clq_model_info info;
  test_ok(clq_model_load(context, path, &model));
  clq_model_get_info(model, &info);
  test_ok(clq_session_create(
      model, NULL, &(clq_session_desc){.acts = acts, .kv = CLQ_F32, .context = 16}, &session));
  test_ok(clq_session_eval(session, ids, STEPS, CLQ_LOGITS_ALL, logits));
  clq_session_destroy(session);
  clq_model_destroy(model);
  return info.weight_bytes;
}

/* With float activations a file of blocks gives the bits of the file of what the blocks mean; with
 * int8 ones it is near. */
Test(model_formats, a_file_of_many_formats_is_the_file_of_its_values) {
  char folder[] = "/tmp/clq_formats_XXXXXX";
  char blocks[64];
  char floats[64];
  float from_blocks[STEPS * TOKENS];
  float from_floats[STEPS * TOKENS];
  float from_codes[STEPS * TOKENS];
  cr_assert_not_null(mkdtemp(folder));
  (void)snprintf(blocks, sizeof blocks, "%s/blocks.gguf", folder);
  (void)snprintf(floats, sizeof floats, "%s/floats.gguf", folder);
  write_model(blocks, false);
  write_model(floats, true);
  clq_context *context = NULL;
  test_ok(clq_context_create(NULL, &context));
  const uint64_t small = logits_of(context, blocks, CLQ_ACTS_F32, from_blocks);
  const uint64_t large = logits_of(context, floats, CLQ_ACTS_F32, from_floats);
  (void)logits_of(context, blocks, CLQ_ACTS_Q8G32, from_codes);
  clq_context_destroy(context);
  (void)unlink(blocks);
  (void)unlink(floats);
  (void)rmdir(folder);
  cr_assert_lt(3 * small, large);
  double squares = 0.0;
  double errors = 0.0;
  for (int i = 0; i < STEPS * TOKENS; ++i) {
    cr_assert(isfinite(from_floats[i]));
    cr_assert_eq(from_blocks[i], from_floats[i], "logit %d: %a, expected %a", i,
                 (double)from_blocks[i], (double)from_floats[i]);
    const double error = (double)from_codes[i] - (double)from_floats[i];
    squares += (double)from_floats[i] * (double)from_floats[i];
    errors += error * error;
  }
  cr_log_info("rms of logits %g, of their errors with q8g32 %g", sqrt(squares / (STEPS * TOKENS)),
              sqrt(errors / (STEPS * TOKENS)));
  cr_assert_gt(squares, 0.0);
  cr_assert_lt(errors, squares * 0.01);
}
