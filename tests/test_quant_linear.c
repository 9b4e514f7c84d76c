/* Layers of GPTQ and AWQ models, read from safetensors images that the packers' words stand in. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counting.h"
#include "gptq_packer.h"
#include "io/quant_linear.h"
#include "safetensors_writer.h"

enum { ROWS = 32, COLS = 64, SIZE = 16, GROUPS = COLS / SIZE };

typedef struct source {
  uint32_t codes[COLS * ROWS]; /* [cols, rows] */
  uint32_t zeros[GROUPS * ROWS];
  uint16_t scales[GROUPS * ROWS];
  int32_t g_idx[COLS];
} source;

static void fill(source *s, bool act_order) {
  for (unsigned i = 0; i < COLS * ROWS; ++i) {
    s->codes[i] = i * 2654435761u >> 28;
  }
  for (unsigned i = 0; i < GROUPS * ROWS; ++i) {
    s->zeros[i] = i * 2246822519u >> 28;
    s->scales[i] = (uint16_t)(i * 40503u);
  }
  for (int k = 0; k < COLS; ++k) {
    s->g_idx[k] = act_order ? k % GROUPS : k / SIZE;
  }
}

static void add(st_image *image, const char *part, const char *dtype, int64_t first, int64_t second,
                const void *data, size_t bytes) {
  char name[64];
  (void)snprintf(name, sizeof name, "layers.0.q_proj.%s", part);
  st_add(image, name, dtype, second < 0 ? 1 : 2, (const int64_t[]){first, second}, data, bytes);
}

static st_bytes gptq_file(const source *s, bool v1, bool with_g_idx) {
  st_image image = {0};
  uint32_t *qweight = gptq_pack(s->codes, COLS, ROWS, 4);
  uint32_t *qzeros = gptq_pack_zeros(s->zeros, GROUPS, ROWS, 4);
  if (v1) {
    gptq_zeros_to_v1(qzeros, GROUPS, ROWS, 4);
  }
  add(&image, "qweight", "I32", COLS / 8, ROWS, qweight, COLS * ROWS / 2);
  add(&image, "qzeros", "I32", GROUPS, ROWS / 8, qzeros, GROUPS * ROWS / 2);
  add(&image, "scales", "F16", GROUPS, ROWS, s->scales, sizeof s->scales);
  if (with_g_idx) {
    add(&image, "g_idx", "I32", COLS, -1, s->g_idx, sizeof s->g_idx);
  }
  free(qweight);
  free(qzeros);
  return st_finish(&image);
}

static st_bytes awq_file(const source *s) {
  st_image image = {0};
  uint32_t *qweight = awq_pack(s->codes, COLS, ROWS);
  uint32_t *qzeros = awq_pack(s->zeros, GROUPS, ROWS);
  add(&image, "qweight", "I32", COLS, ROWS / 8, qweight, COLS * ROWS / 2);
  add(&image, "qzeros", "I32", GROUPS, ROWS / 8, qzeros, GROUPS * ROWS / 2);
  add(&image, "scales", "BF16", GROUPS, ROWS, s->scales, sizeof s->scales);
  free(qweight);
  free(qzeros);
  return st_finish(&image);
}

static clq_status load(const st_bytes *bytes, const clqi_quant_config *config,
                       clqi_quant_linear *out) {
  clqi_safetensors *set = NULL;
  *out = (clqi_quant_linear){0};
  clq_status status = clqi_safetensors_open_memory(bytes->data, bytes->size, "m.safetensors", &set);
  if (status == CLQ_OK) {
    status = clqi_quant_linear_load(set, config, "layers.0.q_proj", out);
  }
  clqi_safetensors_close(set);
  return status;
}

static void expect_equal(const clqi_quant_linear *l, const source *s, bool ordered) {
  cr_assert(l->rows == ROWS && l->cols == COLS && l->groups == GROUPS && l->group_size == SIZE &&
            l->bits == 4);
  cr_assert_eq(l->order == NULL, ordered);
  for (size_t p = 0; p < COLS; ++p) {
    const size_t col = ordered ? p : l->order[p];
    cr_assert_eq((size_t)s->g_idx[col], p / SIZE);
    for (size_t row = 0; row < ROWS; ++row) {
      cr_assert_eq(l->codes.codes[row * COLS + p], s->codes[col * ROWS + row]);
    }
  }
  for (size_t g = 0; g < GROUPS; ++g) {
    for (size_t row = 0; row < ROWS; ++row) {
      cr_assert_eq(l->codes.zeros[row * GROUPS + g], s->zeros[g * ROWS + row]);
      cr_assert_eq(l->codes.scales[row * GROUPS + g], s->scales[g * ROWS + row]);
    }
  }
}

static const clqi_quant_config gptq_config = {
    .method = CLQI_QUANT_GPTQ, .bits = 4, .group_size = SIZE};
