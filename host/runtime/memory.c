#include "runtime/memory.h"

#include <stdlib.h>
#include <string.h>

#include <clquant/status.h>

#include "runtime/checked.h"

static void *default_allocate(void *user, size_t bytes) {
  (void)user;
  return malloc(bytes);
}

static void *default_reallocate(void *user, void *block, size_t bytes) {
  (void)user;
  return realloc(block, bytes);
}

static void default_release(void *user, void *block) {
  (void)user;
  free(block);
}

static const clq_allocator default_allocator = {default_allocate, default_reallocate,
                                                default_release, NULL};
static clq_allocator active = {default_allocate, default_reallocate, default_release, NULL};

void clq_set_allocator(const clq_allocator *allocator) {
  active = allocator == NULL ? default_allocator : *allocator;
}

void *clqi_malloc(size_t bytes) { return bytes == 0 ? NULL : active.allocate(active.user, bytes); }

void *clqi_calloc(size_t count, size_t size) {
  size_t bytes;
  if (!clqi_mul_size(count, size, &bytes)) {
    return NULL;
  }
  void *block = clqi_malloc(bytes);
  if (block != NULL) {
    memset(block, 0, bytes);
  }
  return block;
}

void *clqi_realloc(void *block, size_t count, size_t size) {
  size_t bytes;
  if (!clqi_mul_size(count, size, &bytes)) {
    return NULL;
  }
  return active.reallocate(active.user, block, bytes == 0 ? 1 : bytes);
}

void clqi_free(void *block) {
  if (block != NULL) {
    active.release(active.user, block);
  }
}

char *clqi_strdup(const char *text) {
  const size_t bytes = strlen(text) + 1;
  char *copy = clqi_malloc(bytes);
  if (copy != NULL) {
    memcpy(copy, text, bytes);
  }
  return copy;
}
