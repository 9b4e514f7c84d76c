/* The limits' loops on all threads at once, and those that need no special
 * instructions. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cli.h"
#include "limits_loops.h"

/* --- arrays --- */

#define HUGE_PAGE ((size_t)2 << 20)

struct bench_arrays {
  size_t bytes;
  char *from;
  char *to;
};

/* In huge pages, as the library's own buffers are. */
static char *array_of(size_t bytes) {
  char *array = aligned_alloc(HUGE_PAGE, bytes);
#ifdef MADV_HUGEPAGE
  if (array != NULL) {
    (void)madvise(array, bytes, MADV_HUGEPAGE);
  }
#endif
  return array;
}

bench_arrays *bench_arrays_new(size_t bytes_each) {
  bench_arrays *arrays = calloc(1, sizeof *arrays);
  const size_t bytes = bytes_each / HUGE_PAGE * HUGE_PAGE + HUGE_PAGE;
  if (arrays == NULL) {
    return NULL;
  }
  arrays->bytes = bytes;
  arrays->from = array_of(bytes);
  arrays->to = array_of(bytes);
  if (arrays->from == NULL || arrays->to == NULL) {
    bench_arrays_free(arrays);
    return NULL;
  }
  memset(arrays->from, 1, bytes);
  memset(arrays->to, 2, bytes);
  return arrays;
}

void bench_arrays_free(bench_arrays *arrays) {
  if (arrays != NULL) {
    free(arrays->from);
    free(arrays->to);
    free(arrays);
  }
}

/* --- plain loops --- */

static unsigned plain_read(void *to, const void *from, size_t bytes) {
  (void)to;
  uint64_t a[8] = {0};
  const uint64_t *p = from;
  for (size_t at = 0; at < bytes / 8; at += 8) {
    for (size_t i = 0; i < 8; ++i) {
      a[i] += p[at + i];
    }
  }
  return (unsigned)(a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7]);
}

static unsigned plain_copy(void *to, const void *from, size_t bytes) {
  memcpy(to, from, bytes);
  return 0;
}

enum { PASS = 1024, LANES = 64 };

static float plain_fp32(long passes) {
  float a[LANES] = {0.0f};
  volatile float x = 0.5f;
  for (long n = passes * PASS; n > 0; --n) {
    const float factor = x;
    for (int i = 0; i < LANES; ++i) {
      a[i] = __builtin_fmaf(a[i], factor, 0.25f);
    }
  }
  float sum = 0.0f;
  for (int i = 0; i < LANES; ++i) {
    sum += a[i];
  }
  return sum;
}

static float plain_int8(long passes) {
  int32_t a[LANES / 4] = {0};
  int8_t w[LANES];
  memset(w, 3, sizeof w);
  for (long n = passes * PASS; n > 0; --n) {
    __asm__ volatile("" : : "r"(w) : "memory");
    for (int i = 0; i < LANES; ++i) {
      a[i / 4] += (int32_t)w[i] * -5;
    }
  }
  int32_t sum = 0;
  for (int i = 0; i < LANES / 4; ++i) {
    sum ^= a[i];
  }
  return (float)sum;
}

bench_body bench_plain_body(bench_loop loop) {
  switch (loop) {
    case BENCH_LOOP_READ: return (bench_body){.memory = plain_read};
    case BENCH_LOOP_COPY: return (bench_body){.memory = plain_copy};
    case BENCH_LOOP_FP32: return (bench_body){.arithmetic = plain_fp32, .ops = 2.0 * LANES * PASS};
    case BENCH_LOOP_INT8: return (bench_body){.arithmetic = plain_int8, .ops = 2.0 * LANES * PASS};
    default: return (bench_body){0};
  }
}

static bench_body body_of(bench_loop loop) {
  const bench_body body = bench_x86_body(loop);
  return body.memory != NULL || body.arithmetic != NULL ? body : bench_plain_body(loop);
}

/* --- the team --- */

enum { MOST_THREADS = 256 };

typedef struct team {
  bench_body body;
  long passes;
  int size;
  atomic_int ready;
} team;

typedef struct member {
  team *team;
  const char *from;
  char *to;
  size_t bytes;
  double began, ended;
  volatile float sink;
} member;

static void work(member *m) {
  team *t = m->team;
  (void)atomic_fetch_add(&t->ready, 1);
  while (atomic_load(&t->ready) < t->size) {
  }
  m->began = cli_seconds();
  if (t->body.arithmetic != NULL) {
    m->sink = t->body.arithmetic(t->passes);
  } else {
    unsigned sum = 0;
    for (long i = 0; i < t->passes; ++i) {
      sum += t->body.memory(m->to, m->from, m->bytes);
    }
    m->sink = (float)sum;
  }
  m->ended = cli_seconds();
}

static void *enter(void *argument) {
  work(argument);
  return NULL;
}

static double span(const member *members, int count) {
  double began = members[0].began;
  double ended = members[0].ended;
  for (int i = 1; i < count; ++i) {
    began = members[i].began < began ? members[i].began : began;
    ended = members[i].ended > ended ? members[i].ended : ended;
  }
  return ended - began;
}

/* A thread that cannot be started makes the figure 0: unknown. */
static double run_team(team *t, member *members) {
  pthread_t threads[MOST_THREADS];
  int started = 1;
  while (started < t->size &&
         pthread_create(&threads[started], NULL, enter, &members[started]) == 0) {
    ++started;
  }
  const bool complete = started == t->size;
  if (complete) {
    work(&members[0]);
  } else {
    (void)atomic_fetch_add(&t->ready, t->size);
  }
  for (int i = 1; i < started; ++i) {
    (void)pthread_join(threads[i], NULL);
  }
  return complete ? span(members, t->size) : 0.0;
}

double bench_loop_seconds(bench_loop loop, int threads, bench_arrays *arrays, size_t bytes,
                          long passes) {
  team t = {.body = body_of(loop),
            .passes = passes,
            .size = threads < 1              ? 1
                    : threads > MOST_THREADS ? MOST_THREADS
                                             : threads};
  if (t.body.memory == NULL && t.body.arithmetic == NULL) {
    return 0.0;
  }
  member *members = calloc((size_t)t.size, sizeof *members);
  if (members == NULL) {
    return 0.0;
  }
  const size_t total = arrays == NULL ? 0 : (bytes < arrays->bytes ? bytes : arrays->bytes);
  const size_t share = total / (size_t)t.size / BENCH_LOOP_STEP * BENCH_LOOP_STEP;
  for (int i = 0; i < t.size; ++i) {
    members[i] = (member){.team = &t, .bytes = share};
    if (arrays != NULL) {
      members[i].from = arrays->from + share * (size_t)i;
      members[i].to = arrays->to + share * (size_t)i;
    }
  }
  const double seconds = run_team(&t, members) / (double)passes;
  free(members);
  return seconds;
}

double bench_loop_ops(bench_loop loop, int threads) { return body_of(loop).ops * threads; }
