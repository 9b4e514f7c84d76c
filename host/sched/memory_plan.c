#include "sched/memory_plan.h"

#include <string.h>

#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/sort_order.h"

/* A plan above the lower bound is tried again, with the region that ended the arena placed first.
 * Transformers of a few hundred edges reach the bound in a few rounds; graphs of thousands must do
 * with one, for a round takes quadratic time. */
enum { MOST_ROUNDS = 64, LIFETIMES_COMPARED = 1 << 23 };

/* The regions that have their place, in ascending order of offset. Lifetimes are kept apart from
 * the rest, because finding those that collide in time is where the time goes. */
typedef struct placed_set {
  int32_t *first;
  int32_t *last;
  uint32_t *region;
  uint32_t count;
  uint32_t *colliding; /* scratch: positions in the arrays above */
} placed_set;

static void placed_release(placed_set *placed) {
  clqi_free(placed->first);
  clqi_free(placed->last);
  clqi_free(placed->region);
  clqi_free(placed->colliding);
}

static bool placed_reserve(placed_set *placed, uint32_t capacity) {
  placed->first = clqi_calloc(capacity, sizeof *placed->first);
  placed->last = clqi_calloc(capacity, sizeof *placed->last);
  placed->region = clqi_calloc(capacity, sizeof *placed->region);
  placed->colliding = clqi_calloc(capacity, sizeof *placed->colliding);
  return placed->first != NULL && placed->last != NULL && placed->region != NULL &&
         placed->colliding != NULL;
}

/* Bytes of a region as planned; cannot overflow once check_regions has seen it. */
static size_t rounded(const clqi_region *region, size_t alignment) {
  return (region->bytes + alignment - 1) & ~(alignment - 1);
}

/* Also the proof that no later sum overflows: an arena never exceeds the sum of its regions. */
static clq_status check_regions(const clqi_region *regions, uint32_t count, size_t alignment,
                                size_t *naive, int32_t *last) {
  CLQI_REQUIRE(alignment != 0 && (alignment & (alignment - 1)) == 0,
               "memory plan: alignment is %zu, expected a power of two", alignment);
  *naive = 0;
  *last = -1;
  for (uint32_t i = 0; i < count; i++) {
    const clqi_region *region = &regions[i];
    CLQI_REQUIRE(region->first >= 0 && region->last >= region->first && region->last < INT32_MAX,
                 "memory plan: region %u lives from node %d to node %d", i, (int)region->first,
                 (int)region->last);
    size_t bytes;
    CLQI_REQUIRE(
        clqi_align_size(region->bytes, alignment, &bytes) && clqi_add_size(*naive, bytes, naive),
        "memory plan: the sizes of %u regions add up to more than this machine can address", count);
    *last = region->last > *last ? region->last : *last;
  }
  return CLQ_OK;
}

/* Most bytes alive at one node. */
static clq_status most_alive(const clqi_region *regions, uint32_t count, size_t alignment,
                             int32_t last, size_t *most) {
  /* Change of the bytes alive at each node; wraps below zero and back. */
  size_t *change = clqi_calloc((size_t)last + 2, sizeof *change);
  if (change == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "memory plan: out of memory for %d nodes", last + 1);
  }
  for (uint32_t i = 0; i < count; i++) {
    const size_t bytes = rounded(&regions[i], alignment);
    change[regions[i].first] += bytes;
    change[regions[i].last + 1] -= bytes;
  }
  size_t alive = 0;
  *most = 0;
  for (int32_t node = 0; node <= last; node++) {
    alive += change[node];
    *most = alive > *most ? alive : *most;
  }
  clqi_free(change);
  return CLQ_OK;
}

/* Large before small; among equals the longer lived first, which leaves whole gaps to the rest. */
static int compare_regions(const void *context, uint32_t a, uint32_t b) {
  const clqi_region *ra = (const clqi_region *)context + a;
  const clqi_region *rb = (const clqi_region *)context + b;
  if (ra->bytes != rb->bytes) {
    return ra->bytes > rb->bytes ? -1 : 1;
  }
  const int32_t life_a = ra->last - ra->first;
  const int32_t life_b = rb->last - rb->first;
  if (life_a != life_b) {
    return life_a > life_b ? -1 : 1;
  }
  if (ra->first != rb->first) {
    return ra->first < rb->first ? -1 : 1;
  }
  return a < b ? -1 : a > b;
}

/* Few of many lifetimes collide: whole blocks are ruled out at once, in a form that compilers turn
 * into vector code. */
enum { BLOCK = 32 };

static bool block_collides(const int32_t *first, const int32_t *last, const clqi_region *region) {
  const int32_t region_first = region->first;
  const int32_t region_last = region->last;
  int32_t any = 0;
  for (int i = 0; i < BLOCK; i++) {
    any |= (first[i] <= region_last) & (last[i] >= region_first);
  }
  return any != 0;
}