static const clqi_quant_config awq_config = {
    .method = CLQI_QUANT_AWQ, .bits = 4, .group_size = SIZE, .zero_is_true = true};

Test(quant_linear, gptq_layers_are_loaded) {
  for (int mode = 0; mode < 8; ++mode) {
    const bool v1 = mode % 2 != 0;
    const bool act_order = mode / 2 % 2 != 0;
    const bool with_g_idx = act_order || mode / 4 != 0;
    source s;
    clqi_quant_linear l;
    clqi_quant_config config = gptq_config;
    config.zero_is_true = !v1;
    config.desc_act = act_order;
    fill(&s, act_order);
    st_bytes bytes = gptq_file(&s, v1, with_g_idx);
    cr_assert_eq(load(&bytes, &config, &l), CLQ_OK, "%s", clq_last_error());
    cr_assert_eq(l.scale_dtype, CLQI_SAFETENSORS_F16);
    expect_equal(&l, &s, !act_order);
    clqi_quant_linear_free(&l);
    free(bytes.data);
  }
}

Test(quant_linear, awq_layers_are_loaded) {
  source s;
  clqi_quant_linear l;
  fill(&s, false);
  st_bytes bytes = awq_file(&s);
  cr_assert_eq(load(&bytes, &awq_config, &l), CLQ_OK, "%s", clq_last_error());
  cr_assert_eq(l.scale_dtype, CLQI_SAFETENSORS_BF16);
  expect_equal(&l, &s, true);
  clqi_quant_linear_free(&l);
  clqi_safetensors *set = NULL;
  cr_assert_eq(clqi_safetensors_open_memory(bytes.data, bytes.size, "m", &set), CLQ_OK);
  cr_assert(clqi_quant_linear_exists(set, "layers.0.q_proj"));
  cr_assert(!clqi_quant_linear_exists(set, "layers.0.norm"));
  clqi_safetensors_close(set);
  free(bytes.data);
}

/* Shapes and dtypes of qweight, qzeros, scales and g_idx; first < 0: the tensor is missing, second
 * < 0: it has one dimension. */
typedef struct part {
  const char *dtype;
  int64_t first, second;
} part;

static void expect_refused(const part parts[4], const clqi_quant_config *config,
                           const char *message) {
  static const char *const names[] = {"qweight", "qzeros", "scales", "g_idx"};
  st_image image = {0};
  clqi_quant_linear l = {.rows = 5};
  for (int i = 0; i < 4; ++i) {
    if (parts[i].first >= 0) {
      const size_t count = (size_t)(parts[i].first * (parts[i].second < 0 ? 1 : parts[i].second));
      const size_t each = strcmp(parts[i].dtype, "I64") == 0                  ? 8
                          : parts[i].dtype[strlen(parts[i].dtype) - 1] == '2' ? 4
                                                                              : 2;
      add(&image, names[i], parts[i].dtype, parts[i].first, parts[i].second, NULL, count * each);
    }
  }
  st_bytes bytes = st_finish(&image);
  cr_assert_eq(load(&bytes, config, &l), CLQ_BAD_FILE, "%s", message);
  cr_assert_eq(strncmp(clq_last_error(), "m.safetensors: ", 15), 0, "%s", clq_last_error());
  cr_assert_not_null(strstr(clq_last_error(), message), "expected '%s' in '%s'", message,
                     clq_last_error());
  cr_assert(l.rows == 0 && l.codes.codes == NULL);
  free(bytes.data);
}

#define GOOD \
  {"I32", 8, 32}, {"I32", 4, 4}, {"F16", 4, 32}, { "I32", 64, -1 }

