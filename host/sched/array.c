#include "sched/array.h"

#include <string.h>

#include "runtime/memory.h"

enum { FIRST_CAPACITY = 64 };

clq_status clqi_array_reserve(void *array, int32_t count, int32_t *capacity, size_t element_bytes) {
  if (count < *capacity) {
    return CLQ_OK;
  }
  CLQI_REQUIRE(*capacity <= INT32_MAX / 2, "more than %d elements", (int)*capacity);
  const int32_t wanted = *capacity == 0 ? FIRST_CAPACITY : *capacity * 2;
  void *elements; /* through memcpy, for the caller's pointer has a type of its own */
  memcpy(&elements, array, sizeof elements);
  void *grown = clqi_realloc(elements, (size_t)wanted, element_bytes);
  if (grown == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "out of memory for %d elements", (int)wanted);
  }
  memcpy(array, &grown, sizeof grown);
  *capacity = wanted;
  return CLQ_OK;
}
