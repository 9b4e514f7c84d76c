/* The memory planner alone: random lifetimes, replayed node by node. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "counting.h"
#include "sched/memory_plan.h"

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t limit) {
  random_state = random_state * 6364136223846793005U + 1442695040888963407U;
  return (uint32_t)((random_state >> 33) % limit);
}

static size_t rounded(size_t bytes, size_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

static clqi_region *random_regions(uint32_t count, int32_t nodes, uint32_t longest,
                                   uint32_t largest) {
  clqi_region *regions = calloc(count, sizeof *regions);
  for (uint32_t i = 0; i < count; i++) {
    const int32_t first = (int32_t)random_below((uint32_t)nodes);
    const int32_t last = first + (int32_t)random_below(longest);
    regions[i] = (clqi_region){
        .first = first, .last = last < nodes ? last : nodes - 1, .bytes = random_below(largest)};
  }
  return regions;
}

/* Runs through the nodes with one tenant number per aligned block of the arena. A region moves in
 * at its first node, which must find its blocks vacant, and leaves behind its last. Shares no
 * code or idea with the planner. */
static void replay(const clqi_region *regions, uint32_t count, int32_t nodes, size_t alignment,
                   size_t arena) {
  const size_t blocks = arena / alignment;
  uint32_t *tenant = calloc(blocks + 1, sizeof *tenant);
  for (int32_t node = 0; node < nodes; node++) {
    for (uint32_t i = 0; i < count; i++) {
      if (regions[i].first != node) {
        continue;
      }
      const size_t from = regions[i].offset / alignment;
      const size_t to = from + rounded(regions[i].bytes, alignment) / alignment;
      cr_assert(regions[i].offset % alignment == 0, "region %u starts at %zu", i,
                regions[i].offset);
      cr_assert(to <= blocks, "region %u ends behind the arena", i);
      for (size_t b = from; b < to; b++) {
        cr_assert(tenant[b] == 0, "node %d: regions %u and %u share block %zu", (int)node, i,
                  tenant[b] - 1, b);
        tenant[b] = i + 1;
      }
    }
    for (uint32_t i = 0; i < count; i++) {
      if (regions[i].last != node) {
        continue;
      }
      const size_t from = regions[i].offset / alignment;
      const size_t to = from + rounded(regions[i].bytes, alignment) / alignment;
      for (size_t b = from; b < to; b++) {
        tenant[b] = 0;
      }
    }
  }
  free(tenant);
}

static size_t most_alive(const clqi_region *regions, uint32_t count, int32_t nodes,
                         size_t alignment) {
  size_t most = 0;
  for (int32_t node = 0; node < nodes; node++) {
    size_t alive = 0;
    for (uint32_t i = 0; i < count; i++) {
      if (regions[i].first <= node && node <= regions[i].last) {
        alive += rounded(regions[i].bytes, alignment);
      }
    }
    most = alive > most ? alive : most;
  }
  return most;
}

Test(memory_plan, random_lifetimes_never_share_bytes) {
  double worst = 1.0;
  for (int round = 0; round < 200; round++) {
    const uint32_t count = 1 + random_below(150);
    const int32_t nodes = 1 + (int32_t)random_below(100);
    const size_t alignment = (size_t)1 << random_below(9);
    clqi_region *regions = random_regions(count, nodes, 1 + random_below(40), 5000);
    clqi_memory_totals totals;
    cr_assert(clqi_memory_plan(regions, count, alignment, &totals) == CLQ_OK, "%s",
              clq_last_error());
    size_t naive = 0;
    for (uint32_t i = 0; i < count; i++) {
      naive += rounded(regions[i].bytes, alignment);
    }
    cr_assert_eq(totals.naive, naive);
    cr_assert_eq(totals.lower_bound, most_alive(regions, count, nodes, alignment));
    cr_assert(totals.arena >= totals.lower_bound && totals.arena <= naive);
    replay(regions, count, nodes, alignment, totals.arena);
    if (totals.lower_bound > 0) {
      const double ratio = (double)totals.arena / (double)totals.lower_bound;
      worst = ratio > worst ? ratio : worst;
    }
    free(regions);
  }
  (void)fprintf(stderr, "random lifetimes: arena at most %.3f of the lower bound\n", worst);
  cr_assert(worst < 1.35, "greedy placement has become worse: %.3f of the lower bound", worst);
}

