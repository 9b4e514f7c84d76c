#include "runtime/array.h"

#include <string.h>

#include "runtime/checked.h"
#include "runtime/memory.h"

enum { FIRST_CAPACITY = 16 };

clq_status clqi_array_reserve(void *array, int64_t count, int64_t more, int64_t *capacity,
                              size_t element_bytes) {
  int64_t needed;
  if (!clqi_add_i64(count, more, &needed)) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "out of memory: the number of elements overflows");
  }
  if (needed <= *capacity) {
    return CLQ_OK;
  }
  int64_t wanted = *capacity <= INT64_MAX / 2 ? 2 * *capacity : needed;
  wanted = wanted < FIRST_CAPACITY ? FIRST_CAPACITY : wanted;
  wanted = wanted < needed ? needed : wanted;
  void *elements; /* through memcpy, for the caller's pointer has a type of its own */
  memcpy(&elements, array, sizeof elements);
  void *grown = clqi_realloc(elements, (size_t)wanted, element_bytes);
  if (grown == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "out of memory for %lld elements", (long long)wanted);
  }
  memcpy(array, &grown, sizeof grown);
  *capacity = wanted;
  return CLQ_OK;
}
