#include "runtime/replace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

enum { TEMPORARY_BYTES = 4096 };

static bool write_all(int fd, const void *data, size_t length) {
  const char *p = data;
  while (length > 0) {
    const ssize_t n = write(fd, p, length);
    if (n <= 0) {
      errno = n == 0 ? ENOSPC : errno;
      return false;
    }
    p += n;
    length -= (size_t)n;
  }
  return true;
}

/* A file of its own for what will be renamed to path. A killed process, or one of the same number
 * elsewhere (in containers many are 1), may have left a name taken: the next one is tried then. */
static int open_temporary(const char *path, char temporary[TEMPORARY_BYTES]) {
  static atomic_uint counter;
  int fd;
  do {
    const int length = snprintf(temporary, TEMPORARY_BYTES, "%s.%ld.%u.tmp", path, (long)getpid(),
                                atomic_fetch_add(&counter, 1U));
    if (length >= TEMPORARY_BYTES) {
      errno = ENAMETOOLONG;
      return -1;
    }
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  } while (fd < 0 && errno == EEXIST);
  return fd;
}

int clqi_replace_file(const char *path, const void *head, size_t head_bytes, const void *body,
                      size_t body_bytes) {
  char temporary[TEMPORARY_BYTES];
  const int fd = open_temporary(path, temporary);
  if (fd < 0) {
    return errno;
  }
  int code = 0;
  if (!write_all(fd, head, head_bytes) || !write_all(fd, body, body_bytes)) {
    code = errno;
  }
  if (close(fd) != 0 && code == 0) {
    code = errno;
  }
  if (code == 0 && rename(temporary, path) != 0) {
    code = errno;
  }
  if (code != 0) {
    (void)unlink(temporary);
  }
  return code;
}
