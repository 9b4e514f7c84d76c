#include "io/file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static clq_status fail_errno(const char *path, int code) {
  switch (code) {
    case ENOENT:
    case ENOTDIR: return clqi_fail(CLQ_IO_ERROR, "%s: no such file", path);
    case EACCES:
    case EPERM: return clqi_fail(CLQ_IO_ERROR, "%s: no permission to read it", path);
    case ENOMEM: return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory to map it", path);
    default: return clqi_fail(CLQ_IO_ERROR, "%s: cannot be read: %s", path, strerror(code));
  }
}

/* What is at the descriptor must be a regular file that fits the address space. */
static clq_status check_kind(const char *path, const struct stat *info) {
  if (S_ISDIR(info->st_mode)) {
    return clqi_fail(CLQ_IO_ERROR, "%s: is a directory, expected a file", path);
  }
  if (!S_ISREG(info->st_mode)) {
    return clqi_fail(CLQ_IO_ERROR, "%s: is a device, pipe or socket, expected a regular file",
                     path);
  }
  if (info->st_size <= 0) {
    return clqi_fail(CLQ_BAD_FILE, "%s: the file is empty", path);
  }
  if ((uintmax_t)info->st_size > SIZE_MAX / 2) {
    return clqi_fail(CLQ_IO_ERROR, "%s: %jd bytes do not fit the address space", path,
                     (intmax_t)info->st_size);
  }
  return CLQ_OK;
}

clq_status clqi_file_map_open(const char *path, clqi_file_map *map) {
  clq_status status = CLQ_OK;
  void *bytes = MAP_FAILED;
  struct stat info;
  /* O_NONBLOCK so that a pipe is refused below instead of waited for. */
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    return fail_errno(path, errno);
  }
  if (fstat(descriptor, &info) != 0) {
    status = fail_errno(path, errno);
    goto cleanup;
  }
  CLQI_TRY_CLEAN(check_kind(path, &info));
  bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (bytes == MAP_FAILED) {
    status = fail_errno(path, errno);
    goto cleanup;
  }
  *map = (clqi_file_map){.bytes = bytes, .size = (size_t)info.st_size, .descriptor = descriptor};
cleanup:
  if (status != CLQ_OK) {
    (void)close(descriptor);
  }
  return status;
}

clq_status clqi_file_map_recheck(const clqi_file_map *map, const char *path) {
  struct stat info;
  if (fstat(map->descriptor, &info) != 0) {
    return fail_errno(path, errno);
  }
  if ((uintmax_t)info.st_size != map->size) {
    return clqi_fail(CLQ_IO_ERROR,
                     "%s: the file had %zu bytes when it was opened and has %jd now: wait until "
                     "nothing writes to it, then open it again",
                     path, map->size, (intmax_t)info.st_size);
  }
  return CLQ_OK;
}

void clqi_file_map_release_pages(const clqi_file_map *map, const void *begin, size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t offset = (size_t)((const unsigned char *)begin - map->bytes);
  const size_t first = offset & ~(page - 1);
  if (bytes != 0) {
    /* Advice only: a refusal costs memory, not correctness. */
    (void)madvise((void *)(uintptr_t)(map->bytes + first), bytes + (offset - first), MADV_DONTNEED);
  }
}

void clqi_file_map_close(clqi_file_map *map) {
  if (map->bytes != NULL) {
    (void)munmap((void *)(uintptr_t)map->bytes, map->size);
    (void)close(map->descriptor);
  }
  *map = (clqi_file_map){.descriptor = -1};
}
