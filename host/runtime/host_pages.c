#include "runtime/host_pages.h"

#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include "runtime/checked.h"

enum { ALIGNMENT = CLQI_HOST_PAGES_ALIGNMENT };

#define HUGE_PAGE ((size_t)2 << 20)
#define REGION    (16 * HUGE_PAGE)
/* A piece's memory goes back by whole pages, and nothing streams through less. */
#define SMALLEST ((size_t)64 << 10)

/* At the head of its own memory. */
struct clqi_page_region {
  size_t bytes;
  size_t used;
  atomic_size_t holders; /* pieces, and the pages it is current in */
};

/* Before each piece, within ALIGNMENT bytes. */
typedef struct piece_head {
  clqi_page_region *region;
  size_t bytes; /* of the piece, rounded up */
} piece_head;

_Static_assert(sizeof(clqi_page_region) <= ALIGNMENT && sizeof(piece_head) <= ALIGNMENT,
               "heads do not fit before what they describe");

void clqi_host_pages_init(clqi_host_pages *pages) {
  (void)pthread_mutex_init(&pages->lock, NULL);
  pages->current = NULL;
}

static void release(clqi_page_region *region) {
  if (atomic_fetch_sub(&region->holders, 1) == 1) {
    (void)munmap(region, region->bytes);
  }
}

void clqi_host_pages_destroy(clqi_host_pages *pages) {
  if (pages->current != NULL) {
    release(pages->current);
  }
  (void)pthread_mutex_destroy(&pages->lock);
}

#if CLQI_HAS_HOST_PAGES

/* One more huge page is asked for than needed, and what lies outside their boundaries given back.
 */
static clqi_page_region *map_region(size_t bytes) {
  size_t wanted;
  if (!clqi_add_size(bytes, HUGE_PAGE, &wanted)) {
    return NULL;
  }
  char *base = mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) {
    return NULL;
  }
  const size_t before = (HUGE_PAGE - (uintptr_t)base % HUGE_PAGE) % HUGE_PAGE;
  if (before > 0) {
    (void)munmap(base, before);
  }
  if (before < HUGE_PAGE) {
    (void)munmap(base + before + bytes, HUGE_PAGE - before);
  }
  clqi_page_region *region = (clqi_page_region *)(void *)(base + before);
  (void)madvise(region, bytes, MADV_HUGEPAGE); /* refused: ordinary pages */
  region->bytes = bytes;
  region->used = ALIGNMENT;
  atomic_init(&region->holders, 1);
  return region;
}

static void *cut(clqi_page_region *region, size_t bytes) {
  char *at = (char *)region + region->used;
  *(piece_head *)(void *)at = (piece_head){region, bytes};
  region->used += ALIGNMENT + bytes;
  (void)atomic_fetch_add(&region->holders, 1);
  return at + ALIGNMENT;
}

static void *take_own_region(size_t bytes) {
  size_t whole;
  clqi_page_region *region = NULL;
  if (clqi_add_size(bytes, (size_t)2 * ALIGNMENT, &whole) &&
      clqi_align_size(whole, HUGE_PAGE, &whole)) {
    region = map_region(whole);
  }
  void *piece = region == NULL ? NULL : cut(region, bytes);
  if (region != NULL) {
    release(region);
  }
  return piece;
}

static void *take_shared(clqi_host_pages *pages, size_t bytes) {
  clqi_page_region *r = pages->current;
  if (r == NULL || r->bytes - r->used < ALIGNMENT + bytes) {
    clqi_page_region *next = map_region(REGION);
    if (next == NULL) {
      return NULL;
    }
    if (r != NULL) {
      release(r);
    }
    pages->current = r = next;
  }
  return cut(r, bytes);
}

void *clqi_host_pages_take(clqi_host_pages *pages, size_t bytes) {
  if (bytes < SMALLEST || !clqi_align_size(bytes, ALIGNMENT, &bytes)) {
    return NULL;
  }
  if (bytes > REGION / 4) {
    return take_own_region(bytes);
  }
  (void)pthread_mutex_lock(&pages->lock);
  void *piece = take_shared(pages, bytes);
  (void)pthread_mutex_unlock(&pages->lock);
  return piece;
}

#else

void *clqi_host_pages_take(clqi_host_pages *pages, size_t bytes) {
  (void)pages;
  (void)bytes;
  return NULL;
}

#endif

void clqi_host_pages_give_back(void *piece) {
  piece_head *head = (piece_head *)(void *)((char *)piece - ALIGNMENT);
  clqi_page_region *region = head->region;
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t before = (page - (uintptr_t)piece % page) % page;
  if (head->bytes > before + page) {
    (void)madvise((char *)piece + before, (head->bytes - before) / page * page, MADV_DONTNEED);
  }
  release(region);
}
