/* The folder of compiled kernels while other processes are at it as well. What the disk cache holds
 * of whole programs is in test_runtime. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/disk_cache.h"
#include "runtime/memory.h"

static const clqi_disk_key key = {{0x1234, 0x5678}};
static const char blob[] = "what a driver made of a kernel";

/* The next so many renames and removals find that another process cleared the folder just before.
 */
static int clears_before_rename;
static int clears_before_unlink;

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to) {
  if (clears_before_rename > 0) {
    --clears_before_rename;
    (void)unlink(from);
  }
  return __real_rename(from, to);
}

int __real_unlinkat(int folder, const char *name, int flags);
int __wrap_unlinkat(int folder, const char *name, int flags);
int __wrap_unlinkat(int folder, const char *name, int flags) {
  if (clears_before_unlink > 0) {
    --clears_before_unlink;
    (void)__real_unlinkat(folder, name, flags);
  }
  return __real_unlinkat(folder, name, flags);
}

typedef struct fixture {
  char above[64];
  char dir[96];
  clqi_disk_cache *cache;
} fixture;

static fixture open_fixture(void) {
  fixture f;
  (void)snprintf(f.above, sizeof f.above, "/tmp/clq-test-XXXXXX");
  cr_assert_not_null(mkdtemp(f.above));
  (void)snprintf(f.dir, sizeof f.dir, "%s/below", f.above);
  cr_assert_eq(clqi_disk_cache_open(f.dir, true, &f.cache), CLQ_OK);
  cr_assert_not_null(clqi_disk_cache_dir(f.cache, NULL));
  return f;
}

/* Everything in the folder must be the cache's own. */
static void close_fixture(fixture *f) {
  uint64_t files;
  uint64_t bytes;
  cr_assert_eq(clqi_disk_cache_scan(f->cache, true, &files, &bytes), CLQ_OK, "%s",
               clq_last_error());
  clqi_disk_cache_close(f->cache);
  cr_assert_eq(rmdir(f->dir), 0);
  cr_assert_eq(rmdir(f->above), 0);
}

static uint64_t count_files(const fixture *f) {
  uint64_t files;
  uint64_t bytes;
  cr_assert_eq(clqi_disk_cache_scan(f->cache, false, &files, &bytes), CLQ_OK);
  return files;
}

static void expect_kept(const fixture *f) {
  void *got = NULL;
  size_t length = 0;
  cr_assert_eq(clqi_disk_cache_put(f->cache, key, blob, sizeof blob), CLQ_OK, "%s",
               clq_last_error());
  cr_assert(clqi_disk_cache_get(f->cache, key, &got, &length));
  cr_assert(length == sizeof blob && memcmp(got, blob, length) == 0);
  clqi_free(got);
  cr_assert_eq(clqi_disk_cache_takes(f->cache), CLQ_OK);
}

/* Of a process that was killed, whose number this one has: in containers both may be 1. They are in
 * nobody's way, and go when the cache is cleared. */
Test(disk_cache, temporary_files_of_the_same_number_are_passed_over) {
  enum { LEFT = 20 };
  fixture f = open_fixture();
  for (int i = 0; i < LEFT; ++i) {
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%016" PRIx64 "%016" PRIx64 ".clqk.%ld.%d.tmp", f.dir,
                   key.word[0], key.word[1], (long)getpid(), i);
    const int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    cr_assert_geq(fd, 0);
    (void)close(fd);
  }
  expect_kept(&f);
  cr_assert_eq(count_files(&f), LEFT + 1);
  close_fixture(&f);
}

Test(disk_cache, a_folder_that_goes_is_made_again) {
  fixture f = open_fixture();
  struct stat info;
  cr_assert_eq(rmdir(f.dir), 0);
  cr_assert_eq(rmdir(f.above), 0);
  cr_assert_eq(count_files(&f), 0);
  const mode_t usual = umask(0);
  expect_kept(&f);
  (void)umask(usual);
  cr_assert_eq(stat(f.dir, &info), 0);
  cr_assert_eq(info.st_mode & 0777, 0700);
  close_fixture(&f);
}

Test(disk_cache, a_writer_outlives_a_clear) {
  fixture f = open_fixture();
  clears_before_rename = 1;
  expect_kept(&f);
  cr_assert_eq(clears_before_rename, 0);
  cr_assert_eq(count_files(&f), 1);
  close_fixture(&f);
}

/* Files that another removed are not counted. */
Test(disk_cache, two_may_clear_at_once) {
  fixture f = open_fixture();
  uint64_t files;
  uint64_t bytes;
  expect_kept(&f);
  clears_before_unlink = 1;
  cr_assert_eq(clqi_disk_cache_scan(f.cache, true, &files, &bytes), CLQ_OK, "%s", clq_last_error());
  cr_assert(files == 0 && bytes == 0);
  close_fixture(&f);
}

/* Any other failure stays, and is told each time. */
Test(disk_cache, a_folder_that_takes_no_more_says_so) {
  fixture f = open_fixture();
  char path[256];
  (void)snprintf(path, sizeof path, "%s/%016" PRIx64 "%016" PRIx64 ".clqk", f.dir, key.word[0],
                 key.word[1]);
  cr_assert_eq(mkdir(path, 0700), 0);
  for (int i = 0; i < 2; ++i) {
    cr_assert_eq(clqi_disk_cache_put(f.cache, key, blob, sizeof blob), CLQ_IO_ERROR);
    cr_assert_not_null(strstr(clq_last_error(), "takes no more compiled kernels (Is a directory)"),
                       "%s", clq_last_error());
    cr_assert_eq(rmdir(path), i == 0 ? 0 : -1);
  }
  cr_assert_eq(clqi_disk_cache_takes(f.cache), CLQ_IO_ERROR);
  close_fixture(&f);
}
