/* libFuzzer entry of the safetensors reader with the layers that packers leave there and, for
 * inputs that start like JSON, of quantization configs: any bytes may be refused, none may crash.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/plain_layer.h"
#include "io/quant_config.h"
#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The layer of a tensor NAME.qweight, as every config there could be would have it. */
static void load_layer(const clqi_safetensors *set, const clqi_safetensors_tensor *tensor) {
  static const char suffix[] = ".qweight";
  static const int64_t groups[] = {-1, 8, 32};
  static const int widths[] = {2, 3, 4, 8};
  char prefix[64];
  const size_t length = strlen(tensor->name);
  if (length < sizeof suffix || length >= sizeof prefix ||
      strcmp(tensor->name + length - (sizeof suffix - 1), suffix) != 0) {
    return;
  }
  memcpy(prefix, tensor->name, length);
  prefix[length - (sizeof suffix - 1)] = '\0';
  for (unsigned i = 0; i < 4 * 3 * 4; ++i) {
    const clqi_quant_config config = {.method = i % 4 == 3 ? CLQI_QUANT_AWQ : CLQI_QUANT_GPTQ,
                                      .bits = i % 4 == 3 ? 4 : widths[i / 12],
                                      .group_size = groups[i / 4 % 3],
                                      .desc_act = i % 4 == 1,
                                      .sym = i % 4 == 2,
                                      .zero_is_true = i % 4 != 0};
    clqi_plain_layer layer;
    if (clqi_plain_layer_load(set, &config, prefix, &layer) == CLQ_OK &&
        clqi_plain_layer_is_symmetric(&layer)) {
      clqi_plain_layer_drop_zeros(&layer);
    }
    clqi_plain_layer_free(&layer);
  }
}

static void walk(const clqi_safetensors *set) {
  for (size_t i = 0; i < clqi_safetensors_count(set); ++i) {
    const clqi_safetensors_tensor *tensor = clqi_safetensors_at(set, i);
    void *bytes = malloc(tensor->bytes + 1);
    if (bytes == NULL || clqi_safetensors_find(set, tensor->name) != tensor ||
        clqi_safetensors_read(set, tensor, 0, tensor->bytes, bytes) != CLQ_OK) {
      abort(); /* names are unique and found, data is there: what an open set promises */
    }
    free(bytes);
    load_layer(set, tensor);
  }
}

static void parse_config(const uint8_t *data, size_t size) {
  for (int nested = 0; nested < 2; ++nested) {
    clqi_quant_config config;
    char *text = malloc(size); /* the parser changes it */
    if (text == NULL) {
      abort();
    }
    memcpy(text, data, size);
    (void)!clqi_quant_config_parse("fuzz.json", text, size, nested != 0, &config);
    free(text);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size != 0 && data[0] == '{') {
    parse_config(data, size);
    return 0;
  }
  clqi_safetensors *set = NULL;
  if (clqi_safetensors_open_memory(data, size, "fuzz.safetensors", &set) == CLQ_OK) {
    walk(set);
  }
  clqi_safetensors_close(set);
  return 0;
}
