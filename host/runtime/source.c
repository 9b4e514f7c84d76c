#include "runtime/source.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/checked.h"
#include "runtime/embedded.h"
#include "runtime/memory.h"

enum { MAX_INCLUDES = 32, MAX_PATH = 512 };

typedef struct text_buffer {
  char *text;
  size_t length;
  size_t capacity;
} text_buffer;

typedef struct resolver {
  text_buffer out;
  char seen[MAX_INCLUDES][64];
  int seen_count;
} resolver;

static clq_status append(text_buffer *b, const char *text, size_t length) {
  size_t needed;
  if (!clqi_add_size(b->length, length, &needed) || !clqi_add_size(needed, 1, &needed)) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "kernel source: too long");
  }
  if (b->text == NULL || needed > b->capacity) {
    const size_t capacity = needed < SIZE_MAX / 2 ? needed * 2 : needed;
    char *grown = clqi_realloc(b->text, capacity, 1);
    if (grown == NULL) {
      return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "kernel source: out of memory");
    }
    b->text = grown;
    b->capacity = capacity;
  }
  memcpy(b->text + b->length, text, length);
  b->length += length;
  b->text[b->length] = '\0';
  return CLQ_OK;
}

static clq_status append_line_directive(text_buffer *b, int line, const char *path) {
  char directive[MAX_PATH + 32];
  const int n = snprintf(directive, sizeof directive, "#line %d \"%s\"\n", line, path);
  return append(b, directive, (size_t)n);
}

static clq_status read_override(const char *dir, const char *path, char **text, size_t *length) {
  char name[MAX_PATH * 2];
  if (snprintf(name, sizeof name, "%s/%s", dir, path) >= (int)sizeof name) {
    return clqi_fail(CLQ_IO_ERROR, "CLQ_KERNEL_DIR: path too long");
  }
  clq_status status = CLQ_OK;
  char *data = NULL;
  FILE *f = fopen(name, "rb");
  if (f == NULL) {
    return clqi_fail(CLQ_IO_ERROR, "CLQ_KERNEL_DIR: cannot open %s: %s", name, strerror(errno));
  }
  if (fseek(f, 0, SEEK_END) != 0 || ftell(f) < 0) {
    status = clqi_fail(CLQ_IO_ERROR, "CLQ_KERNEL_DIR: cannot read %s", name);
    goto cleanup;
  }
  const size_t size = (size_t)ftell(f);
  rewind(f);
  data = clqi_malloc(size + 1);
  if (data == NULL) {
    status = clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "kernel source: out of memory");
    goto cleanup;
  }
  if (fread(data, 1, size, f) != size) {
    status = clqi_fail(CLQ_IO_ERROR, "CLQ_KERNEL_DIR: cannot read %s", name);
    goto cleanup;
  }
  data[size] = '\0';
  *text = data;
  *length = size;
  data = NULL;
cleanup:
  clqi_free(data);
  (void)fclose(f);
  return status;
}

static const clqi_embedded_file *find_embedded(const char *path) {
  for (size_t i = 0; i < clqi_embedded_file_count; ++i) {
    if (strcmp(clqi_embedded_files[i].path, path) == 0) {
      return &clqi_embedded_files[i];
    }
  }
  return NULL;
}

/* Sets *path to what `#include "path"` names; false if the line is no such directive. */
static bool parse_include(const char *line, size_t length, char path[64]) {
  size_t i = 0;
  while (i < length && (line[i] == ' ' || line[i] == '\t')) {
    ++i;
  }
  static const char directive[] = "#include \"";
  const size_t n = sizeof directive - 1;
  if (length - i < n || strncmp(line + i, directive, n) != 0) {
    return false;
  }
  i += n;
  size_t k = 0;
  while (i < length && line[i] != '"' && k < 63) {
    path[k++] = line[i++];
  }
  path[k] = '\0';
  return i < length && line[i] == '"';
}

static clq_status resolve(resolver *r, const char *path);

static clq_status resolve_include(resolver *r, const char *path) {
  for (int i = 0; i < r->seen_count; ++i) {
    if (strcmp(r->seen[i], path) == 0) {
      return CLQ_OK;
    }
  }
  if (r->seen_count == MAX_INCLUDES) {
    return clqi_fail(CLQ_BUILD_FAILED, "kernel source: more than %d includes", (int)MAX_INCLUDES);
  }
  (void)snprintf(r->seen[r->seen_count++], sizeof r->seen[0], "%s", path);
  return resolve(r, path);
}

static clq_status resolve_text(resolver *r, const char *path, const char *text, size_t length) {
  CLQI_TRY(append_line_directive(&r->out, 1, path));
  int line = 1;
  for (size_t begin = 0; begin < length; ++line) {
    const char *end = memchr(text + begin, '\n', length - begin);
    const size_t next = end == NULL ? length : (size_t)(end - text) + 1;
    char include[64];
    if (parse_include(text + begin, next - begin, include)) {
      CLQI_TRY(resolve_include(r, include));
      CLQI_TRY(append_line_directive(&r->out, line + 1, path));
    } else {
      CLQI_TRY(append(&r->out, text + begin, next - begin));
    }
    begin = next;
  }
  return append(&r->out, "\n", 1);
}

static clq_status resolve(resolver *r, const char *path) {
  const char *dir = getenv("CLQ_KERNEL_DIR");
  if (dir != NULL && dir[0] != '\0') {
    char *text = NULL;
    size_t length = 0;
    CLQI_TRY(read_override(dir, path, &text, &length));
    const clq_status status = resolve_text(r, path, text, length);
    clqi_free(text);
    return status;
  }
  const clqi_embedded_file *file = find_embedded(path);
  if (file == NULL) {
    return clqi_fail(CLQ_BUILD_FAILED, "kernel source: no file %s in the library", path);
  }
  return resolve_text(r, path, file->text, file->length);
}

clq_status clqi_source_load(const char *file, char **text, size_t *length) {
  char path[64];
  (void)snprintf(path, sizeof path, "%s.cl", file);
  resolver r = {.seen_count = 0};
  const clq_status status = resolve(&r, path);
  if (status != CLQ_OK) {
    clqi_free(r.out.text);
    return status;
  }
  *text = r.out.text;
  *length = r.out.length;
  return CLQ_OK;
}