Test(quant_linear, hostile_layers) {
  static const struct {
    part parts[4];
    const char *message;
  } cases[] = {
      {{{"I32", -1, 0}, {"I32", 4, 4}, {"F16", 4, 32}, {"I32", 64, -1}},
       "tensor 'layers.0.q_proj.qweight' is missing"},
      {{{"I32", 8, 32}, {"I32", -1, 4}, {"F16", 4, 32}, {"I32", 64, -1}},
       "tensor 'layers.0.q_proj.qzeros' is missing"},
      {{{"I32", 8, 32}, {"I32", 4, 4}, {"F16", -1, 32}, {"I32", 64, -1}},
       "tensor 'layers.0.q_proj.scales' is missing"},
      {{{"I32", 8, 32}, {"I32", 4, 4}, {"F16", 4, 32}, {"I32", -1, -1}},
       "tensor 'layers.0.q_proj.g_idx' is missing"},
      {{{"F16", 8, 32}, {"I32", 4, 4}, {"F16", 4, 32}, {"I32", 64, -1}},
       "tensor 'layers.0.q_proj.qweight' is F16, expected I32"},
      {{{"I32", 8, 32}, {"F16", 4, 4}, {"F16", 4, 32}, {"I32", 64, -1}},
       "tensor 'layers.0.q_proj.qzeros' is F16, expected I32"},
      {{{"I32", 8, 32}, {"I32", 4, 4}, {"F32", 4, 32}, {"I32", 64, -1}},
       "tensor 'layers.0.q_proj.scales' is F32, expected F16 or BF16"},
      {{{"I32", 8, 32}, {"I32", 4, 4}, {"F16", 4, 32}, {"I64", 64, -1}},
       "tensor 'layers.0.q_proj.g_idx' is I64, expected I32"},
      {{{"I32", 256, -1}, {"I32", 4, 4}, {"F16", 4, 32}, {"I32", 64, -1}},
       "tensor 'layers.0.q_proj.qweight' has 1 dimensions"},
      {{{"I32", 0, 9007199254740992}, {"I32", 0, 4}, {"F16", 0, 32}, {"I32", 0, -1}},
       "tensor 'layers.0.q_proj.qweight' has 2 dimensions, 0 by 9007199254740992 and so on, which "
       "no layer of 4 bits has"},
      {{{"I32", 9007199254740992, 0}, {"I32", 0, 4}, {"F16", 0, 32}, {"I32", 0, -1}},
       "which no layer of 4 bits has"},
      {{{"I32", 16, 32}, {"I32", 4, 4}, {"F16", 4, 32}, {"I32", 64, -1}},
       "tensor 'layers.0.q_proj.scales' has 2 dimensions, 4 by 32 and so on, expected 2, 8 by 32"},
      {{{"I32", 8, 32}, {"I32", 4, 4}, {"F16", 32, 4}, {"I32", 64, -1}},
       "tensor 'layers.0.q_proj.scales' has 2 dimensions, 32 by 4 and so on, expected 2, 4 by 32"},
      {{{"I32", 8, 32}, {"I32", 4, 32}, {"F16", 4, 32}, {"I32", 64, -1}},
       "tensor 'layers.0.q_proj.qzeros' has 2 dimensions, 4 by 32 and so on, expected 2, 4 by 4"},
      {{{"I32", 8, 32}, {"I32", 4, 4}, {"F16", 4, 32}, {"I32", 63, -1}},
       "tensor 'layers.0.q_proj.g_idx' has 1 dimensions, 63 by 1 and so on, expected 1, 64 by 1"},
      {{GOOD}, "layer 'layers.0.q_proj': gptq: g_idx has more columns of group 0 than the 16"},
  };
  clqi_quant_config config = gptq_config;
  config.desc_act = true;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    expect_refused(cases[i].parts, &config, cases[i].message);
  }
  const part three_bits[4] = {{"I32", 8, 32}, {"I32", 4, 4}, {"F16", 4, 32}, {"I32", 64, -1}};
  config.bits = 3;
  expect_refused(three_bits, &config, "which no layer of 3 bits has");
  const part symmetric[4] = {{"I32", 8, 32}, {"I32", 4, 4}, {"F16", 4, 32}, {"I32", -1, -1}};
  config = gptq_config;
  config.sym = true;
  expect_refused(symmetric, &config, "but sym promises 7 everywhere, or 8");
  const part transposed[4] = {{"I32", 64, 5}, {"I32", 4, 4}, {"F16", 4, 32}, {"I32", -1, -1}};
  expect_refused(transposed, &awq_config, "expected 2, 4 by 40");
}

Test(quant_linear, every_failed_allocation_is_reported_and_nothing_leaks) {
  source s;
  fill(&s, true);
  st_bytes bytes = gptq_file(&s, true, true);
  clqi_quant_config config = gptq_config;
  config.desc_act = true;
  size_t failures = 0;
  for (size_t k = 1;; ++k) {
    clqi_quant_linear l;
    counting_start(k, 0);
    const clq_status status = load(&bytes, &config, &l);
    clqi_quant_linear_free(&l);
    counting_stop();
    cr_assert_eq(counting_live(), 0, "allocation %zu: %zu blocks leak", k, counting_live());
    if (!counting_failed()) {
      cr_assert_eq(status, CLQ_OK, "%s", clq_last_error());
      break;
    }
    ++failures;
    cr_assert_eq(status, CLQ_OUT_OF_HOST_MEMORY, "allocation %zu: %s", k, clq_status_name(status));
    cr_assert_eq(strncmp(clq_last_error(), "m.safetensors: ", 15), 0, "%s", clq_last_error());
  }
  cr_assert_geq(failures, 17, "%zu", failures);
  free(bytes.data);
}

Test(quant_linear, a_model_without_quantization_has_none) {
  source s;
  fill(&s, false);
  st_bytes bytes = awq_file(&s);
  clqi_quant_linear l;
  cr_assert_eq(load(&bytes, &(clqi_quant_config){0}, &l), CLQ_INVALID_ARGUMENT);
  free(bytes.data);
}
