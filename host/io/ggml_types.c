#include "io/ggml_types.h"

#include <stddef.h>

enum { ID_END = 42 };

#define ROW(token, text, number, elements, bytes) \
  [number] = {.id = (number), .name = (text), .block_elements = (elements), .block_bytes = (bytes)},
static const clqi_ggml_type_info types[ID_END] = {CLQI_GGML_TYPES(ROW)};
#undef ROW

#define ROW(text, number) [number] = (text),
static const char *const removed[ID_END] = {CLQI_GGML_REMOVED_TYPES(ROW)};
#undef ROW

const clqi_ggml_type_info *clqi_ggml_type_find(uint32_t id) {
  return id < ID_END && types[id].name != NULL ? &types[id] : NULL;
}

const char *clqi_ggml_removed_type_name(uint32_t id) { return id < ID_END ? removed[id] : NULL; }
