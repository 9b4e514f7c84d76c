/* SLaNC scales of two real models, a pre-norm decoder (CLQ_TEST_MODEL) and a post-norm encoder
 * (CLQ_TEST_MODEL_ENCODER), against numpy's numbers in golden/slanc.json. */
#include <cjson/cJSON.h>
#include <clquant/slanc.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "device.h"
#include "opencl.h"
#include "safetensors.h"

TestSuite(slanc_model, .fini = opencl_none_live);

/* Relative error that the header promises. */
#define TOLERANCE 1e-5

static cJSON *golden_open_json(void) {
  FILE *file = fopen(CLQ_TEST_DIR "/golden/slanc.json", "rb");
  cr_assert_not_null(file, "cannot open tests/golden/slanc.json");
  static char text[1 << 16];
  const size_t bytes = fread(text, 1, sizeof text, file);
  cr_assert_lt(bytes, sizeof text);
  (void)fclose(file);
  cJSON *json = cJSON_ParseWithLength(text, bytes);
  cr_assert_not_null(json);
  return json;
}

static double number_at(const cJSON *list, int index) {
  const cJSON *item = cJSON_GetArrayItem(list, index);
  cr_assert(cJSON_IsNumber(item));
  return item->valuedouble;
}

static const cJSON *golden_list(const cJSON *json, const char *name, int count) {
  const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, name);
  cr_assert_eq(cJSON_GetArraySize(list), count, "%s", name);
  return list;
}

/* Lengths of rows whose squares a half can sum: past the first it overflows, below the second (in
 * 64 lanes) it is off by more than a percent. */
#define LONGEST_ROW  255.9
#define SHORTEST_ROW 0x1p-6

/* The rows that really came to the norms of the model, against the scales rounded to powers of
 * two. */
static void check_lengths(const cJSON *lengths, const float *scales, const float *rounded,
                          int count) {
  int long_rows = 0;
  int long_medians = 0;
  int long_scaled = 0;
  double shortest = INFINITY;
  double longest = 0.0;
  for (int i = 0; i < count; ++i) {
    const cJSON *norm = cJSON_GetArrayItem(lengths, i);
    cr_assert_eq(cJSON_GetArraySize(norm), 3);
    long_rows += number_at(norm, 2) > LONGEST_ROW ? 1 : 0;
    long_medians += number_at(norm, 1) > LONGEST_ROW ? 1 : 0;
    long_scaled += number_at(norm, 2) / (double)scales[i] > LONGEST_ROW ? 1 : 0;
    shortest = fmin(shortest, number_at(norm, 0) / (double)rounded[i]);
    longest = fmax(longest, number_at(norm, 2) / (double)rounded[i]);
  }
  cr_log_info(
      "of %d norms a row overflows in %d without scales (the median row in %d), in %d with "
      "exact ones; with powers of two rows are %.3g to %.4g long",
      count, long_rows, long_medians, long_scaled, shortest, longest);
  cr_assert_gt(long_rows, count * 9 / 10);
  cr_assert_gt(long_medians, 0);
  cr_assert_gt(shortest, SHORTEST_ROW);
  cr_assert_lt(longest, LONGEST_ROW);
}

Test(slanc_model, decoder_against_numpy) {
  const char *path = getenv("CLQ_TEST_MODEL");
  if (path == NULL) {
    cr_skip_test("CLQ_TEST_MODEL names no model");
  }
  enum { COUNT = 61 };
  clq_context *context = NULL;
  clq_model *model = NULL;
  float scales[COUNT];
  float rounded[COUNT];
  test_ok(clq_context_create(NULL, &context));
  test_ok(clq_model_load(context, path, &model));
  test_fails(clq_slanc_model(model, CLQ_SLANC_EXACT, COUNT - 1, scales), CLQ_INVALID_ARGUMENT,
             "slanc_model: room for 60 scales, expected 61");
  test_ok(clq_slanc_model(model, CLQ_SLANC_EXACT, COUNT, scales));
  test_ok(clq_slanc_model(model, CLQ_SLANC_POWER_OF_TWO, COUNT, rounded));
  cJSON *json = golden_open_json();
  const cJSON *golden = golden_list(json, "smollm2", COUNT);
  double worst = 0.0;
  for (int i = 0; i < COUNT; ++i) {
    worst = fmax(worst, fabs((double)scales[i] / number_at(golden, i) - 1.0));
    int exponent = 0;
    cr_assert_eq(frexpf(rounded[i], &exponent), 0.5f, "%g", rounded[i]);
    const double ratio = (double)scales[i] / (double)rounded[i];
    cr_assert(ratio > 0.5 && ratio <= 1.0 + TOLERANCE, "%g", ratio);
  }
  cr_log_info("SmolLM2: %d scales, largest relative error %.2g", COUNT, worst);
  cr_assert_leq(worst, TOLERANCE);
  check_lengths(golden_list(json, "smollm2_lengths", COUNT), scales, rounded, COUNT);
  cJSON_Delete(json);
  clq_model_destroy(model);
  clq_context_destroy(context);
}

