#include "counting.h"

#include <stdatomic.h>
#include <stdlib.h>

#include <clquant/status.h>

static atomic_size_t live;
static atomic_size_t calls;
static size_t fail_at;
static int fail_on;
static atomic_int failed;

static int fails(void) {
  const size_t call = atomic_fetch_add(&calls, 1) + 1;
  const int now = fail_at != 0 && (fail_on ? call >= fail_at : call == fail_at);
  if (now) {
    atomic_store(&failed, 1);
  }
  return now;
}

static void *allocate(void *user, size_t bytes) {
  (void)user;
  void *block = fails() ? NULL : malloc(bytes);
  if (block != NULL) {
    atomic_fetch_add(&live, 1);
  }
  return block;
}

static void *reallocate(void *user, void *block, size_t bytes) {
  (void)user;
  void *grown = fails() ? NULL : realloc(block, bytes);
  if (grown != NULL && block == NULL) {
    atomic_fetch_add(&live, 1);
  }
  return grown;
}

static void release(void *user, void *block) {
  (void)user;
  atomic_fetch_sub(&live, 1);
  free(block);
}

void counting_start(size_t k, int persistent) {
  atomic_store(&live, 0);
  atomic_store(&calls, 0);
  atomic_store(&failed, 0);
  fail_at = k;
  fail_on = persistent;
  clq_set_allocator(&(clq_allocator){allocate, reallocate, release, NULL});
}

size_t counting_live(void) { return atomic_load(&live); }
size_t counting_calls(void) { return atomic_load(&calls); }
int counting_failed(void) { return atomic_load(&failed); }
void counting_stop(void) { clq_set_allocator(NULL); }