/* The edges of a decoder of `layers` layers, as a graph has them: a residual alive all along, and
 * per layer norm, qkv, rope, attention, projection, norm, gate and up, their product, down. */
static uint32_t decoder_regions(clqi_region *regions, int32_t layers, size_t rows, size_t width,
                                size_t qkv, size_t hidden) {
  const size_t codes = rows * width + rows * width / 32 * 8;
  const size_t hidden_codes = rows * hidden + rows * hidden / 32 * 8;
  const size_t sizes[] = {
      codes, rows * qkv * 4,    rows * width * 4, codes,           rows * width * 4,
      codes, rows * hidden * 8, hidden_codes,     rows * width * 4};
  uint32_t count = 0;
  int32_t node = 0;
  regions[count++] = (clqi_region){.first = 0, .bytes = rows * width * 4};
  for (int32_t layer = 0; layer < layers; layer++) {
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      node++;
      regions[count++] = (clqi_region){.first = node, .last = node + 1, .bytes = sizes[i]};
    }
  }
  regions[0].last = node + 1;
  return count;
}

Test(memory_plan, decoders_reach_the_lower_bound) {
  static const size_t models[][3] = {{576, 960, 1536},    {2048, 2560, 5632},   {4096, 6144, 11008},
                                     {4096, 6144, 14336}, {8192, 10240, 28672}, {768, 2304, 3072}};
  static clqi_region regions[1024];
  for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
    for (size_t rows = 1; rows <= 512; rows *= 8) {
      const uint32_t count =
          decoder_regions(regions, 32, rows, models[m][0], models[m][1], models[m][2]);
      clqi_memory_totals totals;
      cr_assert(clqi_memory_plan(regions, count, 128, &totals) == CLQ_OK);
      replay(regions, count, 32 * 9 + 2, 128, totals.arena);
      cr_assert((double)totals.arena <= 1.05 * (double)totals.lower_bound,
                "model %zu, %zu rows: arena %zu, lower bound %zu", m, rows, totals.arena,
                totals.lower_bound);
    }
  }
}

Test(memory_plan, same_input_same_plan) {
  clqi_region *a = random_regions(300, 200, 20, 10000);
  clqi_region *b = calloc(300, sizeof *b);
  memcpy(b, a, 300 * sizeof *b);
  clqi_memory_totals first;
  clqi_memory_totals second;
  cr_assert(clqi_memory_plan(a, 300, 64, &first) == CLQ_OK);
  for (uint32_t i = 0; i < 300; i++) {
    b[i].offset = 12345; /* what stood there before must not matter */
  }
  cr_assert(clqi_memory_plan(b, 300, 64, &second) == CLQ_OK);
  cr_assert_eq(first.arena, second.arena);
  for (uint32_t i = 0; i < 300; i++) {
    cr_assert_eq(a[i].offset, b[i].offset);
  }
  free(a);
  free(b);
}

Test(memory_plan, edge_cases) {
  clqi_memory_totals totals;
  cr_assert(clqi_memory_plan(NULL, 0, 128, &totals) == CLQ_OK);
  cr_assert(totals.arena == 0 && totals.naive == 0 && totals.lower_bound == 0);

  clqi_region empty[2] = {{.first = 0, .last = 3}, {.first = 1, .last = 2}};
  cr_assert(clqi_memory_plan(empty, 2, 128, &totals) == CLQ_OK);
  cr_assert(totals.arena == 0 && empty[0].offset == 0 && empty[1].offset == 0);

  /* One ends at the node where the other begins: both are needed there. */
  clqi_region touching[2] = {{.first = 0, .last = 1, .bytes = 1},
                             {.first = 1, .last = 2, .bytes = 1}};
  cr_assert(clqi_memory_plan(touching, 2, 128, &totals) == CLQ_OK);
  cr_assert_eq(totals.arena, 256);
  clqi_region apart[2] = {{.first = 0, .last = 0, .bytes = 100},
                          {.first = 1, .last = 2, .bytes = 128}};
  cr_assert(clqi_memory_plan(apart, 2, 128, &totals) == CLQ_OK);
  cr_assert_eq(totals.arena, 128);
}

