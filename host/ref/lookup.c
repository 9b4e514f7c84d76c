#include <string.h>

#include "ref/ref.h"

void clqi_ref_lookup(const uint8_t *codes, int64_t n, const void *table, size_t element_bytes,
                     void *out) {
  for (int64_t i = 0; i < n; ++i) {
    memcpy((char *)out + (size_t)i * element_bytes, (const char *)table + codes[i] * element_bytes,
           element_bytes);
  }
}
