/* Quantization configs as the tools write them, and a sentence for each that cannot be followed. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "counting.h"
#include "io/quant_config.h"

static clq_status parse(const char *text, bool nested, clqi_quant_config *out) {
  const size_t length = strlen(text);
  char *copy = malloc(length);
  memcpy(copy, text, length);
  const clq_status status = clqi_quant_config_parse("c.json", copy, length, nested, out);
  free(copy);
  return status;
}

static void expect(const char *text, bool nested, clqi_quant_config expected) {
  clqi_quant_config config = {.bits = 77};
  cr_assert_eq(parse(text, nested, &config), CLQ_OK, "%s", clq_last_error());
  cr_assert_eq(config.method, expected.method, "%s", text);
  cr_assert_eq(config.bits, expected.bits, "%s", text);
  cr_assert_eq(config.group_size, expected.group_size, "%s", text);
  cr_assert_eq(config.desc_act, expected.desc_act, "%s", text);
  cr_assert_eq(config.sym, expected.sym, "%s", text);
  cr_assert_eq(config.zero_is_true, expected.zero_is_true, "%s", text);
}

Test(quant_config, what_the_tools_write_is_read) {
  expect("{\"model_type\":\"llama\"}", true, (clqi_quant_config){0});
  expect("{\"quantization_config\":null}", true, (clqi_quant_config){0});
  /* AutoGPTQ */
  expect(
      "{\"bits\":4,\"group_size\":128,\"damp_percent\":0.01,\"desc_act\":false,\"static_groups\":"
      "false,\"sym\":true,\"true_sequential\":true,\"model_name_or_path\":null,"
      "\"model_file_base_name\":\"model\"}",
      false,
      (clqi_quant_config){.method = CLQI_QUANT_GPTQ, .bits = 4, .group_size = 128, .sym = true});
  /* GPTQModel */
  expect(
      "{\"hidden_size\":64,\"quantization_config\":{\"bits\":3,\"dynamic\":null,\"group_size\":-1,"
      "\"desc_act\":true,\"sym\":false,\"lm_head\":false,\"quant_method\":\"gptq\","
      "\"checkpoint_format\":\"gptq_v2\",\"format\":\"gptq_v2\",\"pack_dtype\":\"int32\",\"meta\":"
      "{\"quantizer\":[\"gptqmodel:5.6.12\"],\"damp_percent\":0.05}},\"vocab_size\":9}",
      true,
      (clqi_quant_config){.method = CLQI_QUANT_GPTQ,
                          .bits = 3,
                          .group_size = -1,
                          .desc_act = true,
                          .zero_is_true = true});
  expect(
      "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":8,\"group_size\":32,"
      "\"dynamic\":{},\"checkpoint_format\":\"gptq\"}}",
      true, (clqi_quant_config){.method = CLQI_QUANT_GPTQ, .bits = 8, .group_size = 32});
  /* AutoAWQ */
  const clqi_quant_config awq = {
      .method = CLQI_QUANT_AWQ, .bits = 4, .group_size = 64, .zero_is_true = true};
  expect(
      "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":64,"
      "\"version\":\"gemm\",\"zero_point\":true,\"modules_to_not_convert\":[\"lm_head\"]}}",
      true, awq);
  expect("{\"quant_method\":\"awq\",\"w_bit\":4,\"q_group_size\":64,\"version\":\"GEMM\"}", false,
         awq);
  expect(
      "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,\"w_bit\":4,"
      "\"group_size\":64,\"q_group_size\":64,\"sym\":false,\"desc_act\":false,"
      "\"checkpoint_format\":\"gemm\"}}",
      true, awq);
}

#define GPTQ "\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128"
#define AWQ  "\"quant_method\":\"awq\",\"bits\":4,\"group_size\":128"

