/* Memory of buffers on CPUs: where it lies, that pieces do not touch, and that it goes back. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <clquant/clquant.h>

#include "device.h"
#include "runtime/buffer.h"
#include "runtime/host_pages.h"

/* Bytes of this process in memory. */
static long resident(void) {
  long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  cr_assert(file != NULL && fscanf(file, "%*d %ld", &pages) == 1);
  (void)fclose(file);
  return pages * sysconf(_SC_PAGESIZE);
}

/* Whether an address lies in what is mapped, and whether huge pages were asked for there. */
static bool mapped(const void *at, bool *huge) {
  FILE *file = fopen("/proc/self/smaps", "r");
  char line[512];
  bool inside = false;
  bool found = false;
  cr_assert(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    unsigned long long begin;
    unsigned long long end;
    if (sscanf(line, "%llx-%llx ", &begin, &end) == 2) {
      inside = (uintptr_t)at >= begin && (uintptr_t)at < end;
      found = found || inside;
    } else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
      *huge = strstr(line, " hg") != NULL;
    }
  }
  (void)fclose(file);
  return found;
}

static bool begin(clqi_host_pages *pages) {
  clqi_host_pages_init(pages);
  if (!CLQI_HAS_HOST_PAGES) {
    cr_skip_test("no huge pages on this system or under this sanitizer");
  }
  return CLQI_HAS_HOST_PAGES;
}

Test(host_pages, pieces_of_any_size_are_zeroed_aligned_and_apart) {
  clqi_host_pages pages;
  if (!begin(&pages)) {
    return;
  }
  static const size_t sizes[] = {65536,   65537,   65663,   65664,         69631,    69632, 70001,
                                 1 << 20, 3000001, 8 << 20, (8 << 20) + 1, 33 << 20, 65793};
  enum { ROUNDS = 3, SIZES = sizeof sizes / sizeof sizes[0], COUNT = ROUNDS * SIZES };
  unsigned char *pieces[COUNT];
  for (int i = 0; i < COUNT; ++i) {
    const size_t bytes = sizes[i % SIZES];
    pieces[i] = clqi_host_pages_take(&pages, bytes);
    cr_assert_not_null(pieces[i]);
    cr_assert_eq((uintptr_t)pieces[i] % CLQI_HOST_PAGES_ALIGNMENT, 0);
    for (size_t k = 0; k < bytes; ++k) {
      if (pieces[i][k] != 0) {
        cr_assert_fail("byte %zu of %zu is %d", k, bytes, pieces[i][k]);
      }
    }
    memset(pieces[i], i + 1, bytes);
  }
  for (int i = 0; i < COUNT; i += 2) { /* those between keep what they hold */
    clqi_host_pages_give_back(pieces[i]);
  }
  for (int i = 1; i < COUNT; i += 2) {
    for (size_t k = 0; k < sizes[i % SIZES]; ++k) {
      if (pieces[i][k] != i + 1) {
        cr_assert_fail("byte %zu of piece %d is %d", k, i, pieces[i][k]);
      }
    }
  }
  bool huge = false;
  cr_assert(mapped(pieces[1], &huge) && huge);
  clqi_host_pages_destroy(&pages); /* pieces outlive it */
  for (int i = 1; i < COUNT; i += 2) {
    pieces[i][0] = 7;
    clqi_host_pages_give_back(pieces[i]);
  }
  for (int i = 0; i < COUNT; ++i) {
    cr_assert(!mapped(pieces[i], &huge), "piece %d is still mapped", i);
  }
}

Test(host_pages, a_piece_given_back_leaves_memory_though_its_neighbours_stay) {
  clqi_host_pages pages;
  if (!begin(&pages)) {
    return;
  }
  enum { PIECE = 6 << 20, MARGIN = 3 << 20 };
  char *small = clqi_host_pages_take(&pages, 65536);
  char *large = clqi_host_pages_take(&pages, PIECE);
  cr_assert(small != NULL && large != NULL);
  small[0] = 1;
  const long before = resident();
  memset(large, 1, PIECE);
  cr_assert_geq(resident() - before, PIECE - MARGIN);
  clqi_host_pages_give_back(large);
  cr_assert_leq(resident() - before, MARGIN);
  cr_assert_eq(small[0], 1);
  clqi_host_pages_give_back(small);
  clqi_host_pages_destroy(&pages);
}

