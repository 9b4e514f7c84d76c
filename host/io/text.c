#include "io/text.h"

#include <stdint.h>
#include <string.h>

#include "runtime/array.h"
#include "runtime/memory.h"
#include "runtime/status.h"

clq_status clqi_bytes_reserve(clqi_bytes *bytes, size_t more) {
  int64_t capacity = (int64_t)bytes->capacity;
  if (more > INT64_MAX || bytes->length > INT64_MAX) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "text: length overflows");
  }
  const clq_status status =
      clqi_array_reserve(&bytes->data, (int64_t)bytes->length, (int64_t)more, &capacity, 1);
  bytes->capacity = (size_t)capacity;
  return status == CLQ_OK ? CLQ_OK : clqi_fail_prefix(status, "text");
}

clq_status clqi_bytes_append(clqi_bytes *bytes, const char *data, size_t length) {
  if (length == 0) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_bytes_reserve(bytes, length));
  memcpy(bytes->data + bytes->length, data, length);
  bytes->length += length;
  return CLQ_OK;
}

void clqi_bytes_free(clqi_bytes *bytes) {
  clqi_free(bytes->data);
  *bytes = (clqi_bytes){0};
}

clqi_text clqi_text_of(const char *string) {
  return (clqi_text){string, string == NULL ? 0 : strlen(string)};
}

bool clqi_text_equal(clqi_text a, clqi_text b) {
  return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

size_t clqi_text_find(clqi_text text, size_t from, clqi_text part) {
  if (part.length == 0) {
    return from <= text.length ? from : SIZE_MAX;
  }
  while (from < text.length && text.length - from >= part.length) {
    const size_t starts = text.length - part.length - from + 1;
    const char *hit = memchr(text.data + from, part.data[0], starts);
    if (hit == NULL) {
      return SIZE_MAX;
    }
    if (memcmp(hit, part.data, part.length) == 0) {
      return (size_t)(hit - text.data);
    }
    from = (size_t)(hit - text.data) + 1;
  }
  return SIZE_MAX;
}

clqi_excerpt clqi_excerpt_of(clqi_text text) {
  enum { SHOWN = 60 };
  clqi_excerpt excerpt = {{0}};
  const size_t count = text.length < SHOWN ? text.length : SHOWN;
  for (size_t i = 0; i < count; ++i) {
    const char c = text.data[i];
    excerpt.text[i] = '?';
    if (c >= ' ' && c <= '~') {
      excerpt.text[i] = c;
    }
  }
  if (text.length > SHOWN) {
    memcpy(excerpt.text + SHOWN, "...", 4);
  }
  return excerpt;
}