/* Positions of the placed regions alive together with @p region, ascending. */
static uint32_t find_colliding(placed_set *placed, const clqi_region *region) {
  uint32_t found = 0;
  for (uint32_t start = 0; start < placed->count; start += BLOCK) {
    const uint32_t end = placed->count - start < BLOCK ? placed->count : start + BLOCK;
    if (end - start == BLOCK &&
        !block_collides(placed->first + start, placed->last + start, region)) {
      continue;
    }
    for (uint32_t i = start; i < end; i++) { /* without branches: they would be mispredicted */
      placed->colliding[found] = i;
      found += (uint32_t)((placed->first[i] <= region->last) & (placed->last[i] >= region->first));
    }
  }
  return found;
}

/* The smallest gap among the colliding regions that holds @p bytes, else their end. */
static size_t best_fit(const placed_set *placed, const clqi_region *regions, uint32_t colliding,
                       size_t bytes, size_t alignment) {
  size_t best_offset = 0;
  size_t best_gap = SIZE_MAX;
  size_t end = 0;
  for (uint32_t i = 0; i < colliding; i++) {
    const clqi_region *other = &regions[placed->region[placed->colliding[i]]];
    if (other->offset > end) {
      const size_t gap = other->offset - end;
      if (gap >= bytes && gap < best_gap) {
        best_gap = gap;
        best_offset = end;
      }
    }
    const size_t other_end = other->offset + rounded(other, alignment);
    end = other_end > end ? other_end : end;
  }
  return best_gap != SIZE_MAX ? best_offset : end;
}

static void insert_placed(placed_set *placed, const clqi_region *regions, uint32_t index) {
  const clqi_region *region = &regions[index];
  uint32_t low = 0;
  uint32_t high = placed->count;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (regions[placed->region[middle]].offset <= region->offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const size_t behind = placed->count - low;
  memmove(placed->first + low + 1, placed->first + low, behind * sizeof *placed->first);
  memmove(placed->last + low + 1, placed->last + low, behind * sizeof *placed->last);
  memmove(placed->region + low + 1, placed->region + low, behind * sizeof *placed->region);
  placed->first[low] = region->first;
  placed->last[low] = region->last;
  placed->region[low] = index;
  placed->count++;
}

/* Gives every region its place in turn. Returns the arena's size; *topmost: the position in the
 * order of the region that ends there. */
static size_t place_all(placed_set *placed, clqi_region *regions, const uint32_t *order,
                        uint32_t count, size_t alignment, uint32_t *topmost) {
  size_t arena = 0;
  placed->count = 0;
  *topmost = 0;
  for (uint32_t i = 0; i < count; i++) {
    clqi_region *region = &regions[order[i]];
    const size_t bytes = rounded(region, alignment);
    region->offset = 0;
    if (bytes == 0) {
      continue;
    }
    const uint32_t colliding = find_colliding(placed, region);
    region->offset = best_fit(placed, regions, colliding, bytes, alignment);
    insert_placed(placed, regions, order[i]);
    if (region->offset + bytes > arena) {
      arena = region->offset + bytes;
      *topmost = i;
    }
  }
  return arena;
}

static void move_to_front(uint32_t *order, uint32_t position) {
  const uint32_t moved = order[position];
  memmove(order + 1, order, position * sizeof *order);
  order[0] = moved;
}

clq_status clqi_memory_plan(clqi_region *regions, uint32_t count, size_t alignment,
                            clqi_memory_totals *totals) {
  clq_status status = CLQ_OK;
  uint32_t *order = NULL;
  size_t *best = NULL; /* offsets of the best round */
  placed_set placed = {0};
  int32_t last = -1;
  *totals = (clqi_memory_totals){0};

  CLQI_TRY_CLEAN(check_regions(regions, count, alignment, &totals->naive, &last));
  if (count == 0) {
    goto cleanup;
  }
  CLQI_TRY_CLEAN(most_alive(regions, count, alignment, last, &totals->lower_bound));

  order = clqi_calloc(count, sizeof *order);
  best = clqi_calloc(count, sizeof *best);
  if (order == NULL || best == NULL || !placed_reserve(&placed, count)) {
    status = clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "memory plan: out of memory for %u regions", count);
    goto cleanup;
  }
  for (uint32_t i = 0; i < count; i++) {
    order[i] = i;
  }
  clqi_sort_order(order, count, compare_regions, regions);
  const uint64_t affordable = 1 + LIFETIMES_COMPARED / ((uint64_t)count * count);
  const uint64_t rounds = affordable < MOST_ROUNDS ? affordable : MOST_ROUNDS;
  totals->arena = SIZE_MAX;
  for (uint64_t round = 0; round < rounds && totals->arena > totals->lower_bound; round++) {
    uint32_t topmost;
    const size_t arena = place_all(&placed, regions, order, count, alignment, &topmost);
    if (arena < totals->arena) {
      totals->arena = arena;
      for (uint32_t i = 0; i < count; i++) {
        best[i] = regions[i].offset;
      }
    }
    move_to_front(order, topmost);
  }
  for (uint32_t i = 0; i < count; i++) {
    regions[i].offset = best[i];
  }

cleanup:
  placed_release(&placed);
  clqi_free(order);
  clqi_free(best);
  return status;
}