Test(host_pages, sizes_that_cannot_be_or_are_small_are_refused) {
  clqi_host_pages pages;
  clqi_host_pages_init(&pages);
  static const size_t sizes[] = {
      0, 1, 65535, SIZE_MAX, SIZE_MAX - 127, SIZE_MAX - 128, SIZE_MAX - (4 << 20), SIZE_MAX / 2};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    cr_assert_null(clqi_host_pages_take(&pages, sizes[i]), "%zu", sizes[i]);
  }
  clqi_host_pages_destroy(&pages);
}

static void *take_and_give(void *argument) {
  clqi_host_pages *pages = argument;
  unsigned char *held[16] = {0};
  for (unsigned i = 0; i < 2000; ++i) {
    const unsigned k = i % 16;
    const size_t bytes = 65536 + (size_t)(i * 2654435761U) % 100000;
    if (held[k] != NULL) {
      clqi_host_pages_give_back(held[k]);
    }
    held[k] = clqi_host_pages_take(pages, bytes);
    if (held[k] == NULL || held[k][0] != 0 || held[k][bytes - 1] != 0) {
      return pages;
    }
    held[k][0] = held[k][bytes - 1] = (unsigned char)(k + 1);
  }
  for (unsigned k = 0; k < 16; ++k) {
    clqi_host_pages_give_back(held[k]);
  }
  return NULL;
}

Test(host_pages, threads_take_and_give_side_by_side) {
  clqi_host_pages pages;
  if (!begin(&pages)) {
    return;
  }
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i) {
    cr_assert_eq(pthread_create(&threads[i], NULL, take_and_give, &pages), 0);
  }
  for (int i = 0; i < 4; ++i) {
    void *failed = NULL;
    cr_assert_eq(pthread_join(threads[i], &failed), 0);
    cr_assert_null(failed);
  }
  clqi_host_pages_destroy(&pages);
}

Test(host_pages, buffers_of_the_library_take_what_is_written_and_outlive_the_context) {
  clq_context *context = NULL;
  clq_stream *stream = NULL;
  test_ok(clq_context_create(NULL, &context));
  test_ok(clq_stream_create(context, NULL, &stream));
  enum { COUNT = 3000001 };
  static float x[COUNT];
  static float y[COUNT];
  for (int i = 0; i < COUNT; ++i) {
    x[i] = (float)i;
  }
  cl_mem mem = NULL;
  cl_mem kept = NULL;
  test_ok(clq_buffer_create(context, sizeof x, &mem));
  test_ok(clq_buffer_create(context, 65536, &kept));
  void *at = NULL;
  bool huge = false;
  cr_assert_eq(clGetMemObjectInfo(mem, CL_MEM_HOST_PTR, sizeof at, &at, NULL), 0);
  if (CLQI_HAS_HOST_PAGES && strcmp(clq_context_info(context)->type, "cpu") == 0) {
    cr_assert(mapped(at, &huge) && huge, "a large buffer does not lie in huge pages");
  }
  cl_command_queue queue = clq_stream_queue(stream);
  cr_assert_eq(clEnqueueWriteBuffer(queue, mem, CL_FALSE, 0, sizeof x, x, 0, NULL, NULL), 0);
  cr_assert_eq(clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, sizeof y, y, 0, NULL, NULL), 0);
  cr_assert_arr_eq(x, y, sizeof x);
  cr_assert_eq(clReleaseMemObject(mem), 0);
  clq_stream_destroy(stream);
  clq_context_destroy(context);
  cr_assert_eq(clReleaseMemObject(kept), 0);
}

Test(host_pages, a_buffer_that_cannot_be_has_its_sentence) {
  test_device d = test_device_open(NULL);
  cl_mem mem = NULL;
  cr_assert_eq(clq_buffer_create(d.context, 0, &mem), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_buffer_create(NULL, 8, &mem), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_buffer_create(d.context, 8, NULL), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_buffer_create(d.context, UINT64_MAX, &mem), CLQ_OUT_OF_DEVICE_MEMORY);
  cr_assert_null(mem);
  cr_assert_not_null(strstr(clq_last_error(), "the device offers at most"), "%s", clq_last_error());
  test_device_close(&d);
}
