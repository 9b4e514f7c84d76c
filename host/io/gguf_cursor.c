#include "io/gguf_cursor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/memory.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the GGUF reader copies little-endian numbers as they are"
#endif

clqi_gguf_quoted clqi_gguf_quote(const char *name, size_t length) {
  enum { SHOWN = 80 };
  clqi_gguf_quoted quoted;
  const bool whole = length <= SHOWN;
  const size_t shown = whole ? length : SHOWN;
  size_t at = 0;
  quoted.text[at++] = '\'';
  for (size_t i = 0; i < shown; ++i) {
    const char c = name[i];
    quoted.text[at] = '?';
    if (c >= 0x20 && c < 0x7f) {
      quoted.text[at] = c;
    }
    ++at;
  }
  (void)snprintf(quoted.text + at, sizeof quoted.text - at, "%s", whole ? "'" : "...'");
  return quoted;
}

void clqi_gguf_set_refusal(const clqi_gguf_cursor *p, const char *advice, size_t offset,
                           const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(text, sizeof text, format, args);
  va_end(args);
  clqi_set_error("%s: %s (at byte %zu)%s", p->file->name, text, offset, advice);
}

clq_status clqi_gguf_no_memory(const clqi_gguf_cursor *p, size_t count, const char *things) {
  return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for %zu %s", p->file->name, count,
                   things);
}

clq_status clqi_gguf_take(clqi_gguf_cursor *p, size_t bytes, const unsigned char **out) {
  if (bytes > clqi_gguf_remaining(p)) {
    return clqi_gguf_refuse(
        p, p->offset,
        "the file ends inside %s, which needs %zu more bytes where %zu remain: it is "
        "truncated or damaged, fetch it again",
        p->what, bytes, clqi_gguf_remaining(p));
  }
  if (bytes > p->file->held - p->offset) {
    p->wanted = p->offset + bytes;
    return CLQ_BAD_FILE;
  }
  *out = p->file->bytes + p->offset;
  p->offset += bytes;
  return CLQ_OK;
}

clq_status clqi_gguf_take_u32(clqi_gguf_cursor *p, uint32_t *out) {
  const unsigned char *bytes = NULL;
  CLQI_TRY(clqi_gguf_take(p, sizeof *out, &bytes));
  memcpy(out, bytes, sizeof *out);
  return CLQ_OK;
}

clq_status clqi_gguf_take_u64(clqi_gguf_cursor *p, uint64_t *out) {
  const unsigned char *bytes = NULL;
  CLQI_TRY(clqi_gguf_take(p, sizeof *out, &bytes));
  memcpy(out, bytes, sizeof *out);
  return CLQ_OK;
}

clq_status clqi_gguf_take_string(clqi_gguf_cursor *p, clqi_gguf_string *out) {
  const size_t start = p->offset;
  uint64_t length = 0;
  const unsigned char *bytes = NULL;
  CLQI_TRY(clqi_gguf_take_u64(p, &length));
  if (length > clqi_gguf_remaining(p)) {
    return clqi_gguf_refuse(p, start,
                            "%s has a string of %" PRIu64
                            " bytes where %zu remain: the file is truncated "
                            "or damaged, fetch it again",
                            p->what, length, clqi_gguf_remaining(p));
  }
  CLQI_TRY(clqi_gguf_take(p, (size_t)length, &bytes));
  *out = (clqi_gguf_string){(const char *)bytes, (size_t)length};
  return CLQ_OK;
}

clq_status clqi_gguf_take_name(clqi_gguf_cursor *p, size_t limit, clqi_gguf_string *out) {
  const size_t start = p->offset;
  uint64_t length = 0;
  const unsigned char *bytes = NULL;
  CLQI_TRY(clqi_gguf_take_u64(p, &length));
  if (length == 0) {
    return clqi_gguf_damaged(p, start, "%s has an empty name", p->what);
  }
  if (length > limit) {
    return clqi_gguf_damaged(p, start,
                             "%s has a name of %" PRIu64 " bytes, more than the %zu allowed",
                             p->what, length, limit);
  }
  CLQI_TRY(clqi_gguf_take(p, (size_t)length, &bytes));
  if (memchr(bytes, 0, (size_t)length) != NULL) {
    return clqi_gguf_damaged(p, start, "%s has a NUL byte in its name", p->what);
  }
  *out = (clqi_gguf_string){(const char *)bytes, (size_t)length};
  return CLQ_OK;
}

clq_status clqi_gguf_new_order(const clqi_gguf_cursor *p, size_t count, uint32_t **out) {
  if (count == 0) {
    return CLQ_OK;
  }
  *out = clqi_calloc(count, sizeof **out);
  if (*out == NULL) {
    return clqi_gguf_no_memory(p, count, "indices");
  }
  for (size_t i = 0; i < count; ++i) {
    (*out)[i] = (uint32_t)i;
  }
  return CLQ_OK;
}
