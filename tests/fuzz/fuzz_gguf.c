/* libFuzzer entry of the GGUF reader: any bytes may be refused, none may crash. */
#include <stddef.h>
#include <stdint.h>

#include "gguf_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  clqi_gguf *file;
  if (clqi_gguf_open_memory(data, size, "fuzz.gguf", &file) == CLQ_OK) {
    volatile uint64_t sum = gguf_walk(file);
    (void)sum;
  }
  clqi_gguf_close(file);
  return 0;
}