static float *encoder_weight(const test_safetensors *file, int layer, const char *part,
                             int64_t rows, int64_t cols) {
  char name[128];
  (void)snprintf(name, sizeof name, "encoder.layer.%d.%s.weight", layer, part);
  return test_safetensors_read(file, name, rows, cols);
}

/* Post-norm: a LayerNorm behind the embeddings, then two in every layer. */
Test(slanc_model, encoder_against_numpy) {
  const char *path = getenv("CLQ_TEST_MODEL_ENCODER");
  if (path == NULL) {
    cr_skip_test("CLQ_TEST_MODEL_ENCODER names no .safetensors file of all-MiniLM-L6-v2");
  }
  enum { WIDTH = 384, HIDDEN = 1536, HEADS = 12, LAYERS = 6, COUNT = 2 * LAYERS + 1 };
  test_safetensors *file = test_safetensors_open(path);
  cr_assert(test_safetensors_has(file, "encoder.layer.5.output.LayerNorm.weight"));
  cr_assert(!test_safetensors_has(file, "encoder.layer.6.output.LayerNorm.weight"));
  cJSON *json = golden_open_json();
  const cJSON *golden = golden_list(json, "minilm", COUNT);
  float *gamma = test_safetensors_read(file, "embeddings.LayerNorm.weight", 1, WIDTH);
  double worst = 0.0;
  for (int layer = 0; layer < LAYERS; ++layer) {
    float *value = encoder_weight(file, layer, "attention.self.value", WIDTH, WIDTH);
    float *out = encoder_weight(file, layer, "attention.output.dense", WIDTH, WIDTH);
    float *next_gamma = encoder_weight(file, layer, "attention.output.LayerNorm", 1, WIDTH);
    float *fc1 = encoder_weight(file, layer, "intermediate.dense", HIDDEN, WIDTH);
    float *fc2 = encoder_weight(file, layer, "output.dense", WIDTH, HIDDEN);
    const clq_slanc_attention_args attention = {.gamma = gamma,
                                                .value = value,
                                                .out = out,
                                                .width = WIDTH,
                                                .heads = HEADS,
                                                .kv_heads = HEADS,
                                                .head_dim = WIDTH / HEADS};
    const clq_slanc_mlp_args mlp = {
        .gamma = next_gamma, .up = fc1, .down = fc2, .width = WIDTH, .hidden = HIDDEN};
    float scales[2];
    test_ok(clq_slanc_attention(&attention, &scales[0]));
    test_ok(clq_slanc_mlp(&mlp, &scales[1]));
    for (int i = 0; i < 2; ++i) {
      worst = fmax(worst, fabs((double)scales[i] / number_at(golden, 2 * layer + 1 + i) - 1.0));
    }
    free(gamma);
    gamma = encoder_weight(file, layer, "output.LayerNorm", 1, WIDTH);
    free(value);
    free(out);
    free(next_gamma);
    free(fc1);
    free(fc2);
  }
  cr_log_info("MiniLM: %d scales, largest relative error %.2g", COUNT, worst);
  cr_assert_leq(worst, TOLERANCE);
  free(gamma);
  cJSON_Delete(json);
  test_safetensors_close(file);
}