Test(memory_plan, refusals) {
  clqi_memory_totals totals;
  clqi_region backwards = {.first = 2, .last = 1, .bytes = 8};
  cr_assert_eq(clqi_memory_plan(&backwards, 1, 128, &totals), CLQ_INVALID_ARGUMENT);
  clqi_region negative = {.first = -1, .last = 1, .bytes = 8};
  cr_assert_eq(clqi_memory_plan(&negative, 1, 128, &totals), CLQ_INVALID_ARGUMENT);
  clqi_region fine = {.first = 0, .last = 1, .bytes = 8};
  cr_assert_eq(clqi_memory_plan(&fine, 1, 0, &totals), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clqi_memory_plan(&fine, 1, 96, &totals), CLQ_INVALID_ARGUMENT);
  clqi_region huge[2] = {{.first = 0, .last = 0, .bytes = SIZE_MAX / 2},
                         {.first = 1, .last = 1, .bytes = SIZE_MAX / 2 + 200}};
  cr_assert_eq(clqi_memory_plan(huge, 2, 128, &totals), CLQ_INVALID_ARGUMENT);
  cr_assert(strstr(clq_last_error(), "2 regions") != NULL, "%s", clq_last_error());
  clqi_region last = {.first = 0, .last = 0, .bytes = SIZE_MAX};
  cr_assert_eq(clqi_memory_plan(&last, 1, 128, &totals), CLQ_INVALID_ARGUMENT);
}

/* Every allocation in turn fails: the answer is a status, and nothing leaks. */
Test(memory_plan, out_of_memory) {
  clqi_region *regions = random_regions(50, 40, 10, 1000);
  clqi_memory_totals totals;
  clq_status status = CLQ_OUT_OF_HOST_MEMORY;
  size_t granted = 0;
  for (; status != CLQ_OK && granted < 100; granted++) {
    counting_start(granted + 1, 1);
    status = clqi_memory_plan(regions, 50, 128, &totals);
    counting_stop();
    cr_assert(status == CLQ_OK || status == CLQ_OUT_OF_HOST_MEMORY);
    cr_assert_eq(counting_live(), 0);
  }
  cr_assert_eq(status, CLQ_OK);
  cr_assert_gt(granted, 1);
  free(regions);
}

static double now_seconds(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Prints the time, for it is the machine's; asserts the result. */
Test(memory_plan, ten_thousand_regions) {
  enum { COUNT = 10000 };
  clqi_region *regions = calloc(COUNT, sizeof *regions);
  const uint32_t count = decoder_regions(regions, 1111, 64, 576, 960, 1536);
  cr_assert_eq(count, COUNT);
  clqi_memory_totals totals;
  const double start = now_seconds();
  cr_assert(clqi_memory_plan(regions, count, 128, &totals) == CLQ_OK);
  (void)fprintf(stderr, "memory plan of %u regions: %.1f ms, arena %.3f of the lower bound\n",
                count, 1e3 * (now_seconds() - start),
                (double)totals.arena / (double)totals.lower_bound);
  /* Replaying all is quadratic; neighbours in time are where collisions would be. */
  for (uint32_t i = 0; i < count; i++) {
    for (uint32_t j = i + 1; j < count && j < i + 12; j++) {
      const bool together =
          regions[i].first <= regions[j].last && regions[j].first <= regions[i].last;
      cr_assert(!together ||
                regions[i].offset + rounded(regions[i].bytes, 128) <= regions[j].offset ||
                regions[j].offset + rounded(regions[j].bytes, 128) <= regions[i].offset);
    }
  }
  free(regions);
}
