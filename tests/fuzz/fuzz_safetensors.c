/* libFuzzer entry of the safetensors reader and, for inputs that start like JSON, of quantization
 * configs: any bytes may be refused, none may crash. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/quant_config.h"
#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const clqi_safetensors *set) {
  for (size_t i = 0; i < clqi_safetensors_count(set); ++i) {
    const clqi_safetensors_tensor *tensor = clqi_safetensors_at(set, i);
    void *bytes = malloc(tensor->bytes + 1);
    if (bytes == NULL || clqi_safetensors_find(set, tensor->name) != tensor ||
        clqi_safetensors_read(set, tensor, 0, tensor->bytes, bytes) != CLQ_OK) {
      abort(); /* names are unique and found, data is there: what an open set promises */
    }
    free(bytes);
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