Test(quant_config, what_cannot_be_followed_is_refused) {
  static const struct {
    const char *text;
    clq_status status;
    const char *message;
  } cases[] = {
      {"\"bits\":4,\"group_size\":128", CLQ_BAD_FILE, "has no quant_method"},
      {"\"quant_method\":\"bitsandbytes\",\"bits\":4,\"group_size\":8", CLQ_UNSUPPORTED,
       "has quant_method 'bitsandbytes', expected gptq or awq"},
      {"\"quant_method\":7", CLQ_BAD_FILE, "quant_method has the character 7 where a string"},
      {"\"quant_method\":\"gptq\",\"group_size\":128", CLQ_BAD_FILE, "has no bits"},
      {"\"quant_method\":\"gptq\",\"bits\":4", CLQ_BAD_FILE, "has no group_size"},
      {"\"quant_method\":\"gptq\",\"bits\":5,\"group_size\":128", CLQ_UNSUPPORTED,
       "has bits 5, expected 2, 3, 4 or 8 for gptq"},
      {"\"quant_method\":\"gptq\",\"bits\":-1,\"group_size\":128", CLQ_UNSUPPORTED, "has bits -1"},
      {"\"quant_method\":\"gptq\",\"bits\":0,\"group_size\":128", CLQ_BAD_FILE, "bits is 0"},
      {"\"quant_method\":\"gptq\",\"bits\":4.0,\"group_size\":128", CLQ_BAD_FILE,
       "bits has the number 4.0, expected an integer"},
      {"\"quant_method\":\"gptq\",\"bits\":\"4\",\"group_size\":128", CLQ_BAD_FILE,
       "where an integer is expected"},
      {"\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":0", CLQ_BAD_FILE, "group_size is 0"},
      {"\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":-2", CLQ_BAD_FILE,
       "group_size has the number -2"},
      {GPTQ ",\"bits\":4", CLQ_BAD_FILE, "has the key 'bits' twice"},
      {GPTQ ",\"w_bit\":3", CLQ_BAD_FILE, "contradicts itself: bits is 4, w_bit is 3"},
      {GPTQ ",\"q_group_size\":64", CLQ_BAD_FILE,
       "contradicts itself: group_size is 128, q_group_size is 64"},
      {GPTQ ",\"sym\":1", CLQ_BAD_FILE, "sym has the character 1 where true or false is expected"},
      {GPTQ ",\"sym\":true,\"zero_point\":true", CLQ_BAD_FILE,
       "contradicts itself: sym and zero_point are both true"},
      {GPTQ ",\"checkpoint_format\":\"marlin\"", CLQ_UNSUPPORTED,
       "has checkpoint_format 'marlin', expected gptq or gptq_v2"},
      {GPTQ ",\"format\":\"bitblas\"", CLQ_UNSUPPORTED, "has checkpoint_format 'bitblas'"},
      {GPTQ ",\"checkpoint_format\":\"gptq\",\"format\":\"gptq_v2\"", CLQ_BAD_FILE,
       "contradicts itself: checkpoint_format is 'gptq', format is 'gptq_v2'"},
      {GPTQ ",\"version\":\"gemm\"", CLQ_BAD_FILE, "version 'gemm' belongs to awq"},
      {GPTQ ",\"pack_dtype\":\"int8\"", CLQ_UNSUPPORTED, "has pack_dtype 'int8', expected int32"},
      {GPTQ ",\"is_marlin_format\":true", CLQ_UNSUPPORTED, "is_marlin_format true"},
      {GPTQ ",\"dynamic\":{\"-:lm_head\":{}}", CLQ_UNSUPPORTED, "rules of its own"},
      {GPTQ ",\"dynamic\":[]", CLQ_BAD_FILE, "dynamic has the character [ where an object"},
      {AWQ ",\"version\":\"gemv\"", CLQ_UNSUPPORTED, "has version 'gemv', expected gemm for awq"},
      {AWQ ",\"checkpoint_format\":\"gptq\"", CLQ_UNSUPPORTED, "has checkpoint_format 'gptq'"},
      {AWQ ",\"zero_point\":false", CLQ_UNSUPPORTED, "has no zero points (zero_point is false)"},
      {AWQ ",\"sym\":true", CLQ_UNSUPPORTED, "has no zero points (sym is true)"},
      {AWQ ",\"desc_act\":true", CLQ_BAD_FILE, "desc_act true belongs to gptq"},
      {"\"quant_method\":\"awq\",\"bits\":8,\"group_size\":128", CLQ_UNSUPPORTED,
       "has bits 8, expected 4 for awq"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    char text[512];
    clqi_quant_config config = {.bits = 77};
    (void)snprintf(text, sizeof text, "{\"quantization_config\":{%s}}", cases[i].text);
    cr_assert_eq(parse(text, true, &config), cases[i].status, "%s: %s", text, clq_last_error());
    cr_assert_eq(config.bits, 77, "untouched on failure");
    cr_assert_eq(strncmp(clq_last_error(), "c.json: ", 8), 0, "%s", clq_last_error());
    cr_assert_not_null(strstr(clq_last_error(), cases[i].message), "expected '%s' in '%s'",
                       cases[i].message, clq_last_error());
  }
  clqi_quant_config config;
  cr_assert_eq(parse("[]", true, &config), CLQ_BAD_FILE);
  cr_assert_eq(parse("{\"quantization_config\":[]}", true, &config), CLQ_BAD_FILE);
  cr_assert_eq(
      parse("{\"quantization_config\":{" GPTQ "},\"quantization_config\":null}", true, &config),
      CLQ_BAD_FILE);
  cr_assert_not_null(strstr(clq_last_error(), "correct the file or fetch it again"));
}

static void write_text(const char *folder, const char *name, const char *text) {
  char path[128];
  (void)snprintf(path, sizeof path, "%s/%s", folder, name);
  if (text == NULL) {
    (void)unlink(path);
    return;
  }
  FILE *stream = fopen(path, "w");
  cr_assert_not_null(stream);
  cr_assert_geq(fputs(text, stream), 0);
  cr_assert_eq(fclose(stream), 0);
}

Test(quant_config, both_files_are_read) {
  char folder[64] = "/tmp/clq_quant_config_XXXXXX";
  clqi_quant_config config = {.bits = 77};
  cr_assert_not_null(mkdtemp(folder));
  cr_assert_eq(clqi_quant_config_open(folder, &config), CLQ_OK);
  cr_assert_eq(config.method, CLQI_QUANT_NONE);
  write_text(folder, "quantize_config.json", "{" GPTQ "}");
  cr_assert_eq(clqi_quant_config_open(folder, &config), CLQ_OK);
  cr_assert_eq(config.group_size, 128);
  write_text(folder, "config.json", "{\"quantization_config\":{" GPTQ "}}");
  cr_assert_eq(clqi_quant_config_open(folder, &config), CLQ_OK);
  cr_assert_eq(config.method, CLQI_QUANT_GPTQ);
  write_text(folder, "config.json", "{\"quantization_config\":{" GPTQ ",\"desc_act\":true}}");
  cr_assert_eq(clqi_quant_config_open(folder, &config), CLQ_BAD_FILE);
  cr_assert_not_null(strstr(clq_last_error(), "contradict each other"), "%s", clq_last_error());
  write_text(folder, "quantize_config.json", NULL);
  counting_start(1, 0);
  cr_assert_eq(clqi_quant_config_open(folder, &config), CLQ_OUT_OF_HOST_MEMORY);
  counting_stop();
  cr_assert_eq(counting_live(), 0);
  cr_assert_eq(clqi_quant_config_open(folder, &config), CLQ_OK);
  cr_assert(config.desc_act);
  write_text(folder, "config.json", NULL);
  cr_assert_eq(rmdir(folder), 0);
  cr_assert_eq(clqi_quant_config_open(NULL, &config), CLQ_INVALID_ARGUMENT);
}
